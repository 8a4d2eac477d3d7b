from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smearsynth.annotation.record import CellMark, FieldAnnotation, is_ignored_class, kind_of
from smearsynth.geometry import Box, Outline, PixelMask, Point, RunLengthMask

RING = np.array([[0, 0], [4, 0], [4, 4]], float)


@pytest.mark.parametrize(
    ("shape", "kind", "shows_cells"),
    [
        (Outline((RING,)), "outline", True),
        (PixelMask(np.ones((2, 2), bool)), "mask", True),
        (RunLengthMask((2, 2), b"04"), "mask", True),
        (Box(0, 0, 4, 4), "box", False),
        (Point(1, 1), "point", False),
    ],
)
def test_the_kind_of_a_mark_and_whether_it_shows_a_cell(shape: object, kind: str, shows_cells: bool) -> None:
    assert kind_of(shape) == kind  # type: ignore[arg-type]
    mark = CellMark(shape)  # type: ignore[arg-type]
    assert FieldAnnotation("a", Path("a.json"), (mark,)).shows_cells is shows_cells


def test_names_of_regions_without_annotation() -> None:
    for name in ("ignore", "Ignore*", "VOID", "un-annotated".replace("-", ""), "not_annotated"):
        assert is_ignored_class(name)
    for name in ("rbc", "cell", "ignored cell", ""):
        assert not is_ignored_class(name)
