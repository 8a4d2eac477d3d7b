"""Cells that are visible in an image, without any annotation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.annotation.foreground import Foreground, estimate_diameter, fill_pallor, find_foreground
from smearsynth.annotation.splitting import split_cells
from smearsynth.smear import ImageArray, LabelArray, Mask

_WORK_DIAMETER = 44.0  # px; outlines are accurate enough, and large images are processed quickly
_MAX_ENLARGEMENT = 2.0
_PREVIEW_SIDE = 640  # px; size of the copy from which the diameter is estimated
_OPENING = 0.045  # radius relative to the diameter; removes filaments, fibrin and the spikes of outlines
_MIN_AREA = 0.15  # of a typical cell; smaller regions are platelets and dirt
_MIN_CUT_AREA = 0.25  # of a typical cell; smaller parts at the border of the field show too little of a cell
_RIM = 0.07  # of the diameter; width of the rim in which outlines are tightened
_EDGE_FRACTION = 0.35  # of the darkness of the rim
_LEVELS = (1.0, 0.45, 2.0)  # thresholds relative to that of the foreground
_LEVEL_FACTOR = 0.93  # of the score of cells that were found with another threshold than the usual one
_GOOD_SCORE = 0.85  # shapes above it are not sought with other thresholds
_MIN_FREE = 0.75  # fraction of a region that must not belong to a better cell


class VisibleCells(NamedTuple):
    """Cells that are visible in an image at working resolution.

    Parameters
    ----------
    foreground : Foreground
    mask : (H, W) bool array
        Pixels of cells with pallor.
    labels : (H, W) int32 array
        Single cells; regions that are too small are removed.
    scores : (n,) float64 array
        Score of the shape of each cell, 0 to 1.
    diameter : float
        Typical diameter in px.
    """

    foreground: Foreground
    mask: Mask
    labels: LabelArray
    scores: npt.NDArray[np.float64]
    diameter: float


def working_scale(diameter: float) -> float:
    """Return the factor by which an image is resized before cells are sought.

    Parameters
    ----------
    diameter : float
        Typical diameter of the cells in px.

    Examples
    --------
    >>> working_scale(88), working_scale(44), working_scale(4)
    (0.5, 1.0, 2.0)
    """
    scale = min(_WORK_DIAMETER / max(diameter, 1e-6), _MAX_ENLARGEMENT)
    return 1.0 if 0.8 < scale < 1.3 else scale


def resize_image(image: ImageArray, scale: float) -> ImageArray:
    """Return the image at `scale` times its size, with at least one pixel in each direction."""
    if scale == 1.0:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(image).resize((width, height), method))


def visible_diameter(image: ImageArray) -> float | None:
    """Estimate the typical diameter of the cells in px; None if no cell is visible.

    Parameters
    ----------
    image : (H, W, 3) uint8 array

    Examples
    --------
    >>> image = np.full((90, 90, 3), 220, np.uint8)
    >>> y, x = np.mgrid[:90, :90]
    >>> image[(x - 45) ** 2 + (y - 45) ** 2 < 20**2] = (200, 120, 150)
    >>> bool(38 < visible_diameter(image) < 42)
    True
    """
    scale = min(1.0, _PREVIEW_SIDE / max(image.shape[:2]))
    diameter = estimate_diameter(find_foreground(resize_image(image, scale)).mask)
    return None if diameter is None else diameter / scale


def find_visible_cells(image: ImageArray, diameter: float) -> VisibleCells:
    """Find single cells in an image at working resolution.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    diameter : float
        Typical diameter of the cells in px.

    Returns
    -------
    VisibleCells

    Examples
    --------
    >>> image = np.full((60, 90, 3), 220, np.uint8)
    >>> y, x = np.mgrid[:60, :90]
    >>> image[((x - 30) ** 2 + (y - 30) ** 2 < 225) | ((x - 58) ** 2 + (y - 30) ** 2 < 225)] = (200, 120, 150)
    >>> int(find_visible_cells(image, diameter=30).labels.max())
    2
    """
    foreground = find_foreground(image)
    cell = np.pi / 4 * diameter**2
    masks: list[Mask] = []
    candidates: list[tuple[LabelArray, npt.NDArray[np.float64]]] = []
    for level in _LEVELS:
        mask = _cell_mask(foreground, level, diameter)
        masks.append(mask)
        if candidates:
            mask = _doubtful_components(mask, *candidates[0])
        candidates.append(_remove_small(*split_cells(mask, diameter), cell))
    labels, scores = _best_candidates(candidates)
    return VisibleCells(foreground, masks[0] | (labels > 0), labels, scores, diameter)


def _cell_mask(foreground: Foreground, level: float, diameter: float) -> Mask:
    """Return the pixels of cells above a threshold, relative to that of `foreground.mask`, with pallor."""
    if foreground.contrast == 0:
        return foreground.mask
    mask = (
        foreground.mask if level == 1 else foreground.darkness > max(level * foreground.edge, 3 * foreground.noise)
    )
    filled = fill_pallor(mask, diameter)
    radius = max(1, round(_OPENING * diameter))
    # Edge pixels are repeated, so that the opening does not remove cells at the border of the field.
    padded = np.pad(filled, radius, mode="edge")
    opened: Mask = ndimage.binary_opening(padded, iterations=radius)[radius:-radius, radius:-radius]
    return opened


def _doubtful_components(mask: Mask, labels: LabelArray, scores: npt.NDArray[np.float64]) -> Mask:
    """Return the components of a mask that show more than good cells with the usual threshold."""
    good = np.concatenate([[False], scores >= _GOOD_SCORE])[labels]
    components, n = ndimage.label(mask)
    doubtful = np.bincount(components[~good], minlength=n + 1) > 0.2 * np.bincount(
        components.ravel(), minlength=n + 1
    )
    doubtful[0] = False
    result: Mask = doubtful[components]
    return result


def _best_candidates(
    candidates: list[tuple[LabelArray, npt.NDArray[np.float64]]],
) -> tuple[LabelArray, npt.NDArray[np.float64]]:
    """Select cells that were found with different thresholds, the best shapes first, without overlaps.

    Pale cells need a low threshold; dark cells that are joined by a halo need a high one.
    """
    labels = candidates[0][0]
    ranking = []
    for level, (found, ratings) in enumerate(candidates):
        factor = 1.0 if level == 0 else _LEVEL_FACTOR
        windows = ndimage.find_objects(found)
        ranking += [(factor * ratings[k], level, k, window) for k, window in enumerate(windows)]
    ranking.sort(key=lambda item: (-item[0], item[1], item[2]))
    result = np.zeros_like(labels)
    selected: list[float] = []
    for score, level, k, window in ranking:
        region = candidates[level][0][window] == k + 1
        free = region & (result[window] == 0)
        if free.sum() < _MIN_FREE * region.sum():
            continue
        selected.append(score)
        result[window][free] = len(selected)
    return result, np.array(selected, np.float64)


def tighten_outlines(labels: LabelArray, cells: VisibleCells, visible: Mask) -> LabelArray:
    """Move outlines inwards to where the darkness is a fixed fraction of that of the cell.

    The threshold that finds pale cells is below the edge of dark ones. Only pixels near the background are removed,
    so that pallor is kept.

    Parameters
    ----------
    labels : (H, W) int32 array
    cells : VisibleCells
    visible : (n,) bool array
        The outline of the cell comes from the image; other cells do not change.

    Returns
    -------
    (H, W) int32 array
        Each cell keeps at least half of its pixels.
    """
    n = len(visible)
    if n == 0 or cells.foreground.contrast == 0:
        return labels
    darkness = cells.foreground.darkness
    depth = ndimage.distance_transform_edt(labels > 0)
    rim = (depth > 0) & (depth <= _RIM * cells.diameter)
    # The dark part of the rim, not the whole cell: the nucleus of a white cell is no measure of its edge.
    band = (depth > 1) & (depth <= 2.5 * _RIM * cells.diameter)
    sums = np.bincount(labels[band], weights=darkness[band], minlength=n + 1)
    levels = _EDGE_FRACTION * sums / np.maximum(np.bincount(labels[band], minlength=n + 1), 1)
    pale = rim & (darkness < levels[labels])
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    change = np.bincount(labels[pale], minlength=n + 1) <= 0.5 * areas
    change[1:] &= visible
    return np.where(pale & change[labels], 0, labels).astype(np.int32)


def touches_border(labels: LabelArray) -> Mask:
    """Test for each id, 0 included, whether it occurs in the first or last row or column, (n + 1,) bool.

    Examples
    --------
    >>> touches_border(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 2]], np.int32)).tolist()
    [True, False, True]
    """
    touching = np.zeros(int(labels.max(initial=0)) + 1, np.bool_)
    touching[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    return touching


def _remove_small(
    labels: LabelArray, scores: npt.NDArray[np.float64], cell: float
) -> tuple[LabelArray, npt.NDArray[np.float64]]:
    areas = np.bincount(labels.ravel(), minlength=len(scores) + 1)
    keep = areas >= np.where(touches_border(labels), _MIN_CUT_AREA, _MIN_AREA) * cell
    keep[0] = False
    # A cell can be in a corner, but a region from one side to the opposite one is uneven background.
    across = np.zeros_like(keep)
    across[np.intersect1d(labels[0], labels[-1])] = True
    across[np.intersect1d(labels[:, 0], labels[:, -1])] = True
    keep &= ~across
    table = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return table[labels], scores[keep[1:]]
