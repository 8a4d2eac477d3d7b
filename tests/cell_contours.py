"""Analytic cell shapes: masks and contours of known form."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon2mask

from smearsynth.shapes.contours import VERTICES, ContourArray, polygon_areas, polygon_centroids, resample
from smearsynth.shapes.library import ShapeLibrary


def ellipse_mask(
    a: float, b: float, angle: float, centre: tuple[float, float], side: int = 80
) -> npt.NDArray[np.bool_]:
    """Return the mask of an ellipse with the semi-axes a and b, px, in a square field."""
    y, x = np.mgrid[:side, :side]
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def contour_mask(
    contour: ContourArray, centre: tuple[float, float] = (60.3, 60.7), side: int = 120
) -> npt.NDArray[np.bool_]:
    """Return the mask of a contour around a centre (x, y) in a square field."""
    mask: npt.NDArray[np.bool_] = polygon2mask((side, side), (contour + np.array(centre))[:, ::-1])
    return mask


def wavy_ellipses(n: int, seed: int = 0, size: float = 18.0, spicules: float = 0.0) -> ContourArray:
    """Return n contours of wavy ellipses with log-normal areas.

    Parameters
    ----------
    n, seed : int
    size : float
        Median radius, px.
    spicules : float
        Amplitude of 12 fine spicules, as a fraction of the radius.
    """
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 8 * VERTICES, endpoint=False)
    outlines = []
    for _ in range(n):
        ratio = 1 + rng.gamma(2.0, 0.08)
        radius = 1 + sum(rng.normal(0, 0.04 / k) * np.cos(k * angles + rng.uniform(0, 7)) for k in (2, 3, 4, 5))
        radius += spicules * np.cos(12 * angles + rng.uniform(0, 7))
        scale = size * np.exp(rng.normal(0, 0.08))
        x, y = np.cos(angles) * math.sqrt(ratio), np.sin(angles) / math.sqrt(ratio)
        outlines.append(scale * radius[:, None] * np.stack([x, y], axis=1))
    contours = np.stack([resample(outline, VERTICES) for outline in outlines])
    return (contours - polygon_centroids(contours)[:, None]).astype(np.float32)


def library_of(
    contours: ContourArray, classes: npt.NDArray[np.int64] | None = None, names: tuple[str, ...] = ("cell",)
) -> ShapeLibrary:
    """Return a shape library of contours, of one class by default."""
    ids = np.zeros(len(contours), np.int64) if classes is None else classes
    return ShapeLibrary(contours, ids, names)


def shape_measures(contours: ContourArray) -> dict[str, npt.NDArray[np.floating]]:
    """Return area (px²), aspect ratio and compactness (1 for a circle) of contours."""
    steps = np.linalg.norm(np.roll(contours, -1, axis=1) - contours, axis=2)
    points = contours - contours.mean(axis=1, keepdims=True)
    spread = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", points, points))
    areas = polygon_areas(contours)
    return {
        "area": areas,
        "aspect": np.sqrt(spread[:, 1] / spread[:, 0]),
        "compactness": steps.sum(axis=1) ** 2 / (4 * np.pi * areas),
    }
