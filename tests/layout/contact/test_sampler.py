"""Contact layouts: adhesion, gaps, borders, overlap and sizes follow the parameters, and counts are true."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from layout_reference import ellipses, red_cells
from smearsynth.errors import OptionError
from smearsynth.layout import (
    InteractionParameters,
    SmearParameters,
    Workspace,
    contact_layout,
    uniform_layout,
)
from smearsynth.layout.contact.moments import FieldMoments
from smearsynth.layout.contact.parameters import annotated_fraction, field_areas
from smearsynth.layout.contact.sampler import density_field, shape_sizes
from smearsynth.layout.overlaps import find_overlaps, join_fragments, overlap_fraction
from smearsynth.layout.painting import paint_labels
from smearsynth.shapes import NO_AUGMENTATION
from smearsynth.smear import touching_pairs
from smearsynth.statistics import cluster_sizes

DISCS = Workspace(ellipses([(7, 7), (8, 6)]))
MIXED = ellipses([(4, 3.5), (23, 21), (24, 22), (125, 118)], [0, 1, 1, 2], ("platelet", "red", "white"))
CELLS = Workspace(red_cells(100))
SIZE = (300, 400)


def fields(parameters, count=90, runs=12, size=SIZE, shapes=DISCS):
    """Layouts and their labels, each pair checked for consistency."""
    for seed in range(runs):
        layout = contact_layout(size, count, shapes, parameters=parameters, rng=seed)
        labels = paint_labels(layout, shapes)
        # A cell at the border may show only pixels that belong to a cell that it overlaps.
        assert len(np.unique(labels[labels > 0])) >= layout.placed - 1
        yield layout, labels


def touching(labels):
    """Fraction of the cells that touch another."""
    n = int(labels.max())
    return float((cluster_sizes(n, touching_pairs(labels)) > 1).mean())


def mean_touching(parameters, **options):
    return np.mean([touching(labels) for _, labels in fields(parameters, **options)])


def single_cell(layout, k):
    """The layout of cell k alone."""
    columns = ("shape", "angle", "scale", "mirrored", "x", "y", "classes", "colours")
    return replace(
        layout, **{name: getattr(layout, name)[k : k + 1] for name in columns}, lines=None, under=None, requested=1
    )


def full_areas(layout):
    """Area of each cell on the canvas without the other cells, px²."""
    return [(paint_labels(single_cell(layout, k), DISCS.shapes) > 0).sum() for k in range(layout.placed)]


def test_touching_increases_with_adhesion_and_with_touch():
    fractions = {
        (adhesion, touch): mean_touching(SmearParameters(adhesion=adhesion, touch=touch))
        for adhesion in (0.0, 0.5, 0.9)
        for touch in (0.0, 0.5, 1.0)
    }
    assert [fractions[a, 0.0] for a in (0.0, 0.5, 0.9)] == [0, 0, 0]
    assert fractions[0.0, 1.0] < 0.3 < 0.45 < fractions[0.5, 1.0] < fractions[0.9, 1.0]
    assert fractions[0.5, 0.5] < fractions[0.5, 1.0]


def test_without_adhesion_a_layout_is_uniform():
    parameters = SmearParameters(adhesion=0, touch=1)
    contact = np.array([touching(labels) for _, labels in fields(parameters, runs=60)])
    # The uniform layout has all centres on the canvas: fewer cells are cut, so the same number is a little denser.
    uniform = [paint_labels(uniform_layout(SIZE, 90, DISCS, rng=k), DISCS) for k in range(60)]
    uniform = np.array([touching(labels) for labels in uniform])
    assert abs(contact.mean() - uniform.mean()) < 0.05
    assert 0.5 < contact.std() / uniform.std() < 2


def test_gaps_follow_the_parameter():
    medians = {}
    for gap in (0.1, 0.4):
        parameters = SmearParameters(adhesion=1, touch=0, form=InteractionParameters(gap=gap))
        pairs = [
            contact_layout((400, 400), 2, DISCS, parameters=parameters, augmentation=NO_AUGMENTATION, rng=k)
            for k in range(300)
        ]
        # Two visible cells on a large canvas: one is attached to the other.
        distances = [np.hypot(*np.diff([pair.x, pair.y])[:, 0]) for pair in pairs if pair.placed == 2]
        medians[gap] = np.median(distances)
    assert 1.5 < medians[0.4] - medians[0.1] < 14


@pytest.mark.parametrize("border", [0.0, 1.5])
def test_the_border_cuts_cells_as_often_as_by_chance(border):
    parameters = SmearParameters(adhesion=0.3, form=InteractionParameters(border=border))
    cut = total = 0
    for layout, labels in fields(parameters, runs=25):
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        cut += len(np.unique(edge[edge > 0]))
        total += layout.placed
    whole_area, cut_area = field_areas(SIZE, 14.0)
    expected = cut_area * annotated_fraction(border)
    assert cut / total == pytest.approx(expected / (expected + whole_area), rel=0.15)


def test_overlap_hides_part_of_both_cells_and_the_layout_records_it():
    form = InteractionParameters(overlap=0.8, depth=0.3)
    hidden = lines = 0
    for layout, labels in fields(SmearParameters(adhesion=0.8, touch=0.5, form=form), count=60, runs=5):
        assert np.array_equal(labels, paint_labels(layout, DISCS.shapes))  # from the record alone
        visible = np.bincount(labels.ravel(), minlength=layout.placed + 1)[1:]
        full = np.array(full_areas(layout))
        assert (visible <= full).all()
        assert layout.under.sum() > 5
        inside = (np.abs(layout.x - 200) < 185) & (np.abs(layout.y - 150) < 135)
        assert (visible >= 0.38 * full)[inside].all()
        hidden += int((visible < full).sum())
        lines += int(layout.lines.sum())
    assert hidden > 60
    assert 0.2 < lines / hidden < 0.8


def test_cells_do_not_overlap_by_default_and_touching_cells_have_different_colours():
    for layout, labels in fields(SmearParameters(adhesion=0.9, touch=1.0), runs=3):
        assert sum(full_areas(layout)) == (labels > 0).sum()
        pairs = touching_pairs(labels)
        assert len(pairs) > 20
        assert all(layout.colours[a - 1] != layout.colours[b - 1] for a, b in pairs)


def test_clusters_of_three_need_growth():
    without, full = (
        np.mean(
            [
                (cluster_sizes(layout.placed, touching_pairs(labels)) > 2).mean()
                for layout, labels in fields(
                    SmearParameters(adhesion=0.7, touch=1, form=InteractionParameters(growth=growth))
                )
            ]
        )
        for growth in (0.0, 1.0)
    )
    assert without == 0
    assert full > 0.2


def test_unevenness_leaves_areas_empty():
    def dispersion(unevenness):
        """Variance over mean of the counts in 4 × 4 parts of the field."""
        parameters = SmearParameters(adhesion=0, form=InteractionParameters(unevenness=unevenness))
        values = []
        for layout, _ in fields(parameters, runs=20):
            counts, _, _ = np.histogram2d(layout.x, layout.y, [4, 4], [[0, 400], [0, 300]])
            values.append(counts.var() / counts.mean())
        return np.mean(values)

    assert dispersion(1.5) > 2 * dispersion(0.0)


def test_the_density_field_is_relative_to_its_maximum():
    field = density_field((600, 800), 20.0, 1.0, np.random.default_rng(3))
    assert field.shape == (15, 20)
    assert field.max() == 1
    assert 0 < field.min() < 0.8
    assert density_field((600, 800), 20.0, 0.0, np.random.default_rng(3)).tolist() == [[1.0]]


def test_sizes_are_those_of_the_smear():
    parameters = SmearParameters(adhesion=0.2, diameter=40.0, spread=0.05)
    layout, labels = next(fields(parameters, count=100, runs=1, size=(900, 1200), shapes=CELLS))
    moments = FieldMoments.from_labels(labels, layout.placed)
    assert moments.diameter == pytest.approx(40, rel=0.03)
    assert moments.spread == pytest.approx(0.05, abs=0.015)


def test_classes_keep_their_relative_size():
    workspace = Workspace(MIXED)
    factors, diameter = shape_sizes(workspace, SmearParameters(adhesion=0), workspace.odds)
    assert (factors == 1).all()
    smear = SmearParameters(adhesion=0, diameter=2 * diameter, spread=0.0)
    factors, doubled = shape_sizes(workspace, smear, workspace.odds)
    assert doubled == pytest.approx(2 * diameter)
    assert factors[[0, 3]] == pytest.approx([2, 2], rel=0.01)  # classes with one shape


def test_one_seed_gives_one_layout_with_any_buffers():
    form = InteractionParameters(overlap=0.2, unevenness=0.5)
    parameters = SmearParameters(adhesion=0.5, form=form)
    first = contact_layout((600, 800), 1500, ellipses([(5, 5)]), parameters=parameters, rng=3)
    workspace = Workspace(ellipses([(5, 5)]))
    for _ in range(2):
        again = contact_layout((600, 800), 1500, workspace, parameters=parameters, rng=np.random.default_rng(3))
        assert np.array_equal(first.x, again.x)
        assert np.array_equal(first.colours, again.colours)
    other = contact_layout((600, 800), 1500, workspace, parameters=parameters, rng=4)
    assert not np.array_equal(first.x, other.x)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("size", "count"), [((1, 1), 5), ((1, 400), 300), ((9, 9), 10), ((120, 150), 10**9), ((40, 60), 0)]
)
@pytest.mark.parametrize("adhesion", [0.0, 1.0])
def test_impossible_densities_end_with_true_counts(size, count, adhesion):
    form = InteractionParameters(overlap=0.1, border=5, unevenness=2, growth=0.1)
    parameters = SmearParameters(adhesion=adhesion, touch=0.2, form=form)
    for layout, _ in fields(parameters, count=count, size=size, runs=2):
        assert layout.requested == count
        assert (layout.placed == count) == (count == 0)


def test_classes_follow_the_mix():
    layout = contact_layout(
        (900, 1400), 150, MIXED, parameters=SmearParameters(adhesion=0.4), mix=(0.5, 0.46, 0.04), rng=5
    )
    assert layout.placed == 150
    assert np.array_equal(layout.classes, MIXED.classes[layout.shape])
    assert 50 < (layout.classes == 0).sum() < 100
    with pytest.raises(OptionError, match="mix"):
        contact_layout((90, 90), 5, MIXED, parameters=SmearParameters(adhesion=0.4), mix=(1, 1, 1), rng=5)


@pytest.mark.timeout(60)
def test_a_dense_field_is_packed_with_little_overlap():
    parameters = SmearParameters(adhesion=0.45, touch=0.2)
    layout, labels = next(fields(parameters, count=280, runs=1, size=(600, 960), shapes=CELLS))
    assert layout.placed >= 270  # placed one by one, at most 230 cells fit
    assert overlap_fraction(layout, CELLS, labels) < 0.02
    assert np.array_equal(labels, paint_labels(layout, CELLS.shapes))
    # Far more cells than fit: the layout ends, with a true count; buffers grow.
    layout, _ = next(fields(parameters, count=900, runs=1, size=(600, 960), shapes=Workspace(CELLS.shapes)))
    assert 250 < layout.placed < 600


def test_each_class_has_its_own_adhesion():
    shapes = Workspace(ellipses([(8, 8), (4, 4)], [0, 1], ("red", "platelet")))

    def touching_by_class(parameters):
        """Fractions of red cells and of platelets that touch another cell."""
        counts = np.zeros((2, 2))
        for seed in range(12):
            layout = contact_layout(SIZE, 60, shapes, parameters=parameters, mix=(0.7, 0.3), rng=seed)
            groups = cluster_sizes(layout.placed, touching_pairs(paint_labels(layout, shapes)))
            counts[0] += np.bincount(layout.classes, minlength=2)
            counts[1] += np.bincount(layout.classes[groups > 1], minlength=2)
        return counts[1] / counts[0]

    same = touching_by_class(SmearParameters(adhesion=0.6, touch=0.9))
    offsets = {"red": 0.5, "platelet": -4.0}
    different = touching_by_class(SmearParameters(adhesion=0.6, touch=0.9, class_adhesion=offsets))
    assert different[1] < 0.5 * same[1]
    assert different[0] > 0.8 * same[0]


def test_the_visible_part_of_a_cell_is_connected():
    parameters = SmearParameters(adhesion=0.9, touch=0.5, form=InteractionParameters(overlap=0.9, depth=0.4))
    overlapping = 0
    for layout, labels in fields(parameters, count=100, runs=8):
        inside = (np.abs(layout.x - 200) < 185) & (np.abs(layout.y - 150) < 135)
        join_fragments(find_overlaps(layout, DISCS, labels), labels)
        for label in np.flatnonzero(inside) + 1:
            assert ndimage.label(labels == label)[1] == 1
        overlapping += overlap_fraction(layout, DISCS, labels) > 0.02
    assert overlapping == 8
