"""Distances between crops: zero for the same kind, larger for worse smears, with intervals that cover the truth."""

import numpy as np
import pytest

from evaluation_smears import blurred, noisy
from smearsynth.evaluation.realism.crops import CropFeatures, embed
from smearsynth.evaluation.realism.distances import density_and_coverage, fid, kid


def test_kid_is_zero_for_the_same_kind_and_grows_with_blur_and_noise(features, smears):
    rng = np.random.default_rng(0)
    real = embed(smears[:12], 32, features, rng=0)
    same = kid(real, embed(smears[12:], 32, features, rng=1), rng)
    assert same.interval[0] < 0 < same.interval[1] or abs(same.value) < 0.02
    for degrade in (blurred, noisy):
        values = [
            kid(real, embed([degrade(s, k) for s in smears[12:]], 32, features, rng=1), rng).value
            for k in (2, 5, 12)
        ]
        assert same.value < values[0] < values[1] < values[2]


def test_kid_leaves_out_pairs_of_one_smear():
    # All crops of a smear are equal, smears differ: two sets of such smears are of one kind.
    rng = np.random.default_rng(1)

    def sample():
        return CropFeatures(np.repeat(rng.normal(0, 1, (40, 3)), 8, axis=0), np.repeat(np.arange(40), 8))

    values = [kid(sample(), sample(), rng).value for _ in range(20)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(20)


def test_kid_intervals_cover_the_truth():
    rng = np.random.default_rng(2)

    def sample(mean):
        smears = rng.normal(mean, 0.5, (25, 2))
        return CropFeatures(np.repeat(smears, 6, axis=0) + rng.normal(0, 1, (150, 2)), np.repeat(np.arange(25), 6))

    truth = np.mean([kid(sample(0), sample(0.7), rng).value for _ in range(40)])
    estimates = [kid(sample(0), sample(0.7), rng) for _ in range(40)]
    covered = [estimate.interval[0] <= truth <= estimate.interval[1] for estimate in estimates]
    assert np.mean(covered) > 0.85


def test_fid_and_coverage_detect_a_lost_mode():
    rng = np.random.default_rng(3)
    vectors = np.concatenate([rng.normal(-4, 1, (300, 3)), rng.normal(4, 1, (300, 3))])
    both = CropFeatures(vectors[rng.permutation(600)], np.arange(600) // 20)
    single = CropFeatures(rng.normal(4, 1, (600, 3)), both.smears)
    same = CropFeatures(vectors + rng.normal(0, 0.01, vectors.shape), both.smears)
    assert fid(both, single, rng).value > 20 * fid(both, same, rng).value
    density, coverage = density_and_coverage(both, single, rng)
    assert density_and_coverage(both, same, rng)[1].value > 0.95
    assert coverage.value == pytest.approx(0.5, abs=0.06)
    assert density.value > 0.8  # the remaining crops are where real ones are


def test_without_bootstrap_samples_an_interval_has_no_width():
    rng = np.random.default_rng(4)
    crops = CropFeatures(rng.normal(0, 1, (40, 3)), np.arange(40) // 4)
    for estimate in (kid(crops, crops, rng, draws=0), *density_and_coverage(crops, crops, rng, draws=0)):
        assert estimate.interval == (estimate.value, estimate.value)
        assert estimate.reference is None
