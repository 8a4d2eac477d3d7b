"""Panoptic quality of instance labels: how many cells are separated correctly, and how well their outlines fit.

Dice does not change when two touching cells are predicted as one; panoptic quality and the counts of true
positives, false positives and false negatives do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from smearsynth.metrics.intervals import BootstrapScore, mean_interval
from smearsynth.metrics.matching import MAX_IGNORED, Matches, ignored_label_fractions, label_ious
from smearsynth.smear import LabelArray, Mask, relabel_sequential

CellMetric = Literal["pq", "tp", "fp", "fn"]
CELL_METRICS: tuple[CellMetric, ...] = ("pq", "tp", "fp", "fn")
MIN_IOU = 0.5  # a match has a larger IoU; matches of labels are then unique


class CellCounts(Protocol):
    """Matched cells of one image: counts, and panoptic quality if the prediction has labels."""

    @property
    def tp(self) -> int:
        """Number of true positives."""

    @property
    def fp(self) -> int:
        """Number of false positives."""

    @property
    def fn(self) -> int:
        """Number of false negatives."""

    @property
    def pq(self) -> float | None:
        """Panoptic quality, or None for predictions without labels."""


def match_labels(predicted: LabelArray, annotated: LabelArray, ignored: Mask | None = None) -> Matches:
    """Match predicted with annotated instances where their IoU is above 0.5.

    Instances of one label image do not overlap, so that each has at most one such match.

    Parameters
    ----------
    predicted, annotated : (H, W) int32 array
        Labels with ids 1..n and 1..m.
    ignored : (H, W) bool array, optional
        Pixels that do not count. A predicted instance with more than half of its area in them is neither a true nor
        a false positive, unless its remainder matches an annotated instance.

    Returns
    -------
    Matches

    Raises
    ------
    DataError
        If the shapes differ.

    Examples
    --------
    >>> annotated = np.array([[1, 1, 1, 2, 2, 2]])
    >>> match_labels(np.array([[1, 1, 0, 2, 2, 2]]), annotated).ious.round(2).tolist()
    [0.67, 1.0]
    >>> merged = match_labels(np.array([[1, 1, 1, 1, 1, 1]]), annotated)
    >>> merged.tp, merged.fp, merged.fn
    (0, 1, 2)
    """
    if ignored is not None:
        predicted = _without_ignored(predicted, annotated, ignored)
    ious = label_ious(predicted, annotated)
    pairs = np.argwhere(ious > MIN_IOU)
    return Matches(pairs.astype(np.int64), ious[pairs[:, 0], pairs[:, 1]], *ious.shape)


def panoptic_quality(matches: Matches) -> float:
    """Compute the panoptic quality (PQ) of one image and class.

    PQ is the sum of the IoU of the matches, divided by TP + FP/2 + FN/2. It equals segmentation quality (SQ, mean
    IoU of the matches) times recognition quality (RQ, the F1 score of the cells).

    Parameters
    ----------
    matches : Matches
        As `match_labels` returns them.

    Returns
    -------
    float
        0 to 1; 1 for an image without predicted and annotated cells, as for Dice and F1.

    References
    ----------
    Kirillov et al., "Panoptic segmentation", CVPR 2019, equation 1.

    Examples
    --------
    >>> annotated = np.array([[1, 1, 1, 2, 2, 2]])
    >>> panoptic_quality(match_labels(annotated, annotated))
    1.0
    >>> panoptic_quality(match_labels(np.array([[1, 1, 1, 1, 2, 2]]), annotated)) < 0.75  # shifted outline
    True
    >>> panoptic_quality(match_labels(np.minimum(annotated, 1), annotated))  # merged cells
    0.0
    """
    cells = (matches.predictions + matches.annotations) / 2  # = TP + FP/2 + FN/2
    return float(matches.ious.sum()) / cells if cells else 1.0


def pooled_quality(images: Sequence[CellCounts]) -> float | None:
    """Compute PQ over all cells of several images.

    IoU and counts are summed over the images before the division, so that each cell has the same weight. An image
    without predicted and annotated cells contributes nothing.

    Parameters
    ----------
    images : sequence
        Objects with ``tp``, ``fp``, ``fn`` and ``pq``, such as `smearsynth.tasks.ImageScore`.

    Returns
    -------
    float or None
        None without images, or if the PQ of an image is None.

    Examples
    --------
    >>> from smearsynth.tasks import ImageScore
    >>> images = [ImageScore("a", 1.0, 9, 0, 0, pq=0.9), ImageScore("b", 0.0, 0, 0, 1, pq=0.0)]
    >>> round(pooled_quality(images), 4)  # 8.1 / 9.5
    0.8526
    """
    score = resampled(images, "pq")
    return None if score is None else score.value


def resampled(images: Sequence[CellCounts], metric: CellMetric) -> BootstrapScore | None:
    """Compute pooled PQ, or the total of a count, with those of bootstrap samples of the images.

    Parameters
    ----------
    images : sequence
        Objects with ``tp``, ``fp``, ``fn`` and ``pq``.
    metric : {"pq", "tp", "fp", "fn"}

    Returns
    -------
    BootstrapScore or None
        None without images, or if the metric is ``pq`` and the PQ of an image is None.
    """
    if not images:
        return None
    if metric != "pq":
        return BootstrapScore.of_totals([getattr(image, metric) for image in images])
    qualities = [image.pq for image in images]
    if any(quality is None for quality in qualities):
        return None
    cells = np.array([image.tp + (image.fp + image.fn) / 2 for image in images])
    return BootstrapScore.of_ratio(np.array(qualities, np.float64) * cells, cells)


def cell_figures(images: Sequence[CellCounts]) -> dict[str, object]:
    """Return PQ and counts over several images, with their 95 % intervals over images, as JSON fields.

    Parameters
    ----------
    images : sequence
        Objects with ``tp``, ``fp``, ``fn`` and ``pq``.

    Returns
    -------
    dict
        ``pq``, ``tp``, ``fp``, ``fn``: numbers; ``pq`` is None if it was not measured. ``pq_interval`` and so on:
        [low, high], or None for fewer than two images.

    Examples
    --------
    >>> from smearsynth.tasks import ImageScore
    >>> figures = cell_figures([ImageScore("a", 1.0, 9, 0, 1, pq=0.9), ImageScore("b", 1.0, 5, 1, 0, pq=0.8)])
    >>> figures["tp"], figures["tp_interval"]
    (14, [10.0, 18.0])
    """
    figures: dict[str, object] = {}
    intervals: dict[str, object] = {}
    for metric in CELL_METRICS:
        score = resampled(images, metric)
        value = None if score is None else score.value
        figures[metric] = value if metric == "pq" else round(value or 0)
        interval = None if score is None or score.images == 1 else mean_interval([score])
        bounds = None if interval is None else [round(interval.low, 6), round(interval.high, 6)]
        intervals[f"{metric}_interval"] = bounds
    return figures | intervals


def _without_ignored(predicted: LabelArray, annotated: LabelArray, ignored: Mask) -> LabelArray:
    """Return the annotated part of the predicted instances that are not mostly ignored, renumbered."""
    n = int(predicted.max(initial=0))
    visible = np.where(ignored, 0, predicted).astype(np.int32)
    matched = label_ious(visible, annotated).max(axis=1, initial=0.0) > MIN_IOU
    matched = np.pad(matched, (0, n - len(matched)))
    mostly_ignored: npt.NDArray[np.bool_] = ignored_label_fractions(predicted, ignored, n) > MAX_IGNORED
    dropped = np.concatenate([[False], mostly_ignored & ~matched])
    remaining, _ = relabel_sequential(np.where(dropped[visible], 0, visible))
    return remaining
