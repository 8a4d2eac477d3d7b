"""Layouts painted: instance labels and palette colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.layout.kernels.bitmaps import paint_words, rasterise, strip_mask, strips_of
from smearsynth.layout.kernels.compiled import ONE, ZERO, Words, bits_of, kernel, lowest_bit
from smearsynth.layout.record import Layout
from smearsynth.layout.workspace import Workspace, as_workspace
from smearsynth.shapes import ShapeLibrary
from smearsynth.smear import ImageArray

# A line of background beside a cell depends on the lines beside those above it, and so on, a pixel each time:
# so many cells do not lie on one another.
_LINE_EDGE = 16

# Black, then twelve colours far apart from one another and from black; eight are used by default.
PALETTE: ImageArray = np.array(
    [
        (0, 0, 0),
        (230, 60, 60),
        (70, 190, 80),
        (70, 110, 240),
        (250, 220, 50),
        (235, 80, 215),
        (70, 220, 235),
        (250, 145, 45),
        (150, 75, 215),
        (245, 245, 245),
        (160, 110, 60),
        (185, 240, 140),
        (140, 140, 140),
    ],
    np.uint8,
)


def paint_labels(
    layout: Layout,
    shapes: ShapeLibrary | Workspace,
    out: npt.NDArray[np.integer[Any]] | None = None,
    *,
    dtype: npt.DTypeLike = np.int32,
) -> npt.NDArray[np.integer[Any]]:
    """Paint the instance labels of a layout.

    Cell k of the layout gets the label k + 1; where cells overlap the later one owns the pixel. The pixels are
    those that the layout tested, bit for bit.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        That the layout was drawn from.
    out : (H, W) uint16 or int32 array, optional
        Painted over and returned, instead of a new array.
    dtype : dtype
        Of the new array: int32, or uint16 for at most 65535 cells.

    Returns
    -------
    labels : (H, W) array of `dtype`

    Raises
    ------
    OptionError
        When `out` or `dtype` does not suit the layout.
    DataError
        When the layout names shapes that the library does not hold.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> labels = paint_labels(uniform_layout((90, 120), 9, discs, rng=1), discs)
    >>> labels.shape, labels.dtype.name, int(labels.max())
    ((90, 120), 'int32', 9)
    """
    if out is None:
        out = np.empty(layout.size, dtype)
    if out.dtype not in (np.dtype(np.int32), np.dtype(np.uint16)):
        raise OptionError(f"labels of dtype {out.dtype}; give int32 or uint16")
    if out.shape != layout.size:
        raise OptionError(f"out has shape {out.shape} for a layout of {layout.size}; give one of that shape")
    if layout.placed > np.iinfo(out.dtype).max:
        raise OptionError(f"{layout.placed} cells do not fit into {out.dtype} labels; give int32")
    warm = as_workspace(shapes)
    if not out.flags.c_contiguous:
        out[:] = paint_labels(layout, warm, dtype=out.dtype)
        return out
    rasters = warm.rasters(layout)
    if rasters is not None:
        cells, arena = rasters
        _paint_rasters(cells, arena, np.argsort(cells["y"] + cells["top"]), out)
        return out
    out[:] = 0
    if layout.placed:
        known = len(warm.table.points)
        if int(layout.shape.min()) < 0 or int(layout.shape.max()) >= known:
            raise DataError(f"the layout names shapes that this library of {known} lacks; give the right library")
        scratch = warm.scratch(float(np.abs(layout.scale).max()))
        columns = layout.shape, layout.angle, layout.scale, layout.mirrored, layout.x, layout.y
        if layout.lines is None:
            _paint_cells(warm.table.points, columns, scratch, out)
        else:
            _paint_from_top(warm.table.points, columns, layout.lines, scratch, out)
    return out


def paint_window(
    layout: Layout, shapes: ShapeLibrary | Workspace, window: tuple[int, int, int, int]
) -> npt.NDArray[np.int32]:
    """Paint one window of a layout: the same pixels as in the whole.

    So tiles of a canvas too large for one machine's memory or patience can be painted in any order, by as many
    threads or machines as there are; each thread needs a `Workspace` of its own.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        That the layout was drawn from.
    window : tuple of int
        (top, left, height, width) px, inside the canvas.

    Returns
    -------
    labels : (height, width) int32 array

    Raises
    ------
    OptionError
        When the window is not inside the canvas.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> layout = uniform_layout((90, 120), 30, discs, rng=1)
    >>> bool((paint_window(layout, discs, (20, 50, 40, 60)) == paint_labels(layout, discs)[20:60, 50:110]).all())
    True
    """
    top, left, height, width = window
    if min(top, left) < 0 or min(height, width) < 1 or top + height > layout.height or left + width > layout.width:
        raise OptionError(
            f"window {window} is not inside the canvas of {layout.size}; give (top, left, height, width)"
        )
    warm = as_workspace(shapes)
    edge = 0 if layout.lines is None else _LINE_EDGE
    low_y, low_x = max(top - edge, 0), max(left - edge, 0)
    high_y, high_x = min(top + height + edge, layout.height), min(left + width + edge, layout.width)
    reach = warm.table.outer[layout.shape] * np.abs(layout.scale) + 2
    near = (layout.x + reach > low_x) & (layout.x - reach < high_x)
    near &= (layout.y + reach > low_y) & (layout.y - reach < high_y)
    part = layout.cut((low_y, low_x, high_y - low_y, high_x - low_x), near)
    names = np.concatenate([[0], np.flatnonzero(near) + 1]).astype(np.int32)
    painted = names[paint_labels(part, warm)]
    return np.ascontiguousarray(painted[top - low_y :, left - low_x :][:height, :width])


@kernel
def _paint_rasters(cells: Any, arena: Words, order: Any, out: npt.NDArray[np.integer[Any]]) -> None:
    """Paint cells of which no two share a pixel, from the top down, clearing the canvas just ahead of them.

    What is cleared is then still in the cache.
    """
    height, across = out.shape
    flat = out.reshape(-1)
    cleared = 0
    for k in order:
        cell = cells[k]
        left, top = cell.x + cell.left, cell.y + cell.top
        need = min(top + cell.rows, height)
        if need > cleared:
            flat[cleared * across : need * across] = 0
            cleared = need
        words = arena[cell.offset : cell.offset + strips_of(cell.width) * cell.rows]
        paint_words(words, left, top, cell.rows, cell.width, k + 1, out)
    flat[cleared * across :] = 0


@kernel
def _paint_cells(points: npt.NDArray[np.float64], columns: Any, scratch: Any, out: npt.NDArray[Any]) -> None:
    shape, angle, scale, mirrored, x, y = columns
    for k in range(x.size):
        turned = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], turned, scratch)
        paint_words(scratch.words, x[k] + left, y[k] + top, rows, width, k + 1, out)


@kernel
def _paint_from_top(
    points: npt.NDArray[np.float64], columns: Any, lines: Any, scratch: Any, out: npt.NDArray[Any]
) -> None:
    """As `_paint_cells`, where lines part cells from those above: from the last cell on, as they were placed."""
    shape, angle, scale, mirrored, x, y = columns
    height, across = out.shape
    for k in range(x.size - 1, -1, -1):
        turned = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], turned, scratch)
        reach = 1 if lines[k] else 0
        for strip in range(strips_of(width)):
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                first = x[k] + left + 64 * strip
                word = scratch.words[strip * rows + row] & strip_mask(first, across)
                while word != ZERO:
                    at = first + lowest_bit(word)
                    word &= word - ONE
                    if _alone(out, at, y[k] + top + row, reach, k + 1):
                        out[y[k] + top + row, at] = k + 1


@kernel
def _alone(out: npt.NDArray[Any], x: int, y: int, reach: int, own: int) -> bool:
    """Whether no other cell has a pixel within `reach` px of (x, y)."""
    height, across = out.shape
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for column in range(max(x - reach, 0), min(x + reach + 1, across)):
            if out[row, column] != 0 and out[row, column] != own:
                return False
    return True


def overlap_fraction(
    layout: Layout, shapes: ShapeLibrary | Workspace, labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Pixels of a layout's canvas hidden under other cells, relative to those of all cells in `labels`, painted.

    A pixel under two cells counts twice.
    """
    if not layout.placed:
        return 0.0
    warm = as_workspace(shapes)
    scratch = warm.scratch(float(np.abs(layout.scale).max()))
    columns = layout.shape, layout.angle, layout.scale, layout.mirrored, layout.x, layout.y
    seen = int(np.count_nonzero(labels))
    extent = int(_extent_pixels(warm.table.points, columns, scratch, layout.height, layout.width))
    return (extent - seen) / max(seen, 1)


