"""Shapes that an annotator draws for a cell: outline, box, point or pixels; tracing and filling of outlines.

Coordinates are x, y in px; (0, 0) is the upper left corner of the first pixel, so the centre of that pixel is
(0.5, 0.5). Outlines are filled with the rule of COCO; filling a traced outline restores the mask exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import faster_coco_eval.core.mask as rle_masks
import numpy as np
import numpy.typing as npt

Corner = tuple[int, int]
Ring = npt.NDArray[np.float64]  # (m, 2) x, y in px, closed implicitly
Mask = npt.NDArray[np.bool_]

# Larger coordinates are outside every image; without the limit the filling of a damaged file would not end.
_MAX_COORDINATE = 1 << 17


class Box(NamedTuple):
    """Bounding box of a cell, px; x1 and y1 are excluded."""

    x0: float
    y0: float
    x1: float
    y1: float


class Point(NamedTuple):
    """Position of a cell, px."""

    x: float
    y: float


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Outline of a cell: one or several polygons, with holes.

    Parameters
    ----------
    rings : tuple of (m, 2) float64 array
        Polygons x, y in px. The cell is their union.
    holes : tuple of (m, 2) float64 array
        Polygons that do not belong to the cell.

    Examples
    --------
    >>> square = Outline((np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float),))
    >>> bounds(square), fill(square, (10, 10)).mask.sum()
    (Box(x0=0.0, y0=0.0, x1=4.0, y1=4.0), np.int64(16))
    """

    rings: tuple[Ring, ...]
    holes: tuple[Ring, ...] = ()

    @classmethod
    def of_mask(cls, mask: Mask, corner: Corner = (0, 0)) -> Outline:
        """Trace a mask along its pixel edges; `corner` is the x, y of its first pixel in the image."""
        rings = [(ring_area(ring), (ring + np.array(corner)).astype(np.float64)) for ring in trace_outlines(mask)]
        return cls(tuple(ring for area, ring in rings if area > 0), tuple(ring for area, ring in rings if area < 0))


@dataclass(frozen=True, slots=True, eq=False)
class PixelMask:
    """Pixels of a cell.

    Parameters
    ----------
    mask : (h, w) bool array
        A window of the image.
    x, y : int
        Column and row of its first pixel in the image.
    """

    mask: Mask
    x: int = 0
    y: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RunLengthMask:
    """Pixels of a cell as the compressed run lengths (RLE) of COCO, which are decoded when they are filled.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the image, px.
    counts : bytes
        Run lengths, column by column.
    """

    size: tuple[int, int]
    counts: bytes

    @property
    def pixels(self) -> PixelMask:
        """The pixels in their bounding box."""
        x, y, w, h = (int(v) for v in rle_masks.toBbox({"size": list(self.size), "counts": self.counts}))
        decoded = rle_masks.decode({"size": list(self.size), "counts": self.counts})
        return PixelMask(np.ascontiguousarray(decoded[y : y + h, x : x + w]) > 0, x, y)


Shape = Outline | Box | Point | PixelMask | RunLengthMask


def bounds(shape: Shape) -> Box:
    """Return the bounding box of a shape, px; a point has an empty one.

    Examples
    --------
    >>> bounds(Point(3, 4))
    Box(x0=3, y0=4, x1=3, y1=4)
    """
    if isinstance(shape, Box):
        return shape
    if isinstance(shape, Point):
        return Box(shape.x, shape.y, shape.x, shape.y)
    if isinstance(shape, RunLengthMask):
        shape = shape.pixels
    if isinstance(shape, PixelMask):
        return Box(shape.x, shape.y, shape.x + shape.mask.shape[1], shape.y + shape.mask.shape[0])
    points = np.concatenate([*shape.rings, np.zeros((0, 2))])
    if not len(points):
        return Box(0, 0, 0, 0)
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    return Box(x0, y0, x1, y1)


def transform(shape: Shape, scale: tuple[float, float] = (1, 1), offset: tuple[float, float] = (0, 0)) -> Shape:
    """Scale a shape by factors of x and y, then move it by `offset` px; pixels can only be moved by whole px.

    Examples
    --------
    >>> transform(Box(0.25, 0.5, 0.75, 1), scale=(640, 480))
    Box(x0=160.0, y0=240.0, x1=480.0, y1=480)
    """
    (sx, sy), (dx, dy) = scale, offset
    if isinstance(shape, Box):
        return Box(shape.x0 * sx + dx, shape.y0 * sy + dy, shape.x1 * sx + dx, shape.y1 * sy + dy)
    if isinstance(shape, Point):
        return Point(shape.x * sx + dx, shape.y * sy + dy)
    if isinstance(shape, Outline):
        factors, shift = np.array(scale, np.float64), np.array(offset, np.float64)
        rings, holes = ([ring * factors + shift for ring in part] for part in (shape.rings, shape.holes))
        return Outline(tuple(rings), tuple(holes))
    if isinstance(shape, RunLengthMask):
        shape = shape.pixels
    if (sx, sy) != (1, 1):
        return transform(Outline.of_mask(shape.mask, (shape.x, shape.y)), scale, offset)
    return PixelMask(shape.mask, shape.x + round(dx), shape.y + round(dy))


