"""Binary masks: one value for all cells. Their connected components are the instances."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from smearsynth.errors import DataError
from smearsynth.formats.label_images.label_checks import background_index
from smearsynth.formats.label_images.label_summary import Ids, LabelSummary
from smearsynth.formats.pixels.images import is_coloured, read_ids, read_rgb
from smearsynth.smear import LabelArray, Mask

INVERTED_PROBLEM = (
    "looks like an inverted mask: the value 0 marks the cells and the other value the background; "
    "invert it, so that the background is 0"
)
_FEW_VALUES = 4  # a mask that no compression or smoothing has changed
_NOISE = 40  # of 255; lossy compression changes the background by less
_MODE_WIDTH = 16  # of 255
_MIN_MODE = 0.1  # of the pixels that are not background
_MAX_SPECK = 0.02  # of the median cell; a platelet has about 0.1
_MIN_INVERTED = 0.4  # of the image
# Area over convex hull of the holes. Few cells are convex; crowded ones form clumps (0.65 and more). The gaps
# between crowded cells have 0.35 to 0.6 if half of the image is cells, and up to 0.75 if most of it is.
_MIN_SOLIDITY = ((0.6, 0.78), (0.0, 0.65))  # above this fraction of the image: solidity
_MAX_COMPONENTS = 50


class BinaryCells(NamedTuple):
    """Instances of a binary mask.

    Parameters
    ----------
    labels : (H, W) int32 array
    specks : int
        Number of components that were left out, because they are far smaller than the median cell.
    """

    labels: LabelArray
    specks: int


def read_binary(path: Path) -> Ids:
    """Decode a mask to one channel, also if it is a JPEG or has colours.

    Raises
    ------
    DataError
        If the file cannot be decoded.
    """
    if path.suffix.lower() not in (".jpg", ".jpeg", ".webp") and not is_coloured(path):
        return read_ids(path)
    values: Ids = read_rgb(path).max(axis=2)
    return values


def binary_cells(values: Ids) -> BinaryCells:
    """Return the connected components of a mask that may have been changed by lossy compression or smoothing.

    Parameters
    ----------
    values : (H, W) integer array

    Returns
    -------
    BinaryCells

    Raises
    ------
    DataError
        If the mask is inverted.

    Examples
    --------
    >>> noisy = np.array([[0, 3, 0, 0, 9], [250, 255, 2, 1, 251], [255, 248, 0, 7, 255]])
    >>> binary_cells(noisy).labels.tolist()
    [[0, 0, 0, 0, 0], [1, 1, 0, 0, 2], [1, 1, 0, 0, 2]]
    """
    mask = cell_pixels(values)
    if looks_inverted(mask):
        raise DataError(INVERTED_PROBLEM)
    labels = label_components(mask)
    areas = np.bincount(labels.ravel())[1:]
    if len(areas) < 2:
        return BinaryCells(labels, 0)
    typical = float(np.median(areas))
    if typical < 10:
        typical = float(np.median(areas[areas >= 0.01 * areas.max()]))
    specks = areas < _MAX_SPECK * typical
    # A small component at the border is the part of a cell that is inside the image.
    specks[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]) - 1] &= False
    if not specks.any():
        return BinaryCells(labels, 0)
    table = np.concatenate([[0], np.where(specks, 0, np.cumsum(~specks))]).astype(np.int32)
    return BinaryCells(table[labels], int(specks.sum()))


def cell_pixels(values: Ids) -> Mask:
    """Return the pixels of a mask above the threshold between its background and its cells.

    The threshold is midway between the two main values. If there are several values of cells, such as nucleus and
    cytoplasm, it is below the smallest.

    Examples
    --------
    >>> cell_pixels(np.array([[0, 128, 255]])).tolist(), cell_pixels(np.array([[1, 1, 1, 2]])).tolist()
    ([[False, True, True]], [[False, False, False, True]])
    """
    values = np.asarray(values)
    top = int(values.max(initial=0))
    if top == 0:
        return np.zeros(values.shape, bool)
    levels = (values.astype(np.int64) * 255) // top
    counts = np.bincount(levels.ravel(), minlength=256)
    if int((counts[1:] > 0).sum()) <= _FEW_VALUES:
        if not counts[0]:
            summary = LabelSummary.of(values)
            background = background_index(summary)
            return np.asarray(summary.labels != (0 if background is None else background + 1))
        return np.asarray(values != 0)
    return np.asarray(levels > _smallest_mode(counts) / 2)


def _smallest_mode(counts: npt.NDArray[np.int64]) -> int:
    """Return the smallest value above the noise of the background that many pixels have; 255 if there is none."""
    total = counts[_NOISE:].sum()
    for start in range(_NOISE, 256):
        window = counts[start : start + _MODE_WIDTH]
        if window.sum() >= _MIN_MODE * total:
            return start + int(window.argmax())
    return 255


def label_components(mask: npt.NDArray[np.bool_]) -> LabelArray:
    """Label the 4-connected components of a mask, so that cells that meet at a corner stay separate.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    (H, W) int32 array

    Examples
    --------
    >>> label_components(np.array([[True, False], [False, True]])).tolist()
    [[1, 0], [0, 2]]
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels


