"""Style bank: planted stains are found again, and what belongs together stays together."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from smearsynth.errors import ModelError, OptionError
from smearsynth.smear import Smear
from smearsynth.synthesis.styles import Clusters, StyleBank, without_slivers

STAINS = np.array([[-0.5, -0.4, 0.0], [0.0, 0.5, 0.3], [0.5, -0.2, -0.5]])  # of three slides


def planted(smears: int = 60, cells: int = 20, within: float = 0.05, seed: int = 0) -> tuple[list, list]:
    """Styles of smears from three slides: cells are the background, 0.2 higher, and spread about it."""
    rng = np.random.default_rng(seed)
    styles, classes = [], []
    for k in range(smears):
        ground = STAINS[k % 3] + rng.normal(0, 0.02, 3)
        rows = ground + 0.2 + rng.normal(0, within, (cells, 3))
        styles.append(np.concatenate([ground[None], rows]).astype(np.float32))
        classes.append(np.zeros(cells, np.int64))
    return styles, classes


@pytest.fixture(scope="module")
def bank() -> StyleBank:
    return StyleBank.fit(*planted(), ("cell",), rng=0)


def drawn(bank: StyleBank, how: str = "draw", n: int = 300, cells: int = 12) -> np.ndarray:
    """(n, cells + 1, S) styles of n new smears."""
    draw = getattr(bank, how)
    return np.stack([draw(np.zeros(cells, np.int64), rng=k) for k in range(n)])


def test_clusters_recover_what_was_planted():
    rng = np.random.default_rng(0)
    vectors = np.repeat(STAINS, [50, 100, 250], axis=0) + rng.normal(0, 0.03, (400, 3))

    found = Clusters.fit(vectors.astype(np.float32), rng, clusters=3)

    order = np.argsort(found.weights)
    np.testing.assert_allclose(found.centres[order], STAINS, atol=0.02)
    np.testing.assert_allclose(found.weights[order], [0.125, 0.25, 0.625], atol=1e-6)
    for root in found.roots:
        np.testing.assert_allclose(root @ root.T, np.eye(3) * 0.03**2, atol=3e-4)


def test_clusters_keep_the_direction_of_the_spread():
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 1, (3000, 2)) @ np.array([[0.3, 0.28], [0.0, 0.05]])
    found = Clusters.fit(vectors.astype(np.float32), rng, clusters=1)
    np.testing.assert_allclose(np.cov(found.draw(20_000, rng).T), np.cov(vectors.T), rtol=0.1)


def test_clusters_are_drawn_by_their_weight():
    rng = np.random.default_rng(2)
    vectors = np.repeat(STAINS, [10, 30, 60], axis=0).astype(np.float32)
    found = Clusters.fit(vectors, rng)
    assert len(found.centres) == 3  # no more clusters than different vectors

    draws = found.draw(4000, rng)

    share = [(np.abs(draws - stain).max(1) < 0.05).mean() for stain in STAINS]
    np.testing.assert_allclose(share, [0.1, 0.3, 0.6], atol=0.03)


def test_the_joint_law_keeps_cells_and_background_of_one_smear_together(bank):
    joint, independent = drawn(bank), drawn(bank, "draw_independent")

    for channel in range(3):
        of_joint = np.corrcoef(joint[:, 0, channel], joint[:, 1:, channel].mean(1))[0, 1]
        of_independent = np.corrcoef(independent[:, 0, channel], independent[:, 1:, channel].mean(1))[0, 1]
        assert of_joint > 0.95
        assert abs(of_independent) < 0.25
    # and not only on average: every cell lies where its background wants it
    np.testing.assert_allclose((joint[:, 1:] - joint[:, :1]).mean((0, 1)), 0.2, atol=0.02)
    assert (joint[:, 1:] - joint[:, :1]).std((0, 1)).max() < 0.1


@pytest.mark.parametrize("within", [0.05, 0.12])
def test_the_spread_of_joint_draws_is_that_of_the_data(within):
    styles, classes = planted(within=within)
    draws = drawn(StyleBank.fit(styles, classes, ("cell",), rng=0))
    given = np.stack(styles)

    for part in (slice(0, 1), slice(1, None)):
        of_draws, of_data = (rows[:, part].reshape(-1, 3).std(0) for rows in (draws, given))
        np.testing.assert_allclose(of_draws, of_data, rtol=0.2)
    # within one smear too
    np.testing.assert_allclose(draws[:, 1:].std(1).mean(0), given[:, 1:].std(1).mean(0), rtol=0.2)


def test_a_chosen_cluster_gives_its_stain(bank):
    for cluster, centre in enumerate(bank.joint.centres):
        draws = np.stack([bank.draw(np.zeros(9, np.int64), k, cluster) for k in range(30)])
        np.testing.assert_allclose(draws[:, 0].mean(0), centre[:3], atol=0.05)
        np.testing.assert_allclose(draws[:, 1:].mean((0, 1)), centre[3:6], atol=0.05)


def test_the_independent_law_takes_centres_of_its_class(bank):
    rows = bank.draw_independent(np.zeros(200, np.int64), 0)
    assert (rows[0] == bank.per_class[0].centres).all(1).any()
    taken = {tuple(row) for row in rows[1:]}
    assert taken == {tuple(centre) for centre in bank.per_class[1].centres}
    chosen = bank.draw_independent(np.zeros(4, np.int64), 0, cluster=2)
    np.testing.assert_array_equal(chosen[0], bank.per_class[0].centres[2])
    np.testing.assert_array_equal(chosen[1:], np.tile(bank.per_class[1].centres[2], (4, 1)))


@pytest.mark.parametrize("how", ["draw", "draw_independent"])
@pytest.mark.parametrize("cluster", [-1, 10, 1000])
def test_an_unknown_cluster_is_refused_with_those_there_are(bank, how, cluster):
    with pytest.raises(OptionError, match=rf"no style cluster {cluster}; .* 0 to 9"):
        getattr(bank, how)(np.zeros(3, np.int64), 0, cluster)


@pytest.mark.parametrize("how", ["draw", "draw_independent"])
def test_draws_follow_the_seed_alone(bank, how):
    classes = np.zeros(5, np.int64)
    draw = getattr(bank, how)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    np.testing.assert_array_equal(draw(classes, 3), draw(classes, np.random.default_rng(3)))
    assert not np.array_equal(draw(classes, 3), draw(classes, 4))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_a_field_without_cells_has_a_background(bank):
    for how in ("draw", "draw_independent"):
        assert getattr(bank, how)(np.zeros(0, np.int64), 0).shape == (1, 3)


def test_styles_stay_where_the_generator_has_seen_them():
    styles, classes = planted(within=0.6)
    draws = drawn(StyleBank.fit(styles, classes, ("cell",), rng=0), n=50)
    assert np.abs(draws).max() == 1
    assert draws.dtype == np.float32


def two_classes(seed: int = 0) -> tuple[list, list]:
    """White cells stand 0.6 above red ones; a third of the smears have none."""
    styles, classes = planted(seed=seed)
    for k, (rows, ids) in enumerate(zip(styles, classes, strict=True)):
        if k % 5:
            ids[:4] = 1
            rows[1:5] += 0.3
    return styles, classes


def test_every_class_has_its_own_styles():
    bank = StyleBank.fit(*two_classes(), ("red", "white"), rng=0)
    ids = np.array([0, 1, 0, 1, 1])

    draws = np.stack([bank.draw(ids, k) for k in range(200)])

    np.testing.assert_allclose((draws[:, 1:] - draws[:, :1])[:, ids == 0].mean((0, 1)), 0.2, atol=0.04)
    np.testing.assert_allclose((draws[:, 1:] - draws[:, :1])[:, ids == 1].mean((0, 1)), 0.5, atol=0.06)
    assert len(bank.per_class) == 3
    assert len(bank.within) == 2


def test_a_class_without_a_cell_is_an_error():
    with pytest.raises(ModelError, match="no cell of class white, blue"):
        StyleBank.fit(*planted(), ("cell", "white", "blue"))


@pytest.mark.parametrize("smears", [1, 2])
@pytest.mark.parametrize("cells", [1, 2, 20])
def test_very_few_smears_and_cells_do(smears, cells):
    styles, classes = planted(smears, cells)
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)

    draws = drawn(bank, n=40)

    assert np.isfinite(draws).all()
    given = np.stack(styles)
    np.testing.assert_allclose(draws[:, 0].mean(0), given[:, 0].mean(0), atol=0.25)
    assert np.isfinite(bank.draw_independent(np.zeros(3, np.int64), 0)).all()


def test_smears_without_cells_are_welcome():
    styles, classes = planted(10)
    styles.append(np.array([[0.1, 0.1, 0.1]], np.float32))
    classes.append(np.zeros(0, np.int64))
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    assert np.isfinite(drawn(bank, n=40)).all()


def test_smears_of_two_cells_do_not_say_how_even_cells_are():
    styles, classes = planted(30)
    few = planted(60, cells=2, within=0.002, seed=1)
    bank = StyleBank.fit(styles + few[0], classes + few[1], ("cell",), rng=0)
    within = drawn(bank)[:, 1:].std(1).mean(1)
    assert np.quantile(within, 0.1) > 0.025


def test_cells_all_alike_are_one_cluster():
    styles = [np.array([[0.2, 0.2], [0.4, 0.4], [0.4, 0.4]], np.float32)] * 3
    bank = StyleBank.fit(styles, [np.zeros(2, np.int64)] * 3, ("cell",))
    np.testing.assert_allclose(bank.draw(np.zeros(2, np.int64), 0), styles[0], atol=1e-6)


def test_like_takes_ground_and_cells_of_the_given_smear(bank):
    styles, classes = two_classes()
    given, ids = styles[1], classes[1]
    wanted = np.array([0, 1, 0, 0, 1])

    rows = StyleBank.fit(styles, classes, ("red", "white")).like(given, ids, wanted, rng=0)

    np.testing.assert_array_equal(rows[0], given[0])
    for row, kind in zip(rows[1:], wanted, strict=True):
        assert (row == given[1:][ids == kind]).all(1).any()


def test_like_takes_cells_of_an_unknown_class_only_where_there_are_no_others():
    styles, classes = two_classes()
    bank = StyleBank.fit(styles, classes, ("red", "white"))
    given, red = styles[1], classes[1] == 0
    rows = bank.like(given, np.where(red, 0, -1), np.ones(20, np.int64), rng=0)
    assert all((row == given[1:][red]).all(1).any() for row in rows[1:])
    rows = bank.like(given, np.full(len(red), -1), np.zeros(60, np.int64), rng=0)
    assert len(np.unique(rows[1:], axis=0)) > red.sum()


def test_like_does_without_cells_or_without_a_class():
    styles, classes = two_classes()
    bank = StyleBank.fit(styles, classes, ("red", "white"))
    lone = bank.like(styles[0], classes[0], np.array([1, 1]), rng=0)
    assert all((row == styles[0][1:]).all(1).any() for row in lone[1:])

    empty = bank.like(styles[4][:1], classes[4][:0], np.zeros(30, np.int64), rng=0)
    np.testing.assert_array_equal(empty[0], styles[4][0])
    np.testing.assert_allclose(empty[1:].mean(0), styles[4][0] + 0.2, atol=0.1)


def test_the_bank_survives_its_file(bank):
    stored = safetensors.numpy.load(safetensors.numpy.save(bank.tensors()))

    again = StyleBank.from_tensors(stored, ("cell",))

    classes = np.zeros(7, np.int64)
    np.testing.assert_array_equal(bank.draw(classes, 1), again.draw(classes, 1))
    np.testing.assert_array_equal(bank.draw_independent(classes, 1), again.draw_independent(classes, 1))
    assert all(tensor.dtype == np.float32 for tensor in stored.values())


def test_a_file_without_a_class_is_refused(bank):
    with pytest.raises(ModelError, match="class2"):
        StyleBank.from_tensors(bank.tensors(), ("cell", "white"))


def test_even_and_uneven_smears_stay_even_and_uneven():
    rng = np.random.default_rng(3)
    spreads = np.where(np.arange(40) % 2, 0.02, 0.2)
    styles = [rng.normal(0, spread, (31, 3)).astype(np.float32) for spread in spreads]
    fitted = StyleBank.fit(styles, [np.zeros(30, np.int64)] * 40, ("cell",))
    drawn = [fitted.draw(np.zeros(300, np.int64), k)[1:].std(0).mean() for k in range(60)]
    even = np.array(drawn) < 0.06
    assert 0.3 < even.mean() < 0.7
    assert np.median(np.array(drawn)[even]) == pytest.approx(0.02, rel=0.3)
    assert np.median(np.array(drawn)[~even]) == pytest.approx(0.2, rel=0.3)


def test_cells_of_a_smear_differ_in_the_directions_of_that_smear():
    # slides of the first stain vary from thick to thin, those of the second have one odd cell in ten
    rng = np.random.default_rng(5)
    styles, classes = [], []
    for k in range(40):
        odd = k % 2 == 1
        rows = np.tile(STAINS[k % 2] + 0.1, (60, 1)) + rng.normal(0, 0.005, (60, 3))
        rows += [[0, 0, 0.3 * (n % 10 == 0)] if odd else [rng.normal(0, 0.1), 0, 0] for n in range(60)]
        styles.append(np.concatenate([[STAINS[k % 2]], rows]).astype(np.float32))
        classes.append(np.zeros(60, np.int64))
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    for k in range(30):
        found = bank.draw(np.zeros(200, np.int64), rng=k)
        cells = found[1:] - np.median(found[1:], 0)
        if np.linalg.norm(found[0] - STAINS[0]) < np.linalg.norm(found[0] - STAINS[1]):
            assert cells[:, 0].std() > 1.5 * cells[:, 2].std()
        else:
            assert 0.03 < (cells[:, 2] > 0.15).mean() < 0.2
            assert np.quantile(np.abs(cells[:, 2]), 0.8) < 0.08  # the others are not halfway odd
    # a model made before the cells were kept draws them from the law of all smears
    old = {name: tensor for name, tensor in bank.tensors().items() if not name.startswith("within0.c")}
    old |= {f"within0.{key}": bank.tensors()[f"within0.{key}"] for key in ("centres",)}
    del old["within0.starts"]
    assert StyleBank.from_tensors(old, ("cell",)).draw(np.zeros(9, np.int64), rng=1).shape == (10, 3)


def test_a_few_odd_cells_do_not_colour_the_others() -> None:
    rng = np.random.default_rng(4)
    styles, classes = [], []
    for _ in range(6):
        rows = rng.normal(0, 0.01, (61, 3)).astype(np.float32)
        rows[1:4] += (0.8, -0.6, 0.7)  # three parasites among sixty cells
        styles.append(rows)
        classes.append(np.zeros(60, np.int64))
    bank = StyleBank.fit(styles, classes, ("cell",), rng=0)
    drawn = np.concatenate([bank.draw(np.zeros(60, np.int64), rng=k, smear=0)[1:] for k in range(20)])
    odd = np.linalg.norm(drawn, axis=1) > 0.5
    assert 0.02 < odd.mean() < 0.09
    # the others lie as near to each other as they did: none on the way to the parasites
    ordinary = drawn[~odd] - drawn[~odd].mean(0)
    assert np.linalg.norm(ordinary, axis=1).max() < 0.1


def test_slivers_lend_their_style_to_no_cell():
    labels = np.zeros((20, 40), np.int32)
    labels[:10, :10], labels[:10, 12:22], labels[:10, 24:34], labels[12:16, :10] = 1, 2, 3, 4
    labels[12:16, 12:18], labels[12:16, 20:26] = 5, 6
    smear = Smear(np.zeros((20, 40, 3), np.uint8), labels, np.array([0, 0, 0, 0, 1, 1]), ("red", "platelet"))
    styles = np.arange(7, dtype=np.float32)[:, None]
    kept, classes = without_slivers(styles, smear)
    # the fourth is a sliver of its class; platelets are small by nature
    assert kept.ravel().tolist() == [0, 1, 2, 3, 5, 6]
    assert classes.tolist() == [0, 0, 0, 1, 1]
    bare = Smear(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int32), np.array([], int))
    assert [len(part) for part in without_slivers(styles[:1], bare)] == [1, 0]
