"""One cell for each expert box: the visible region that is nearest to the ellipse in the box."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.annotation.foreground import Foreground
from smearsynth.annotation.image_cells import VisibleCells, touches_border
from smearsynth.annotation.regions import largest_component
from smearsynth.smear import LabelArray, Mask

Boxes = npt.NDArray[np.float64]  # (m, 4): x0, y0, x1, y1 in px, the end excluded

_REACH = 1.35  # normalised distance from the centre of the box; cells are rarely larger than their boxes
_CLAIMED = 0.4  # fraction of a visible cell inside an ellipse of a box that makes it the cell of this box
_MIN_COVERAGE = 0.35  # of the ellipse; with a smaller region the cell is sought with a threshold of its own
_MIN_BORDER_SCORE = 0.4  # of the shape of a cell at the border; worse ones are smudges and clumps
_MAX_BORDER_AREA = 1.6  # of a typical cell
_DUPLICATE_IOU = 0.85  # two boxes with a larger overlap show the same cell
_MIN_SIDE = 2.0  # px


class BoxCells(NamedTuple):
    """Cells given by boxes.

    Parameters
    ----------
    labels : (H, W) int32 array
        ``k + 1`` is the cell of box ``k``; boxes can have no pixel.
    quality : (m,) float64 array
        1 if the region is visible as usual, 0.5 if it needed a threshold of its own, 0 if it is only the ellipse.
    unclaimed : (n + 1,) bool array
        Ids of the visible cells that no box shows; False for id 0.
    """

    labels: LabelArray
    quality: npt.NDArray[np.float64]
    unclaimed: Mask


def usable_boxes(boxes: Boxes, shape: tuple[int, int]) -> Mask:
    """Test for each box whether it is inside the field and not a duplicate of an earlier box, (m,) bool.

    Parameters
    ----------
    boxes : (m, 4) float64 array
    shape : tuple of int
        Height and width of the field in px.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 9, 9], [0, 0, 9, 9], [50, 0, 60, 9], [4, 4, 4, 9]])
    >>> usable_boxes(boxes, (20, 20)).tolist()
    [True, False, False, False]
    """
    clipped = np.clip(boxes, 0, [shape[1], shape[0], shape[1], shape[0]])
    sides = clipped[:, 2:] - clipped[:, :2]
    usable: Mask = np.all(np.isfinite(boxes), axis=1) & np.all(sides > 0.5, axis=1)
    for k in np.flatnonzero(usable):
        others = np.flatnonzero(usable[:k])
        low = np.maximum(clipped[k, :2], clipped[others, :2])
        inner = np.prod(np.maximum(np.minimum(clipped[k, 2:], clipped[others, 2:]) - low, 0), 1)
        union = np.prod(sides[k]) + np.prod(sides[others], 1) - inner
        usable[k] = not bool(np.any(inner > _DUPLICATE_IOU * union))
    return usable


def cells_in_boxes(cells: VisibleCells, boxes: Boxes) -> BoxCells:
    """Give each box the visible pixels that are nearest to the ellipse in it.

    The distance of a pixel from a box is normalised: 0 at the centre, 1 on the ellipse. Pixels beyond 1.35 and
    those of visible cells that no box shows are left out.

    Parameters
    ----------
    cells : VisibleCells
    boxes : (m, 4) float64 array
        At the resolution of `cells`.

    Returns
    -------
    BoxCells
    """
    shape = cells.mask.shape
    owner, distance = _nearest_box(boxes, shape)
    unclaimed = _unclaimed(cells.labels, distance)
    allowed = cells.mask & (distance <= _REACH) & ~(unclaimed[cells.labels] & (distance > 0.8))
    owner = np.where(distance <= _REACH, owner, 0)
    labels = np.zeros(shape, np.int32)
    quality = np.ones(len(boxes), np.float64)
    radius = max(1, round(0.06 * cells.diameter))
    for k, window in enumerate(ndimage.find_objects(owner, max_label=len(boxes)), 1):
        if window is None:
            continue
        mine = owner[window] == k
        inside = mine & (distance[window] <= 1.0)
        visible = allowed[window] | _pale_pixels(cells.foreground, window, inside, distance[window])
        region = _smooth(mine & visible, radius, inside)
        if (region & inside).sum() < _MIN_COVERAGE * inside.sum():
            region, quality[k - 1] = _faint_region(
                cells.foreground.darkness[window], mine, distance[window], region, cells.foreground.noise
            )
        labels[window][region] = k
    labels = _fill_enclosed(labels)
    hidden = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:] == 0)
    for index in hidden:
        _paint_centre(labels, boxes[index], int(index) + 1)
        quality[index] = 0.0
    return BoxCells(labels, quality, unclaimed)


def _paint_centre(labels: LabelArray, box: npt.NDArray[np.float64], label: int) -> None:
    """Paint the middle of a box over other cells, in place: the box is trusted, although others are nearer."""
    centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 4, 0.5)
    size = np.array(labels.shape[::-1])
    low = np.clip(np.round(centre - half), 0, size - 1).astype(int)
    high = np.maximum(np.round(centre + half).astype(int), low + 1)
    labels[low[1] : high[1], low[0] : high[0]] = label


def _nearest_box(boxes: Boxes, shape: tuple[int, int]) -> tuple[LabelArray, npt.NDArray[np.float32]]:
    """Return the box with the smallest normalised distance, k + 1, and this distance."""
    owner = np.zeros(shape, np.int32)
    distance = np.full(shape, np.inf, np.float32)
    for k, (x0, y0, x1, y1) in enumerate(boxes, 1):
        centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
        a, b = max(x1 - x0, _MIN_SIDE) / 2, max(y1 - y0, _MIN_SIDE) / 2
        top, bottom = (int(np.clip(round(centre_y + s * _REACH * b), 0, shape[0])) for s in (-1, 1))
        left, right = (int(np.clip(round(centre_x + s * _REACH * a), 0, shape[1])) for s in (-1, 1))
        window = np.s_[top:bottom, left:right]
        y = (np.arange(top, bottom) + 0.5 - centre_y)[:, None] / b
        x = (np.arange(left, right) + 0.5 - centre_x)[None] / a
        local = np.sqrt(x * x + y * y).astype(np.float32)
        nearer = local < distance[window]
        owner[window][nearer] = k
        distance[window][nearer] = local[nearer]
    return owner, distance


def _unclaimed(labels: LabelArray, distance: npt.NDArray[np.float32]) -> Mask:
    n = int(labels.max(initial=0))
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    inside = np.bincount(labels[distance <= 1.0], minlength=n + 1)
    unclaimed: Mask = inside < _CLAIMED * areas
    unclaimed[0] = False
    return unclaimed


def _smooth(region: Mask, radius: int, core: Mask) -> Mask:
    """Remove thin parts and separate pieces; return the region as it is where nothing would be left."""
    opened = ndimage.binary_opening(np.pad(region, radius, mode="edge"), iterations=radius)
    opened = opened[radius:-radius, radius:-radius]
    if opened.sum() < 0.5 * region.sum():
        opened = region
    return largest_component(opened, core & opened)


def _pale_pixels(
    foreground: Foreground, window: tuple[slice, slice], inside: Mask, distance: npt.NDArray[np.float32]
) -> Mask:
    """Return the pixels in a box above a threshold for this cell, where the cell is paler than others."""
    darkness = foreground.darkness[window]
    if not inside.any():
        return inside
    level = 0.45 * float(np.percentile(darkness[inside], 60))
    if foreground.contrast == 0 or not 3 * foreground.noise < level < foreground.edge:
        return np.zeros_like(inside)
    pale: Mask = ndimage.binary_fill_holes((darkness > level) & (distance <= 1.05)) & (distance <= 1.05)
    return pale


def _faint_region(
    darkness: npt.NDArray[np.float32], mine: Mask, distance: npt.NDArray[np.float32], region: Mask, noise: float
) -> tuple[Mask, float]:
    """Return the cell of a box with little contrast: by a threshold of its own, else the ellipse in the box."""
    inside, near = mine & (distance <= 1.0), mine & (distance <= 1.15)
    ellipse = mine & (distance <= 0.95)
    outside = ~mine | (distance > 1.05)
    if inside.any() and outside.any():
        level = float(np.percentile(darkness[outside], 20))
        contrast = float(np.percentile(darkness[inside], 75)) - level
        if contrast > 2.5 * noise:
            faint = largest_component(ndimage.binary_fill_holes(near & (darkness > level + contrast / 2)), inside)
            if 0.4 * inside.sum() < faint.sum():
                return faint, 0.5
            # Parts of a pale cell, such as a nucleus and the rim: the ellipse shows the cell better.
            return (ellipse | region) & near, 0.3
    return ellipse if ellipse.any() else mine, 0.0


def _fill_enclosed(labels: LabelArray) -> LabelArray:
    """Fill the holes of each cell that belong to no other cell."""
    for k, window in enumerate(ndimage.find_objects(labels), 1):
        if window is not None:
            local = labels[window]
            holes = ndimage.binary_fill_holes(local == k) & (local == 0)
            local[holes] = k
    return labels


def border_cells(cells: VisibleCells, unclaimed: Mask) -> npt.NDArray[np.intp]:
    """Return the ids of the visible cells that the border of the field cuts and no box or point shows.

    Parameters
    ----------
    cells : VisibleCells
    unclaimed : (n + 1,) bool array

    Returns
    -------
    (k,) integer array
    """
    areas = np.bincount(cells.labels.ravel(), minlength=len(unclaimed))
    plausible = np.concatenate([[False], cells.scores >= _MIN_BORDER_SCORE])
    plausible &= areas <= _MAX_BORDER_AREA * np.pi / 4 * cells.diameter**2
    return np.flatnonzero(touches_border(cells.labels) & unclaimed & plausible)
