"""Labels for photographs, from boxes, points or the image alone, with a page to check them and corrections."""
