"""Fields cut out of whole slides."""
