"""Painted pixels are those of the layout, and their areas are those of the geometry."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.path import Path

from layout_reference import ellipses
from smearsynth.errors import DataError, OptionError
from smearsynth.layout import (
    InteractionParameters,
    Layout,
    SmearParameters,
    Workspace,
    contact_layout,
    ring_layout,
    uniform_layout,
)
from smearsynth.layout.painting import (
    PALETTE,
    paint_colours,
    paint_labels,
    paint_window,
)

DISCS = ellipses([(7, 7), (8, 6)])
SIZES = ellipses([(4, 4), (23, 20), (70, 40), (130, 120)])


def one_cell(size, shape, x, y, angle=0.0, scale=1.0, mirrored=False):
    ints = [np.array([value], np.int64) for value in (shape, x, y, 0, 1)]
    pose = np.array([angle]), np.array([scale]), np.array([mirrored])
    return Layout(*size, ints[0], *pose, *ints[1:], requested=1)


@pytest.mark.parametrize("shape", range(4))
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_areas_are_those_of_the_ellipse(shape, angle):
    semi_axes = np.ptp(SIZES.contours[shape], axis=0) / 2
    labels = paint_labels(one_cell((400, 400), shape, 200, 200, angle, 1.1), SIZES)
    assert (labels > 0).sum() == pytest.approx(np.pi * semi_axes.prod() * 1.21, rel=0.02, abs=4)
    ys, xs = np.nonzero(labels)
    assert abs(xs.mean() - 200) < 0.6
    assert abs(ys.mean() - 200) < 0.6


@pytest.mark.parametrize("mirrored", [False, True])
def test_pixels_are_those_whose_centre_lies_inside(mirrored):
    rng = np.random.default_rng(4)
    lobes = 1 + 0.35 * np.cos(3 * np.linspace(0, 2 * np.pi, 64, endpoint=False) + 0.3)
    shapes = ellipses([(40, 25)])
    shapes.contours[0] *= lobes[:, None].astype(np.float32)
    for _ in range(10):
        angle, scale = rng.uniform(0, 7), rng.uniform(0.3, 2)
        labels = paint_labels(one_cell((220, 240), 0, 118, 107, angle, scale, mirrored), shapes)
        points = shapes.contours[0].astype(np.float64) * (-1 if mirrored else 1, 1) * scale
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        ys, xs = np.mgrid[:220, :240]
        inside = Path(points @ rotation.T + (118, 107)).contains_points(np.stack([xs.ravel(), ys.ravel()], 1))
        assert ((labels > 0) != inside.reshape(labels.shape)).sum() == 0


def test_a_cell_across_the_border_is_cut_there():
    whole = paint_labels(one_cell((300, 300), 2, 150, 150, 0.7), SIZES)
    for x, y in ((0, 0), (99, 50), (-30, 40), (64, 79)):
        cut = paint_labels(one_cell((80, 100), 2, x, y, 0.7), SIZES)
        assert np.array_equal(cut, whole[150 - y : 230 - y, 150 - x : 250 - x])
    assert not paint_labels(one_cell((80, 100), 2, 900, 40), SIZES).any()


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_painted_pixels_are_those_that_the_layout_tested(dtype):
    workspace = Workspace(SIZES)
    layout = ring_layout((500, 700), 90, workspace, cell_size=46, rng=3)
    from_rasters = paint_labels(layout, workspace, dtype=dtype)
    from_contours = paint_labels(layout, SIZES, dtype=dtype)
    assert from_rasters.dtype == dtype
    assert np.array_equal(from_rasters, from_contours)
    # Without overlap every cell has all its pixels.
    areas = np.bincount(from_rasters.ravel())[1:]
    full_areas = [
        (paint_labels(one_cell(layout.size, *pose), SIZES) > 0).sum()
        for pose in zip(layout.shape, layout.x, layout.y, layout.angle, layout.scale, layout.mirrored, strict=True)
    ]
    assert areas.tolist() == full_areas
    assert min(full_areas) > 0
    # Another layout overwrites the rasters of the workspace.
    ring_layout((50, 60), 5, workspace, cell_size=46, rng=4)
    assert np.array_equal(paint_labels(layout, workspace, dtype=dtype), from_contours)


def test_painting_into_an_existing_array():
    layout = uniform_layout((90, 120), 12, DISCS, rng=1)
    out = np.full((90, 120), 77, np.uint16)
    assert paint_labels(layout, DISCS, out) is out
    assert set(np.unique(out)) == set(range(13))
    strided = np.full((90, 240), 77, np.int32)[:, ::2]
    assert np.array_equal(paint_labels(layout, DISCS, strided), out)
    with pytest.raises(OptionError, match="shape"):
        paint_labels(layout, DISCS, np.zeros((120, 90), np.uint16))
    with pytest.raises(OptionError, match="dtype"):
        paint_labels(layout, DISCS, dtype=np.uint8)
    with pytest.raises(DataError, match="give the library that the layout was drawn from"):
        paint_labels(uniform_layout((90, 120), 12, SIZES, rng=1), ellipses([(3, 3)]))


def test_uint16_labels_end_at_65535():
    small = ellipses([(1.2, 1.2)])
    layout = uniform_layout((900, 900), 66_000, small, rng=1)
    assert layout.placed == 66_000
    with pytest.raises(OptionError, match="int32"):
        paint_labels(layout, small, dtype=np.uint16)
    assert paint_labels(layout, small).max() == 66_000


def test_tiles_painted_in_parallel_are_the_whole_canvas():
    size, workspace = (300, 400), Workspace(DISCS)
    form = InteractionParameters(overlap=0.6, depth=0.3)
    layout = contact_layout(
        size, 90, workspace, parameters=SmearParameters(adhesion=0.8, touch=0.5, form=form), rng=5
    )
    assert layout.lines is not None
    whole = paint_labels(layout, Workspace(DISCS))
    windows = [(y, x, min(70, 300 - y), min(90, 400 - x)) for y in range(0, 300, 70) for x in range(0, 400, 90)]

    def paint(window):
        return paint_window(layout, Workspace(DISCS), window)

    with ThreadPoolExecutor(4) as pool:
        for (y, x, height, width), tile in zip(windows, pool.map(paint, windows), strict=True):
            np.testing.assert_array_equal(tile, whole[y : y + height, x : x + width])
    with pytest.raises(OptionError, match="window"):
        paint_window(layout, workspace, (250, 0, 70, 90))


def test_colours_are_those_of_the_layout():
    layout = ring_layout((120, 160), 40, DISCS, cell_size=14, rng=1)
    labels, image = paint_labels(layout, DISCS), paint_colours(layout, DISCS)
    assert image.dtype == np.uint8
    assert np.array_equal(image[labels == 0], np.zeros_like(image[labels == 0]))
    for k in range(layout.placed):
        assert (image[labels == k + 1] == PALETTE[layout.colours[k]]).all()
    with pytest.raises(OptionError, match="palette"):
        paint_colours(layout, DISCS, PALETTE[:2])


def test_the_palette_is_distinguishable():
    assert not PALETTE[0].any()
    distances = np.linalg.norm(PALETTE[:, None].astype(float) - PALETTE[None], axis=2)
    assert len(PALETTE) > 8
    assert (distances + 999 * np.eye(len(PALETTE))).min() > 60
