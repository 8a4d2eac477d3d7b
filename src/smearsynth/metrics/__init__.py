"""Matching of instances, average precision and confidence intervals."""
