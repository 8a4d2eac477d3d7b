"""Drawing of annotated outlines and masks as instance labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.geometry import Box, Outline, PixelMask, Point, RunLengthMask, Shape, bounds, fill, transform
from smearsynth.smear import LabelArray, Mask, Smear

# A cell that fills more of the field and reaches all its borders is a frame of the field or the background.
_MAX_COVERAGE = 0.9
OUTSIDE = "cells outside the image"
HIDDEN = "cells completely hidden under later cells"
NO_AREA = "cells without area"
WHOLE_FIELD = "annotations that cover the whole field"
NO_OUTLINE = "boxes and points without an outline"


class DrawnAnnotation(NamedTuple):
    """Instance labels of an annotation.

    Parameters
    ----------
    labels : (H, W) int32 array
        0 is background, 1..n are the cells.
    cells : (n,) int64 array
        Index in ``annotation.cells`` of each label.
    full_outlines : list of Outline or None
        Outline with the hidden part, of each cell that another one covers in part.
    ignored : (H, W) bool array or None
        Pixels without annotation.
    left_out : Counter of str
        Number of cells that have no label, by reason.
    """

    labels: LabelArray
    cells: npt.NDArray[np.int64]
    full_outlines: list[Outline | None]
    ignored: Mask | None
    left_out: Counter[str]


def draw_annotation(annotation: FieldAnnotation, size: tuple[int, int]) -> DrawnAnnotation:
    """Draw the outlines and masks of an image; where they overlap, the later one is on top.

    Boxes and points show no outline: the area of a box becomes ignored, because the cell in it is not labelled.

    Parameters
    ----------
    annotation : FieldAnnotation
    size : tuple of int
        (H, W) of the image, px.

    Returns
    -------
    DrawnAnnotation

    Examples
    --------
    >>> square = Outline((np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float),))
    >>> marks = tuple(CellMark(transform(square, offset=(x, 0))) for x in (0, 1, 50))
    >>> drawn = draw_annotation(FieldAnnotation("a", Path("a.json"), marks), (3, 4))
    >>> drawn.labels.tolist(), drawn.full_outlines[0] is not None, dict(drawn.left_out)
    ([[1, 2, 2, 0], [1, 2, 2, 0], [0, 0, 0, 0]], True, {'cells outside the image': 1})
    """
    labels = np.zeros(size, np.int32)
    left_out: Counter[str] = Counter()
    ignored = _union([scaled(shape, annotation, size) for shape in annotation.ignored], size)
    drawn: list[tuple[int, Shape, float]] = []  # index of the cell, its shape, its area
    boxes: list[Shape] = []
    for index, cell in enumerate(annotation.cells):
        shape = scaled(cell.shape, annotation, size)
        if isinstance(shape, (Box, Point)):
            left_out[NO_OUTLINE] += 1
            boxes += [shape] if isinstance(shape, Box) else []
            continue
        visible_part = shape if cell.visible is None else scaled(cell.visible, annotation, size)
        pixels = fill(visible_part, size)
        reason = _reason_to_leave_out(shape, pixels, size) if _is_suspicious(pixels, size) else None
        if reason is not None:
            left_out[reason] += 1
            continue
        # A cell with a visible part has a hidden one; of the others this is known when all cells are drawn.
        area = np.inf if cell.visible is not None else int(pixels.mask.sum())
        drawn.append((index, shape, area))
        _window(labels, pixels)[pixels.mask] = len(drawn)
    if boxes:
        without_outline = _union(boxes, size)
        ignored = without_outline if ignored is None else ignored | without_outline  # type: ignore[operator]
    visible = np.bincount(labels.ravel(), minlength=len(drawn) + 1)[1:]
    left_out[HIDDEN] += int((visible == 0).sum())
    present = np.flatnonzero(visible)
    renumbered = np.zeros(len(drawn) + 1, np.int32)
    renumbered[present + 1] = np.arange(1, len(present) + 1)
    outlines = [_as_outline(drawn[k][1]) if visible[k] < drawn[k][2] else None for k in present]
    cells = np.array([drawn[k][0] for k in present], np.int64)
    return DrawnAnnotation(renumbered[labels], cells, outlines, ignored, +left_out)


def annotation_of(smear: Smear) -> FieldAnnotation:
    """Return the outlines of the cells of a smear, traced along the pixel edges.

    Examples
    --------
    >>> labels = np.zeros((6, 8), np.int32)
    >>> labels[1:3, 2:5] = 1
    >>> annotation = annotation_of(Smear(np.zeros((6, 8, 3), np.uint8), labels, np.array([0])))
    >>> annotation.cells[0].class_name, annotation.cells[0].shape.rings[0].tolist()
    ('cell', [[5.0, 1.0], [5.0, 3.0], [2.0, 3.0], [2.0, 1.0]])
    """
    cells = []
    for k, (x0, y0, x1, y1) in enumerate(smear.boxes().tolist(), 1):
        visible = Outline.of_mask(smear.labels[y0:y1, x0:x1] == k, (x0, y0))
        full = None if smear.full_outlines is None else smear.full_outlines[k - 1]
        name = smear.class_names[smear.classes[k - 1]]
        cells.append(CellMark(full or visible, name, str(k), visible=None if full is None else visible))
    ignored = () if smear.ignored is None else (PixelMask(smear.ignored),)
    return FieldAnnotation(
        smear.name, Path(smear.name), tuple(cells), ignored, smear.shape, um_per_px=smear.um_per_px
    )


def scaled(shape: Shape, annotation: FieldAnnotation, size: tuple[int, int]) -> Shape:
    """Return a shape in px: fractions of the image size are multiplied by the size (H, W)."""
    return transform(shape, scale=(size[1], size[0])) if annotation.relative else shape


def _is_suspicious(pixels: PixelMask, size: tuple[int, int]) -> bool:
    """Test whether a shape has no pixel, or is nearly as large as the field."""
    return not pixels.mask.any() or pixels.mask.size > _MAX_COVERAGE * size[0] * size[1]


def _reason_to_leave_out(shape: Shape, pixels: PixelMask, size: tuple[int, int]) -> str | None:
    height, width = size
    if not pixels.mask.any():
        x0, y0, x1, y1 = bounds(shape)
        return NO_AREA if x1 >= 0 and y1 >= 0 and x0 <= width and y0 <= height else OUTSIDE
    coverage = pixels.mask.sum() / (height * width)
    return WHOLE_FIELD if pixels.mask.shape == size and coverage > _MAX_COVERAGE else None


def _window(array: npt.NDArray[np.generic], pixels: PixelMask) -> npt.NDArray[np.generic]:
    rows, columns = pixels.mask.shape
    return array[pixels.y : pixels.y + rows, pixels.x : pixels.x + columns]


def _union(shapes: list[Shape], size: tuple[int, int]) -> Mask | None:
    if not shapes:
        return None
    union = np.zeros(size, bool)
    for shape in shapes:
        pixels = fill(shape, size)
        _window(union, pixels)[pixels.mask] = True
    return union


def _as_outline(shape: Shape) -> Outline | None:
    if isinstance(shape, RunLengthMask):
        shape = shape.pixels
    if isinstance(shape, PixelMask):
        return Outline.of_mask(shape.mask, (shape.x, shape.y))
    return shape if isinstance(shape, Outline) else None
