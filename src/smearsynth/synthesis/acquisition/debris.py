"""Debris: what real grounds hold and no label names (platelets, ghosts, dirt), as a condition of its own.

A generator that is not told of it paints grounds too clean, because a spot in the wrong place costs it more than
none; a model trained on its smears then takes real spots for cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

_MARGIN = 3  # px round a cell that belong to its rim
_CONTRAST = 5.0  # deviations of the ground by which debris is darker
_LEAST_CONTRAST = 8.0  # grey levels
_SMALLEST = 9  # px²
_KEPT = 2_000  # blobs kept of a data set: their sizes are known well enough


def find_debris(image: ImageArray, labels: LabelArray) -> Mask:
    """Pixels of the ground that are clearly darker than it, in blobs of a few px at least.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array

    Returns
    -------
    (H, W) bool array

    Examples
    --------
    >>> image = np.full((32, 32, 3), 200, np.uint8)
    >>> image[4:9, 4:9] = 90
    >>> int(find_debris(image, np.zeros((32, 32), np.int32)).sum())  # its four corners are rounded off
    21
    """
    ground = ndimage.binary_dilation(labels > 0, iterations=_MARGIN) == 0
    if ground.sum() < _SMALLEST:
        return np.zeros(labels.shape, bool)
    green = image[..., 1].astype(np.float32)  # haemoglobin and stain absorb there
    sample = green[ground][:: max(1, int(ground.sum()) // 20_000)]
    middle = float(np.median(sample))
    deviation = 1.4826 * float(np.median(np.abs(sample - middle)))
    dark = ground & (green < middle - max(_CONTRAST * deviation, _LEAST_CONTRAST))
    return _without_specks(ndimage.binary_opening(dark))


def _without_specks(mask: Mask) -> Mask:
    blobs, n = ndimage.label(mask)
    areas = np.bincount(blobs.ravel(), minlength=n + 1)
    kept: Mask = (areas >= _SMALLEST)[blobs] & mask
    return kept


@dataclass(frozen=True, eq=False)
class DebrisModel:
    """How much debris smears have, and how large it is.

    Parameters
    ----------
    densities : (n,) float64 array
        Blobs per px² of ground, one a training smear.
    axes : (m, 2) float64 array
        Long and short half axis of blobs, px; no outline is kept.
    """

    densities: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, smears: Sequence[Smear], rng: int | np.random.Generator = 0) -> DebrisModel:
        """Measure the debris of smears.

        What the border cuts, and what is half as large as a cell, may be a cell that was not labelled: the
        generator is told of it in training, but new smears get none.
        """
        densities, axes = [], []
        for smear in smears:
            blobs, _ = ndimage.label(find_debris(smear.image, smear.labels))
            largest = float(np.median(smear.areas())) / 2 if smear.count else np.inf
            edge = {*blobs[0], *blobs[-1], *blobs[:, 0], *blobs[:, -1]}
            found = [
                np.argwhere(blobs[box] == k)
                for k, box in enumerate(ndimage.find_objects(blobs), start=1)
                if k not in edge
            ]
            own = [_half_axes(pixels) for pixels in found if len(pixels) < largest]
            densities.append(len(own) / max(int((smear.labels == 0).sum()), 1))
            axes += own
        rows = np.round(np.array(axes, np.float64).reshape(-1, 2), 2)
        rng = np.random.default_rng(rng)
        kept = rows if len(rows) <= _KEPT else rows[rng.choice(len(rows), _KEPT, replace=False)]
        return cls(np.array(densities), kept)

    def draw_count(self, ground: int, rng: np.random.Generator, smear: int | None = None) -> int:
        """How many blobs lie on `ground` px² of a new smear: as dense as on a training smear, this one or any."""
        if not len(self.axes):
            return 0
        density = rng.choice(self.densities) if smear is None else self.densities[smear]
        return int(rng.poisson(ground * float(density)))

    def draw(self, labels: LabelArray, count: int, seed: int) -> Mask:
        """Lay `count` elliptic blobs on the ground of a field.

        Parameters
        ----------
        labels : (H, W) int32 array
        count, seed : int

        Returns
        -------
        (H, W) bool array
            False on the cells.
        """
        rng = np.random.default_rng(seed)
        mask = np.zeros(labels.shape, bool)
        height, width = labels.shape
        for _ in range(count):
            a, b = self.axes[int(rng.integers(len(self.axes)))] * np.exp(0.1 * rng.standard_normal(2))
            cy, cx, angle = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0, np.pi)
            reach = int(np.ceil(max(a, b)))
            top, left = max(0, int(cy) - reach), max(0, int(cx) - reach)
            y, x = np.mgrid[top : min(height, int(cy) + reach + 1), left : min(width, int(cx) + reach + 1)]
            along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
            across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
            mask[top : top + y.shape[0], left : left + y.shape[1]] |= (along / a) ** 2 + (across / b) ** 2 <= 1
        drawn: Mask = mask & (labels == 0)
        return drawn


def _half_axes(pixels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Half axes of the ellipse with the second moments of these pixels, (long, short)."""
    values = np.linalg.eigvalsh(np.cov(pixels.T, bias=True) + np.eye(2) / 12)
    return 2 * float(values[1]) ** 0.5, 2 * float(values[0]) ** 0.5
