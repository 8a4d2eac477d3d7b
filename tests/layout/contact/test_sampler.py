"""What a contact layout means: adhesion, gaps, borders, overlap, and counts that are true."""

import doctest
import importlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from layout_reference import ellipses, red_cells
from smearsynth.errors import DataError, OptionError
from smearsynth.layout import (
    InteractionParameters,
    ContactParameters,
    SmearParameters,
    Workspace,
    contact_layout,
    uniform_layout,
)
from smearsynth.layout.contact.moments import FieldMoments
from smearsynth.layout.contact.parameters import border_for, field_areas, kept_of_cut
from smearsynth.layout.kernels.bitmaps import is_connected
from smearsynth.layout.painting import overlap_fraction, paint_labels, paint_window
from smearsynth.shapes import NO_AUGMENTATION
from smearsynth.smear import Smear, touching_pairs
from smearsynth.statistics import cluster_sizes, measure_smear

DISCS = Workspace(ellipses([(7, 7), (8, 6)]))
MIXED = ellipses([(4, 3.5), (23, 21), (24, 22), (125, 118)], [0, 1, 1, 2], ("platelet", "red", "white"))
CELLS = Workspace(red_cells(100))
SIZE = (300, 400)


def fields(law, count=90, runs=12, size=SIZE, shapes=DISCS):
    """Labels of some layouts, each checked against its record."""
    for seed in range(runs):
        laid = contact_layout(size, count, shapes, parameters=law, rng=seed)
        labels = paint_labels(laid, shapes)
        assert set(np.unique(labels)) - {0} == set(range(1, laid.placed + 1))
        yield laid, labels


def touching(labels):
    """Share of cells that touch another."""
    n = int(labels.max())
    return float((cluster_sizes(n, touching_pairs(labels)) > 1).mean())


def mean_touching(law, **options):
    return np.mean([touching(labels) for _, labels in fields(law, **options)])


def test_touching_grows_with_adhesion_and_with_touch():
    at = {
        (adhesion, touch): mean_touching(SmearParameters(adhesion=adhesion, touch=touch))
        for adhesion in (0.0, 0.5, 0.9)
        for touch in (0.0, 0.5, 1.0)
    }
    assert [at[a, 0.0] for a in (0.0, 0.5, 0.9)] == [0, 0, 0]
    assert at[0.0, 1.0] < 0.3 < 0.45 < at[0.5, 1.0] < at[0.9, 1.0]
    assert at[0.5, 0.5] < at[0.5, 1.0]


def test_without_adhesion_a_layout_is_uniform():
    law = SmearParameters(adhesion=0, touch=1)
    contact = np.array([touching(labels) for _, labels in fields(law, runs=60)])
    # The uniform layout has all centres on the canvas: fewer cells are cut, the same number is a little denser.
    uniform = [paint_labels(uniform_layout(SIZE, 90, DISCS, rng=k), DISCS) for k in range(60)]
    uniform = np.array([touching(labels) for labels in uniform])
    assert abs(contact.mean() - uniform.mean()) < 0.05
    assert 0.5 < contact.std() / uniform.std() < 2


def test_the_gap_is_the_laws():
    found = {}
    for gap in (0.1, 0.4):
        law = SmearParameters(adhesion=1, touch=0, form=InteractionParameters(gap=gap))
        pairs = [
            contact_layout((400, 400), 2, DISCS, parameters=law, augmentation=NO_AUGMENTATION, rng=k)
            for k in range(300)
        ]
        # Two cells on a large canvas: those both seen, one attached to the other.
        apart = [np.hypot(*np.diff([p.x, p.y])[:, 0]) for p in pairs if p.placed == 2]
        found[gap] = np.median(apart)
    assert 1.5 < found[0.4] - found[0.1] < 14


