"""Intervals of differences: they hold what they claim, for other images and for other seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from smearsynth.errors import DataError
from smearsynth.metrics.average_precision import Detections, PrecisionRecord
from smearsynth.metrics.intervals import Resampled, paired_interval


def of(scores: npt.NDArray[np.float64]) -> list[Resampled]:
    return [Resampled.of_scores(row) for row in np.atleast_2d(scores)]


def test_a_difference_in_every_image_is_certain_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 40)
    better = paired_interval(of(base + 0.02 + rng.normal(0, 0.005, 40)), of(base))
    assert better.low > 0
    assert better.mean == pytest.approx(0.02, abs=0.005)
    same = paired_interval(of(base + rng.normal(0, 0.02, 40)), of(base))
    assert same.low < 0 < same.high
    assert str(better).startswith("+0.0")


@pytest.mark.parametrize(("seeds", "chance"), [(1, 0.0), (3, 0.0), (3, 0.01), (5, 0.01)])
def test_identical_arms_differ_as_seldom_as_the_intervals_claim(seeds: int, chance: float) -> None:
    # an A/A check: two arms of one law; `chance` is what a training moves all images by
    rng = np.random.default_rng(seeds)
    held, trials = 0, 300
    for _ in range(trials):
        images = rng.normal(0.9, 0.03, 50)
        arms = [of(images + rng.normal(0, chance, (seeds, 1)) + rng.normal(0, 0.02, (seeds, 50))) for _ in range(2)]
        found = paired_interval(*arms)
        held += found.low <= 0 <= found.high
    assert 0.90 <= held / trials <= 0.99


def test_an_interval_over_images_alone_is_fooled_by_a_lucky_training() -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(0.9, 0.03, 50)
    lucky, other = (of(images + shift + rng.normal(0, 0.005, (3, 50))) for shift in ([[0.03], [0], [0]], 0.0))
    assert paired_interval(lucky[:1], other[:1]).low > 0
    assert paired_interval(lucky, other).low < 0


def test_of_one_image_there_is_no_interval_however_many_trainings() -> None:
    found = paired_interval(of([[0.9], [0.8], [0.9]]), of([[0.7], [0.7], [0.8]]))
    assert found.low == found.mean == found.high == pytest.approx(0.4 / 3)


def test_one_image_that_swings_with_the_seed_makes_no_boundless_interval() -> None:
    base = np.full(36, 0.93)
    swinging = np.stack([base, base, base])
    swinging[:, 7] += (0.3, -0.35, 0.1)
    found = paired_interval(of(swinging), of(np.stack([base] * 3)))
    assert found.low < 0 < found.high
    assert found.high - found.low < 0.1  # a score is between 0 and 1, and the image is one of 36


def test_pairing_uses_that_images_differ_more_than_arms() -> None:
    base = np.random.default_rng(2).uniform(0, 1, 30)  # hard and easy images
    paired = paired_interval(of(base + 0.01), of(base))
    assert paired.high - paired.low < 1e-9
    seeds = np.stack([base + 0.03, base - 0.01])
    assert paired_interval(of(seeds), of(base) * 2).mean == pytest.approx(0.01)
    with pytest.raises(DataError, match="different images"):
        paired_interval(of(base), of(base[1:]))
    with pytest.raises(DataError, match="as many seeds"):
        paired_interval(of(seeds), of(base))
    with pytest.raises(DataError, match="no images"):
        Resampled.of_scores([])


def test_the_interval_of_ap_knows_better_from_alike() -> None:
    rng = np.random.default_rng(5)

    def record(jitter: float, images: int = 20) -> PrecisionRecord:
        corners = rng.uniform(0, 200, (images, 8, 2))
        true = [Detections(np.hstack([each, each + 30]), np.zeros(8, int)) for each in corners]
        found = [
            one._replace(boxes=one.boxes + rng.normal(0, jitter, (8, 4)), scores=rng.random(8)) for one in true
        ]
        return PrecisionRecord.of(found, true)

    fine, coarse = (Resampled.of_precision(record(jitter)) for jitter in (1.0, 4.0))
    better = paired_interval([fine], [coarse])
    assert better.low > 0
    assert better.mean == pytest.approx(fine.value - coarse.value)
    alike = paired_interval([fine, coarse], [fine, coarse])
    assert alike.mean == alike.low == alike.high == 0
