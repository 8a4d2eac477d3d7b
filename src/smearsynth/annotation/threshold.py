"""The cells of a photograph that nobody has annotated, told apart roughly: enough to take its style."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from smearsynth.smear import ImageArray, LabelArray, Smear, relabel_sequential

_SMOOTHING = 1.0  # px
_LEAST_CONTRAST = 8.0  # grey levels between cells and ground: less is grain
_SMALLEST = 0.2  # of the area of the median piece: what is smaller is dirt


def threshold_labels(image: ImageArray) -> LabelArray:
    """Tell cells from the ground by Otsu's threshold (1979) in green, where haemoglobin and stain absorb.

    Cells that touch are one piece: for the mean style of cells that is no matter, as an annotation it will not do.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, darker cells on a brighter ground.

    Returns
    -------
    (H, W) int32 array
        0 the ground, 1..n the pieces; all 0 where nothing stands out.

    Examples
    --------
    >>> image = np.full((40, 60, 3), 220, np.uint8)
    >>> image[10:30, 10:30] = image[10:30, 35:55] = (200, 120, 150)
    >>> image[12:18, 14:20] = 220  # pallor
    >>> labels = threshold_labels(image)
    >>> int(labels.max()), bool(labels[15, 17] == labels[25, 25] > 0)
    (2, True)
    """
    green = ndimage.gaussian_filter(image[..., 1].astype(np.float32), _SMOOTHING)
    threshold = float(threshold_otsu(green)) if np.ptp(green) > 0 else 0.0  # type: ignore[no-untyped-call]
    dark = green <= threshold
    if not dark.any() or dark.all() or green[~dark].mean() - green[dark].mean() < _LEAST_CONTRAST:
        return np.zeros(dark.shape, np.int32)
    cells = ndimage.binary_opening(ndimage.binary_fill_holes(dark), iterations=2)
    pieces, n = ndimage.label(cells)
    areas = np.bincount(pieces.ravel(), minlength=n + 1)[1:]
    kept = areas >= _SMALLEST * np.median(areas) if n else np.zeros(0, bool)
    return relabel_sequential(np.where(np.concatenate([[False], kept])[pieces], pieces, 0))[0]


def photograph(image: ImageArray, name: str = "") -> Smear:
    """A photograph as a smear with `threshold_labels`, all cells of the first class, to take its style from.

    Examples
    --------
    >>> photograph(np.full((20, 20, 3), 200, np.uint8)).count
    0
    """
    labels = threshold_labels(image)
    return Smear(image, labels, np.zeros(int(labels.max(initial=0)), np.int64), name=name)
