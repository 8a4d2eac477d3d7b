"""Variation of cell styles within a smear: each smear keeps its directions and its outliers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smearsynth.synthesis.styles.bank import StyleBank
from smearsynth.synthesis.styles.variation import CellVariation, log_spreads, residuals
from style_samples import STAINS


def test_cells_vary_in_the_directions_of_their_smear():
    # Smears of the first stain vary from thick to thin; in those of the second one cell in ten is an outlier.
    rng = np.random.default_rng(5)
    styles, classes = [], []
    for k in range(40):
        has_outliers = k % 2 == 1
        rows = np.tile(STAINS[k % 2] + 0.1, (60, 1)) + rng.normal(0, 0.005, (60, 3))
        rows += [[0, 0, 0.3 * (n % 10 == 0)] if has_outliers else [rng.normal(0, 0.1), 0, 0] for n in range(60)]
        styles.append(np.concatenate([[STAINS[k % 2]], rows]).astype(np.float32))
        classes.append(np.zeros(60, np.int64))
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    for k in range(30):
        draw = bank.draw(np.zeros(200, np.int64), rng=k)
        cells = draw[1:] - np.median(draw[1:], 0)
        if np.linalg.norm(draw[0] - STAINS[0]) < np.linalg.norm(draw[0] - STAINS[1]):
            assert cells[:, 0].std() > 1.5 * cells[:, 2].std()
        else:
            assert 0.03 < (cells[:, 2] > 0.15).mean() < 0.2
            assert np.quantile(np.abs(cells[:, 2]), 0.8) < 0.08  # the other cells are not between


def test_outliers_do_not_change_the_other_cells():
    rng = np.random.default_rng(4)
    styles, classes = [], []
    for _ in range(6):
        rows = rng.normal(0, 0.01, (61, 3)).astype(np.float32)
        rows[1:4] += (0.8, -0.6, 0.7)  # three parasites among sixty cells
        styles.append(rows)
        classes.append(np.zeros(60, np.int64))
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    draws = np.concatenate([bank.draw(np.zeros(60, np.int64), rng=k, reference=0)[1:] for k in range(20)])
    outliers = np.linalg.norm(draws, axis=1) > 0.5
    assert 0.02 < outliers.mean() < 0.09
    normal = draws[~outliers] - draws[~outliers].mean(0)
    assert np.linalg.norm(normal, axis=1).max() < 0.1


@pytest.fixture(scope="module")
def variation() -> CellVariation:
    rng = np.random.default_rng(0)
    smears = [rng.normal(0, 1, (n, 2)).astype(np.float32) for n in (20, 2, 0)]
    return CellVariation.fit(smears, np.zeros(3), rng)


def test_cells_are_stored_per_smear(variation):
    assert variation.starts.tolist() == [0, 20, 22, 22]
    np.testing.assert_allclose(variation.cells[:20].mean(0), 0, atol=1e-6)


def test_smears_with_few_cells_use_the_pooled_distribution(variation):
    for smear in (1, 2):
        expected = variation.pooled.draw(4, np.random.default_rng(1))
        np.testing.assert_array_equal(variation.draw(smear, 4, np.random.default_rng(1)), expected)


def test_consistency(variation):
    assert variation.is_consistent(2, 3)
    assert not variation.is_consistent(3, 3)
    assert not variation.is_consistent(2, 4)
    assert not replace(variation, starts=variation.starts[::-1].copy()).is_consistent(2, 3)
    assert replace(variation, cells=np.zeros((0, 2), np.float32), starts=np.zeros(1, np.int64)).is_consistent(2, 3)


def test_log_spreads_of_small_smears_are_the_mean_of_the_others():
    spread = np.array([[-1.0], [1.0]] * 3, np.float32)
    np.testing.assert_allclose(log_spreads([spread, np.e**2 * spread, spread[:2]]), [0, 2, 1], atol=1e-6)
    np.testing.assert_allclose(log_spreads([spread[:1]]), np.log(1e-3))


def test_residuals_of_no_cells():
    assert residuals(np.zeros((0, 3), np.float32)).shape == (0, 3)