def fill(shape: Shape, size: tuple[int, int]) -> PixelMask:
    """Return the pixels of a shape inside an image.

    Parameters
    ----------
    shape : Outline, Box, Point or PixelMask
        A box is filled whole; a point is the pixel that contains it.
    size : tuple of int
        Height and width of the image, px.

    Returns
    -------
    PixelMask
        A window inside the image; empty if the shape is outside the image or smaller than a pixel.

    Examples
    --------
    >>> triangle = Outline((np.array([[-4, 0], [4, 0], [4, 8]], float),))
    >>> fill(triangle, (20, 20)).mask.shape, fill(triangle, (20, 20)).x
    ((8, 4), 0)
    """
    if isinstance(shape, RunLengthMask):
        shape = shape.pixels
    if isinstance(shape, Point):
        shape = Box(np.floor(shape.x), np.floor(shape.y), np.floor(shape.x) + 1, np.floor(shape.y) + 1)
    box = bounds(shape)
    low_x, low_y = (int(np.clip(np.floor(v), 0, n)) for v, n in ((box.x0, size[1]), (box.y0, size[0])))
    high_x, high_y = (int(np.clip(np.ceil(v), 0, n)) for v, n in ((box.x1, size[1]), (box.y1, size[0])))
    height, width = max(0, high_y - low_y), max(0, high_x - low_x)
    if not height or not width:
        return PixelMask(np.zeros((0, 0), bool), low_x, low_y)
    if isinstance(shape, PixelMask):
        part = shape.mask[low_y - shape.y : high_y - shape.y, low_x - shape.x : high_x - shape.x]
        return PixelMask(part, low_x, low_y)
    if isinstance(shape, Box):
        x0, y0 = round(shape.x0), round(shape.y0)
        x1, y1 = round(shape.x1), round(shape.y1)
        rows, columns = np.arange(low_y, high_y), np.arange(low_x, high_x)
        inside = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))
        return PixelMask(inside, low_x, low_y)
    window = (low_x, low_y, high_x, high_y)
    return PixelMask(
        _fill_with_holes(shape, window) if shape.holes else _fill_rings(shape.rings, window), low_x, low_y
    )


def _fill_with_holes(shape: Outline, window: tuple[int, int, int, int]) -> Mask:
    """Fill rings and holes from the largest to the smallest, because a hole can contain an island."""
    parts = [(abs(ring_area(ring)), True, ring) for ring in shape.rings]
    parts += [(abs(ring_area(ring)), False, ring) for ring in shape.holes]
    mask = np.zeros((window[3] - window[1], window[2] - window[0]), bool)
    for _, inside, ring in sorted(parts, key=lambda part: -part[0]):
        mask[_fill_rings((ring,), window)] = inside
    return mask


def _fill_rings(rings: tuple[Ring, ...], window: tuple[int, int, int, int]) -> Mask:
    x0, y0, x1, y1 = window
    polygons = [
        np.clip(ring, -_MAX_COORDINATE, _MAX_COORDINATE).ravel().tolist() for ring in rings if len(ring) > 2
    ]
    if not polygons:
        return np.zeros((y1 - y0, x1 - x0), bool)
    # Not moved to the window: the rounding of the filling rule would differ from that of COCO by single pixels.
    pixels = rle_masks.decode(rle_masks.merge(rle_masks.frPyObjects(polygons, y1, x1)))
    return np.ascontiguousarray(pixels[y0:, x0:]) > 0


def trace_outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Trace the outlines of a mask along its pixel edges.

    The contours of scikit-image cut corners by half a pixel; these polygons preserve every pixel.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    list of (m, 2) int64 array
        Corners x, y of closed rings in px; (0, 0) is the upper left corner of the first pixel. Outer rings, one
        per 4-connected component, have a positive `ring_area`, holes a negative one.

    Examples
    --------
    >>> trace_outlines(np.array([[False, True, True]]))[0].tolist()
    [[3, 0], [3, 1], [1, 1], [1, 0]]
    """
    edges_from = _directed_edges(mask)
    remaining = dict.fromkeys((start, end) for start, ends in edges_from.items() for end in ends)
    rings = []
    while remaining:
        first = edge = next(iter(remaining))
        ring: list[Corner] = []
        while True:
            del remaining[edge]
            (x0, y0), (x, y) = edge
            dx, dy = x - x0, y - y0
            ends = edges_from[x, y]
            # Where two pixels meet at a corner there are two continuations: the right turn stays at this pixel.
            right = (x - dy, y + dx)
            end = right if right in ends else ends[0]
            if end != (x + dx, y + dy):
                ring.append((x, y))
            edge = ((x, y), end)
            if edge == first:
                break
        rings.append(np.array(ring, np.int64))
    return rings


def ring_area(ring: npt.NDArray[np.int64] | Ring) -> float:
    """Return the signed area of a ring in px²; it is negative for a hole.

    Examples
    --------
    >>> ring_area(np.array([[3, 0], [3, 1], [1, 1], [1, 0]]))
    2.0
    """
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _directed_edges(mask: npt.NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Return the ends of the edges that start at each corner; the mask is on the right of an edge."""
    padded = np.pad(mask, 1).astype(np.int8)
    edges_from: dict[Corner, list[Corner]] = {}

    def add(x: npt.NDArray[np.intp], y: npt.NDArray[np.intp], dx: int, dy: int) -> None:
        for start in zip(x.tolist(), y.tolist(), strict=True):
            edges_from.setdefault(start, []).append((start[0] + dx, start[1] + dy))

    vertical_change = np.diff(padded, axis=0)
    y, x = np.nonzero(vertical_change == 1)
    add(x - 1, y, 1, 0)
    y, x = np.nonzero(vertical_change == -1)
    add(x, y, -1, 0)
    horizontal_change = np.diff(padded, axis=1)
    y, x = np.nonzero(horizontal_change == 1)
    add(x, y, 0, -1)
    y, x = np.nonzero(horizontal_change == -1)
    add(x, y - 1, 0, 1)
    return edges_from
