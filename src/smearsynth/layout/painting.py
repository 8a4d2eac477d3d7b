"""Paint layouts: instance labels and palette colours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.geometry import Outline
from smearsynth.layout.kernels.bitmaps import paint_words, rasterise, strip_mask, strips_of
from smearsynth.layout.kernels.compiled import ONE, ZERO, Words, bits_of, kernel, lowest_bit
from smearsynth.layout.record import Layout
from smearsynth.layout.workspace import Workspace, as_workspace
from smearsynth.shapes import ShapeLibrary
from smearsynth.smear import ImageArray

# Margin of a window in px. A line of background beside a cell depends on the lines beside the cells above it, one
# pixel further for each; no 16 cells lie on one another.
_LINE_MARGIN = 16

# Black for the background, then twelve distinct colours; layouts use eight by default.
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

    Cell k of the layout gets the label k + 1. Where cells overlap, the pixel belongs to the later one. The pixels
    are exactly those that the layout was tested with.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        The shapes that the layout was drawn from.
    out : (H, W) uint16 or int32 array, optional
        Overwritten and returned, instead of a new array.
    dtype : dtype
        Of the new array: int32, or uint16 for at most 65535 cells.

    Returns
    -------
    labels : (H, W) array of `dtype`

    Raises
    ------
    OptionError
        If `out` or `dtype` does not match the layout.
    DataError
        If the layout uses shapes that the library does not contain.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(angle), np.sin(angle)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> labels = paint_labels(uniform_layout((90, 120), 9, discs, rng=1), discs)
    >>> labels.shape, labels.dtype.name, int(labels.max())
    ((90, 120), 'int32', 9)
    """
    if out is None:
        out = np.empty(layout.size, dtype)
    _check_labels(out, layout)
    workspace = as_workspace(shapes)
    if not out.flags.c_contiguous:
        out[:] = paint_labels(layout, workspace, dtype=out.dtype)
        return out
    rasters = workspace.rasters(layout)
    if rasters is not None:
        cells, arena = rasters
        _paint_rasters(cells, arena, np.argsort(cells["y"] + cells["top"]), out)
        return out
    out[:] = 0
    if layout.placed:
        _paint_contours(layout, workspace, out)
    return out


def _check_labels(labels: npt.NDArray[np.integer[Any]], layout: Layout) -> None:
    """Raise `OptionError` if an array cannot hold the labels of a layout."""
    if labels.dtype not in (np.dtype(np.int32), np.dtype(np.uint16)):
        raise OptionError(f"labels of dtype {labels.dtype}; use int32 or uint16")
    if labels.shape != layout.size:
        raise OptionError(
            f"out has shape {labels.shape} for a layout of {layout.size}; give an array of this shape"
        )
    if layout.placed > np.iinfo(labels.dtype).max:
        raise OptionError(f"{layout.placed} cells do not fit into {labels.dtype} labels; use int32")


def _paint_contours(layout: Layout, workspace: Workspace, out: npt.NDArray[np.integer[Any]]) -> None:
    """Paint a layout whose rasters are no longer in the workspace."""
    points = workspace.table.points
    if int(layout.shape.min()) < 0 or int(layout.shape.max()) >= len(points):
        raise DataError(
            f"the layout uses shapes up to number {int(layout.shape.max())}, the shape library has {len(points)}; "
            "give the library that the layout was drawn from"
        )
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    if layout.lines is None:
        _paint_cells(points, _poses(layout), scratch, out)
    else:
        _paint_from_top(points, _poses(layout), layout.lines, scratch, out)


def _poses(layout: Layout) -> tuple[npt.NDArray[Any], ...]:
    """Return the columns of a layout that the kernels read."""
    return layout.shape, layout.angle, layout.scale, layout.mirrored, layout.x, layout.y


