"""One cell for each point: visible cells, divided or joined so that each has one point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from smearsynth.annotation.box_cells import cells_in_boxes
from smearsynth.annotation.image_cells import VisibleCells
from smearsynth.annotation.splitting import region_score
from smearsynth.smear import LabelArray, Mask, touching_pairs

Points = npt.NDArray[np.float64]  # (m, 2): x, y in px

_NEAR = 0.3  # of the diameter; a point beside a cell, at most this far from it, shows this cell
_SAME_CELL = 0.3  # of the diameter; points at a smaller distance show one cell
_ITERATIONS = 4  # of the K-means that moves points from anywhere in a cell to its centre


class PointCells(NamedTuple):
    """Cells given by points.

    Parameters
    ----------
    labels : (H, W) int32 array
        ``k + 1`` is the cell of point ``k``; points outside the field and repeated points have no pixel.
    quality : (m,) float64 array
        1 if the cell is visible as usual, 0 if it is only a disc round the point.
    unclaimed : (n + 1,) bool array
        Ids of the visible cells that no point shows; False for id 0.
    """

    labels: LabelArray
    quality: npt.NDArray[np.float64]
    unclaimed: Mask


def usable_points(points: Points, shape: tuple[int, int], distance: float) -> Mask:
    """Test for each point whether it is inside the field and not at the place of an earlier point, (m,) bool.

    Parameters
    ----------
    points : (m, 2) float64 array
    shape : tuple of int
        Height and width of the field in px.
    distance : float
        Smallest distance of two points in px.

    Examples
    --------
    >>> usable_points(np.array([[2.0, 2], [2.5, 2], [40, 2], [9, 9]]), (20, 20), distance=1).tolist()
    [True, False, False, True]
    """
    inside = np.isfinite(points) & (points >= 0) & (points < np.array([shape[1], shape[0]]))
    usable: Mask = np.asarray(inside.all(axis=1), np.bool_)
    places = np.where(usable[:, None], points, -1e9)
    for i, j in sorted(cKDTree(places).query_pairs(distance) if len(points) else ()):
        if usable[i] and usable[j]:
            usable[j] = False
    return usable


def median_spacing(points: Points) -> float | None:
    """Return the median distance from a point to the nearest other point in px; None for fewer than two points.

    Examples
    --------
    >>> median_spacing(np.array([[0.0, 0], [0, 10], [0, 20]]))
    10.0
    """
    if len(points) < 2:
        return None
    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))


def cells_at_points(cells: VisibleCells, points: Points) -> PointCells:
    """Give each point the visible cell that it is in.

    A visible cell with several points is divided among them. A small part without a point is joined to the cell
    with a point beside it if the two together have more of the shape of a cell. For a point where no cell is
    visible, a cell is sought with a threshold of its own.

    Parameters
    ----------
    cells : VisibleCells
    points : (m, 2) float64 array
        At the resolution of `cells`, inside the field.

    Returns
    -------
    PointCells
    """
    regions = cells.labels.copy()
    ids = _regions_of_points(regions, points, _NEAR * cells.diameter)
    _join_parts(regions, ids, np.pi / 4 * cells.diameter**2)
    labels = np.zeros(regions.shape, np.int32)
    quality = np.ones(len(points), np.float64)
    for region in np.unique(ids[ids > 0]):
        members = np.flatnonzero(ids == region)
        rows, columns = np.nonzero(regions == region)
        nearest = _divide(np.stack([columns, rows], 1).astype(np.float64) + 0.5, points[members])
        labels[rows, columns] = members[nearest] + 1
    lost = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(points) + 1)[1:] == 0)
    if lost.size:
        half = cells.diameter / 2
        boxes = np.concatenate([points[lost] - half, points[lost] + half], 1)
        # Pixels of other cells are not available.
        free = cells._replace(mask=cells.mask & (labels == 0), labels=np.zeros_like(labels))
        found = cells_in_boxes(free, boxes)
        new = (found.labels > 0) & (labels == 0)
        labels[new] = lost[found.labels[new] - 1] + 1
        quality[lost] = 0.7 * found.quality
    unclaimed = np.ones(int(cells.labels.max(initial=0)) + 1, np.bool_)
    unclaimed[np.unique(cells.labels[labels > 0])] = False
    unclaimed[0] = False
    return PointCells(labels, quality, unclaimed)


def _regions_of_points(regions: LabelArray, points: Points, reach: float) -> npt.NDArray[np.int64]:
    """Return the id of the region of each point, or of the nearest one within `reach`; 0 if there is none."""
    if not len(points):
        return np.zeros(0, np.int64)
    rows = np.clip(points[:, 1].astype(np.int64), 0, regions.shape[0] - 1)
    columns = np.clip(points[:, 0].astype(np.int64), 0, regions.shape[1] - 1)
    if not regions.any():
        return np.zeros(len(points), np.int64)
    distance, (y, x) = ndimage.distance_transform_edt(regions == 0, return_indices=True)
    ids: npt.NDArray[np.int64] = regions[y[rows, columns], x[rows, columns]].astype(np.int64)
    ids[distance[rows, columns] > reach] = 0
    # A region with a point inside is not also that of a point beside it.
    beside = distance[rows, columns] > 0
    ids[beside & np.isin(ids, ids[~beside])] = 0
    return ids


def _join_parts(regions: LabelArray, ids: npt.NDArray[np.int64], cell: float) -> None:
    """Join regions without a point to the neighbour with one point where this improves the shape, in place."""
    counts = np.bincount(ids, minlength=int(regions.max(initial=0)) + 1)
    areas = np.bincount(regions.ravel())
    for pair in touching_pairs(regions):
        a, b = (int(i) for i in pair)
        if (counts[a] > 0) == (counts[b] > 0):
            continue
        keep, part = (a, b) if counts[a] else (b, a)
        if counts[keep] > 1 or areas[part] > 0.7 * cell or areas[keep] + areas[part] > 1.4 * cell:
            continue
        first, second = regions == keep, regions == part
        if not first.any() or not second.any():
            continue
        if region_score(first | second, cell) > region_score(first, cell):
            regions[second] = keep
            areas[keep] += areas[part]


def _divide(pixels: npt.NDArray[np.float64], points: Points) -> npt.NDArray[np.int64]:
    """Return the nearest centre of each pixel, (n,), after centres have moved from the points by K-means."""
    centres = points.copy()
    nearest = np.zeros(len(pixels), np.int64)
    if len(points) == 1:
        return nearest
    for _ in range(_ITERATIONS):
        nearest = np.asarray(cKDTree(centres).query(pixels)[1], np.int64)
        sizes = np.bincount(nearest, minlength=len(points))
        means = (
            np.stack([np.bincount(nearest, weights=pixels[:, i], minlength=len(points)) for i in range(2)], 1)
            / np.maximum(sizes, 1)[:, None]
        )
        centres = np.where(sizes[:, None] > 0, means, points)
    return nearest
