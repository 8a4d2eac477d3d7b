"""Tests of panoptic quality: what it rewards, and what it shows that Dice does not."""

from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.metrics.matching import dice
from smearsynth.metrics.panoptic import (
    cell_figures,
    match_labels,
    panoptic_quality,
    pooled_quality,
    resampled,
)
from smearsynth.smear import LabelArray
from smearsynth.tasks.base import ImageScore

TOUCHING = analytic_smear((64, 120), [(20, 32, 12), (45, 32, 12), (90, 32, 12)]).labels


def quality(predicted: LabelArray, annotated: LabelArray = TOUCHING) -> float:
    return panoptic_quality(match_labels(predicted, annotated))


def scores(*cells: tuple[float | None, int, int, int]) -> list[ImageScore]:
    return [ImageScore(str(k), 0.5, tp, fp, fn, pq) for k, (pq, tp, fp, fn) in enumerate(cells)]


def test_a_perfect_prediction_scores_1_whatever_the_order_of_its_labels() -> None:
    assert quality(TOUCHING) == 1
    assert quality(np.array([0, 3, 1, 2], np.int32)[TOUCHING]) == 1


def test_merged_cells_score_worse_although_dice_is_perfect() -> None:
    merged = np.array([0, 1, 1, 2], np.int32)[TOUCHING]
    assert dice(merged > 0, TOUCHING > 0) == 1
    matches = match_labels(merged, TOUCHING)
    assert (matches.tp, matches.fp, matches.fn) == (1, 1, 2)
    assert panoptic_quality(matches) == pytest.approx(1 / 2.5)


def test_the_quality_falls_the_further_the_outlines_are_shifted() -> None:
    qualities = [quality(np.roll(TOUCHING, shift, axis=0)) for shift in (0, 1, 2, 4)]
    assert qualities == sorted(qualities, reverse=True)
    assert len(set(qualities)) == 4
    assert quality(np.roll(TOUCHING, 20, axis=0)) == 0


def test_missing_and_additional_cells_score_worse() -> None:
    missing = np.where(TOUCHING == 3, 0, TOUCHING)
    additional = TOUCHING.copy()
    additional[2:8, 2:8] = 4
    assert quality(missing) == pytest.approx(2 / 2.5)
    assert quality(additional) == pytest.approx(3 / 3.5)


def test_the_quality_is_that_of_segmentation_times_that_of_recognition() -> None:
    predicted = np.roll(np.where(TOUCHING == 3, 0, TOUCHING), 2, axis=0)
    matches = match_labels(predicted, TOUCHING)
    assert panoptic_quality(matches) == pytest.approx(matches.ious.mean() * matches.f1)


def test_half_an_overlap_is_no_match() -> None:
    annotated = np.array([[1, 1, 1, 1]], np.int32)
    halves = np.array([[1, 1, 2, 2]], np.int32)  # both have IoU 0.5; a match must be unique
    assert match_labels(halves, annotated).tp == 0
    assert match_labels(np.array([[1, 1, 1, 2]], np.int32), annotated).tp == 1


def test_an_empty_image_scores_1_only_for_an_empty_prediction_and_has_no_weight() -> None:
    empty = np.zeros_like(TOUCHING)
    assert quality(empty, empty) == 1
    assert quality(TOUCHING, empty) == quality(empty) == 0
    cells = (0.8, 4, 1, 1)
    assert pooled_quality(scores(cells, (1.0, 0, 0, 0))) == pytest.approx(0.8)
    assert pooled_quality(scores((1.0, 0, 0, 0))) == 1


def test_ignored_pixels_do_not_count() -> None:
    ignored = np.zeros(TOUCHING.shape, bool)
    ignored[:, 70:] = True
    annotated = np.where(ignored, 0, TOUCHING)
    assert panoptic_quality(match_labels(TOUCHING, annotated, ignored)) == 1
    assert panoptic_quality(match_labels(TOUCHING, annotated)) < 1
    cut = np.zeros(TOUCHING.shape, bool)
    cut[:, 40:] = True  # hides most of the second cell, whose remainder is annotated
    assert panoptic_quality(match_labels(TOUCHING, np.where(cut, 0, TOUCHING), cut)) == 1


def test_pooled_quality_is_that_of_all_cells_together() -> None:
    merged = np.array([0, 1, 1, 2], np.int32)[TOUCHING]
    few = np.where(TOUCHING == 3, 1, 0).astype(np.int32)
    images = [match_labels(merged, TOUCHING), match_labels(few, few)]
    rows = scores(*((panoptic_quality(m), m.tp, m.fp, m.fn) for m in images))
    both = match_labels(np.hstack([merged, few + 2 * (few > 0)]), np.hstack([TOUCHING, few + 3 * (few > 0)]))
    assert pooled_quality(rows) == pytest.approx(panoptic_quality(both))
    assert pooled_quality(rows) != pytest.approx(np.mean([row.pq for row in rows if row.pq is not None]))


def test_boxes_have_counts_but_no_quality() -> None:
    boxes = scores((None, 3, 1, 0), (None, 2, 0, 2))
    assert pooled_quality(boxes) is None
    assert resampled(boxes, "pq") is None
    assert pooled_quality([]) is None
    figures = cell_figures(boxes)
    assert (figures["pq"], figures["pq_interval"]) == (None, None)
    assert (figures["tp"], figures["fp"], figures["fn"]) == (5, 1, 2)


def test_intervals_cover_the_figures_and_need_two_images() -> None:
    rng = np.random.default_rng(0)
    images = scores(*((0.6 + 0.3 * rng.random(), int(rng.integers(20, 60)), 3, 5) for _ in range(20)))
    figures = cell_figures(images)
    for name in ("pq", "tp"):
        value, interval = figures[name], figures[f"{name}_interval"]
        assert isinstance(interval, list)
        assert isinstance(value, float | int)
        assert interval[0] < value < interval[1]
    assert figures["fn_interval"] == [100, 100]
    assert cell_figures(images[:1])["tp_interval"] is None
