"""Merging of cells with the labels of a segmentation network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.annotation.regions import hull_area
from smearsynth.smear import LabelArray, Mask, relabel_sequential

_SAME = 0.75  # IoU from which two outlines agree
_MIN_OVERLAP = 0.5  # IoU from which an outline of the network can replace an uncertain one
_UNCERTAIN = 0.7  # confidence below which an outline is replaced
_MIN_SOLIDITY = 0.88  # of outlines of the network that change the number of cells
_TOLERANCE = 0.03  # by which their solidity can be below that of the cells that they replace
_COVERED = 0.6  # fraction of a cell inside another that makes it a part of it
_NEW_CONFIDENCE = 0.4  # of a cell that only the network sees
_DISAGREEMENT = 0.5  # factor of the confidence of a cell that the network does not see


class RatedCells(NamedTuple):
    """Cells with confidence and source, as in `CellLabels`, with labels 1..n.

    Parameters
    ----------
    labels : (H, W) int32 array
    confidence : (n,) float64 array
    source : (n,) int64 array
    """

    labels: LabelArray
    confidence: npt.NDArray[np.float64]
    source: npt.NDArray[np.int64]


def merge_opinion(cells: RatedCells, opinion: LabelArray, *, add: bool) -> RatedCells:
    """Merge cells with the labels of a segmentation network.

    The confidence of a cell rises where the network agrees and falls where it does not. An uncertain outline is
    replaced by that of the network if the two show the same cell. Cells from the image alone (source -1) that the
    network divides or joins follow it if its outlines are as convex.

    Parameters
    ----------
    cells : RatedCells
    opinion : (H, W) int32 array
        Labels of the network.
    add : bool
        Add the cells that only the network sees, with low confidence.

    Returns
    -------
    RatedCells

    Examples
    --------
    >>> labels = np.zeros((6, 12), np.int32)
    >>> labels[1:5, 1:5] = 1
    >>> opinion = labels.copy()
    >>> opinion[1:5, 7:11] = 2
    >>> cells = RatedCells(labels, np.array([0.6]), np.array([0]))
    >>> merged = merge_opinion(cells, opinion, add=True)
    >>> int(merged.labels.max()), merged.confidence.round(2).tolist(), merged.source.tolist()
    (2, [0.8, 0.4], [0, -1])
    """
    network, _ = relabel_sequential(opinion)
    m = int(network.max(initial=0))
    if m == 0:
        return cells._replace(confidence=cells.confidence * _DISAGREEMENT)
    labels, confidence, source = _follow(cells, network)
    n = len(confidence)
    ious = _ious(_overlaps(labels, network, n, m))
    best = ious.argmax(1)
    iou = ious[np.arange(n), best]
    for k in np.flatnonzero((iou >= _MIN_OVERLAP) & (iou < _SAME) & (confidence < _UNCERTAIN)):
        theirs = (network == best[k] + 1) & ((labels == 0) | (labels == k + 1))
        if theirs.any():
            labels[labels == k + 1] = 0
            labels[theirs] = k + 1
    agreement = np.clip((iou - _MIN_OVERLAP) / (_SAME - _MIN_OVERLAP), 0, 1)
    raised = (1 + confidence) / 2
    confidence = agreement * raised + (1 - agreement) * _DISAGREEMENT * confidence
    if add:
        labels, confidence, source = _add(labels, confidence, source, network)
    labels, ids = relabel_sequential(labels)
    return RatedCells(labels, confidence[ids - 1], source[ids - 1])


def _overlaps(labels: LabelArray, network: LabelArray, n: int, m: int) -> npt.NDArray[np.int64]:
    """Return the number of common pixels of each pair of ids, background included, (n + 1, m + 1)."""
    codes = labels.ravel().astype(np.int64) * (m + 1) + network.ravel()
    return np.bincount(codes, minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)


def _ious(overlaps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    union = overlaps.sum(1)[1:, None] + overlaps.sum(0)[None, 1:] - overlaps[1:, 1:]
    ious: npt.NDArray[np.float64] = overlaps[1:, 1:] / np.maximum(union, 1)
    return ious


def _follow(cells: RatedCells, network: LabelArray) -> RatedCells:
    """Divide and join cells from the image alone as the network does, where its outlines are as convex."""
    labels, confidence, source = cells.labels.copy(), cells.confidence, cells.source
    overlaps = _overlaps(labels, network, len(confidence), int(network.max()))
    areas, network_areas, common = overlaps.sum(1)[1:], overlaps.sum(0)[1:], overlaps[1:, 1:]
    free = source < 0
    groups: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for k in np.flatnonzero(free):
        parts = np.flatnonzero(common[k] > _COVERED * network_areas)
        if len(parts) > 1 and common[k, parts].sum() > _COVERED * areas[k]:
            groups.append((np.array([k]), parts))
    for j in range(len(network_areas)):
        inside = np.flatnonzero(common[:, j] > _COVERED * areas)
        if len(inside) > 1 and free[inside].all() and common[inside, j].sum() > _COVERED * network_areas[j]:
            groups.append((inside, np.array([j])))
    for ours, theirs in groups:
        theirs_solidity = min(_solidity(network == j + 1) for j in theirs)
        if theirs_solidity < max(_MIN_SOLIDITY, min(_solidity(labels == k + 1) for k in ours) - _TOLERANCE):
            continue
        labels[np.isin(labels, ours + 1)] = 0
        for j in theirs:
            confidence, source = np.append(confidence, _UNCERTAIN), np.append(source, -1)
            labels[(network == j + 1) & (labels == 0)] = len(confidence)
    return RatedCells(labels, confidence, source)


def _solidity(mask: Mask) -> float:
    return float(mask.sum()) / hull_area(mask) if mask.any() else 0.0


def _add(
    labels: LabelArray,
    confidence: npt.NDArray[np.float64],
    source: npt.NDArray[np.int64],
    network: LabelArray,
) -> tuple[LabelArray, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Add the cells of the network that are mostly on background."""
    for j, window in enumerate(ndimage.find_objects(network), 1):
        region = network[window] == j
        free = region & (labels[window] == 0)
        if free.sum() > 0.75 * region.sum():
            confidence, source = np.append(confidence, _NEW_CONFIDENCE), np.append(source, -1)
            labels[window][free] = len(confidence)
    return labels, confidence, source
