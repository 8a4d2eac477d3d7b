"""Smears and a segmenter for the tests of the evaluation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import ImageArray, Smear

DIAMETER = 18.0  # px, of a median cell of `smears.random_smear`
SIZE = (96, 96)
RADIUS = 12


def blurred(smear: Smear, sigma: float) -> Smear:
    image = ndimage.gaussian_filter(smear.image.astype(float), (sigma, sigma, 0))
    return Smear(image.astype(np.uint8), smear.labels, smear.classes, name=smear.name)


def noisy(smear: Smear, sigma: float, seed: int = 0) -> Smear:
    noise = np.random.default_rng(seed).normal(0, sigma, smear.image.shape)
    image = np.clip(smear.image + noise, 0, 255).astype(np.uint8)
    return Smear(image, smear.labels, smear.classes, name=smear.name)


def shifted(smear: Smear, pixels: int) -> Smear:
    """The smear with labels moved to the right."""
    return Smear(smear.image, np.roll(smear.labels, pixels, 1), smear.classes, name=smear.name)


def without_cells(smear: Smear) -> Smear:
    return Smear(smear.image, smear.labels * 0, smear.classes[:0], name=smear.name)


class DarkSegmenter:
    """An exact segmenter of the analytic smears, whose cells are darker than the background."""

    def probability(self, image: ImageArray) -> npt.NDArray[np.float32]:
        grey = image.mean(axis=2)
        background = np.median(grey[grey >= np.quantile(grey, 0.6)])
        dark = ndimage.gaussian_filter(grey, 1) < background - 20
        return np.asarray(ndimage.binary_fill_holes(dark), np.float32)


def textured_smear(seed: int, name: str | None = None, size: tuple[int, int] = (120, 160)) -> Smear:
    """Twelve cells on a grid, each an ellipse with its own texture."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    grey = np.full(size, 210.0)
    y, x = np.mgrid[: size[0], : size[1]]
    for k in range(12):
        cy, cx = 20 + 40 * (k // 4), 20 + 40 * (k % 4)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.8, 1.0)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = u**2 + (v / stretch) ** 2 < RADIUS**2
        texture = ndimage.gaussian_filter(rng.normal(0, 1, size), 2.0)
        labels[inside] = k + 1
        grey[inside] = 140 + 60 * texture[inside] / texture.std() * 0.4
    image = np.clip(grey[..., None] + np.array([10, -20, 0]) + rng.normal(0, 1, (*size, 3)), 0, 255)
    return Smear.from_labels(image.astype(np.uint8), labels, name=name or f"s{seed}")
