"""Annotation as label images: readers, checks against misreading, and writers."""
