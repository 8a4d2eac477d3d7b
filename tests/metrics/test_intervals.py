"""Tests of confidence intervals: their coverage over images and seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from smearsynth.errors import DataError
from smearsynth.metrics.average_precision import Detections, PrecisionRecord
from smearsynth.metrics.intervals import DRAWS, BootstrapScore, mean_interval, paired_interval, standard_error


def models(scores: npt.ArrayLike) -> list[BootstrapScore]:
    """Return one model per row of scores, (seeds, images) or (images,)."""
    return [BootstrapScore.of_scores(row) for row in np.atleast_2d(scores)]


def test_interval_excludes_zero_for_a_constant_difference_and_not_for_noise() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 40)
    better = paired_interval(models(base + 0.02 + rng.normal(0, 0.005, 40)), models(base))
    assert better.low > 0
    assert better.mean == pytest.approx(0.02, abs=0.005)
    same = paired_interval(models(base + rng.normal(0, 0.02, 40)), models(base))
    assert same.low < 0 < same.high
    assert str(better).startswith("+0.0")


def test_standard_error_equals_that_of_the_mean_difference() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.uniform(0.7, 0.9, (2, 60))
    expected = (first - second).std(ddof=1) / 60**0.5
    estimate = standard_error(BootstrapScore.of_scores(first), BootstrapScore.of_scores(second))
    assert estimate == pytest.approx(expected, rel=3 / (2 * DRAWS) ** 0.5)
    assert standard_error(*models([[0.9], [0.7]])) == 0  # a single image


@pytest.mark.parametrize(("seeds", "seed_std"), [(1, 0.0), (3, 0.0), (3, 0.01), (5, 0.01)])
def test_intervals_of_identical_arms_have_the_nominal_coverage(seeds: int, seed_std: float) -> None:
    # A/A test: both arms have one distribution; each training run shifts all images together by seed_std.
    rng = np.random.default_rng(seeds)
    covered, trials = 0, 300
    for _ in range(trials):
        images = rng.normal(0.9, 0.03, 50)
        arms = [
            models(images + rng.normal(0, seed_std, (seeds, 1)) + rng.normal(0, 0.02, (seeds, 50)))
            for _ in range(2)
        ]
        interval = paired_interval(*arms)
        covered += interval.low <= 0 <= interval.high
    assert 0.90 <= covered / trials <= 0.99


def test_one_seed_misses_the_variance_between_training_runs() -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(0.9, 0.03, 50)
    outlier, other = (models(images + shift + rng.normal(0, 0.005, (3, 50))) for shift in ([[0.03], [0], [0]], 0.0))
    assert paired_interval(outlier[:1], other[:1]).low > 0
    assert paired_interval(outlier, other).low < 0


def test_interval_of_one_image_has_no_width() -> None:
    interval = paired_interval(models([[0.9], [0.8], [0.9]]), models([[0.7], [0.7], [0.8]]))
    assert interval.low == interval.mean == interval.high == pytest.approx(0.4 / 3)


def test_one_image_that_varies_with_the_seed_does_not_inflate_the_interval() -> None:
    base = np.full(36, 0.93)
    scores = np.stack([base, base, base])
    scores[:, 7] += (0.3, -0.35, 0.1)
    interval = paired_interval(models(scores), models(np.stack([base] * 3)))
    assert interval.low < 0 < interval.high
    assert interval.high - interval.low < 0.1  # scores are from 0 to 1, and the image is one of 36


def test_pairing_removes_the_variance_between_images() -> None:
    base = np.random.default_rng(2).uniform(0, 1, 30)  # easy and difficult images
    interval = paired_interval(models(base + 0.01), models(base))
    assert interval.high - interval.low < 1e-9
    seeds = np.stack([base + 0.03, base - 0.01])
    assert paired_interval(models(seeds), models(base) * 2).mean == pytest.approx(0.01)
    with pytest.raises(DataError, match="different images"):
        paired_interval(models(base), models(base[1:]))
    with pytest.raises(DataError, match="equal number of seeds"):
        paired_interval(models(seeds), models(base))
    with pytest.raises(DataError, match="no images"):
        BootstrapScore.of_scores([])


def test_interval_of_ap_separates_precise_from_coarse_boxes() -> None:
    rng = np.random.default_rng(5)

    def record(jitter: float, images: int = 20) -> PrecisionRecord:
        corners = rng.uniform(0, 200, (images, 8, 2))
        annotations = [Detections(np.hstack([boxes, boxes + 30]), np.zeros(8, int)) for boxes in corners]
        predictions = [
            cells._replace(boxes=cells.boxes + rng.normal(0, jitter, (8, 4)), scores=rng.random(8))
            for cells in annotations
        ]
        return PrecisionRecord.of(predictions, annotations)

    fine, coarse = (BootstrapScore.of_precision(record(jitter)) for jitter in (1.0, 4.0))
    better = paired_interval([fine], [coarse])
    assert better.low > 0
    assert better.mean == pytest.approx(fine.value - coarse.value)
    equal = paired_interval([fine, coarse], [fine, coarse])
    assert equal.mean == equal.low == equal.high == 0


def test_an_interval_of_one_condition_covers_its_mean_and_grows_with_the_variation_of_seeds() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.6, 0.9, 50)
    alone, equal, different = (
        mean_interval(models(rows)) for rows in (scores, [scores] * 3, [scores - 0.1, scores, scores + 0.1])
    )
    for interval in (alone, equal, different):
        assert interval.low < scores.mean() < interval.high
    assert different.high - different.low > 2 * (equal.high - equal.low)
    assert mean_interval(models([[0.5]])) == (0.5, 0.5, 0.5)  # a single image
    with pytest.raises(DataError):
        mean_interval([])


def test_ratios_are_those_of_sums() -> None:
    score = BootstrapScore.of_ratio(np.array([1.0, 0.0, 0.0]), np.array([1.0, 3.0, 0.0]))
    assert score.value == 0.25
    assert set(np.round(score.draws, 3)) <= {0.0, 0.25, 1.0, 0.143, 0.4}
    assert BootstrapScore.of_totals([1, 2, 3]).draws.min() >= 3
