"""Figures of annotation programs as shapes: polygons, ellipses, rotated boxes, masks, and groups of parts."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.marks import UNANNOTATED, MarkList, finite_number, short_text
from smearsynth.geometry import Box, Mask, Outline, PixelMask, Ring, RunLengthMask, Shape, fill

IGNORED_CLASS = "ignore"
TOO_FEW_POINTS = "polygons with fewer than 3 points"
_ELLIPSE_CORNERS = 64
# Larger masks are no cells; without the limit a damaged or hostile file could fill the memory.
_MAX_MASK_PIXELS = 1 << 28


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a mark in a file, with checked access to its values; a wrong value raises a `DataError`.

    Parameters
    ----------
    path : Path
    name : str
        For messages, such as "shape 3".

    Examples
    --------
    >>> place = Place(Path("a.json"), "shape 3")
    >>> place.ring([[0, 0], [4, "0"], [4, 4], [0, 0]]).tolist()
    [[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]]
    >>> place.number(None)
    Traceback (most recent call last):
    smearsynth.errors.DataError: a.json: shape 3: None is not a finite number; correct it or remove the mark
    """

    path: Path
    name: str

    def error(self, problem: str) -> DataError:
        """Return the error of a mark that cannot be read."""
        return DataError(f"{self.name}: {problem}; correct or remove it", self.path)

    def number(self, value: Any) -> float:
        """Return a finite number, which may be written as text."""
        return finite_number(value, self.path, self.name)

    def size(self, width: Any, height: Any) -> tuple[int, int] | None:
        """Return the (H, W) of an image, or None if the file does not say it."""
        if width is None or height is None:
            return None
        columns, rows = self.number(width), self.number(height)
        return (round(rows), round(columns)) if rows >= 1 and columns >= 1 else None

    def mapping(self, value: Any, what: str) -> dict[str, Any]:
        """Return a JSON object; `what` names it in the message."""
        if not isinstance(value, dict):
            raise self.error(f"{what} is {short_text(value)}, not an object")
        return value

    def items(self, value: Any, what: str) -> list[Any]:
        """Return a JSON array; `what` names it in the message."""
        if not isinstance(value, list):
            raise self.error(f"{what} is {short_text(value)}, not a list")
        return value

    def point(self, value: Any) -> tuple[float, float]:
        """Return x, y of a pair or of an object with x and y; further coordinates are dropped."""
        if isinstance(value, dict):
            value = [value.get("x"), value.get("y")]
        if not isinstance(value, (list, tuple)) or len(value) < 2:
            raise self.error(f"{short_text(value)} is not a point x, y")
        return self.number(value[0]), self.number(value[1])

    def ring(self, value: Any) -> Ring:
        """Return the corners of a polygon without the repeated first one."""
        points = [self.point(point) for point in self.items(value, "the list of points")]
        if len(points) > 1 and points[0] == points[-1]:
            points.pop()
        return np.array(points, np.float64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawn figure; the outlines and masks of one class and group are the parts of one cell."""

    shape: Shape
    class_name: str
    id: str | None = None
    group: Hashable | None = None
    confidence: float | None = None


def add_figures(marks: MarkList, figures: Iterable[Figure]) -> int:
    """Add figures to the marks of an image; return the number of cells that were joined of several parts.

    Examples
    --------
    >>> marks = MarkList("a.png", Path("a.json"))
    >>> parts = [PixelMask(np.ones((2, 2), bool), x) for x in (0, 5)]
    >>> add_figures(marks, [Figure(part, "red", group=1) for part in parts]), len(marks.cells)
    (1, 1)
    """
    cells: list[list[Figure]] = []
    by_group: dict[Hashable, list[Figure]] = {}
    for figure in figures:
        parts = [figure]
        if figure.group is not None and isinstance(figure.shape, (Outline, PixelMask)):
            parts = by_group.setdefault((figure.class_name, figure.group), [])
            parts.append(figure)
        if parts[0] is figure:
            cells.append(parts)
    for parts in cells:
        shape = parts[0].shape if len(parts) == 1 else joined([part.shape for part in parts])
        if isinstance(shape, Outline) and not any(len(ring) > 2 for ring in shape.rings):
            marks.left_out[TOO_FEW_POINTS] += 1
        elif isinstance(shape, Box):
            marks.add_box(shape, parts[0].class_name, id=parts[0].id, confidence=parts[0].confidence)
        else:
            marks.add(shape, parts[0].class_name, id=parts[0].id, confidence=parts[0].confidence)
    return sum(len(parts) > 1 for parts in cells)


def annotation_of_marks(
    marks: MarkList, *, size: tuple[int, int] | None = None, split: str | None = None, relative: bool = False
) -> FieldAnnotation:
    """Return the record of an image; one without any mark is counted as unannotated.

    Examples
    --------
    >>> dict(annotation_of_marks(MarkList("a.png", Path("a.json"))).left_out)
    {'unannotated images': 1}
    """
    if not marks.cells and not marks.ignored and not marks.left_out:
        marks.left_out[UNANNOTATED] += 1
    return marks.annotation(size=size, split=split, relative=relative)


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0) -> Outline:
    """Return the outline of an ellipse with 64 corners; `degrees` turns it clockwise in the image.

    Examples
    --------
    >>> ellipse(5, 5, 3, 2, 90).rings[0].max(0).round(6).tolist()
    [7.0, 8.0]
    """
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Outline((np.stack([cx + x * cos - y * sin, cy + x * sin + y * cos], axis=1),))


def rotated_box(cx: float, cy: float, width: float, height: float, degrees: float = 0) -> Box:
    """Return the upright box around the ellipse that fills a rotated box.

    Cells are round: the box around the corners of a rotated box would be up to 1.4 times as wide as the cell.

    Examples
    --------
    >>> rotated_box(10, 10, 8, 4), tuple(round(v, 6) for v in rotated_box(10, 10, 8, 4, 90))
    (Box(x0=6.0, y0=8.0, x1=14.0, y1=12.0), (8.0, 6.0, 12.0, 14.0))
    """
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    dx = float(np.hypot(width * cos, height * sin)) / 2
    dy = float(np.hypot(width * sin, height * cos)) / 2
    return Box(cx - dx, cy - dy, cx + dx, cy + dy)


def contains(ring: Ring, x: float, y: float) -> bool:
    """Test whether a polygon contains a point.

    Examples
    --------
    >>> contains(np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float), 1, 3)
    True
    """
    return bool((_crossings(ring, y) > x).sum() % 2)


def _crossings(ring: Ring, y: float) -> npt.NDArray[np.float64]:
    """Return the x where the sides of a polygon cross a level, sorted."""
    x0, y0 = ring.T
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crossed = (y0 <= y) != (y1 <= y)
    at: npt.NDArray[np.float64] = x0[crossed] + (y - y0[crossed]) * (x1 - x0)[crossed] / (y1 - y0)[crossed]
    return np.sort(at)


def _inner_point(ring: Ring, others: Sequence[Ring]) -> tuple[float, float] | None:
    """Return a point inside a polygon next to its side, outside polygons in it; None if it has no area."""
    ys = np.concatenate([ring[:, 1], *(other[:, 1] for other in others)])
    levels = np.unique(ys[(ys >= ring[:, 1].min()) & (ys <= ring[:, 1].max())])
    if len(levels) < 2:
        return None
    # Half way between two levels no corner is hit.
    step = int(np.argmax(np.diff(levels)))
    y = float(levels[step] + levels[step + 1]) / 2
    first = float(_crossings(ring, y)[0])
    after = np.concatenate([_crossings(other, y) for other in (ring, *others)])
    after = after[after > first]
    return (first + float(after.min())) / 2 if len(after) else first, y


def _around(rings: Sequence[Ring], ring: Ring) -> list[int]:
    """Return the indices of the polygons that contain another polygon."""
    if len(ring) < 3:
        return []
    (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
    low = np.array([other.min(0) if len(other) else (np.inf, np.inf) for other in rings]).reshape(-1, 2)
    high = np.array([other.max(0) if len(other) else (-np.inf, -np.inf) for other in rings]).reshape(-1, 2)
    near = np.flatnonzero(((low <= (x1, y1)) & (high >= (x0, y0))).all(1))
    others = [i for i in near.tolist() if rings[i] is not ring]
    point = _inner_point(ring, [rings[i] for i in others])
    return [] if point is None else [i for i in others if contains(rings[i], *point)]


def nested(rings: Sequence[Ring]) -> Outline:
    """Return the outline of rings in any direction: a ring inside an odd number of others is a hole.

    Examples
    --------
    >>> square = np.array([[0, 0], [6, 0], [6, 6], [0, 6]], float)
    >>> outline = nested([square / 3 + 2, square])
    >>> len(outline.rings), len(outline.holes)
    (1, 1)
    """
    is_hole = [len(_around(rings, ring)) % 2 == 1 for ring in rings]
    outer, holes = (
        tuple(ring for ring, hole in zip(rings, is_hole, strict=True) if hole == part) for part in (False, True)
    )
    return Outline(outer, holes)


def polygons_of(outline: Outline) -> list[tuple[Ring, list[Ring]]]:
    """Return the polygons of an outline, each with its own holes.

    Examples
    --------
    >>> mask = np.ones((5, 9), bool)
    >>> mask[:, 5] = mask[2, 2] = False
    >>> [len(holes) for _, holes in polygons_of(Outline.of_mask(mask))]
    [1, 0]
    """
    rings = [ring for ring in outline.rings if len(ring) > 2]
    polygons: list[tuple[Ring, list[Ring]]] = [(ring, []) for ring in rings]
    for hole in outline.holes:
        around = _around(rings, hole)
        if around:
            polygons[min(around, key=lambda i: _area(rings[i]))][1].append(hole)
    return polygons


def _area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def joined(shapes: Sequence[Shape]) -> Outline:
    """Return one outline of several outlines and masks.

    Examples
    --------
    >>> len(joined([PixelMask(np.ones((2, 2), bool)), PixelMask(np.ones((2, 2), bool), 5)]).rings)
    2
    """
    outlines = [outline_of(shape) for shape in shapes]
    rings = tuple(ring for outline in outlines for ring in outline.rings)
    return Outline(rings, tuple(hole for outline in outlines for hole in outline.holes))


def outline_of(shape: Shape) -> Outline:
    """Return the outline of a shape: of pixels along their edges, of a box its four sides.

    Examples
    --------
    >>> outline_of(Box(0, 0, 4, 2)).rings[0].tolist()
    [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]
    """
    if isinstance(shape, Outline):
        return shape
    if isinstance(shape, RunLengthMask):
        shape = shape.pixels
    if isinstance(shape, PixelMask):
        return Outline.of_mask(shape.mask, (shape.x, shape.y))
    if isinstance(shape, Box):
        x0, y0, x1, y1 = shape
        return Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64),))
    raise ValueError("a point has no outline")


def trimmed(shape: Shape, size: tuple[int, int]) -> PixelMask:
    """Return the pixels of a shape inside an image of `size` (H, W), in their bounding box.

    Examples
    --------
    >>> pixels = trimmed(PixelMask(np.eye(3, dtype=bool)[:2], 4, 1), (9, 9))
    >>> pixels.mask.shape, (pixels.x, pixels.y)
    ((2, 2), (4, 1))
    """
    pixels = fill(shape, size)
    rows, columns = np.flatnonzero(pixels.mask.any(1)), np.flatnonzero(pixels.mask.any(0))
    if not len(rows):
        return PixelMask(np.zeros((0, 0), bool), pixels.x, pixels.y)
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return PixelMask(pixels.mask[window], pixels.x + int(columns[0]), pixels.y + int(rows[0]))


def base64_bytes(text: Any, place: Place) -> bytes:
    """Return the bytes of a base64 text.

    Raises
    ------
    DataError
        If it is not base64.
    """
    try:
        return base64.b64decode(text)
    except (TypeError, ValueError, binascii.Error) as error:
        raise place.error("the mask is not base64 text") from error


def mask_of_png(data: bytes, place: Place) -> Mask:
    """Return the mask of a PNG file: its opaque pixels if it has transparency, else those that are not black.

    Raises
    ------
    DataError
        If the data are no PNG file, or the mask is too large.

    Examples
    --------
    >>> mask_of_png(png_of_mask(np.eye(2, dtype=bool)), Place(Path("a.json"), "shape 1")).tolist()
    [[True, False], [False, True]]
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            check_mask_size(image.width, image.height, place)
            if "A" in image.getbands() or "transparency" in image.info:
                pixels = np.array(image.convert("RGBA"))[..., 3:]
            elif image.mode in ("P", "RGB"):
                pixels = np.array(image.convert("RGB"))
            else:
                pixels = np.array(image)[..., None]
            return np.asarray(pixels.any(axis=2), np.bool_)
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise place.error("the mask is not a PNG image") from error


def png_of_mask(mask: Mask) -> bytes:
    """Return a PNG file with one bit per pixel."""
    data = io.BytesIO()
    Image.fromarray(mask).save(data, format="PNG")
    return data.getvalue()


def check_mask_size(width: float, height: float, place: Place) -> None:
    """Raise a `DataError` unless a mask has at least one pixel and fits in the memory."""
    if width < 1 or height < 1 or width * height > _MAX_MASK_PIXELS:
        raise place.error(f"the mask has {width:g}×{height:g} px")


def marks_to_write(annotation: FieldAnnotation) -> Iterator[CellMark]:
    """Yield the marks of an image in stacking order: ignored regions as class "ignore", then the cells.

    Examples
    --------
    >>> region = FieldAnnotation("a", Path("a"), ignored=(Box(0, 0, 4, 4),))
    >>> [mark.class_name for mark in marks_to_write(region)]
    ['ignore']
    """
    yield from (CellMark(shape, IGNORED_CLASS) for shape in annotation.ignored)
    yield from annotation.cells
