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
    network divides or joins follow it if its outlines are more convex.

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
    n, m = len(cells.confidence), int(network.max(initial=0))
    if m == 0:
        return cells._replace(confidence=cells.confidence * _DISAGREEMENT)
    labels, confidence, source = cells.labels.copy(), cells.confidence.copy(), cells.source.copy()
    common = _overlaps(labels, network, n, m)
    areas, network_areas = common.sum(1)[1:], common.sum(0)[1:]
    common = common[1:, 1:]
    ious = common / np.maximum(areas[:, None] + network_areas[None] - common, 1)
    best = ious.argmax(1) if n else np.zeros(0, np.int64)
    iou = ious[np.arange(n), best]
    replaced = (iou >= _MIN_OVERLAP) & (iou < _SAME) & (confidence < _UNCERTAIN)
    for k in np.flatnonzero(replaced):
        theirs = (network == best[k] + 1) & ((labels == 0) | (labels == k + 1))
        if theirs.any():
            labels[labels == k + 1] = 0
            labels[theirs] = k + 1
    agreement = np.clip((iou - _MIN_OVERLAP) / (_SAME - _MIN_OVERLAP), 0, 1)
    raised = (1 + confidence) / 2
    confidence = agreement * raised + (1 - agreement) * _DISAGREEMENT * confidence
    labels, confidence, source = _follow(labels, confidence, source, network, common, areas, network_areas)
    if add:
        labels, confidence, source = _add(labels, confidence, source, network)
    labels, ids = relabel_sequential(labels)
    return RatedCells(labels, confidence[ids - 1], source[ids - 1])


def _overlaps(labels: LabelArray, network: LabelArray, n: int, m: int) -> npt.NDArray[np.int64]:
    codes = labels.ravel().astype(np.int64) * (m + 1) + network.ravel()
    return np.bincount(codes, minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)


def _follow(
    labels: LabelArray,
    confidence: npt.NDArray[np.float64],
    source: npt.NDArray[np.int64],
    network: LabelArray,
    common: npt.NDArray[np.int64],
    areas: npt.NDArray[np.int64],
    network_areas: npt.NDArray[np.int64],
) -> tuple[LabelArray, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Divide and join cells from the image alone as the network does, where its outlines are more convex."""
    for k in np.flatnonzero(source < 0):
        parts = np.flatnonzero(common[k] > _COVERED * network_areas)
        if len(parts) >= 2 and common[k, parts].sum() > _COVERED * areas[k]:
            pieces = [network == j + 1 for j in parts]
            if min(_solidity(piece) for piece in pieces) > _solidity(labels == k + 1):
                labels[labels == k + 1] = 0
                for piece in pieces:
                    confidence, source = np.append(confidence, _UNCERTAIN), np.append(source, -1)
                    labels[piece & (labels == 0)] = len(confidence)
    for j in range(len(network_areas)):
        inside = np.flatnonzero(common[:, j] > _COVERED * areas)
        if (
            len(inside) >= 2
            and (source[inside] < 0).all()
            and common[inside, j].sum() > _COVERED * network_areas[j]
        ):
            whole = network == j + 1
            if _solidity(whole) > max(
                min(_solidity(labels == k + 1) for k in inside if (labels == k + 1).any()), 0.9
            ):
                labels[np.isin(labels, inside + 1)] = 0
                confidence, source = np.append(confidence, _UNCERTAIN), np.append(source, -1)
                labels[whole & (labels == 0)] = len(confidence)
    return labels, confidence, source


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
