"""Matching of predicted cells with annotated cells, and the scores that follow: counts, F1 and Dice.

The functions take arrays only, so that `smearsynth.tasks` can select checkpoints with them.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize

from smearsynth.errors import DataError, OptionError
from smearsynth.smear import LabelArray, Mask

FloatArray = npt.NDArray[np.float64]
MAX_IGNORED = 0.5  # fraction of the area of a predicted cell; with more, it is neither right nor wrong

BoxArray = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]  # (n, 4): x0, y0, x1, y1, the end excluded


class Matches(NamedTuple):
    """One-to-one matches of predicted cells with annotated cells.

    Parameters
    ----------
    pairs : (m, 2) int64 array
        Row of the predicted cell and of the annotated cell.
    ious : (m,) float64 array
        Intersection over union (IoU) of each pair.
    predictions, annotations : int
        Number of predicted and of annotated cells.
    """

    pairs: npt.NDArray[np.int64]
    ious: FloatArray
    predictions: int
    annotations: int

    @property
    def tp(self) -> int:
        """Number of true positives: predicted cells with a match."""
        return len(self.pairs)

    @property
    def fp(self) -> int:
        """Number of false positives: predicted cells without a match."""
        return self.predictions - len(self.pairs)

    @property
    def fn(self) -> int:
        """Number of false negatives: annotated cells without a match."""
        return self.annotations - len(self.pairs)

    @property
    def f1(self) -> float:
        """F1 score, 2 TP / (2 TP + FP + FN); 1 without predicted and annotated cells."""
        total = self.predictions + self.annotations
        return 2 * self.tp / total if total else 1.0


def match(ious: FloatArray, threshold: float = 0.5, method: Literal["optimal", "greedy"] = "optimal") -> Matches:
    """Match predicted cells with annotated cells, one to one, where their IoU is at least `threshold`.

    Parameters
    ----------
    ious : (predictions, annotations) float64 array
        IoU of each pair.
    threshold : float
        In (0, 1].
    method : {"optimal", "greedy"}
        ``optimal`` maximises the number of matches, then their total IoU (Hungarian method). ``greedy`` assigns
        each row in turn to the unmatched annotated cell with the largest IoU, as COCO does for rows sorted by
        score.

    Returns
    -------
    Matches

    Raises
    ------
    OptionError
        If the threshold is outside (0, 1], or the method is unknown.

    Examples
    --------
    >>> ious = np.array([[0.9, 0.6], [0.7, 0.0]])
    >>> match(ious).pairs.tolist(), match(ious, method="greedy").pairs.tolist()
    ([[0, 1], [1, 0]], [[0, 0]])
    """
    if not 0 < threshold <= 1:
        raise OptionError(f"IoU threshold {threshold}; it must be above 0 and at most 1")
    if method == "optimal":
        pairs = _match_optimally(ious, threshold)
    elif method == "greedy":
        pairs = _match_greedily(ious, threshold)
    else:
        raise OptionError(f"matching method {method!r}; choose optimal or greedy")
    return Matches(pairs, ious[pairs[:, 0], pairs[:, 1]], *ious.shape)


def _match_optimally(ious: FloatArray, threshold: float) -> npt.NDArray[np.int64]:
    allowed = ious >= threshold
    # The constant exceeds the total IoU of any matching, so that one more match always weighs more.
    weights = np.where(allowed, ious + min(ious.shape, default=0) + 1, 0.0)
    rows, columns = optimize.linear_sum_assignment(weights, maximize=True)
    valid = allowed[rows, columns]
    return np.stack([rows[valid], columns[valid]], 1).astype(np.int64)


def _match_greedily(ious: FloatArray, threshold: float) -> npt.NDArray[np.int64]:
    remaining = np.where(ious >= threshold, ious, -1.0)
    pairs = []
    for row in range(len(remaining) if remaining.size else 0):
        column = int(remaining[row].argmax())
        if remaining[row, column] >= 0:
            pairs.append((row, column))
            remaining[:, column] = -1
    return np.array(pairs, np.int64).reshape(-1, 2)


def label_ious(predicted: LabelArray, annotated: LabelArray) -> FloatArray:
    """Compute the IoU of each instance of one label image with each instance of another.

    Parameters
    ----------
    predicted, annotated : (H, W) int32 array
        Labels with ids 1..n and 1..m.

    Returns
    -------
    (n, m) float64 array

    Raises
    ------
    DataError
        If the shapes differ.

    Examples
    --------
    >>> label_ious(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 0]])).tolist()
    [[0.5], [0.0]]
    """
    if predicted.shape != annotated.shape:
        raise DataError(
            f"labels of shape {predicted.shape} cannot be matched with labels of shape {annotated.shape}; "
            "use labels of the same image"
        )
    n, m = int(predicted.max(initial=0)), int(annotated.max(initial=0))
    codes = predicted.astype(np.int64).ravel() * (m + 1) + annotated.ravel()
    counts = np.bincount(codes, minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)
    union = counts.sum(1)[1:, None] + counts.sum(0)[None, 1:] - counts[1:, 1:]
    ious: FloatArray = counts[1:, 1:] / np.maximum(union, 1)
    return ious


def box_ious(predicted: BoxArray, annotated: BoxArray) -> FloatArray:
    """Compute the IoU of each box with each of the other boxes.

    Parameters
    ----------
    predicted : (n, 4) array
        x0, y0, x1, y1 in px, the end excluded.
    annotated : (m, 4) array

    Returns
    -------
    (n, m) float64 array

    Examples
    --------
    >>> box_ious(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1], [5, 5, 6, 6]])).tolist()
    [[0.5, 0.0]]
    """
    a, b = predicted.astype(np.float64)[:, None], annotated.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.maximum(sides, 0), -1)
    union = np.prod(a[..., 2:] - a[..., :2], -1) + np.prod(b[..., 2:] - b[..., :2], -1) - intersection
    ious: FloatArray = intersection / np.maximum(union, 1e-12)
    return ious


def ignored_box_fractions(boxes: BoxArray, ignored: Mask) -> FloatArray:
    """Compute the fraction of the area of each box that is ignored.

    Parameters
    ----------
    boxes : (n, 4) array
        x0, y0, x1, y1 in px, the end excluded; rounded to whole pixels and clipped to the field.
    ignored : (H, W) bool array

    Returns
    -------
    (n,) float64 array
        0 for boxes without a pixel in the field.

    Examples
    --------
    >>> ignored_box_fractions(np.array([[0, 0, 2, 2], [1, 0, 3, 2]]), np.array([[False, False, True]] * 2)).tolist()
    [0.0, 0.5]
    """
    height, width = ignored.shape
    corners = np.clip(np.rint(boxes), 0, [width, height] * 2).astype(np.int64).reshape(-1, 4)
    x0, y0, x1, y1 = corners.T
    sums = np.pad(ignored.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    fractions: FloatArray = inside / np.maximum((x1 - x0) * (y1 - y0), 1)
    return fractions


def ignored_label_fractions(labels: LabelArray, ignored: Mask, count: int) -> FloatArray:
    """Compute the fraction of the pixels of each instance that are ignored.

    Parameters
    ----------
    labels : (H, W) int32 array
        0 and 1..count.
    ignored : (H, W) bool array
    count : int

    Returns
    -------
    (count,) float64 array

    Examples
    --------
    >>> ignored_label_fractions(np.array([[1, 1, 2]]), np.array([[False, True, True]]), 2).tolist()
    [0.5, 1.0]
    """
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    inside = np.bincount(labels[ignored], minlength=count + 1)[1:]
    fractions: FloatArray = inside / np.maximum(areas, 1)
    return fractions


def dice(predicted: Mask, annotated: Mask) -> float:
    """Compute the Dice score of two masks (the paper's equation 8); 1 if both are empty.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(predicted.sum()) + int(annotated.sum())
    return 2 * int((predicted & annotated).sum()) / total if total else 1.0
