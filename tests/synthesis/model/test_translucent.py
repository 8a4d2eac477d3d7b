"""Translucent cells: the transmittance of an overlap is the product of those of its cells."""

from __future__ import annotations

import numpy as np
import pytest

from smears import disc_mask
from smearsynth.layout.overlaps import Layers, UpperCell
from smearsynth.smear import ImageArray, LabelArray
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.model.translucent import add_upper_cells

SHAPE = (80, 100)
BACKGROUND = np.array([200, 190, 210])
LOWER, UPPER = np.array([0.8, 0.6, 0.7]), np.array([0.9, 0.5, 0.8])  # transmittances
LOWER_DISC, UPPER_DISC = (40, 40, 15), (58, 40, 15)


def painted(labels: LabelArray, transmittance: np.ndarray) -> ImageArray:
    """Return an image of cells of one transmittance."""
    image = np.where(labels[..., None] > 0, BACKGROUND * transmittance, BACKGROUND)
    return np.rint(image).astype(np.uint8)


def upper_cell(disc: tuple[int, int, int], label: int = 2) -> UpperCell:
    x, y, radius = disc
    side = 2 * radius + 1
    return UpperCell(label, y - radius, x - radius, disc_mask((side, side), (radius, radius, radius)))


def layers_of(*discs: tuple[int, int, int]) -> Layers:
    base = disc_mask(SHAPE, LOWER_DISC).astype(np.int32)
    return Layers(base, tuple(upper_cell(disc, k) for k, disc in enumerate(discs, 2)))


def join(layers: Layers, visibility: float = 1.0) -> tuple[ImageArray, ImageArray]:
    """Return the image of the base layer and that with the upper cells."""
    base = painted(layers.base, LOWER)
    return base, add_upper_cells(base, layers, lambda labels, label: painted(labels, UPPER), visibility)


def test_the_transmittance_of_an_overlap_is_the_product():
    _, image = join(layers_of(UPPER_DISC))
    np.testing.assert_allclose(image[40, 49], BACKGROUND * LOWER * UPPER, atol=1.5)
    np.testing.assert_allclose(image[40, 30], BACKGROUND * LOWER, atol=1)
    np.testing.assert_allclose(image[40, 66], BACKGROUND * UPPER, atol=1.5)
    # Both outlines are visible: the overlap is darker than either cell.
    assert image[40, 49].sum() < min(image[40, 30].sum(), image[40, 66].sum())


def test_three_cells_lie_on_each_other():
    _, image = join(layers_of(UPPER_DISC, (49, 46, 15)))
    np.testing.assert_allclose(image[42, 49], BACKGROUND * LOWER * UPPER**2, atol=2)


def test_only_the_upper_cell_and_its_halo_change():
    base, image = join(layers_of(UPPER_DISC))
    changed = (base != image).any(axis=2)
    assert changed[disc_mask(SHAPE, (58, 40, 13))].all()
    assert not changed[~disc_mask(SHAPE, (58, 40, 15 + 8))].any()


def test_the_result_does_not_depend_on_which_cell_is_above():
    _, one = join(layers_of(UPPER_DISC))
    swapped = Layers((disc_mask(SHAPE, UPPER_DISC) * 2).astype(np.int32), (upper_cell(LOWER_DISC, 1),))
    base = painted(swapped.base, UPPER)
    other = add_upper_cells(base, swapped, lambda labels, label: painted(labels, LOWER))
    interior = disc_mask(SHAPE, (49, 40, 4))
    np.testing.assert_allclose(one[interior].astype(float), other[interior], atol=2)


@pytest.mark.parametrize("disc", [(2, 40, 15), (97, 3, 15), (99, 79, 15), (50, -6, 15)])
def test_upper_cells_may_be_cut_by_the_border(disc):
    base, image = join(layers_of(disc))
    assert image.shape == base.shape
    visible = disc_mask(SHAPE, (disc[0], disc[1], 12)) & ~disc_mask(SHAPE, (40, 40, 22))
    assert visible.any()
    np.testing.assert_allclose(image[visible], np.tile(BACKGROUND * UPPER, (visible.sum(), 1)), atol=2)


def test_without_upper_cells_the_image_stays():
    base, image = join(layers_of())
    assert image is base


def test_lower_visibility_hides_the_lower_cell_in_the_overlap_only():
    _, full = join(layers_of(UPPER_DISC))
    _, half = join(layers_of(UPPER_DISC), 0.5)
    _, none = join(layers_of(UPPER_DISC), 0.0)
    np.testing.assert_allclose(none[40, 49], BACKGROUND * UPPER, atol=2)
    np.testing.assert_allclose(half[40, 49], BACKGROUND * UPPER * LOWER**0.5, atol=2)
    assert full[40, 49].sum() < half[40, 49].sum() < none[40, 49].sum()
    for image in (half, none):
        np.testing.assert_allclose(image[40, 30], full[40, 30], atol=1)


def test_the_window_has_room_for_the_halo_and_the_label_of_the_cell():
    windows: list[tuple[tuple[int, ...], int]] = []

    def paint(labels: LabelArray, label: int) -> ImageArray:
        windows.append((labels.shape, label))
        assert set(np.unique(labels)) == {0, 1}
        assert not labels[:16].any()
        assert not labels[:, -16:].any()
        return painted(labels, UPPER)

    layers = layers_of(UPPER_DISC, (20, 20, 9))
    add_upper_cells(painted(layers.base, LOWER), layers, paint)
    assert [label for _, label in windows] == [2, 3]
    assert all(side % 8 == 0 for shape, _ in windows for side in shape)


def test_a_black_field_has_no_transmittance_but_an_image():
    layers = layers_of(UPPER_DISC)
    image = add_upper_cells(np.zeros((*SHAPE, 3), np.uint8), layers, lambda labels, label: painted(labels, UPPER))
    assert image.shape == (*SHAPE, 3)


def test_a_synthesizer_paints_layers(tiny: Synthesizer):
    layers = layers_of(UPPER_DISC)
    labels = layers.base.copy()
    labels[disc_mask(SHAPE, UPPER_DISC) & (labels == 0)] = 2
    styles = tiny.styles.draw(np.array([0, 0]), np.random.default_rng(0))
    flat = tiny.paint(labels, np.array([0, 0]), 3, styles=styles)
    image = tiny.paint(labels, np.array([0, 0]), 3, styles=styles, layers=layers)
    assert (image == tiny.paint(labels, np.array([0, 0]), 3, styles=styles, layers=layers)).all()
    assert (image != flat).any()
    # Layers without upper cells are the labels themselves.
    assert (tiny.paint(labels, np.array([0, 0]), 3, styles=styles, layers=Layers(labels, ())) == flat).all()
