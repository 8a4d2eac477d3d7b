"""Labels for images without annotation."""
