"""Metrics of predicted cells: matching, Dice, average precision and confidence intervals of differences."""
