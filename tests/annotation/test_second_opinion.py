from __future__ import annotations

import numpy as np

from smears import analytic_smear
from smearsynth.annotation.second_opinion import RatedCells, merge_opinion

FIELD = analytic_smear((60, 100), [(25, 30, 14), (51, 30, 14), (82, 30, 12)])
TRUTH = FIELD.labels


def rated(labels: np.ndarray, source: int = -1, confidence: float = 0.6) -> RatedCells:
    n = int(labels.max())
    return RatedCells(labels.astype(np.int32), np.full(n, confidence), np.full(n, source, np.int64))


def test_agreement_raises_and_absence_lowers_the_confidence() -> None:
    merged = merge_opinion(rated(TRUTH, 0), np.where(TRUTH == 3, 0, TRUTH), add=False)
    assert (merged.confidence[:2] > 0.6).all()
    assert merged.confidence[2] < 0.6
    assert (merged.labels == TRUTH).all()


def test_an_empty_opinion_lowers_all() -> None:
    assert (merge_opinion(rated(TRUTH), np.zeros_like(TRUTH), add=True).confidence < 0.6).all()


def test_merged_cells_are_divided_as_the_network_does() -> None:
    joined = np.where(TRUTH == 3, 2, TRUTH > 0)
    merged = merge_opinion(rated(joined), TRUTH, add=False)
    assert merged.labels.max() == 3
    assert merged.labels[30, 25] != merged.labels[30, 51]


def test_divided_cells_are_joined_as_the_network_does() -> None:
    x = np.arange(100)[None]
    divided = np.where((TRUTH == 3) & (x > 82), 4, TRUTH)
    merged = merge_opinion(rated(divided), TRUTH, add=False)
    assert merged.labels.max() == 3
    assert merged.labels[30, 78] == merged.labels[30, 86]


def test_cells_from_boxes_are_not_joined() -> None:
    x = np.arange(100)[None]
    divided = np.where((TRUTH == 3) & (x > 82), 4, TRUTH)
    assert merge_opinion(rated(divided, 5), TRUTH, add=False).labels.max() == 4


def test_an_uncertain_outline_is_replaced_and_a_certain_one_is_not() -> None:
    y = np.arange(60)[:, None]
    cropped = np.where((TRUTH == 3) & (y > 32), 0, TRUTH)
    for confidence, changed in ((0.5, True), (0.9, False)):
        merged = merge_opinion(rated(cropped, 0, confidence), TRUTH, add=False)
        assert ((merged.labels == 3) == (TRUTH == 3)).all() == changed


def test_cells_of_the_network_alone_are_added_on_request() -> None:
    two = np.where(TRUTH == 3, 0, TRUTH)
    assert merge_opinion(rated(two), TRUTH, add=False).labels.max() == 2
    merged = merge_opinion(rated(two), TRUTH, add=True)
    assert merged.labels.max() == 3
    assert merged.confidence[2] == merged.confidence.min()
    assert merged.source[2] == -1
