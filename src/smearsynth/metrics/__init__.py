"""Metrics of predicted cells: matching, Dice, panoptic quality, average precision and confidence intervals."""