def test_cells_are_cut_by_the_border_as_often_as_chance_cuts_them():
    for border in (0.0, 1.5):
        law = SmearParameters(adhesion=0.3, form=InteractionParameters(border=border))
        cut = total = 0
        for laid, labels in fields(law, runs=25):
            edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
            cut += len(np.unique(edge[edge > 0]))
            total += laid.placed
        whole_area, cut_area = field_areas(SIZE, 14.0)
        expected = cut_area * kept_of_cut(border)
        assert cut / total == pytest.approx(expected / (expected + whole_area), rel=0.15)
    assert kept_of_cut(border_for(0.3)) == pytest.approx(0.3, abs=1e-3)


def test_overlap_hides_part_of_the_lower_cell_and_the_record_keeps_it():
    law = SmearParameters(adhesion=0.8, touch=0.5, form=InteractionParameters(overlap=0.8, depth=0.3))
    hidden = lines = 0
    for laid, labels in fields(law, count=60, runs=5):
        assert np.array_equal(labels, paint_labels(laid, DISCS.shapes))  # painted from the record alone
        seen = np.bincount(labels.ravel(), minlength=laid.placed + 1)[1:]
        extent = [(paint_labels(one_cell(laid, k), DISCS.shapes) > 0).sum() for k in range(laid.placed)]
        assert (seen <= extent).all()
        assert seen[-1] == extent[-1]  # the last one lies on top
        whole = (np.abs(laid.x - 200) < 185) & (np.abs(laid.y - 150) < 135)
        assert (seen >= 0.38 * np.array(extent))[whole].all()
        hidden += int((seen < extent).sum())
        lines += int(laid.lines.sum())
    assert hidden > 60
    assert 0.2 < lines / hidden < 0.8


def one_cell(laid, k):
    """The layout of cell k alone."""
    from dataclasses import replace

    columns = ("shape", "angle", "scale", "mirrored", "x", "y", "classes", "colours")
    return replace(laid, **{name: getattr(laid, name)[k : k + 1] for name in columns}, lines=None, requested=1)


def test_no_overlap_unless_the_law_has_it_and_no_touching_cells_of_one_colour():
    law = SmearParameters(adhesion=0.9, touch=1.0)
    for laid, labels in fields(law, runs=3):
        extents = sum(int((paint_labels(one_cell(laid, k), DISCS.shapes) > 0).sum()) for k in range(laid.placed))
        assert extents == (labels > 0).sum()
        pairs = touching_pairs(labels)
        assert len(pairs) > 20
        assert all(laid.colours[a - 1] != laid.colours[b - 1] for a, b in pairs)


def test_growth_keeps_clusters_small():
    small, large = (
        np.mean(
            [
                (cluster_sizes(laid.placed, touching_pairs(labels)) > 2).mean()
                for laid, labels in fields(SmearParameters(adhesion=0.7, touch=1, form=InteractionParameters(growth=growth)))
            ]
        )
        for growth in (0.0, 1.0)
    )
    assert small == 0
    assert large > 0.2


def test_unevenness_leaves_areas_empty():
    def quadrant_spread(unevenness):
        law = SmearParameters(adhesion=0, form=InteractionParameters(unevenness=unevenness))
        counts = []
        for laid, _ in fields(law, runs=20):
            found, _, _ = np.histogram2d(laid.x, laid.y, [4, 4], [[0, 400], [0, 300]])
            counts.append(found.var() / found.mean())
        return np.mean(counts)

    assert quadrant_spread(1.5) > 2 * quadrant_spread(0.0)


def test_sizes_are_those_of_one_smear():
    law = SmearParameters(adhesion=0.2, diameter=40.0, spread=0.05)
    laid, labels = next(fields(law, count=100, runs=1, size=(900, 1200), shapes=CELLS))
    found = FieldMoments.of_labels(labels, laid.placed)
    assert found.diameter == pytest.approx(40, rel=0.03)
    assert found.spread == pytest.approx(0.05, abs=0.015)


