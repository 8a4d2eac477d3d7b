"""Report of the benefit experiment: page, figures and wording."""
