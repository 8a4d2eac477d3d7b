"""Shape measures of one region, and operations on instance labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from smearsynth.smear import LabelArray, Mask


class Shape(NamedTuple):
    """Measures of one region.

    Parameters
    ----------
    area : float
        In px².
    solidity : float
        Area over the area of the convex hull, in (0, 1].
    elongation : float
        Major over minor axis of the ellipse with equal second moments, at least 1.
    ellipse_fit : float
        Fraction of the region inside the ellipse with equal second moments; 1 for an ellipse.
    """

    area: float
    solidity: float
    elongation: float
    ellipse_fit: float


def hull_area(mask: Mask) -> float:
    """Return the area of the convex hull of the pixels, as squares, in px².

    Parameters
    ----------
    mask : (H, W) bool array
        With at least one pixel.

    Examples
    --------
    >>> hull_area(np.array([[True, False], [True, True]]))
    3.5
    """
    used = np.flatnonzero(mask.any(1))
    # The hull of the first and last pixel of each row is that of all pixels.
    first = mask[used].argmax(1)
    last = mask.shape[1] - 1 - mask[used, ::-1].argmax(1)
    height, width = int(used[-1] - used[0]), int(last.max() - first.min())
    inner = 0.0
    if height and width:
        points = np.empty((2 * len(used), 2))
        points[: len(used), 0] = points[len(used) :, 0] = used
        points[: len(used), 1], points[len(used) :, 1] = first, last
        try:
            inner = float(ConvexHull(points).volume)
        except QhullError:  # the pixels are on one line
            inner = 0.0
    # Minkowski sum of the hull of the pixel centres with a unit square.
    return inner + height + width + 1


def measure_shape(mask: Mask) -> Shape:
    """Measure one region.

    Parameters
    ----------
    mask : (H, W) bool array
        With at least one pixel.

    Returns
    -------
    Shape

    Examples
    --------
    >>> measure_shape(np.ones((5, 10), bool)).solidity
    1.0
    >>> round(measure_shape(np.ones((5, 10), bool)).elongation, 1)
    2.0
    """
    rows, columns = np.nonzero(mask)
    area = len(rows)
    y, x = rows - rows.sum() / area, columns - columns.sum() / area
    # 1/12 is the variance of a pixel of unit size.
    yy, xx, xy = y.dot(y) / area + 1 / 12, x.dot(x) / area + 1 / 12, x.dot(y) / area
    determinant = yy * xx - xy * xy
    root = np.sqrt(max((yy - xx) ** 2 / 4 + xy * xy, 0.0))
    major, minor = (yy + xx) / 2 + root, max((yy + xx) / 2 - root, 1e-6)
    inside = (xx * y * y + yy * x * x - 2 * xy * x * y) / max(determinant, 1e-9) <= 4
    return Shape(float(area), area / hull_area(mask), float(np.sqrt(major / minor)), float(inside.sum() / area))


def largest_component(mask: Mask, core: Mask | None = None) -> Mask:
    """Return the largest 4-connected component of a mask.

    Parameters
    ----------
    mask : (H, W) bool array
    core : (H, W) bool array, optional
        The component with most pixels in `core` is returned instead.

    Examples
    --------
    >>> largest_component(np.array([[True, False, True, True]])).tolist()
    [[False, False, True, True]]
    """
    components, n = ndimage.label(mask)
    if n <= 1:
        return mask
    sizes = np.bincount(components.ravel(), minlength=n + 1)[1:].astype(np.float64)
    if core is not None:
        sizes = sizes * 1e-6 + np.bincount(components[core], minlength=n + 1)[1:]
    largest: Mask = components == int(sizes.argmax()) + 1
    return largest


def fill_holes(labels: LabelArray) -> LabelArray:
    """Give the background that one cell encloses, its pallor, to this cell.

    Parameters
    ----------
    labels : (H, W) int32 array

    Returns
    -------
    (H, W) int32 array

    Examples
    --------
    >>> ring = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 2]], np.int32)
    >>> fill_holes(ring).tolist()
    [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 2]]
    """
    filled = labels.copy()
    for k, window in enumerate(ndimage.find_objects(labels), 1):
        if window is not None:
            part = filled[window]
            part[ndimage.binary_fill_holes(part == k) & (part == 0)] = k
    return filled


def resize_labels(labels: LabelArray, shape: tuple[int, int]) -> LabelArray:
    """Resize labels with smooth outlines: each mask is interpolated linearly and the largest value wins.

    Parameters
    ----------
    labels : (H, W) int32 array
    shape : tuple of int
        Height and width of the result in px.

    Returns
    -------
    (height, width) int32 array
        Each instance keeps at least one pixel, unless several share that pixel.

    Examples
    --------
    >>> labels = np.repeat([[0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0]], 8, axis=0).astype(np.int32)
    >>> resize_labels(labels, (4, 6))[2].tolist()
    [0, 1, 1, 2, 2, 0]
    """
    if labels.shape == shape:
        return labels
    ratio = shape[0] / labels.shape[0], shape[1] / labels.shape[1]
    best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    winner = np.zeros(shape, np.int32)
    for k, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            continue
        top, left = (max(side.start - 3, 0) for side in window)
        bottom, right = (min(side.stop + 3, size) for side, size in zip(window, labels.shape, strict=True))
        soft = (labels[top:bottom, left:right] == k).astype(np.float32)
        if min(ratio) > 1:
            soft = ndimage.gaussian_filter(soft, 0.8)
        y0, y1 = _span(top, bottom, ratio[0], shape[0])
        x0, x1 = _span(left, right, ratio[1], shape[1])
        if y1 <= y0 or x1 <= x0:
            continue
        rows = np.clip((np.arange(y0, y1) + 0.5) / ratio[0] - 0.5 - top, 0, bottom - top - 1)
        columns = np.clip((np.arange(x0, x1) + 0.5) / ratio[1] - 0.5 - left, 0, right - left - 1)
        values = _interpolate(_interpolate(soft, rows).T, columns).T
        part = np.s_[y0:y1, x0:x1]
        total[part] += values
        better = values > best[part]
        best[part][better] = values[better]
        winner[part][better] = k
    winner[total <= 0.5] = 0
    _restore(winner, labels, ratio)
    return winner


def _restore(resized: LabelArray, labels: LabelArray, ratio: tuple[float, float]) -> None:
    """Give instances that are too small for the interpolation the pixels at their centre, in place."""
    n = int(labels.max(initial=0))
    lost = np.bincount(resized.ravel(), minlength=n + 1)[1:] == 0
    lost &= np.bincount(labels.ravel(), minlength=n + 1)[1:] > 0
    for k in np.flatnonzero(lost) + 1:
        rows, columns = np.nonzero(labels == k)
        i = len(rows) // 2
        top, left = (
            min(int(at[i] * r), size - 1) for at, r, size in zip((rows, columns), ratio, resized.shape, strict=True)
        )
        resized[top : top + max(1, round(ratio[0])), left : left + max(1, round(ratio[1]))] = k


def _span(start: int, stop: int, ratio: float, size: int) -> tuple[int, int]:
    return max(round(start * ratio), 0), min(round(stop * ratio), size)


def _interpolate(values: npt.NDArray[np.float32], rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Interpolate the rows of an array linearly."""
    low = np.floor(rows).astype(np.int64)
    high = np.minimum(low + 1, len(values) - 1)
    fraction = (rows - low).astype(np.float32)[:, None]
    return values[low] * (1 - fraction) + values[high] * fraction
