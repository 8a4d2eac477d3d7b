"""Paint layouts: instance labels and palette colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.layout.kernels.bitmaps import paint_words, rasterise, strips_of
from smearsynth.layout.kernels.compiled import Words, kernel
from smearsynth.layout.overlaps import paint_overlapping, poses_of
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

    Cell k of the layout gets the label k + 1. Where cells overlap, each pixel goes to the cell that it lies deeper
    in. The pixels of the cells are exactly those that the layout was tested with.

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
    rasters = workspace.rasters(layout) if layout.under is None else None
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
    if layout.under is None:
        _paint_cells(points, poses_of(layout), workspace.scratch(float(np.abs(layout.scale).max())), out)
    else:
        paint_overlapping(layout, workspace, out)


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
