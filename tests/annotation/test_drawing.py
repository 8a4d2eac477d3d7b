from __future__ import annotations

from pathlib import Path

import numpy as np

from smears import analytic_smear
from smearsynth.annotation.drawing import (
    HIDDEN,
    NO_AREA,
    NO_OUTLINE,
    OUTSIDE,
    WHOLE_FIELD,
    annotation_of,
    draw_annotation,
)
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.geometry import Box, Outline, PixelMask, Point, Shape, fill, transform

SIZE = (20, 30)


def square(x: float, y: float, side: float = 4) -> Outline:
    return Outline((np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float),))


def annotation(*shapes: Shape, ignored: tuple[Shape, ...] = (), relative: bool = False) -> FieldAnnotation:
    marks = tuple(CellMark(shape) for shape in shapes)
    return FieldAnnotation("a", Path("a.json"), marks, ignored, relative=relative)


def test_the_later_cell_is_on_top_and_the_hidden_part_is_kept() -> None:
    drawn = draw_annotation(annotation(square(2, 2), square(4, 4)), SIZE)
    assert np.bincount(drawn.labels.ravel()).tolist() == [600 - 28, 12, 16]
    first, second = drawn.full_outlines
    assert second is None
    assert first is not None
    assert fill(first, SIZE).mask.sum() == 16


def test_cells_without_a_pixel_are_counted_by_reason() -> None:
    thin = Outline((np.array([[5, 5], [9, 5], [5, 5]], float),))
    shapes = (square(2, 2), square(2, 2), square(200, 2), thin, Outline(()), Box(8, 8, 12, 12), Point(1, 1))
    drawn = draw_annotation(annotation(*shapes), SIZE)
    assert drawn.cells.tolist() == [1]
    assert drawn.left_out == {HIDDEN: 1, OUTSIDE: 1, NO_AREA: 2, NO_OUTLINE: 2}
    assert drawn.labels.max() == 1


def test_a_mark_over_the_whole_field_does_not_hide_the_cells() -> None:
    frame = Outline((np.array([[0, 0], [30, 0], [30, 20], [0, 20]], float),))
    drawn = draw_annotation(annotation(square(2, 2), square(10, 2), frame), SIZE)
    assert drawn.left_out == {WHOLE_FIELD: 1}
    assert drawn.cells.tolist() == [0, 1]
    # A large cell that does not reach all borders is a cell.
    large = draw_annotation(annotation(square(0, 0, 20)), SIZE)
    assert large.cells.tolist() == [0]


def test_boxes_beside_outlines_and_ignored_regions_are_ignored_pixels() -> None:
    drawn = draw_annotation(annotation(square(2, 2), Box(8, 8, 12, 12), ignored=(square(20, 10),)), SIZE)
    assert drawn.ignored is not None
    assert drawn.ignored.sum() == 32
    assert drawn.ignored[9, 9]
    assert not drawn.ignored[3, 3]


def test_fractions_are_scaled_to_the_image() -> None:
    shape = transform(square(3, 4, 6), scale=(1 / 30, 1 / 20))
    drawn = draw_annotation(annotation(shape, relative=True), SIZE)
    assert (drawn.labels == draw_annotation(annotation(square(3, 4, 6)), SIZE).labels).all()


def test_labels_and_their_outlines_are_the_same() -> None:
    labels = np.zeros((12, 16), np.int32)
    labels[1:6, 1:6], labels[2:4, 2:4] = 1, 0  # a hole
    labels[8:10, 1:3], labels[8:10, 5:7] = 2, 2  # two pieces
    labels[3:6, 6:12] = 3  # touches cell 1
    smear = analytic_smear()
    smear = type(smear).from_labels(np.zeros((12, 16, 3), np.uint8), labels)
    marks = annotation_of(smear)
    drawn = draw_annotation(marks, (12, 16))
    assert (drawn.labels == labels).all()
    assert [cell.id for cell in marks.cells] == ["1", "2", "3"]
    masked = FieldAnnotation("a", Path("a"), tuple(CellMark(PixelMask(labels == k)) for k in (1, 2, 3)))
    assert (draw_annotation(masked, (12, 16)).labels == labels).all()