@kernel
def _extent_pixels(points: npt.NDArray[np.float64], columns: Any, scratch: Any, height: int, across: int) -> int:
    """Pixels on the canvas of all cells, hidden ones included."""
    shape, angle, scale, mirrored, x, y = columns
    count = 0
    for k in range(x.size):
        turned = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], turned, scratch)
        for strip in range(strips_of(width)):
            mask = strip_mask(x[k] + left + 64 * strip, across)
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                count += bits_of(scratch.words[strip * rows + row] & mask)
    return count


def paint_colours(layout: Layout, shapes: ShapeLibrary | Workspace, palette: npt.ArrayLike = PALETTE) -> ImageArray:
    """Paint a layout as the paper annotates: a palette colour per cell, no two touching cells alike.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        That the layout was drawn from.
    palette : (m, 3) uint8 array
        Row 0 is the background, row c the colour c of the layout.

    Returns
    -------
    image : (H, W, 3) uint8 array
        RGB.

    Raises
    ------
    OptionError
        When the palette has fewer colours than the layout.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> paint_colours(uniform_layout((90, 120), 9, discs, rng=1), discs).shape
    (90, 120, 3)
    """
    colours = np.asarray(palette, np.uint8)
    needed = int(layout.colours.max(initial=0)) + 1
    if colours.ndim != 2 or colours.shape[1] != 3 or len(colours) < needed:
        raise OptionError(f"palette of shape {colours.shape} for {needed - 1} colours; give ({needed}, 3)")
    by_label = colours[np.concatenate([[0], layout.colours])]
    painted: ImageArray = by_label[paint_labels(layout, shapes)]
    return painted
