"""The layout record and the parameters of all layouts."""

from __future__ import annotations

import numpy as np
import pytest

from layout_reference import ellipses
from smearsynth.errors import DataError, OptionError
from smearsynth.layout import Layout, ring_layout, uniform_layout
from smearsynth.layout.painting import paint_labels
from smearsynth.shapes import ShapeAugmentation

MIXED = ellipses([(4, 3.5), (23, 21), (24, 22), (125, 118)], [0, 1, 1, 2], ("platelet", "red", "white"))


DISCS = ellipses([(7, 7), (8, 6)])


def test_sizes_from_platelets_to_white_cells_by_the_mix():
    laid = ring_layout((900, 1400), 150, MIXED, cell_size=46, mix=(0.5, 0.46, 0.04), rng=5)
    labels = paint_labels(laid, MIXED)
    areas = np.bincount(labels.ravel(), minlength=laid.placed + 1)[1:]
    assert laid.placed == 150
    assert areas.min() > 0
    whole = (np.abs(laid.x - 700) < 560) & (np.abs(laid.y - 450) < 310)
    axes = np.ptp(MIXED.contours[laid.shape], axis=1) / 2
    expected = np.pi * axes.prod(1) * laid.scale**2
    assert np.allclose(areas[whole], expected[whole], rtol=0.1, atol=4)
    assert np.array_equal(laid.classes, MIXED.classes[laid.shape])
    counts = np.bincount(
        np.concatenate(
            [uniform_layout((900, 1400), 60, MIXED, mix=(0.5, 0.46, 0.04), rng=k).classes for k in range(20)]
        ),
        minlength=3,
    )
    assert np.abs(counts / 1200 - (0.5, 0.46, 0.04)).max() < 0.06


def test_shapes_and_classes_are_as_frequent_as_in_the_library():
    shapes = uniform_layout((3000, 3000), 4000, ellipses([(4, 4)] * 4, [0, 1, 1, 1], ("a", "b")), rng=1)
    assert np.abs(np.bincount(shapes.shape) / 4000 - 0.25).max() < 0.03


def test_poses_follow_the_augmentation():
    still = ShapeAugmentation(rotation=0, scale=0, flip_horizontal=0, flip_vertical=0)
    laid = uniform_layout((300, 300), 30, DISCS, augmentation=still, rng=1)
    assert not laid.angle.any()
    assert not laid.mirrored.any()
    assert (laid.scale == 1).all()
    always = ShapeAugmentation(rotation=0, scale=1, scale_range=(0.5, 0.7), flip_horizontal=0, flip_vertical=1)
    laid = uniform_layout((300, 300), 200, DISCS, augmentation=always, rng=1)
    assert laid.mirrored.all()
    assert np.allclose(laid.angle, np.pi)
    assert 0.5 <= laid.scale.min() < 0.53
    assert 0.67 < laid.scale.max() <= 0.7


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"count": -1}, "count is -1"),
        ({"count": 2.5}, "count is 2.5"),
        ({"size": (0, 10)}, "canvas"),
        ({"size": (10.5, 10)}, "canvas"),
        ({"size": (1 << 20, 1 << 20)}, "canvas"),
        ({"cell_size": 0.0}, "cell_size"),
        ({"cell_size": float("nan")}, "cell_size"),
        ({"n_init": 0}, "n_init"),
        ({"n_colours": 0}, "n_colours"),
        ({"n_colours": 63}, "n_colours"),
        ({"mix": (0.5, 0.5)}, "mix"),
        ({"mix": (0.7,)}, "mix"),
        ({"augmentation": ShapeAugmentation(scale_range=(1, 1000))}, "scale_range"),
    ],
)
def test_absurd_options_are_named(change, named):
    options = {"size": (60, 80), "count": 3, "shapes": DISCS, "cell_size": 14.0, "rng": 1} | change
    with pytest.raises(OptionError, match=named):
        ring_layout(**options)


def test_a_layout_of_unlike_columns_is_refused():
    columns = [np.zeros(1, np.int64)] * 3
    with pytest.raises(DataError, match="different lengths"):
        Layout(9, 9, np.zeros(2, np.int64), *[np.zeros(1)] * 2, np.zeros(1, bool), *columns, columns[0], 1)