def paint_window(
    layout: Layout, shapes: ShapeLibrary | Workspace, window: tuple[int, int, int, int]
) -> npt.NDArray[np.int32]:
    """Paint one window of a layout: the same pixels as in the whole canvas.

    Tiles of a canvas that is too large for the memory can thus be painted in any order, and in parallel. Each
    thread needs its own `Workspace`.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        The shapes that the layout was drawn from.
    window : tuple of int
        (top, left, height, width) in px, inside the canvas.

    Returns
    -------
    labels : (height, width) int32 array

    Raises
    ------
    OptionError
        If the window is not inside the canvas.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(angle), np.sin(angle)], 1)[None].astype(np.float32)
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
    workspace = as_workspace(shapes)
    margin = 0 if layout.lines is None else _LINE_MARGIN
    low_y, low_x = max(top - margin, 0), max(left - margin, 0)
    high_y, high_x = min(top + height + margin, layout.height), min(left + width + margin, layout.width)
    radius = workspace.table.outer[layout.shape] * np.abs(layout.scale) + 2
    near = (layout.x + radius > low_x) & (layout.x - radius < high_x)
    near &= (layout.y + radius > low_y) & (layout.y - radius < high_y)
    part = layout.cut((low_y, low_x, high_y - low_y, high_x - low_x), near)
    labels_of_layout = np.concatenate([[0], np.flatnonzero(near) + 1]).astype(np.int32)
    labels = labels_of_layout[paint_labels(part, workspace)]
    return np.ascontiguousarray(labels[top - low_y :, left - low_x :][:height, :width])


@kernel
def _paint_rasters(cells: Any, arena: Words, order: Any, out: npt.NDArray[np.integer[Any]]) -> None:
    """Paint cells without overlap from the top down, and clear the canvas just ahead of them.

    The cleared rows are then still in the cache.
    """
    height, out_width = out.shape
    flat = out.reshape(-1)
    cleared = 0
    for k in order:
        cell = cells[k]
        left, top = cell.x + cell.left, cell.y + cell.top
        bottom = min(top + cell.rows, height)
        if bottom > cleared:
            flat[cleared * out_width : bottom * out_width] = 0
            cleared = bottom
        words = arena[cell.offset : cell.offset + strips_of(cell.width) * cell.rows]
        paint_words(words, left, top, cell.rows, cell.width, k + 1, out)
    flat[cleared * out_width :] = 0


@kernel
def _paint_cells(points: npt.NDArray[np.float64], poses: Any, scratch: Any, out: npt.NDArray[Any]) -> None:
    shape, angle, scale, mirrored, x, y = poses
    for k in range(x.size):
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        paint_words(scratch.words, x[k] + left, y[k] + top, rows, width, k + 1, out)


@kernel
def _paint_from_top(
    points: npt.NDArray[np.float64], poses: Any, lines: Any, scratch: Any, out: npt.NDArray[Any]
) -> None:
    """Paint cells that lines of background separate from the cells above them, the last cell first."""
    shape, angle, scale, mirrored, x, y = poses
    height, out_width = out.shape
    for k in range(x.size - 1, -1, -1):
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        reach = 1 if lines[k] else 0
        for strip in range(strips_of(width)):
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                first = x[k] + left + 64 * strip
                word = scratch.words[strip * rows + row] & strip_mask(first, out_width)
                while word != ZERO:
                    column = first + lowest_bit(word)
                    word &= word - ONE
                    if _is_free(out, column, y[k] + top + row, reach, k + 1):
                        out[y[k] + top + row, column] = k + 1


@kernel
def _is_free(out: npt.NDArray[Any], x: int, y: int, reach: int, label: int) -> bool:
    """Test whether no other label has a pixel within `reach` px of (x, y)."""
    height, out_width = out.shape
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for column in range(max(x - reach, 0), min(x + reach + 1, out_width)):
            if out[row, column] != 0 and out[row, column] != label:
                return False
    return True


def full_outlines(
    layout: Layout, shapes: ShapeLibrary | Workspace, labels: npt.NDArray[np.integer[Any]]
) -> tuple[Outline | None, ...]:
    """Return the whole outline of each cell that is partly under another one, inside the canvas.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        The shapes that the layout was drawn from.
    labels : (H, W) integer array
        Labels of the layout, see `paint_labels`.

    Returns
    -------
    tuple of Outline or None
        One per cell; None for a cell that no other cell covers.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(angle), np.sin(angle)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> layout = uniform_layout((90, 120), 9, discs, rng=1)
    >>> any(full_outlines(layout, discs, paint_labels(layout, discs)))
    False
    """
    if not layout.placed:
        return ()
    workspace = as_workspace(shapes)
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    covered = np.zeros(layout.placed, np.bool_)
    _find_covered(workspace.table.points, _poses(layout), scratch, labels, covered)
    outlines: list[Outline | None] = [None] * layout.placed
    radius = np.ceil(workspace.table.outer[layout.shape] * np.abs(layout.scale) + 2).astype(np.int64)
    for k in np.flatnonzero(covered).tolist():
        x, y, r = int(layout.x[k]), int(layout.y[k]), int(radius[k])
        left, top = max(x - r, 0), max(y - r, 0)
        window = (top, left, min(y + r + 1, layout.height) - top, min(x + r + 1, layout.width) - left)
        # Without the lines of background beside the cells above, which are no part of the shape.
        alone = replace(layout.cut(window, np.arange(layout.placed) == k), lines=None)
        outlines[k] = Outline.of_mask(paint_labels(alone, workspace) > 0, (left, top))
    return tuple(outlines)


@kernel
def _find_covered(
    points: npt.NDArray[np.float64], poses: Any, scratch: Any, labels: npt.NDArray[Any], covered: Any
) -> None:
    """Mark the cells with a pixel that shows another cell."""
    shape, angle, scale, mirrored, x, y = poses
    height, out_width = labels.shape
    for k in range(x.size):
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        for strip in range(strips_of(width)):
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                first = x[k] + left + 64 * strip
                word = scratch.words[strip * rows + row] & strip_mask(first, out_width)
                while word != ZERO:
                    label = labels[y[k] + top + row, first + lowest_bit(word)]
                    word &= word - ONE
                    if label != 0 and label != k + 1:
                        covered[k] = True


def overlap_fraction(
    layout: Layout, shapes: ShapeLibrary | Workspace, labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the number of hidden pixels of all cells over the number of visible ones in `labels`.

    A pixel under two cells counts twice. `labels` are those of the layout, see `paint_labels`.
    """
    if not layout.placed:
        return 0.0
    workspace = as_workspace(shapes)
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    visible = int(np.count_nonzero(labels))
    total = int(_count_pixels(workspace.table.points, _poses(layout), scratch, layout.height, layout.width))
    return (total - visible) / max(visible, 1)


