"""Instance labels of blood smears from boxes, from points, or from the image alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.box_cells import border_cells, cells_in_boxes, usable_boxes
from smearsynth.annotation.confidence import rate_cells
from smearsynth.annotation.image_cells import (
    VisibleCells,
    find_visible_cells,
    resize_image,
    tighten_outlines,
    visible_diameter,
    working_scale,
)
from smearsynth.annotation.point_cells import cells_at_points, median_spacing, usable_points
from smearsynth.annotation.regions import fill_holes, resize_labels
from smearsynth.annotation.second_opinion import RatedCells, merge_opinion
from smearsynth.errors import DataError, OptionError
from smearsynth.smear import ImageArray, LabelArray, Mask, check_image, relabel_sequential

_MIN_CONFIDENCE = 0.35  # of cells without a box or point; less certain ones are more often wrong than right
_AT_BORDER = 0.05  # of the diameter; distance of a box from the border of the field at which it touches the border
_BORDER_BOXES = 0.25  # of the cells at the border; with fewer boxes there, the annotation leaves them out
_POINT_AT_BORDER = 0.5  # of the diameter; the same for a point


class CellLabels(NamedTuple):
    """Instance labels with the confidence and the origin of each cell.

    Parameters
    ----------
    labels : (H, W) int32 array
        Ids 1..n without gaps, 0 = background.
    confidence : (n,) float64 array
        0 to 1. The order matters: the least certain cells are most probably wrong.
    source : (n,) int64 array
        Index of the box or point that gave the cell; -1 for a cell that was found in the image alone.
    """

    labels: LabelArray
    confidence: npt.NDArray[np.float64]
    source: npt.NDArray[np.int64]


def labels_from_boxes(
    image: ImageArray,
    boxes: npt.ArrayLike,
    *,
    second_opinion: LabelArray | None = None,
    add_border_cells: bool | None = None,
    add_unmarked_cells: bool = False,
) -> CellLabels:
    """Give each expert box the outline of its cell.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, with cells darker than the background.
    boxes : (m, 4) array
        x0, y0, x1, y1 in px, the end excluded. Boxes outside the field and repeated boxes give no cell; a box in
        which nothing is visible gives an ellipse with low confidence.
    second_opinion : (H, W) int32 array, optional
        Labels of a segmentation network: they replace uncertain outlines and change the confidence.
    add_border_cells : bool, optional
        Add visible cells without a mark that the border of the field cuts. Default: if few marks are there.
    add_unmarked_cells : bool
        Add all visible cells without a mark, for annotations of some of the cells only.

    Returns
    -------
    CellLabels

    Raises
    ------
    DataError
        If an array has a wrong shape or type.

    Examples
    --------
    >>> image = np.full((60, 60, 3), 220, np.uint8)
    >>> y, x = np.mgrid[:60, :60]
    >>> image[(x - 30) ** 2 + (y - 30) ** 2 < 15**2] = (200, 120, 150)
    >>> cells = labels_from_boxes(image, [[13, 13, 47, 48]])
    >>> cells.labels[30, 10:50:10].tolist(), cells.source.tolist()
    ([0, 1, 1, 1], [0])
    """
    array = _coordinates(boxes, 4, "boxes")
    _check(image, second_opinion)
    shape = image.shape[:2]
    usable = np.flatnonzero(usable_boxes(array, shape))
    areas = np.prod(array[usable, 2:] - array[usable, :2], 1)
    diameter = float(np.sqrt(np.median(areas))) if usable.size else visible_diameter(image)
    if diameter is None:
        return _nothing(shape)
    cells, scale = _visible_cells(image, diameter)
    scaled = array[usable] * np.tile(scale, 2)
    result = cells_in_boxes(cells, scaled)
    gap = np.concatenate([array[usable, :2], [shape[1], shape[0]] - array[usable, 2:]], 1).min(1)
    add = _Addition(add_border_cells, add_unmarked_cells)
    added = _cells_to_add(cells, result.unclaimed, add, gap <= _AT_BORDER * diameter)
    labels, source = _with_added(result.labels, cells.labels, added, usable)
    evidence = np.append(result.quality, np.ones(len(added)))
    return _finish(cells, labels, source, evidence, second_opinion, shape, scaled)


def labels_from_points(
    image: ImageArray,
    points: npt.ArrayLike,
    *,
    diameter: float | None = None,
    second_opinion: LabelArray | None = None,
    add_border_cells: bool | None = None,
    add_unmarked_cells: bool = False,
) -> CellLabels:
    """Give each point the outline of the cell that it is in.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, with cells darker than the background.
    points : (m, 2) array
        x, y in px, anywhere in the cells. Points outside the field and repeated points give no cell; a point at
        which nothing is visible gives a disc with low confidence.
    diameter : float, optional
        Typical diameter of the cells in px. Default: estimated from the image.
    second_opinion, add_border_cells, add_unmarked_cells
        As in `labels_from_boxes`.

    Returns
    -------
    CellLabels

    Raises
    ------
    DataError
        If an array has a wrong shape or type.
    OptionError
        If the diameter is not positive.

    Examples
    --------
    >>> image = np.full((60, 60, 3), 220, np.uint8)
    >>> y, x = np.mgrid[:60, :60]
    >>> image[(x - 30) ** 2 + (y - 30) ** 2 < 15**2] = (200, 120, 150)
    >>> cells = labels_from_points(image, [[33, 27]])
    >>> cells.labels[30, 10:50:10].tolist(), cells.source.tolist()
    ([0, 1, 1, 1], [0])
    """
    array = _coordinates(points, 2, "points")
    _check(image, second_opinion, diameter)
    shape = image.shape[:2]
    diameter = diameter or visible_diameter(image) or _disc_diameter(array, shape)
    if diameter is None:
        return _nothing(shape)
    usable = np.flatnonzero(usable_points(array, shape, 0.15 * diameter))
    cells, scale = _visible_cells(image, diameter)
    scaled = array[usable] * scale
    result = cells_at_points(cells, scaled)
    gap = np.minimum(array[usable], np.array(shape)[::-1] - array[usable]).min(1)
    add = _Addition(add_border_cells, add_unmarked_cells)
    added = _cells_to_add(cells, result.unclaimed, add, gap <= _POINT_AT_BORDER * diameter)
    labels, source = _with_added(result.labels, cells.labels, added, usable)
    evidence = np.append(result.quality, np.ones(len(added)))
    return _finish(cells, labels, source, evidence, second_opinion, shape)


def labels_from_image(
    image: ImageArray, *, diameter: float | None = None, second_opinion: LabelArray | None = None
) -> CellLabels:
    """Find the cells of a photograph without annotation.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, with cells darker than the background.
    diameter : float, optional
        Typical diameter of the cells in px. Default: estimated from the image.
    second_opinion : (H, W) int32 array, optional
        As in `labels_from_boxes`; it also adds cells and decides whether touching regions are one cell.

    Returns
    -------
    CellLabels
        Without a cell if none is visible.

    Raises
    ------
    DataError
        If an array has a wrong shape or type.
    OptionError
        If the diameter is not positive.

    Examples
    --------
    >>> image = np.full((60, 90, 3), 220, np.uint8)
    >>> y, x = np.mgrid[:60, :90]
    >>> image[((x - 30) ** 2 + (y - 30) ** 2 < 225) | ((x - 57) ** 2 + (y - 30) ** 2 < 225)] = (200, 120, 150)
    >>> labels_from_image(image).labels[30, [20, 40, 47, 70]].tolist()
    [1, 1, 2, 2]
    """
    _check(image, second_opinion, diameter)
    diameter = diameter or visible_diameter(image)
    if diameter is None and second_opinion is not None and second_opinion.any():
        areas = np.bincount(second_opinion.ravel())[1:]
        diameter = float(np.sqrt(4 / np.pi * np.median(areas[areas > 0])))
    if diameter is None:
        return _nothing(image.shape[:2])
    cells, _ = _visible_cells(image, diameter)
    n = len(cells.scores)
    source = np.full(n, -1, np.int64)
    return _finish(cells, cells.labels, source, np.ones(n), second_opinion, image.shape[:2], add_opinion=True)


def unlabelled_cells(image: ImageArray, labels: LabelArray, *, diameter: float | None = None) -> Mask:
    """Return the pixels of plainly visible cells that have no label, (H, W) bool.

    Annotations of some of the cells leave others in what would count as background. `Smear` takes the result as
    `ignored`, so that these pixels are excluded from losses and scores.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    diameter : float, optional
        Typical diameter of the cells in px. Default: estimated from the image.

    Returns
    -------
    (H, W) bool array

    Examples
    --------
    >>> image = np.full((60, 60, 3), 220, np.uint8)
    >>> image[20:40, 20:40] = (200, 120, 150)
    >>> int(unlabelled_cells(image, np.zeros((60, 60), np.int32))[20:40, 20:40].sum()) > 350
    True
    """
    _check(image, labels, diameter)
    diameter = diameter or visible_diameter(image)
    if diameter is None:
        return np.zeros(labels.shape, np.bool_)
    cells, _ = _visible_cells(image, diameter)
    visible = resize_labels(cells.labels, image.shape[:2])
    areas = np.bincount(visible.ravel(), minlength=2)
    unlabelled = np.bincount(visible[labels == 0], minlength=len(areas)) > 0.5 * areas
    unlabelled[0] = False
    mask: Mask = unlabelled[visible] & (labels == 0)
    return mask


def _coordinates(values: npt.ArrayLike, columns: int, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.size == 0:
        return np.zeros((0, columns))
    if array.ndim != 2 or array.shape[1] != columns:
        raise DataError(f"{name} must be (m, {columns}), got {array.shape}")
    return array


def _check(image: ImageArray, labels: LabelArray | None, diameter: float | None = None) -> None:
    check_image(image)
    if labels is not None and labels.shape != image.shape[:2]:
        raise DataError(f"labels of shape {labels.shape} do not fit the image of shape {image.shape}")
    if diameter is not None and not 0 < diameter < np.inf:
        raise OptionError(f"diameter {diameter}; it must be a positive number of px")


def _disc_diameter(points: npt.NDArray[np.float64], shape: tuple[int, ...]) -> float | None:
    """Return the diameter of discs at points that do not overlap, for images in which no cell is visible."""
    inside = points[usable_points(points, (shape[0], shape[1]), 1.0)]
    if not len(inside):
        return None
    return max(4.0, min(0.8 * (median_spacing(inside) or np.inf), 0.125 * min(shape)))


def _nothing(shape: tuple[int, ...]) -> CellLabels:
    return CellLabels(np.zeros(shape, np.int32), np.zeros(0), np.zeros(0, np.int64))


def _visible_cells(image: ImageArray, diameter: float) -> tuple[VisibleCells, npt.NDArray[np.float64]]:
    """Return the visible cells at working resolution and the exact scale of x and y."""
    small = resize_image(image, working_scale(diameter))
    scale = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
    return find_visible_cells(small, diameter * float(np.sqrt(scale.prod()))), scale


class _Addition(NamedTuple):
    """Cells without a box or point to add: those at the border (None: decide by the annotation), or all."""

    at_border: bool | None
    everywhere: bool


def _cells_to_add(cells: VisibleCells, unclaimed: Mask, add: _Addition, at_border: Mask) -> npt.NDArray[np.intp]:
    """Return the ids of the visible cells to add; `at_border` tells for each box or point whether it is there."""
    if add.everywhere:
        return np.flatnonzero(unclaimed)
    candidates = border_cells(cells, unclaimed)
    wanted = add.at_border
    if wanted is None:
        marked = int(at_border.sum())
        # An annotation without any box or point says that there are no cells.
        wanted = len(at_border) > 0 and marked <= _BORDER_BOXES * (marked + len(candidates))
    return candidates if wanted else candidates[:0]


def _with_added(
    labels: LabelArray, visible: LabelArray, added: npt.NDArray[np.intp], usable: npt.NDArray[np.intp]
) -> tuple[LabelArray, npt.NDArray[np.int64]]:
    """Append visible cells to labels; return the source of each id."""
    table = np.zeros(int(visible.max(initial=0)) + 1, np.int32)
    table[added] = len(usable) + 1 + np.arange(len(added))
    merged = np.where(labels > 0, labels, table[visible])
    return merged, np.concatenate([usable.astype(np.int64), np.full(len(added), -1, np.int64)])


def _finish(
    cells: VisibleCells,
    labels: LabelArray,
    source: npt.NDArray[np.int64],
    quality: npt.NDArray[np.float64],
    second_opinion: LabelArray | None,
    shape: tuple[int, ...],
    boxes: npt.NDArray[np.float64] | None = None,
    *,
    add_opinion: bool = False,
) -> CellLabels:
    """Rate the cells, merge the second opinion, and return labels at the size of the image."""
    labels, ids = relabel_sequential(tighten_outlines(labels, cells, quality == 1))
    source, quality = source[ids - 1], quality[ids - 1]
    own_boxes = None
    if boxes is not None:
        own_boxes = np.full((len(ids), 4), np.nan)
        own_boxes[source >= 0] = boxes[ids[source >= 0] - 1]
    marked = source >= 0
    confidence = rate_cells(labels, cells, quality, marked, own_boxes)
    # Boxes and points are trusted; anything else must look like a cell.
    keep = marked | (confidence >= _MIN_CONFIDENCE)
    labels = np.where(np.concatenate([[False], keep])[labels], labels, 0)
    full = fill_holes(resize_labels(labels, (shape[0], shape[1])))
    opinion = RatedCells(full, confidence, source)
    if second_opinion is not None:
        opinion = merge_opinion(opinion, second_opinion, add=add_opinion)
    final, ids = relabel_sequential(opinion.labels)
    return CellLabels(final, opinion.confidence[ids - 1], opinion.source[ids - 1])
