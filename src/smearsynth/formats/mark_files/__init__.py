"""Annotation files that list outlines, boxes or points: one module per format."""
