"""The paper's layout, literally: a probability map of the whole canvas, updated cell by cell. Slow on purpose.

`benchmarks/layout.py` times it beside the compiled layout.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.draw import polygon2mask

from smearsynth.shapes import VERTICES, ShapeAugmentation, ShapeLibrary


def ellipses(axes, classes=None, names=("cell",)):
    """A shape library of ellipses, `axes` their semi-axes (n, 2) in px."""
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    outline = np.stack([np.cos(turn), np.sin(turn)], 1)
    contours = np.asarray(axes, np.float64)[:, None, :] * outline
    classes = np.zeros(len(contours), np.int64) if classes is None else np.asarray(classes, np.int64)
    return ShapeLibrary(contours.astype(np.float32), classes, tuple(names))


def red_cells(count=500, mean=46.0, deviation=5.0, seed=7):
    """Made-up smooth blobs with a diameter of `mean` ± `deviation` px, about their centroid."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    contours = []
    for _ in range(count):
        stretch = 1 + np.clip(abs(rng.normal(0, 0.1)), 0, 0.35)
        radius = (
            rng.normal(mean, deviation) / 2 / np.sqrt(stretch * np.cos(turn) ** 2 + np.sin(turn) ** 2 / stretch)
        )
        for wave in range(2, 6):
            radius = radius * (
                1 + rng.normal(0, 0.025 / wave**0.5) * np.cos(wave * turn + rng.uniform(0, 2 * np.pi))
            )
        outline = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)
        contours.append(outline - outline.mean(0))
    return ShapeLibrary(np.array(contours, np.float32), np.zeros(count, np.int64))


def ring_map(size, centre, cell_size, over_plane=False):
    """z(l): a ring about `centre` (x, y), normalised over the canvas; over the whole plane as the control."""
    height, width = size
    sigma = cell_size / math.sqrt(2 * math.log(2))

    def weights(ys, xs):
        squared = (ys[:, None] - centre[1]) ** 2.0 + (xs - centre[0]) ** 2.0
        gauss = np.exp(-squared / (2 * sigma**2))
        return np.where(squared < cell_size**2, 1 - gauss, gauss)

    ring = weights(np.arange(height), np.arange(width))
    if over_plane:
        reach = math.ceil(8 * sigma)
        around = np.arange(-reach, reach + 1)
        return ring / weights(around + centre[1], around + centre[0]).sum()
    return ring / ring.sum()


def probability_map(size, i, n_init, centres, cell_size, over_plane=False):
    """P(i) by equation 3 with a_i = 1/i, i from 1, `centres` of the cells 1..i-1 as (x, y)."""
    height, width = size
    law = np.full(size, 1 / (height * width))
    for k in range(n_init + 1, i + 1):
        law = (1 - 1 / k) * law + (1 / k) * ring_map(size, centres[k - 2], cell_size, over_plane)
    return law / law.sum()


@dataclass
class ReferenceResult:
    """What the reference placed, and how long it took."""

    labels: np.ndarray
    colours: np.ndarray
    centres: np.ndarray
    seconds: float


def reference_layout(
    size, count, shapes, *, cell_size, n_init=20, n_colours=8, augmentation=None, rng=0, attempts=20_000
):
    """The paper's procedure with its map: one cumulative sum a cell, the quickest way to draw from a map."""
    rng = np.random.default_rng(rng)
    vary = augmentation or ShapeAugmentation()
    labels, colours = np.zeros(size, np.int32), np.zeros(size, np.uint8)
    law = np.full(size, 1 / (size[0] * size[1]))
    centres = []
    start = time.perf_counter()
    for i in range(1, count + 1):
        if i > n_init:
            law = (1 - 1 / i) * law + (1 / i) * ring_map(size, centres[-1], cell_size)
        stamp = _posed_stamp(shapes.contours[rng.integers(len(shapes.contours))], vary, rng)
        cumulative = np.cumsum(law.ravel())
        for _ in range(attempts):
            pixel = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
            y, x = divmod(pixel, size[1])
            if _put(labels, colours, stamp, x, y, i, n_colours, rng):
                centres.append((x, y))
                break
        else:
            break
    return ReferenceResult(labels, colours, np.array(centres), time.perf_counter() - start)


def _posed_stamp(contour, vary, rng):
    points = contour.astype(np.float64)
    if rng.random() < vary.flip_horizontal:
        points = points * (-1, 1)
    if rng.random() < vary.flip_vertical:
        points = points * (1, -1)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < vary.rotation else 0.0
    scale = rng.uniform(*vary.scale_range) if rng.random() < vary.scale else 1.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = points @ turn.T
    reach = math.ceil(np.abs(points).max()) + 1
    return polygon2mask((2 * reach + 1, 2 * reach + 1), points[:, ::-1] + reach)


def _put(labels, colours, stamp, x, y, label, n_colours, rng):
    """Put a stamp at (x, y) if it overlaps nothing and some colour is free; whether it was put."""
    reach = stamp.shape[0] // 2
    height, width = labels.shape
    top, left = max(0, y - reach - 1), max(0, x - reach - 1)
    bottom, right = min(height, y + reach + 2), min(width, x + reach + 2)
    window = np.zeros((bottom - top, right - left), bool)
    ys, xs = np.nonzero(stamp)
    ys, xs = ys + y - reach, xs + x - reach
    inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    window[ys[inside] - top, xs[inside] - left] = True
    here, hues = labels[top:bottom, left:right], colours[top:bottom, left:right]
    if not window.any() or here[window].any():
        return False
    touching = hues[ndimage.binary_dilation(window, np.ones((3, 3), bool))]
    free = np.setdiff1d(np.arange(1, n_colours + 1), touching)
    if not len(free):
        return False
    here[window] = label
    hues[window] = free[rng.integers(len(free))]
    return True


def as_rows(layout):
    """Return the placed cells of a layout as an array, for comparison."""
    return np.stack(
        [
            layout.x,
            layout.y,
            layout.shape,
            layout.angle,
            layout.scale,
            layout.mirrored,
            layout.colours,
            layout.classes,
        ]
    )