def looks_binary(ids: Ids) -> bool:
    """Test whether a label image looks like a mask of all cells and not like the label of a single cell.

    It does if all non-zero pixels have the same value, and this value is 255, or there are several large
    components, or one component reaches all four borders.

    Examples
    --------
    >>> mask = np.zeros((8, 8), np.uint8)
    >>> mask[1:3, 1:3] = mask[5:7, 5:7] = 1
    >>> looks_binary(mask), looks_binary(mask * np.arange(1, 9, dtype=np.uint8))
    (True, False)
    """
    if count_values(ids) != 1:
        return False
    mask = ids != 0
    if int(ids.max()) == 255 and ids.dtype == np.uint8:
        return True
    sizes = np.bincount(label_components(mask).ravel())[1:]
    if int((sizes >= 0.05 * sizes.sum()).sum()) > 1:
        return True
    return bool(mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any())


def count_values(ids: Ids) -> int:
    """Return the number of different non-zero values, or 2 if there are more.

    Examples
    --------
    >>> count_values(np.array([[0, 7, 7]])), count_values(np.array([[1, 2, 3]]))
    (1, 2)
    """
    largest = ids.max(initial=0)
    if largest == 0:
        return 0
    return 1 if ((ids == 0) | (ids == largest)).all() else 2


def looks_inverted(mask: Mask) -> bool:
    """Test whether a mask marks the background: a net that reaches all borders, with compact holes.

    Examples
    --------
    >>> mask = np.zeros((30, 30), bool)
    >>> mask[8:16, 8:16] = True
    >>> looks_inverted(mask), looks_inverted(~mask)
    (False, True)
    """
    fraction = float(mask.mean())
    if fraction < _MIN_INVERTED or mask.all():
        return False
    components = label_components(mask)
    sizes = np.bincount(components.ravel())[1:]
    net = components == int(sizes.argmax()) + 1
    if sizes.max() < 0.9 * sizes.sum() or not (
        net[0].any() and net[-1].any() and net[:, 0].any() and net[:, -1].any()
    ):
        return False
    holes = sorted(
        measure.regionprops(label_components(~mask)),  # type: ignore[no-untyped-call]
        key=lambda hole: float(hole.area),
        reverse=True,
    )
    # Holes of a few pixels are convex whatever they are.
    large = [hole for hole in holes[:_MAX_COMPONENTS] if hole.area >= 0.1 * holes[0].area]
    areas = np.array([float(hole.area) for hole in large])
    solidity = np.array([float(hole.solidity) for hole in large])
    limit = next(limit for above, limit in _MIN_SOLIDITY if fraction >= above)
    return bool((areas * solidity).sum() >= limit * areas.sum())
