"""Preparation of cells for formats that hold boxes or single polygons, and the count of what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import OptionError
from smearsynth.formats.mark_files.figures import outline_of, trimmed
from smearsynth.geometry import Box, Outline, PixelMask, Ring, Shape, bounds

HIDDEN_ORDER = "visible parts of overlapping cells"
OUTSIDE = "cells outside the image"
HOLES = "holes in cells"


def check_class_names(class_names: Sequence[str]) -> None:
    """Raise an `OptionError` for a class name that a text file cannot hold, such as one with a line break.

    Examples
    --------
    >>> check_class_names(["red blood cell"])
    """
    for name in class_names:
        if not name.isprintable() or name != name.strip():
            raise OptionError(f"class name {name!r}: use printable characters, without a space at the ends")


def count_lost(lost: Counter[str], annotation: FieldAnnotation, *, outlines: bool) -> None:
    """Count what a format of boxes or polygons cannot hold of an image.

    Parameters
    ----------
    lost : Counter of str
        Changed in place.
    annotation : FieldAnnotation
    outlines : bool
        The format holds outlines.

    Examples
    --------
    >>> from pathlib import Path
    >>> lost = Counter()
    >>> count_lost(lost, FieldAnnotation("a", Path("a"), ignored=(Box(0, 0, 4, 4),)), outlines=False)
    >>> +lost
    Counter({'ignored regions': 1})
    """
    cells = annotation.cells
    lost["ignored regions"] += len(annotation.ignored)
    lost["confidences"] += sum(cell.confidence is not None for cell in cells)
    lost[HIDDEN_ORDER] += sum(cell.visible is not None for cell in cells)
    if not outlines:
        lost["outlines"] += sum(not isinstance(cell.shape, Box) for cell in cells)


def box_inside(shape: Shape, size: tuple[int, int]) -> Box | None:
    """Return the bounding box of a shape inside an image of `size` (H, W) px; None if it is outside.

    Examples
    --------
    >>> box_inside(Box(-3, 2, 4, 9), (6, 8)), box_inside(Box(20, 2, 24, 9), (6, 8))
    (Box(x0=0, y0=2, x1=4, y1=6), None)
    """
    x0, y0, x1, y1 = bounds(shape)
    box = Box(max(0, x0), max(0, y0), min(x1, size[1]), min(y1, size[0]))
    return box if box.x1 > box.x0 and box.y1 > box.y0 else None


def outline_inside(shape: Shape, size: tuple[int, int]) -> Outline | None:
    """Return the outline of a shape inside an image of `size` (H, W) px; None if it has no pixel there.

    Examples
    --------
    >>> square = Outline((np.array([[-2, 0], [4, 0], [4, 4], [-2, 4]], float),))
    >>> bounds(outline_inside(square, (6, 8)))
    Box(x0=0.0, y0=0.0, x1=4.0, y1=4.0)
    """
    box = bounds(shape)
    if not isinstance(shape, PixelMask) and box_inside(shape, size) == box:
        outline = outline_of(shape)
    else:
        pixels = trimmed(shape, size)
        outline = Outline.of_mask(pixels.mask, (pixels.x, pixels.y))
    return outline if any(len(ring) > 2 for ring in outline.rings) else None


def joined_polygon(rings: Sequence[Ring]) -> Ring:
    """Return one polygon of several: bridges without width join each to the nearest corner of those before it.

    Examples
    --------
    >>> square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)
    >>> joined_polygon([square, square + [4, 0]]).astype(int).tolist()
    [[0, 0], [2, 0], [4, 0], [6, 0], [6, 2], [4, 2], [4, 0], [2, 0], [2, 2], [0, 2]]
    """
    polygon, *others = (ring for ring in rings if len(ring) > 2)
    for ring in others:
        squared_distances = ((polygon[:, None] - ring[None]) ** 2).sum(axis=2)
        i, j = np.unravel_index(int(squared_distances.argmin()), squared_distances.shape)
        visit = np.roll(ring, -int(j), axis=0)
        polygon = np.concatenate([polygon[: i + 1], visit, visit[:1], polygon[i:]])
    return polygon
