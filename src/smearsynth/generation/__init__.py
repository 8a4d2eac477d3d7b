"""Streams of synthetic smears with recipes, in memory or on disk."""
