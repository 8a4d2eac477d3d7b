"""Overlaps are divided between both cells, and outlines and layers keep the whole cells."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from layout_reference import ellipses
from smearsynth.geometry import fill
from smearsynth.layout import InteractionParameters, Layout, SmearParameters, Workspace, contact_layout
from smearsynth.layout.overlaps import (
    find_overlaps,
    full_outlines,
    join_fragments,
    overlap_fraction,
    paint_layers,
)
from smearsynth.layout.painting import paint_labels

DISCS = Workspace(ellipses([(12, 12), (8, 6)]))
SIZE = (60, 80)


def cells(*poses, size=SIZE):
    """A layout of cells (shape, x, y), each under the later ones."""
    n = len(poses)
    shape, x, y = np.array(poses, np.int64).reshape(n, 3).T
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.int64)
    plain = Layout(*size, shape, np.zeros(n), np.ones(n), np.zeros(n, bool), x, y, zeros, ones, requested=n)
    return replace(plain, under=np.ones(n, bool))


def mask_of(layout, k):
    one = layout.cut((0, 0, *layout.size), np.arange(layout.placed) == k)
    return paint_labels(replace(one, under=None), DISCS) > 0


def crowded(seed, size=(240, 320), count=60):
    form = InteractionParameters(overlap=0.7, depth=0.3)
    parameters = SmearParameters(adhesion=0.8, touch=0.5, form=form)
    return contact_layout(size, count, DISCS, parameters=parameters, rng=seed)


def test_equal_discs_are_divided_by_a_straight_line_halfway():
    layout = cells((0, 30, 30), (0, 44, 30))
    labels = paint_labels(layout, DISCS)
    both = mask_of(layout, 0) & mask_of(layout, 1)
    rows, columns = np.nonzero(both)
    assert set(labels[rows, columns]) == {1, 2}
    assert columns[labels[rows, columns] == 1].max() <= 37 <= columns[labels[rows, columns] == 2].min()
    assert ((labels > 0) == (mask_of(layout, 0) | mask_of(layout, 1))).all()


def test_the_order_of_the_cells_does_not_matter():
    first, second = (paint_labels(cells(*poses), DISCS) for poses in ([(0, 30, 30), (1, 40, 34)],) * 2)
    swapped = paint_labels(cells((1, 40, 34), (0, 30, 30)), DISCS)
    assert np.array_equal(first, second)
    changed = np.array([0, 2, 1])[swapped] != first
    assert changed.sum() <= 2  # pixels at equal depth


def test_a_line_of_background_follows_the_cut():
    layout = replace(cells((0, 30, 30), (0, 44, 30)), lines=np.array([True, False]))
    labels = paint_labels(layout, DISCS)
    assert not (ndimage.binary_dilation(labels == 1, np.ones((3, 3))) & (labels == 2)).any()
    plain = paint_labels(replace(layout, lines=None), DISCS)
    assert 8 <= (plain > 0).sum() - (labels > 0).sum() <= 40
    assert ((labels == 0) | (labels == plain)).all()


def test_whole_outlines_of_both_cells_are_recorded():
    layout = cells((0, 30, 30), (1, 40, 33), (0, 66, 40))
    labels = paint_labels(layout, DISCS)
    outlines = full_outlines(layout, find_overlaps(layout, DISCS, labels))
    assert outlines[2] is None
    for k in (0, 1):
        whole = np.zeros(SIZE, bool)
        window = fill(outlines[k], SIZE)
        rows, columns = window.mask.shape
        whole[window.y : window.y + rows, window.x : window.x + columns] = window.mask
        assert (whole == mask_of(layout, k)).all()
    apart = cells((0, 15, 30), (0, 60, 30))
    assert full_outlines(apart, find_overlaps(apart, DISCS, labels * 0)) == (None, None)


def test_pairs_are_the_cells_that_share_pixels():
    for seed in range(4):
        layout = crowded(seed)
        masks = [mask_of(layout, k) for k in range(layout.placed)]
        expected = {(i, j) for i in range(len(masks)) for j in range(i) if (masks[i] & masks[j]).any()}
        pairs = {(j, i) for i, j in find_overlaps(layout, DISCS, paint_labels(layout, DISCS)).pairs.tolist()}
        assert len(expected) > 5
        assert pairs == expected


def test_no_cells_of_the_base_layer_overlap_and_no_pixel_is_lost():
    for seed in range(4):
        layout = crowded(seed)
        labels = paint_labels(layout, DISCS)
        layers = paint_layers(find_overlaps(layout, DISCS, labels), labels)
        upper = {cell.label for cell in layers.upper}
        assert upper
        assert not upper & set(np.unique(layers.base))
        for label in np.unique(layers.base)[1:]:
            whole, painted = mask_of(layout, label - 1), layers.base == label
            assert np.array_equal(painted, whole)
        covered = layers.base > 0
        for cell in layers.upper:
            whole = np.zeros((layout.height + 200, layout.width + 200), bool)
            rows, columns = cell.mask.shape
            whole[cell.top + 100 :, cell.left + 100 :][:rows, :columns] = cell.mask
            assert np.array_equal(whole[100:-100, 100:-100], mask_of(layout, cell.label - 1))
            covered |= whole[100:-100, 100:-100]
        assert (covered[labels > 0]).all()


def test_without_overlap_there_is_one_layer():
    layout = replace(cells((0, 15, 30), (0, 60, 30)), under=None)
    labels = paint_labels(layout, DISCS)
    layers = paint_layers(find_overlaps(layout, DISCS, labels), labels)
    assert layers.base is labels
    assert layers.upper == ()


def test_fragments_are_given_to_the_cell_that_divides_them():
    layout = cells((0, 30, 30), (0, 44, 30))
    labels = paint_labels(layout, DISCS)
    labels[28:32, 50:53] = 1  # a piece of the first cell inside the second
    join_fragments(find_overlaps(layout, DISCS, labels), labels)
    assert (labels[28:32, 50:53] == 2).all()
    assert ndimage.label(labels == 1)[1] == 1


@pytest.mark.parametrize(("poses", "expected"), [([(0, 30, 30)], 0.0), ([(0, 30, 30)] * 2, 1.0)])
def test_the_overlap_fraction_counts_hidden_pixels(poses, expected):
    layout = cells(*poses)
    assert overlap_fraction(layout, DISCS, paint_labels(layout, DISCS)) == expected
