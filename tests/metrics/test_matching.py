"""Tests of IoU, matching and Dice against masks and hand-made matrices."""

from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.metrics.matching import (
    box_ious,
    dice,
    ignored_box_fractions,
    ignored_label_fractions,
    label_ious,
    match,
)


def shift(labels: np.ndarray, columns: int) -> np.ndarray:
    return np.roll(labels, columns, axis=1)


def test_label_ious_equal_mask_ious() -> None:
    predicted = analytic_smear(discs=[(20, 20, 9), (34, 20, 9), (60, 44, 12), (10, 50, 5)]).labels
    annotated = shift(analytic_smear(discs=[(20, 20, 9), (60, 44, 10)]).labels, 2)
    ious = label_ious(predicted, annotated)
    assert ious.shape == (4, 2)
    for k in range(4):
        for m in range(2):
            a, b = predicted == k + 1, annotated == m + 1
            assert ious[k, m] == pytest.approx((a & b).sum() / (a | b).sum())
    assert label_ious(np.zeros((3, 3), np.int32), annotated[:3, :3]).shape[0] == 0
    with pytest.raises(DataError, match="cannot be matched"):
        label_ious(predicted, annotated[1:])


def test_box_ious_equal_pixel_ious() -> None:
    boxes = np.array([[0, 0, 10, 6], [3, 2, 8, 9], [20, 20, 22, 24]], float)
    masks = []
    for x0, y0, x1, y1 in boxes.astype(int):
        mask = np.zeros((30, 30), bool)
        mask[y0:y1, x0:x1] = True
        masks.append(mask)
    for k, row in enumerate(box_ious(boxes, boxes)):
        for m, iou in enumerate(row):
            assert iou == pytest.approx((masks[k] & masks[m]).sum() / (masks[k] | masks[m]).sum())
    assert box_ious(np.zeros((0, 4)), boxes).shape == (0, 3)


def test_each_cell_is_matched_at_most_once() -> None:
    ious = np.array([[0.9, 0.0, 0.0], [0.8, 0.0, 0.0], [0.0, 0.6, 0.55], [0.0, 0.4, 0.0]])
    matches = match(ious)
    assert matches.pairs.tolist() == [[0, 0], [2, 1]]
    assert (matches.tp, matches.fp, matches.fn) == (2, 2, 1)
    assert matches.ious.tolist() == [0.9, 0.6]
    assert matches.f1 == pytest.approx(4 / 7)
    assert match(ious, 0.35).tp == 3


def test_optimal_matching_has_more_matches_than_greedy() -> None:
    ious = np.array([[0.9, 0.7], [0.8, 0.1]])
    assert (match(ious).tp, match(ious, method="greedy").tp) == (2, 1)
    ambiguous = np.array([[0.6, 0.9], [0.55, 0.6]])
    assert match(ambiguous).pairs.tolist() == [
        [0, 1],
        [1, 0],
    ]  # the complete matching with the larger IoU


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0)])
@pytest.mark.parametrize("method", ["optimal", "greedy"])
def test_matching_without_cells(shape: tuple[int, int], method: str) -> None:
    matches = match(np.zeros(shape), method=method)  # type: ignore[arg-type]
    assert (matches.tp, matches.fp, matches.fn) == (0, shape[0], shape[1])
    assert matches.f1 == (1.0 if shape == (0, 0) else 0.0)


def test_unknown_method_and_threshold_are_rejected() -> None:
    with pytest.raises(OptionError, match="choose optimal or greedy"):
        match(np.ones((1, 1)), method="best")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="above 0 and at most 1"):
        match(np.ones((1, 1)), 0.0)


def test_dice_decreases_with_the_shift() -> None:
    smear = analytic_smear()
    cells = smear.labels > 0
    assert dice(cells, cells) == 1.0
    assert dice(~cells, cells) == 0.0
    scores = [dice(shift(cells, columns), cells) for columns in (1, 3, 6)]
    assert scores == sorted(scores, reverse=True)
    empty = np.zeros_like(cells)
    assert (dice(empty, empty), dice(empty, cells)) == (1.0, 0.0)


def test_ignored_fractions_equal_pixel_counts() -> None:
    rng = np.random.default_rng(0)
    ignored = rng.random((30, 40)) < 0.4
    starts = rng.integers(0, 20, (10, 2))
    boxes = np.concatenate([starts, starts + rng.integers(1, 10, (10, 2))], 1)
    expected = [ignored[y0:y1, x0:x1].mean() for x0, y0, x1, y1 in boxes]
    assert ignored_box_fractions(boxes, ignored).tolist() == pytest.approx(expected)
    outside = np.array([[35.0, 25.0, 50.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
    assert ignored_box_fractions(outside, ignored).tolist() == pytest.approx([ignored[25:, 35:].mean(), 0])
    labels = np.zeros((30, 40), np.int32)
    labels[3:9, 5:17] = 1
    assert ignored_label_fractions(labels, ignored, 2).tolist() == pytest.approx([ignored[3:9, 5:17].mean(), 0])
