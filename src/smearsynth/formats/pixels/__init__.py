"""Decoding of image files: images as RGB, label images as ids, TIFF, NumPy files and pixel sizes."""
