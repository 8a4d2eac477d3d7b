"""Annotated cells that formats get wrong: touching, with holes, of two parts, overlapping; and damaged files."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smears import disc_mask
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Box, Outline, PixelMask, Point, Shape, fill

SIZE = (48, 64)
CLASSES = ("red", "white cell", "plättchen")
Mask = npt.NDArray[np.bool_]


def cell_masks() -> list[Mask]:
    """Return full masks in order: a disc, one that covers it in part, a ring, two parts and a touching one."""
    ring = disc_mask(SIZE, (50, 14, 10)) & ~disc_mask(SIZE, (50, 14, 4)) & ~disc_mask(SIZE, (50, 7, 1))
    parts = disc_mask(SIZE, (8, 36, 5)) | disc_mask(SIZE, (24, 38, 6))
    touching = np.zeros(SIZE, bool)
    touching[30:44, 31:40] = True
    return [disc_mask(SIZE, (12, 12, 9)), disc_mask(SIZE, (22, 14, 9)), ring, parts, touching]


def ignored_mask() -> Mask:
    """Return an ignored region with a hole, at the border."""
    region = np.zeros(SIZE, bool)
    region[26:, 44:] = True
    region[30:34, 50:54] = False
    return region


def field(name: str = "a") -> FieldAnnotation:
    """Return the outlines of `cell_masks`, and the ignored region."""
    cells = [CellMark(Outline.of_mask(mask), CLASSES[k % 3], str(k)) for k, mask in enumerate(cell_masks())]
    return FieldAnnotation(name, Path(name), tuple(cells), (PixelMask(ignored_mask()),), SIZE)


def pixels(shape: Shape) -> Mask:
    """Return the mask of a shape in the whole image."""
    window = fill(shape, SIZE)
    mask = np.zeros(SIZE, bool)
    mask[window.y : window.y + window.mask.shape[0], window.x : window.x + window.mask.shape[1]] = window.mask
    return mask


def write(writer: MarkWriter, *annotations: FieldAnnotation) -> None:
    """Write annotations of grey images and finish."""
    with writer:
        for annotation in annotations:
            writer.write_marks(annotation.image, np.full((*SIZE, 3), 200, np.uint8), annotation)


def read(format: MarkFormat, root: Path) -> AnnotationFiles:
    """Find and load."""
    return format.load(root, format.find(root))


def check_round_trip(format: MarkFormat, writer: type[MarkWriter], folder: Path) -> None:
    """Write the difficult cells, and compare what is read pixel by pixel."""
    with writer(folder, CLASSES) as opened:
        write(opened, field("b"), field("a"))
        assert not +opened.lost
        assert opened.is_written("a")
        assert not opened.is_written("c")
    content = read(format, folder)
    assert [Path(image.image).stem for image in content.fields] == ["a", "b"]
    assert content.class_names == CLASSES
    for image in content.fields:
        assert [cell.class_name for cell in image.cells] == [CLASSES[k % 3] for k in range(5)]
        for cell, mask in zip(image.cells, cell_masks(), strict=True):
            assert (pixels(cell.shape) == mask).all()
        assert (np.any([pixels(shape) for shape in image.ignored], axis=0) == ignored_mask()).all()
        assert not image.left_out


def check_boxes_and_points(format: MarkFormat, writer: type[MarkWriter], folder: Path) -> None:
    """Write and read a box and a point."""
    cells = CellMark(Box(3.5, 4, 9, 12.25), "red"), CellMark(Point(20.5, 7.25), "red")
    write(writer(folder, CLASSES), FieldAnnotation("a", Path("a"), cells))
    assert [cell.shape for cell in read(format, folder).fields[0].cells] == [cell.shape for cell in cells]


def damaged(content: Any) -> Iterator[Any]:
    """Yield copies of a JSON content, each with one value replaced by a wrong one."""
    wrong = (None, "x", "", float("nan"), float("inf"), -1, 1e300, 10**400, True, [], {}, [[]], {"a": [None]})
    for path in list(_paths(content)):
        for value in wrong:
            changed = copy.deepcopy(content)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
            yield changed


def _paths(content: Any) -> Iterator[tuple[Any, ...]]:
    items = (
        content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield (key,)
        yield from ((key, *rest) for rest in _paths(value))
