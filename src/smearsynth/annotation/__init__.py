"""Labels from images without annotation, or with boxes or points."""
