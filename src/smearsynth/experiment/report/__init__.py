"""Report of the benefit experiment: tables, figures, text and example predictions."""
