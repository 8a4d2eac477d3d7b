"""Evenly lit fields with sharp cells, and an illumination to apply to them."""

from __future__ import annotations

import numpy as np

from smearsynth.smear import Smear

SIDE = 192
# Coefficients of x, y, x², xy, y² for R, G, B: darker corners, and a gradient in x of red and in y of blue.
LIGHT = (0.1, 0.0, -0.15, 0.0, -0.15, 0.05, 0.0, -0.15, 0.0, -0.15, 0.0, 0.08, -0.15, 0.0, -0.15)


def flat_smear(seed: int = 0, noise: float = 0.0) -> Smear:
    """Return a smear with nine discs of 120 grey levels on a background of 180."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    for k in range(9):
        cy, cx = 32 + 64 * (k // 3), 32 + 64 * (k % 3)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < 15**2] = k + 1
    image = np.where(labels[..., None] > 0, 120.0, 180.0) + noise * rng.standard_normal((SIDE, SIDE, 3))
    return Smear(np.rint(image).astype(np.uint8), labels, np.zeros(9, np.int64))
