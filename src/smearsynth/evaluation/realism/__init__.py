"""Realism of synthetic smears: distances between distributions, colours, texture, labels."""
