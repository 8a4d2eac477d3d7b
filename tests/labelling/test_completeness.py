from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from smears import analytic_smear
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.geometry import Box, Point
from smearsynth.labelling.completeness import leaves_cells_out
from smearsynth.labelling.sources import ImageSource

DISCS = [(40 + 60 * column, 40 + 60 * row, 19) for row in range(4) for column in range(5)]


def source(root: Path, marked: int, kind: str = "point") -> ImageSource:
    """Write a field of 20 cells, the first of which are marked."""
    path = root / "a.png"
    Image.fromarray(analytic_smear((260, 320), DISCS, noise=4).image).save(path)
    shapes = [Point(x, y) if kind == "point" else Box(x - r, y - r, x + r, y + r) for x, y, r in DISCS[:marked]]
    return ImageSource("a", path, FieldAnnotation("a.png", path, tuple(CellMark(shape) for shape in shapes)))


@pytest.mark.parametrize("kind", ["point", "box"])
@pytest.mark.parametrize(("marked", "expected"), [(0, False), (2, False), (8, True), (15, True), (20, False)])
def test_an_annotation_of_a_part_of_the_cells_is_recognised(
    tmp_path: Path, kind: str, marked: int, expected: bool
) -> None:
    assert leaves_cells_out([source(tmp_path, marked, kind)]) is expected


def test_images_without_annotation_leave_nothing_out(tmp_path: Path) -> None:
    unmarked = ImageSource("a", source(tmp_path, 0).path)
    assert leaves_cells_out([unmarked]) is False
    assert leaves_cells_out([]) is False
