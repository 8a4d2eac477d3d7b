from __future__ import annotations

import numpy as np
import pytest

from smearsynth.errors import OptionError
from smearsynth.formats.mark_files.box_writing import box_inside, check_class_names, joined_polygon, outline_inside
from smearsynth.geometry import Box, Outline, PixelMask, bounds, fill

SIZE = (40, 50)


def full(shape: Outline) -> np.ndarray:
    pixels = fill(shape, SIZE)
    mask = np.zeros(SIZE, bool)
    height, width = pixels.mask.shape
    mask[pixels.y : pixels.y + height, pixels.x : pixels.x + width] = pixels.mask
    return mask


def test_joined_parts_cover_the_same_pixels() -> None:
    mask = np.zeros(SIZE, bool)
    mask[3:9, 4:12] = mask[15:22, 20:31] = mask[30:34, 8:11] = mask[30:38, 40:48] = True
    ring = joined_polygon(Outline.of_mask(mask).rings)
    joined = full(Outline((ring,)))
    assert joined[mask].all()
    # A bridge without width covers no more than a line of pixels.
    assert (joined & ~mask).sum() <= 3 * 50
    x, y = ring.T
    assert abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 == mask.sum()


def test_shapes_that_reach_over_the_border_are_cut_there() -> None:
    triangle = Outline((np.array([[-10, 5], [20, 5], [20, 60]], float),))
    inside = outline_inside(triangle, SIZE)
    assert inside is not None
    assert (full(inside) == full(triangle)).all()
    box = bounds(inside)
    assert box.x0 >= 0
    assert box.y1 <= SIZE[0]
    assert box_inside(triangle, SIZE) == Box(0, 5, 20, 40)
    outside = Outline((triangle.rings[0] + 100,))
    assert outline_inside(outside, SIZE) is None
    assert box_inside(outside, SIZE) is None


def test_an_outline_inside_keeps_its_corners() -> None:
    triangle = Outline((np.array([[1.25, 5], [20, 5], [20, 30]], float),))
    assert outline_inside(triangle, SIZE) is triangle
    pixels = PixelMask(np.ones((3, 4), bool), 47, 0)
    inside = outline_inside(pixels, SIZE)
    assert inside is not None
    assert bounds(inside) == Box(47, 0, 50, 3)


@pytest.mark.parametrize("name", ["red\ncell", " red", "red\t"])
def test_class_names_of_one_line(name: str) -> None:
    with pytest.raises(OptionError, match="printable"):
        check_class_names(["white", name])
