"""Approximate labels of photographs without annotation, by a threshold."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from smearsynth.smear import ImageArray, LabelArray, Smear, relabel_sequential

_SMOOTHING = 1.0  # px
_MIN_CONTRAST = 8.0  # grey levels between cells and background; a smaller difference is noise
_MIN_RELATIVE_AREA = 0.2  # of the median component; smaller components are dirt


def threshold_labels(image: ImageArray) -> LabelArray:
    """Separate cells from the background by the threshold of Otsu (1979).

    The green channel is used, because haemoglobin and stain absorb green light. Cells that touch become one
    instance: this is accurate enough for the mean style of the cells, but not for training data.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, with cells darker than the background.

    Returns
    -------
    (H, W) int32 array
        Instance labels, 0 = background. All 0 if there is no contrast.

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
    if not dark.any() or dark.all() or green[~dark].mean() - green[dark].mean() < _MIN_CONTRAST:
        return np.zeros(dark.shape, np.int32)
    cells = ndimage.binary_opening(ndimage.binary_fill_holes(dark), iterations=2)
    components, n = ndimage.label(cells)
    areas = np.bincount(components.ravel(), minlength=n + 1)[1:]
    large = areas >= _MIN_RELATIVE_AREA * np.median(areas) if n else np.zeros(0, bool)
    return relabel_sequential(np.where(np.concatenate([[False], large])[components], components, 0))[0]


def smear_from_photograph(image: ImageArray, name: str = "") -> Smear:
    """Return a photograph as a smear with `threshold_labels` and a single class.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, with cells darker than the background.
    name : str
        Name of the smear.

    Examples
    --------
    >>> smear_from_photograph(np.full((20, 20, 3), 200, np.uint8)).count
    0
    """
    labels = threshold_labels(image)
    return Smear(image, labels, np.zeros(int(labels.max(initial=0)), np.int64), name=name)
