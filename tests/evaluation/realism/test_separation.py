"""Separation: AUC of equal and of different sets, by smear; intervals and controls."""

import numpy as np
import pytest

from smearsynth.evaluation.realism.separation import Grouped, _weighted_auc, separate, separate_halves


def draw(mean: float, seed: int, spread: float = 0.0, smears: int = 20, items: int = 6) -> Grouped:
    """Items of smears; the smears themselves differ by `spread`."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(smears), items)
    centres = rng.normal(0, spread, (smears, 8))
    return Grouped(centres[groups] + rng.normal(mean, 1, (len(groups), 8)), groups)


def test_a_larger_difference_has_a_larger_auc():
    results = [separate(draw(0, 1), draw(shift, 2)) for shift in (0, 0.3, 1.0)]
    values = [result.auc.value for result in results]
    assert values == sorted(values)
    assert values[0] < 0.62
    assert values[-1] > 0.95
    assert all(result.auc.interval[0] <= result.auc.value <= result.auc.interval[1] for result in results)
    assert results[-1].second_scores.mean() > 0 > results[-1].first_scores.mean()


def test_smears_that_differ_among_themselves_are_no_difference_between_the_sets():
    # Items of one smear are alike: a classifier tested on the same smears would find them all.
    first, second = draw(0, 3, spread=3.0), draw(0, 4, spread=3.0)
    assert separate(first, second).auc.value < 0.75
    assert separate(first, second).auc.interval[1] - separate(first, second).auc.interval[0] > 0.15


def test_halves_of_one_set_cannot_be_told_apart():
    control = separate_halves(draw(0, 5, smears=30))
    assert 0.35 < control.value < 0.65
    assert control.interval[0] < 0.5 < control.interval[1]


def test_the_result_depends_on_the_seed_alone():
    first, second = draw(0, 6), draw(0.3, 7)
    assert separate(first, second, 1).auc == separate(first, second, 1).auc
    assert separate(first, second, 1).auc != separate(first, second, 2).auc


def test_few_smears_give_no_result():
    assert separate(draw(0, 0, smears=1), draw(0, 1)) is None
    assert separate_halves(draw(0, 0, smears=3)) is None
    assert separate(draw(0, 0, smears=2), draw(2, 1, smears=2)).auc.value > 0.8


def test_auc_counts_pairs_in_order_and_half_of_the_ties():
    scores = np.array([0.0, 1.0, 1.0, 2.0])
    is_second = np.array([False, False, True, True])
    assert _weighted_auc(scores, is_second) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert _weighted_auc(scores, is_second, np.array([1.0, 0, 1, 1])) == 1
