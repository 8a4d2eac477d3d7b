"""Corrections that were made by hand in another program: only the changed cells replace the present ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import LabelArray

# Programs that store outlines with two decimals, or smooth them, change single pixels at the outline.
_SAME_IOU = 0.98
_MAX_CHANGED = 4  # px of a small cell


class CorrectedLabels(NamedTuple):
    """Labels after a correction.

    Parameters
    ----------
    labels : (H, W) int32 array
        Ids 1..n.
    present : (n,) int64 array
        Present label of each cell that was not changed; 0 for a changed or a new cell.
    corrected : (n,) int64 array
        Label in the correction of each cell; 0 for none.
    """

    labels: LabelArray
    present: npt.NDArray[np.int64]
    corrected: npt.NDArray[np.int64]


def merge_corrections(present: LabelArray, correction: LabelArray) -> CorrectedLabels:
    """Merge the labels of a correction into the present labels.

    A cell of the correction that has the same outline as a present one, up to the rounding of coordinates, keeps
    its present pixels. All other cells of the correction are taken as they are; present cells that the correction
    lacks are removed.

    Parameters
    ----------
    present, correction : (H, W) int32 array
        Labels of the same image, ids 1..n and 1..m.

    Returns
    -------
    CorrectedLabels

    Raises
    ------
    DataError
        If the shapes differ.

    Examples
    --------
    >>> present = np.array([[1, 1, 0, 2, 2, 0, 3]], np.int32)
    >>> correction = np.array([[1, 1, 0, 0, 2, 2, 2]], np.int32)
    >>> merge_corrections(present, correction).present.tolist()
    [1, 0]
    """
    matches = match(label_ious(correction, present), 0.5)
    areas = np.bincount(present.ravel())
    kept = {}
    for (row, column), iou in zip(matches.pairs.tolist(), matches.ious.tolist(), strict=True):
        if iou >= _SAME_IOU or (1 - iou) * areas[column + 1] <= _MAX_CHANGED:
            kept[row + 1] = column + 1
    n = int(correction.max(initial=0))
    labels = np.where(np.isin(correction, [*kept, 0]), 0, correction).astype(np.int32)
    # Unchanged cells take their present pixels, but none that a changed cell has now.
    for corrected, old in kept.items():
        labels[(present == old) & (labels == 0)] = corrected
    ids = np.unique(labels[labels > 0])
    table = np.zeros(n + 1, np.int32)
    table[ids] = np.arange(1, len(ids) + 1)
    old_labels = np.array([kept.get(int(k), 0) for k in ids], np.int64)
    return CorrectedLabels(table[labels], old_labels, ids.astype(np.int64))