@kernel
def _count_pixels(points: npt.NDArray[np.float64], poses: Any, scratch: Any, height: int, out_width: int) -> int:
    """Count the pixels of all cells on the canvas, including hidden ones."""
    shape, angle, scale, mirrored, x, y = poses
    count = 0
    for k in range(x.size):
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        for strip in range(strips_of(width)):
            mask = strip_mask(x[k] + left + 64 * strip, out_width)
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                count += bits_of(scratch.words[strip * rows + row] & mask)
    return count


def paint_colours(layout: Layout, shapes: ShapeLibrary | Workspace, palette: npt.ArrayLike = PALETTE) -> ImageArray:
    """Paint a layout like the annotations of the paper: touching cells have different palette colours.

    Parameters
    ----------
    layout : Layout
    shapes : ShapeLibrary or Workspace
        The shapes that the layout was drawn from.
    palette : (m, 3) uint8 array
        Row 0 is the background, row c the colour c of the layout.

    Returns
    -------
    image : (H, W, 3) uint8 array
        RGB.

    Raises
    ------
    OptionError
        If the palette has fewer colours than the layout.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6.2 * np.stack([np.cos(angle), np.sin(angle)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> paint_colours(uniform_layout((90, 120), 9, discs, rng=1), discs).shape
    (90, 120, 3)
    """
    colours = np.asarray(palette, np.uint8)
    needed = int(layout.colours.max(initial=0)) + 1
    if colours.ndim != 2 or colours.shape[1] != 3 or len(colours) < needed:
        raise OptionError(f"palette of shape {colours.shape} for {needed - 1} colours; give ({needed}, 3)")
    by_label = colours[np.concatenate([[0], layout.colours])]
    image: ImageArray = by_label[paint_labels(layout, shapes)]
    return image
