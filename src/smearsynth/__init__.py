"""Annotated synthetic blood smears, learned from a few annotated real ones."""
