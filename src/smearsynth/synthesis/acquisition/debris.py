"""Debris: unlabelled objects in the background (platelets, ghosts, dirt), an input channel of the generator.

A generator without this channel paints backgrounds that are too clean, because debris in a wrong place costs it
more than no debris. A model trained on such smears then takes real debris for cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

_CELL_MARGIN = 3  # px around a cell that belong to its rim
_CONTRAST = 5.0  # min contrast of debris in standard deviations of the background
_MIN_CONTRAST = 8.0  # grey levels
_MIN_AREA = 9  # px²
_MAX_BLOBS = 2_000  # blobs stored per data set, enough for the distribution of their sizes
_MEDIAN_SAMPLE = 20_000  # background pixels used for the robust mean and deviation


def find_debris(image: ImageArray, labels: LabelArray, ignored: Mask | None = None) -> Mask:
    """Return the mask of debris: background blobs of at least 9 px² that are clearly darker than the background.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    ignored : (H, W) bool array, optional
        Pixels without annotation; there is no debris in them.

    Returns
    -------
    (H, W) bool array

    Examples
    --------
    >>> image = np.full((32, 32, 3), 200, np.uint8)
    >>> image[4:9, 4:9] = 90
    >>> int(find_debris(image, np.zeros((32, 32), np.int32)).sum())  # the opening removes the four corners
    21
    """
    occupied = labels > 0 if ignored is None else (labels > 0) | ignored
    background = ndimage.binary_dilation(occupied, iterations=_CELL_MARGIN) == 0
    if background.sum() < _MIN_AREA:
        return np.zeros(labels.shape, bool)
    green = image[..., 1].astype(np.float32)  # haemoglobin and stain absorb green
    sample = green[background][:: max(1, int(background.sum()) // _MEDIAN_SAMPLE)]
    median = float(np.median(sample))
    deviation = 1.4826 * float(np.median(np.abs(sample - median)))
    dark = background & (green < median - max(_CONTRAST * deviation, _MIN_CONTRAST))
    return _remove_small_blobs(ndimage.binary_opening(dark))


def _remove_small_blobs(mask: Mask) -> Mask:
    blobs, n = ndimage.label(mask)
    areas = np.bincount(blobs.ravel(), minlength=n + 1)
    large: Mask = (areas >= _MIN_AREA)[blobs] & mask
    return large


@dataclass(frozen=True, eq=False)
class DebrisModel:
    """Distribution of the density and size of debris.

    Parameters
    ----------
    densities : (n,) float64 array
        Blobs per px² of background in each training smear.
    axes : (m, 2) float64 array
        Long and short half axis of each blob, px. Outlines are not stored.
    """

    densities: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, smears: Sequence[Smear], rng: int | np.random.Generator = 0) -> DebrisModel:
        """Fit the model to the debris of smears.

        Blobs that touch the border or the margin of an ignored region, or have at least half the area of a cell,
        are left out, because they may be unlabelled cells. The generator still gets them as debris during training.
        """
        densities, axes = [], []
        for smear in smears:
            blobs, _ = ndimage.label(find_debris(smear.image, smear.labels, smear.ignored))
            max_area = float(np.median(smear.areas())) / 2 if smear.count else np.inf
            at_border = {*blobs[0], *blobs[-1], *blobs[:, 0], *blobs[:, -1]}
            if smear.ignored is not None:
                at_border |= {*blobs[ndimage.binary_dilation(smear.ignored, iterations=_CELL_MARGIN + 1)]}
            inner_blobs = [
                np.argwhere(blobs[box] == k)
                for k, box in enumerate(ndimage.find_objects(blobs), start=1)
                if k not in at_border
            ]
            smear_axes = [half_axes(pixels) for pixels in inner_blobs if len(pixels) < max_area]
            densities.append(len(smear_axes) / max(int(smear.background().sum()), 1))
            axes += smear_axes
        rows = np.round(np.array(axes, np.float64).reshape(-1, 2), 2)
        rng = np.random.default_rng(rng)
        if len(rows) > _MAX_BLOBS:
            rows = rows[rng.choice(len(rows), _MAX_BLOBS, replace=False)]
        return cls(np.array(densities), rows)

    def draw_count(self, area: int, rng: np.random.Generator, reference: int | None = None) -> int:
        """Draw the number of blobs on `area` px² of background.

        The density is that of the training smear number `reference`, or of a random one if it is None.
        """
        if not len(self.axes):
            return 0
        density = rng.choice(self.densities) if reference is None else self.densities[reference]
        return int(rng.poisson(area * float(density)))

    def draw(self, labels: LabelArray, count: int, seed: int) -> Mask:
        """Draw a mask of `count` elliptic blobs at uniform positions.

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
            radius = int(np.ceil(max(a, b)))
            top, left = max(0, int(cy) - radius), max(0, int(cx) - radius)
            y, x = np.mgrid[top : min(height, int(cy) + radius + 1), left : min(width, int(cx) + radius + 1)]
            u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
            v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
            mask[top : top + y.shape[0], left : left + y.shape[1]] |= (u / a) ** 2 + (v / b) ** 2 <= 1
        debris: Mask = mask & (labels == 0)
        return debris


def half_axes(pixels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return the half axes (long, short) in px of the ellipse with the second moments of these (n, 2) pixels."""
    values = np.linalg.eigvalsh(np.cov(pixels.T, bias=True) + np.eye(2) / 12)
    return 2 * float(values[1]) ** 0.5, 2 * float(values[0]) ** 0.5
