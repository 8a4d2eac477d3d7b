from __future__ import annotations

import faster_coco_eval.core.mask as rle_masks
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from smearsynth.geometry import (
    Box,
    Outline,
    PixelMask,
    Point,
    RunLengthMask,
    bounds,
    fill,
    ring_area,
    trace_outlines,
    transform,
)


def test_a_hole_has_a_negative_area() -> None:
    mask = np.ones((5, 6), bool)
    mask[2:4, 1:4] = False
    outer, hole = sorted(trace_outlines(mask), key=ring_area, reverse=True)
    assert (ring_area(outer), ring_area(hole)) == (30, -6)
    assert sorted(map(tuple, hole.tolist())) == [(1, 2), (1, 4), (4, 2), (4, 4)]


def test_pixels_that_meet_at_a_corner_have_separate_rings() -> None:
    rings = trace_outlines(np.array([[True, False], [False, True]]))
    assert [ring_area(ring) for ring in rings] == [1, 1]


def test_an_empty_mask_has_no_outline() -> None:
    assert trace_outlines(np.zeros((3, 4), bool)) == []


@pytest.mark.parametrize("seed", range(5))
def test_rings_of_random_masks_enclose_exactly_their_pixels(seed: int) -> None:
    mask = np.random.default_rng(seed).random((20, 30)) < 0.6
    rings = trace_outlines(mask)
    assert sum(ring_area(ring) for ring in rings) == mask.sum()
    assert sum(ring_area(ring) > 0 for ring in rings) == ndimage.label(mask)[1]
    # Even-odd filling at 8 times the size, sampled at pixel centres.
    filled = np.zeros((160, 240), bool)
    for ring in rings:
        canvas = Image.new("1", (240, 160))
        ImageDraw.Draw(canvas).polygon([tuple(corner) for corner in (8 * ring).tolist()], fill=1)
        filled ^= np.asarray(canvas)
    assert (filled[4::8, 4::8] == mask).all()


def test_filling_a_traced_outline_restores_islands_in_holes() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:11, 1:11], mask[2:10, 2:10], mask[4:8, 4:8], mask[5:7, 5:7] = True, False, True, False
    window = fill(Outline.of_mask(mask, (3, 2)), (20, 20))
    assert (window.x, window.y) == (4, 3)
    assert (window.mask == mask[1:11, 1:11]).all()


def test_shapes_are_clipped_at_the_image() -> None:
    assert fill(Box(-3, -3, 2, 2), (5, 5)).mask.sum() == 4
    assert fill(Point(1.9, 0.2), (5, 5)).mask.tolist() == [[True]]
    assert fill(Point(7, 2), (5, 5)).mask.size == 0
    huge = Outline((np.array([[-1e9, 1], [2e9, 1], [2e9, 3], [-1e9, 3]], float),))
    assert fill(huge, (5, 5)).mask.sum() == 10
    assert fill(PixelMask(np.ones((3, 3), bool), 4, -1), (5, 5)).mask.shape == (2, 1)


def test_run_lengths_are_the_pixels_of_the_mask() -> None:
    mask = np.zeros((6, 7), np.uint8, order="F")
    mask[2:5, 3:6] = 1
    rle = RunLengthMask((6, 7), rle_masks.encode(mask)["counts"])
    assert bounds(rle) == (3, 2, 6, 5)
    assert fill(rle, (6, 7)).mask.all()
    moved = transform(rle, offset=(1, 0))
    assert isinstance(moved, PixelMask)
    assert (moved.x, moved.y) == (4, 2)
    scaled = transform(rle, scale=(2, 2))
    assert isinstance(scaled, Outline)
    assert fill(scaled, (12, 14)).mask.sum() == 36
