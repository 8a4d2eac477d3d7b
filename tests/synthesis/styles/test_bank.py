"""Style bank: known stains are recovered, and cells and background of one smear stay together."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from smearsynth.errors import ModelError, OptionError
from smearsynth.synthesis.styles.bank import StyleBank
from style_samples import STAINS, sample_styles


@pytest.fixture(scope="module")
def bank() -> StyleBank:
    return StyleBank.fit(*sample_styles(), ("cell",), rng=0)


def draw_styles(bank: StyleBank, method: str = "draw", n: int = 300, cells: int = 12) -> np.ndarray:
    """(n, cells + 1, S) styles of n new smears."""
    draw = getattr(bank, method)
    return np.stack([draw(np.zeros(cells, np.int64), rng=k) for k in range(n)])


def two_classes(seed: int = 0) -> tuple[list, list]:
    """White cells are 0.3 above red ones; every fifth smear has none."""
    styles, classes = sample_styles(seed=seed)
    for k, (rows, ids) in enumerate(zip(styles, classes, strict=True)):
        if k % 5:
            ids[:4] = 1
            rows[1:5] += 0.3
    return styles, classes


# Joint distribution


def test_joint_draws_keep_cells_and_background_together(bank):
    joint, independent = draw_styles(bank), draw_styles(bank, "draw_independent")
    for channel in range(3):
        joint_correlation, independent_correlation = (
            np.corrcoef(draws[:, 0, channel], draws[:, 1:, channel].mean(1))[0, 1] for draws in (joint, independent)
        )
        assert joint_correlation > 0.95
        assert abs(independent_correlation) < 0.25
    # This holds for every cell, not only for the mean.
    np.testing.assert_allclose((joint[:, 1:] - joint[:, :1]).mean((0, 1)), 0.2, atol=0.02)
    assert (joint[:, 1:] - joint[:, :1]).std((0, 1)).max() < 0.1


@pytest.mark.parametrize("spread", [0.05, 0.12])
def test_joint_draws_have_the_spread_of_the_data(spread):
    styles, classes = sample_styles(spread=spread)
    draws = draw_styles(StyleBank.fit(styles, classes, ("cell",), rng=0))
    data = np.stack(styles)
    for part in (slice(0, 1), slice(1, None)):
        draw_std, data_std = (rows[:, part].reshape(-1, 3).std(0) for rows in (draws, data))
        np.testing.assert_allclose(draw_std, data_std, rtol=0.2)
    within_draws, within_data = (rows[:, 1:].std(1).mean(0) for rows in (draws, data))
    np.testing.assert_allclose(within_draws, within_data, rtol=0.2)


def test_cluster_sets_the_stain(bank):
    for cluster, centre in enumerate(bank.joint.centres):
        draws = np.stack([bank.draw(np.zeros(9, np.int64), k, cluster) for k in range(30)])
        np.testing.assert_allclose(draws[:, 0].mean(0), centre[:3], atol=0.05)
        np.testing.assert_allclose(draws[:, 1:].mean((0, 1)), centre[3:6], atol=0.05)


def test_members_partition_the_smears(bank):
    members = [bank.members(cluster) for cluster in range(len(bank.joint.weights))]
    assert sorted(index for cluster in members for index in cluster) == list(range(60))


def test_reference_sets_the_stain(bank):
    draws = np.stack([bank.draw(np.zeros(9, np.int64), k, reference=4) for k in range(30)])
    np.testing.assert_allclose(draws[:, 0].mean(0), STAINS[1], atol=0.05)


def test_draws_stay_within_the_range_of_the_encoder():
    styles, classes = sample_styles(spread=0.6)
    draws = draw_styles(StyleBank.fit(styles, classes, ("cell",), rng=0), n=50)
    assert np.abs(draws).max() == 1
    assert draws.dtype == np.float32


def test_each_class_has_its_styles():
    bank = StyleBank.fit(*two_classes(), ("red", "white"), rng=0)
    ids = np.array([0, 1, 0, 1, 1])
    draws = np.stack([bank.draw(ids, k) for k in range(200)])
    np.testing.assert_allclose((draws[:, 1:] - draws[:, :1])[:, ids == 0].mean((0, 1)), 0.2, atol=0.04)
    np.testing.assert_allclose((draws[:, 1:] - draws[:, :1])[:, ids == 1].mean((0, 1)), 0.5, atol=0.06)
    assert len(bank.per_class) == 3
    assert len(bank.within) == 2


def test_smears_with_small_and_with_large_spread():
    rng = np.random.default_rng(3)
    spreads = np.where(np.arange(40) % 2, 0.02, 0.2)
    styles = [rng.normal(0, spread, (31, 3)).astype(np.float32) for spread in spreads]
    bank = StyleBank.fit(styles, [np.zeros(30, np.int64)] * 40, ("cell",))
    draw_spreads = np.array([bank.draw(np.zeros(300, np.int64), k)[1:].std(0).mean() for k in range(60)])
    small = draw_spreads < 0.06
    assert 0.3 < small.mean() < 0.7
    assert np.median(draw_spreads[small]) == pytest.approx(0.02, rel=0.3)
    assert np.median(draw_spreads[~small]) == pytest.approx(0.2, rel=0.3)


# Independent distribution


def test_independent_draws_are_cluster_centres_of_the_class(bank):
    rows = bank.draw_independent(np.zeros(200, np.int64), 0)
    assert (rows[0] == bank.per_class[0].centres).all(1).any()
    assert {tuple(row) for row in rows[1:]} == {tuple(centre) for centre in bank.per_class[1].centres}
    fixed = bank.draw_independent(np.zeros(4, np.int64), 0, cluster=2)
    np.testing.assert_array_equal(fixed[0], bank.per_class[0].centres[2])
    np.testing.assert_array_equal(fixed[1:], np.tile(bank.per_class[1].centres[2], (4, 1)))


# Both distributions


@pytest.mark.parametrize("method", ["draw", "draw_independent"])
@pytest.mark.parametrize("cluster", [-1, 10, 1000])
def test_unknown_cluster_is_an_error(bank, method, cluster):
    with pytest.raises(OptionError, match=rf"style cluster {cluster} does not exist; choose 0 to 9"):
        getattr(bank, method)(np.zeros(3, np.int64), 0, cluster)


@pytest.mark.parametrize("method", ["draw", "draw_independent"])
def test_draws_depend_on_the_seed_only(bank, method):
    classes = np.zeros(5, np.int64)
    draw = getattr(bank, method)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(draw(classes, 3), draw(classes, np.random.default_rng(3)))
    assert not np.array_equal(draw(classes, 3), draw(classes, 4))
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_smear_without_cells_has_a_background(bank):
    for method in ("draw", "draw_independent"):
        assert getattr(bank, method)(np.zeros(0, np.int64), 0).shape == (1, 3)


# Fit to difficult data


def test_class_without_a_cell_is_an_error():
    with pytest.raises(ModelError, match="no cell of class white, blue"):
        StyleBank.fit(*sample_styles(), ("cell", "white", "blue"))


@pytest.mark.parametrize("smears", [1, 2])
@pytest.mark.parametrize("cells", [1, 2, 20])
def test_few_smears_and_cells(smears, cells):
    styles, classes = sample_styles(smears, cells)
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    draws = draw_styles(bank, n=40)
    assert np.isfinite(draws).all()
    np.testing.assert_allclose(draws[:, 0].mean(0), np.stack(styles)[:, 0].mean(0), atol=0.25)
    assert np.isfinite(bank.draw_independent(np.zeros(3, np.int64), 0)).all()


def test_training_smears_without_cells():
    styles, classes = sample_styles(10)
    styles.append(np.array([[0.1, 0.1, 0.1]], np.float32))
    classes.append(np.zeros(0, np.int64))
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    assert np.isfinite(draw_styles(bank, n=40)).all()


def test_smears_with_two_cells_do_not_affect_the_spread():
    styles, classes = sample_styles(30)
    small_smears = sample_styles(60, cells=2, spread=0.002, seed=1)
    bank = StyleBank.fit(styles + small_smears[0], classes + small_smears[1], ("cell",), rng=0)
    spreads = draw_styles(bank)[:, 1:].std(1).mean(1)
    assert np.quantile(spreads, 0.1) > 0.025


def test_identical_cells():
    styles = [np.array([[0.2, 0.2], [0.4, 0.4], [0.4, 0.4]], np.float32)] * 3
    bank = StyleBank.fit(styles, [np.zeros(2, np.int64)] * 3, ("cell",))
    np.testing.assert_allclose(bank.draw(np.zeros(2, np.int64), 0), styles[0], atol=1e-6)


# Resampling of one smear


def test_resample_uses_background_and_cells_of_the_smear():
    styles, classes = two_classes()
    smear_styles, smear_classes = styles[1], classes[1]
    new_classes = np.array([0, 1, 0, 0, 1])
    bank = StyleBank.fit(styles, classes, ("red", "white"))
    rows = bank.resample(smear_styles, smear_classes, new_classes, rng=0)
    np.testing.assert_array_equal(rows[0], smear_styles[0])
    for row, class_id in zip(rows[1:], new_classes, strict=True):
        assert (row == smear_styles[1:][smear_classes == class_id]).all(1).any()


def test_resample_uses_cells_of_unknown_class_only_if_there_are_no_others():
    styles, classes = two_classes()
    bank = StyleBank.fit(styles, classes, ("red", "white"))
    smear_styles, red = styles[1], classes[1] == 0
    rows = bank.resample(smear_styles, np.where(red, 0, -1), np.ones(20, np.int64), rng=0)
    assert all((row == smear_styles[1:][red]).all(1).any() for row in rows[1:])
    rows = bank.resample(smear_styles, np.full(len(red), -1), np.zeros(60, np.int64), rng=0)
    assert len(np.unique(rows[1:], axis=0)) > red.sum()


def test_resample_of_a_smear_without_the_class_or_without_cells():
    styles, classes = two_classes()
    bank = StyleBank.fit(styles, classes, ("red", "white"))
    only_red = bank.resample(styles[0], classes[0], np.array([1, 1]), rng=0)
    assert all((row == styles[0][1:]).all(1).any() for row in only_red[1:])
    empty = bank.resample(styles[4][:1], classes[4][:0], np.zeros(30, np.int64), rng=0)
    np.testing.assert_array_equal(empty[0], styles[4][0])
    np.testing.assert_allclose(empty[1:].mean(0), styles[4][0] + 0.2, atol=0.1)


# Files


def test_tensors_round_trip(bank):
    stored = safetensors.numpy.load(safetensors.numpy.save(bank.tensors()))
    loaded = StyleBank.from_tensors(stored, ("cell",))
    classes = np.zeros(7, np.int64)
    np.testing.assert_array_equal(bank.draw(classes, 1), loaded.draw(classes, 1))
    np.testing.assert_array_equal(bank.draw_independent(classes, 1), loaded.draw_independent(classes, 1))
    assert all(tensor.dtype == np.float32 for tensor in stored.values())


def test_missing_class_is_an_error(bank):
    with pytest.raises(ModelError, match=r"class2.*is missing"):
        StyleBank.from_tensors(bank.tensors(), ("cell", "white"))


def test_older_files_without_cells_use_the_pooled_variation(bank):
    tensors = {
        key: value for key, value in bank.tensors().items() if key not in ("within0.cells", "within0.starts")
    }
    assert StyleBank.from_tensors(tensors, ("cell",)).draw(np.zeros(9, np.int64), rng=1).shape == (10, 3)
