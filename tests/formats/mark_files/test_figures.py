from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smearsynth.errors import DataError
from smearsynth.formats.mark_files.figures import (
    Place,
    contains,
    ellipse,
    mask_of_png,
    nested,
    polygons_of,
    rotated_box,
    trimmed,
)
from smearsynth.geometry import Outline, PixelMask, fill

PLACE = Place(Path("a.json"), "shape 3")


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float)


def test_an_ellipse_has_its_area_and_axes() -> None:
    area = fill(ellipse(100, 80, 60, 30), (200, 200)).mask.sum()
    assert area == pytest.approx(math.pi * 60 * 30, rel=0.005)
    assert np.ptp(ellipse(100, 80, 60, 30, 90).rings[0], axis=0) == pytest.approx([60, 120])


def test_the_box_of_a_turned_circle_does_not_grow() -> None:
    assert rotated_box(10, 10, 6, 6, 45) == pytest.approx((7, 7, 13, 13))


def test_rings_are_nested_whatever_their_direction_and_order() -> None:
    rings = [square(4, 4, 2)[::-1], square(0, 0, 10), square(2, 2, 6), square(20, 0, 3)]
    outline = nested(rings)
    assert [ring.min() for ring in outline.rings] == [4, 0, 0]
    assert [hole.min() for hole in outline.holes] == [2]


def test_a_hole_belongs_to_the_polygon_around_it_and_not_to_an_island_in_it() -> None:
    mask = np.zeros((12, 30), bool)
    mask[1:11, 1:11] = True
    mask[3:9, 3:9] = False
    mask[5:7, 5:7] = True
    mask[1:11, 15:25] = True
    by_area = {np.ptp(ring): len(holes) for ring, holes in polygons_of(Outline.of_mask(mask))}
    assert len(polygons_of(Outline.of_mask(mask))) == 3
    assert by_area[2] == 0
    assert sum(len(holes) for _, holes in polygons_of(Outline.of_mask(mask))) == 1


def test_a_concave_polygon_does_not_contain_its_notch() -> None:
    ring = np.array([[0, 0], [6, 0], [6, 6], [3, 1], [0, 6]], float)
    assert contains(ring, 1, 2)
    assert not contains(ring, 3, 4)


def test_pixels_are_trimmed_to_the_image() -> None:
    pixels = trimmed(PixelMask(np.ones((4, 4), bool), -2, 7), (9, 9))
    assert (pixels.x, pixels.y, pixels.mask.shape) == (0, 7, (2, 2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_the_mask_of_a_png_of_every_mode(mode: str) -> None:
    mask = np.eye(4, dtype=bool)
    if mode == "I;16":
        image = Image.fromarray(mask.astype(np.uint16) * 300)
    elif mode in ("RGBA", "LA"):
        image = Image.new(mode, (4, 4), 0)
        image.putalpha(Image.fromarray(mask.astype(np.uint8) * 255))
    elif mode == "P":
        image = Image.fromarray(mask.astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 255, 255, 255])
    else:
        image = Image.fromarray(mask.astype(np.uint8) * 255).convert(mode)
    data = io.BytesIO()
    image.save(data, "PNG")
    assert (mask_of_png(data.getvalue(), PLACE) == mask).all()


def test_a_palette_with_transparency_shows_its_opaque_pixels() -> None:
    image = Image.fromarray(np.eye(3, dtype=np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    data = io.BytesIO()
    image.save(data, "PNG", transparency=0)
    assert (mask_of_png(data.getvalue(), PLACE) == np.eye(3, dtype=bool)).all()


def test_damaged_masks_are_data_errors() -> None:
    with pytest.raises(DataError, match=r"a\.json: shape 3: the mask is not a PNG"):
        mask_of_png(b"\x89PNG\r\n\x1a\n123", PLACE)