def test_moments_are_the_statistics_of_the_same_labels():
    law = SmearParameters(adhesion=0.6, touch=0.6, form=InteractionParameters(overlap=0.3))
    for laid, labels in fields(law, runs=3):
        smear = Smear(np.zeros((*SIZE, 3), np.uint8), labels, laid.classes)
        row, found = FieldMoments.of_row(measure_smear(smear)), FieldMoments.of_labels(labels, laid.placed)
        assert row.touching == pytest.approx(found.touching)
        assert row.diameter == pytest.approx(found.diameter)
        assert row.spread == pytest.approx(found.spread)
        assert np.array_equal(row.nearest, found.nearest)
        assert np.array_equal(row.clustered, found.clustered)
        assert np.allclose(row.pairs, found.pairs, atol=1e-4, equal_nan=True)


def test_one_seed_one_layout_whatever_the_buffers():
    law = SmearParameters(adhesion=0.5, form=InteractionParameters(overlap=0.2, unevenness=0.5))
    cold = contact_layout((600, 800), 1500, ellipses([(5, 5)]), parameters=law, rng=3)
    warm = Workspace(ellipses([(5, 5)]))
    for _ in range(2):
        again = contact_layout((600, 800), 1500, warm, parameters=law, rng=np.random.default_rng(3))
        assert np.array_equal(cold.x, again.x)
        assert np.array_equal(cold.colours, again.colours)
    other = contact_layout((600, 800), 1500, warm, parameters=law, rng=4)
    assert not np.array_equal(cold.x, other.x)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("size", "count"), [((1, 1), 5), ((1, 400), 300), ((9, 9), 10), ((120, 150), 10**9), ((40, 60), 0)]
)
@pytest.mark.parametrize("adhesion", [0.0, 1.0])
def test_absurd_densities_end_and_report(size, count, adhesion):
    law = SmearParameters(
        adhesion=adhesion, touch=0.2, form=InteractionParameters(overlap=0.1, border=5, unevenness=2, growth=0.1)
    )
    for laid, _ in fields(law, count=count, size=size, runs=2):
        assert laid.requested == count
        assert (laid.placed == count) == (count == 0)


def test_several_classes_by_the_mix():
    laid = contact_layout(
        (900, 1400), 150, MIXED, parameters=SmearParameters(adhesion=0.4), mix=(0.5, 0.46, 0.04), rng=5
    )
    assert laid.placed == 150
    assert np.array_equal(laid.classes, MIXED.classes[laid.shape])
    assert 50 < (laid.classes == 0).sum() < 100
    with pytest.raises(OptionError, match="mix"):
        contact_layout((90, 90), 5, MIXED, parameters=SmearParameters(adhesion=0.4), mix=(1, 1, 1), rng=5)


def test_parameters_of_a_smear_are_drawn_together():
    rng = np.random.default_rng(0)
    sizes = rng.normal(0, 0.1, 60)
    law = ContactParameters(adhesion=0, smears=[(5.3 - 3 * s, 3.7 + s, -2.3, -1 + 5 * s) for s in sizes])
    drawn = [law.draw(rng) for _ in range(500)]
    logs = np.log([[smear.intensity, smear.diameter] for smear in drawn])
    assert np.corrcoef(logs.T)[0, 1] < -0.6
    assert logs.std(axis=0) == pytest.approx([0.3, 0.1], rel=0.35)
    few = [ContactParameters(adhesion=0, smears=[(5.3, 3.7, -2.3, -1)]).draw(k).diameter for k in range(200)]
    assert 0.01 < np.std(np.log(few)) < 0.08  # one smear is not repeated to the letter


def test_a_law_without_a_smear_and_a_broken_file_are_named():
    with pytest.raises(DataError, match=r"smears.*at least 1"):
        ContactParameters.from_json('{"adhesion": 0, "smears": []}')
    with pytest.raises(DataError, match="adhesion"):
        ContactParameters.from_json('{"smears": [[1, 2, 3, 4]]}')


@pytest.mark.parametrize("module", ["layout.contact", "layout.law", "layout.moments"])
def test_examples_run(module):
    found = doctest.testmod(importlib.import_module(f"smearsynth.{module}"))
    assert found.failed == 0
    assert found.attempted > 0


