"""Separation of touching cells: the best cut through a tree of merged watershed regions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from smearsynth.annotation.regions import measure_shape
from smearsynth.smear import LabelArray, Mask, relabel_sequential

_SMOOTHING = 0.03  # of the diameter; removes maxima of the distance transform that come from rough outlines
_PEAK_DISTANCE = 0.2  # of the diameter
_MIN_AREA = 0.02  # of a typical cell; smaller components are noise


class _Node(NamedTuple):
    leaves: tuple[int, ...]
    value: float  # area × score
    parts: tuple[tuple[int, ...], ...]  # the best partition of the leaves


def split_cells(mask: Mask, diameter: float) -> tuple[LabelArray, npt.NDArray[np.float64]]:
    """Divide a mask into single cells.

    The watershed of the distance transform gives regions that are parts of cells. Neighbours are merged in the
    order of the depth of the neck between them, which makes a tree. Of all partitions along the tree, that with the
    largest sum of area × score is chosen; the score of a region is high if it is convex, elliptic and of the size
    of a cell.

    Parameters
    ----------
    mask : (H, W) bool array
        Pixels of cells, with pallor filled.
    diameter : float
        Typical diameter of the cells in px.

    Returns
    -------
    labels : (H, W) int32 array
        Instance labels, 0 = background.
    scores : (n,) float64 array
        Score of each instance, 0 to 1.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :70]
    >>> mask = ((x - 20) ** 2 + (y - 20) ** 2 < 225) | ((x - 46) ** 2 + (y - 20) ** 2 < 225)
    >>> labels, scores = split_cells(mask, diameter=30)
    >>> int(labels.max()), bool((scores > 0.9).all())
    (2, True)
    """
    components, _ = ndimage.label(mask)
    cell = np.pi / 4 * diameter**2
    result = np.zeros(mask.shape, np.int32)
    scores: list[float] = []
    distance = ndimage.distance_transform_edt(mask)
    smooth = ndimage.gaussian_filter(distance, _SMOOTHING * diameter)
    leaves = _leaves(smooth, mask, diameter)
    for k, window in enumerate(ndimage.find_objects(components), 1):
        part = components[window] == k
        if part.sum() < _MIN_AREA * cell:
            continue
        local, _ = relabel_sequential(np.where(part, leaves[window], 0))
        cut = _sides_on_border(window, mask.shape)
        table = np.zeros(int(local.max()) + 1, np.int32)
        for ids, score in _best_partition(local, smooth[window], cell, cut):
            scores.append(score)
            table[list(ids)] = len(scores)
        result[window][part] = table[local[part]]
    return result, np.array(scores, np.float64)


def _leaves(smooth: npt.NDArray[np.floating], mask: Mask, diameter: float) -> LabelArray:
    """Divide the mask at the necks between the maxima of the smoothed distance transform."""
    size = 2 * max(1, round(_PEAK_DISTANCE * diameter / 2)) + 1
    peaks = (smooth == ndimage.maximum_filter(smooth, size)) & mask
    markers, _ = ndimage.label(peaks, np.ones((3, 3), int))
    leaves: LabelArray = watershed(-smooth, markers, mask=mask).astype(np.int32)  # type: ignore[no-untyped-call]
    rest = mask & (leaves == 0)
    if rest.any():
        extra, _ = ndimage.label(rest)
        leaves[rest] = extra[rest] + leaves.max()
    return leaves


def _sides_on_border(window: tuple[slice, slice], shape: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    rows, columns = window
    return rows.start == 0, rows.stop == shape[0], columns.start == 0, columns.stop == shape[1]


def region_score(mask: Mask, cell_area: float, cut: bool = False) -> float:
    """Score a region as a single cell: convex, elliptic, and of the size of a cell.

    Parameters
    ----------
    mask : (H, W) bool array
        With at least one pixel.
    cell_area : float
        Typical area of a cell in px².
    cut : bool
        The region touches the border of the field, so that it can be a small part of a cell.

    Returns
    -------
    float
        0 to 1.

    Examples
    --------
    >>> y, x = np.mgrid[:30, :30]
    >>> disc = (x - 15) ** 2 + (y - 15) ** 2 < 150
    >>> region_score(disc, cell_area=470) > 0.95, region_score(disc, cell_area=4000) < 0.5
    (True, True)
    """
    shape = measure_shape(mask)
    convexity = np.clip((shape.solidity - 0.70) / 0.24, 0, 1)
    ellipse = np.clip((shape.ellipse_fit - 0.75) / 0.19, 0, 1)
    size = np.log2(shape.area / cell_area)
    low, high = (-4.0, 0.35) if cut else (-0.7, 0.35)
    penalty = max(size - high, 0.0) * 0.9 + max(low - size, 0.0) * 0.6
    if size > 1.2 and shape.solidity > 0.955 and shape.ellipse_fit > 0.955:
        penalty = min(penalty, 0.1)  # a white cell: a clump of several cells is not as round
    elongation = np.clip((4.0 - shape.elongation) / 1.5, 0, 1) if not cut else 1.0
    return float(convexity * (0.3 + 0.7 * ellipse) * np.exp(-penalty) * (0.5 + 0.5 * elongation))


def _best_partition(
    leaves: LabelArray, distance: npt.NDArray[np.floating], cell: float, cut: tuple[bool, bool, bool, bool]
) -> list[tuple[tuple[int, ...], float]]:
    """Return the leaves and the score of each cell of one component, with leaves numbered 1..n."""
    windows = ndimage.find_objects(leaves)
    ids = range(1, len(windows) + 1)
    scores: dict[tuple[int, ...], float] = {}

    def node(members: tuple[int, ...]) -> float:
        rows = slice(min(windows[i - 1][0].start for i in members), max(windows[i - 1][0].stop for i in members))
        columns = slice(min(windows[i - 1][1].start for i in members), max(windows[i - 1][1].stop for i in members))
        chosen = np.zeros(len(windows) + 1, np.bool_)
        chosen[list(members)] = True
        # The window is that of the members, so that a side of it on the border of the field means contact.
        on_border = (
            (cut[0] and rows.start == 0)
            or (cut[1] and rows.stop == leaves.shape[0])
            or (cut[2] and columns.start == 0)
            or (cut[3] and columns.stop == leaves.shape[1])
        )
        region = chosen[leaves[rows, columns]]
        scores[members] = region_score(region, cell, on_border)
        return scores[members] * float(region.sum())

    nodes = {i: _Node((i,), node((i,)), ((i,),)) for i in ids}
    necks = _necks(leaves, distance)
    depth = dict(zip(ids, np.atleast_1d(ndimage.maximum(distance, leaves, list(ids))).tolist(), strict=True))
    while necks:
        # The neck that is widest relative to the thinner side is merged first.
        a, b = max(necks, key=lambda pair: necks[pair] / min(depth[pair[0]], depth[pair[1]]))
        members = tuple(sorted(nodes[a].leaves + nodes[b].leaves))
        apart = nodes[a].value + nodes[b].value
        together = node(members)
        parts = (members,) if together >= apart else nodes[a].parts + nodes[b].parts
        nodes[a] = _Node(members, max(together, apart), parts)
        depth[a] = max(depth[a], depth[b])
        del nodes[b], necks[a, b]
        for pair in [pair for pair in necks if b in pair]:
            other = pair[0] if pair[1] == b else pair[1]
            key = (min(a, other), max(a, other))
            necks[key] = max(necks.get(key, 0.0), necks.pop(pair))
    return [(part, scores[part]) for top in nodes.values() for part in top.parts]


def _necks(leaves: LabelArray, distance: npt.NDArray[np.floating]) -> dict[tuple[int, int], float]:
    """Return the largest distance along the line between each pair of adjacent leaves."""
    necks: dict[tuple[int, int], float] = {}
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = leaves[first], leaves[second]
        contact = (a != b) & (a > 0) & (b > 0)
        heights = np.minimum(distance[first], distance[second])[contact]
        low, high = np.minimum(a, b)[contact], np.maximum(a, b)[contact]
        order = np.argsort(heights)  # later assignments win: the largest height of each pair
        necks_here = dict(
            zip(zip(low[order].tolist(), high[order].tolist(), strict=True), heights[order].tolist(), strict=True)
        )
        for pair, height in necks_here.items():
            necks[pair] = max(necks.get(pair, 0.0), height)
    return necks
