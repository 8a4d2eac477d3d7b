from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from smearsynth.formats.outlines import ring_area, trace_outlines


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