@pytest.mark.timeout(60)
def test_a_crowded_field_is_packed_with_little_overlap():
    law = SmearParameters(adhesion=0.45, touch=0.2)
    laid, labels = next(fields(law, count=280, runs=1, size=(600, 960), shapes=CELLS))
    assert laid.placed >= 270  # one by one, no more than 230 go in
    assert overlap_fraction(laid, CELLS, labels) < 0.02
    assert np.array_equal(labels, paint_labels(laid, CELLS.shapes))
    # Far more than can ever fit ends too, and says what it placed; buffers that are too small grow.
    laid, _ = next(fields(law, count=900, runs=1, size=(600, 960), shapes=Workspace(CELLS.shapes)))
    assert 250 < laid.placed < 600


def test_each_class_has_its_own_adhesion():
    two = Workspace(ellipses([(8, 8), (4, 4)], [0, 1], ("red", "platelet")))

    def touching_of(law):
        """Shares of red cells and of platelets that touch another cell."""
        found = np.zeros((2, 2))
        for seed in range(12):
            laid = contact_layout(SIZE, 60, two, parameters=law, mix=(0.7, 0.3), rng=seed)
            groups = cluster_sizes(laid.placed, touching_pairs(paint_labels(laid, two)))
            found[0] += np.bincount(laid.classes, minlength=2)
            found[1] += np.bincount(laid.classes[groups > 1], minlength=2)
        return found[1] / found[0]

    alike = touching_of(SmearParameters(adhesion=0.6, touch=0.9))
    apart = touching_of(SmearParameters(adhesion=0.6, touch=0.9, class_adhesion={"red": 0.5, "platelet": -4.0}))
    assert apart[1] < 0.5 * alike[1]
    assert apart[0] > 0.8 * alike[0]


def test_tiles_painted_side_by_side_are_the_whole():
    law = SmearParameters(adhesion=0.8, touch=0.5, form=InteractionParameters(overlap=0.6, depth=0.3))
    laid = contact_layout(SIZE, 90, DISCS, parameters=law, rng=5)
    assert laid.lines is not None
    whole = paint_labels(laid, Workspace(DISCS.shapes))
    windows = [(y, x, min(70, 300 - y), min(90, 400 - x)) for y in range(0, 300, 70) for x in range(0, 400, 90)]

    def paint(window):
        return paint_window(laid, Workspace(DISCS.shapes), window)

    with ThreadPoolExecutor(4) as pool:
        for (y, x, height, width), tile in zip(windows, pool.map(paint, windows), strict=True):
            np.testing.assert_array_equal(tile, whole[y : y + height, x : x + width])
    with pytest.raises(OptionError, match="window"):
        paint_window(laid, DISCS, (250, 0, 70, 90))


def test_a_cell_under_others_is_seen_in_one_piece():
    law = SmearParameters(adhesion=0.9, touch=0.5, form=InteractionParameters(overlap=0.9, depth=0.4))
    hidden = 0
    for laid, labels in fields(law, count=100, runs=8):
        whole = (np.abs(laid.x - 200) < 185) & (np.abs(laid.y - 150) < 135)
        for label in np.flatnonzero(whole) + 1:
            assert ndimage.label(labels == label)[1] == 1
        hidden += overlap_fraction(laid, DISCS, labels) > 0.02
    assert hidden == 8


def test_one_piece_is_what_hangs_together_side_by_side():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        pixels = ndimage.binary_opening(rng.random((30, 90)) < 0.85, np.ones((3, 3)))
        pixels[rng.integers(30), rng.integers(90)] = True
        words, room = np.zeros(60, np.uint64), np.zeros(60, np.uint64)
        for y, x in zip(*np.nonzero(pixels), strict=True):
            words[(x // 64) * 30 + y] |= np.uint64(1) << np.uint64(x % 64)
        assert is_connected(words, 30, 90, room) == (ndimage.label(pixels)[1] == 1)
