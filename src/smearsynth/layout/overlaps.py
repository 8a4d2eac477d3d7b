"""Cells that overlap: labels that divide the overlap, whole outlines, and layers without overlap.

Blood cells are translucent. Where two overlap, both outlines continue and the pixels belong to both. Annotations
with one label per pixel divide the overlap between them. Here each pixel goes to the cell that it lies deeper in,
which gives the straight cut that annotators and watersheds draw.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.geometry import Outline
from smearsynth.layout.kernels.bitmaps import rasterise, strip_mask, strips_of
from smearsynth.layout.kernels.compiled import ONE, ZERO, bits_of, kernel, lowest_bit
from smearsynth.layout.kernels.packing import DIRECTIONS
from smearsynth.layout.record import Layout
from smearsynth.layout.workspace import Workspace
from smearsynth.smear import LabelArray, Mask

_MAX_PAIRS = 8  # overlapping cells stored per cell


def poses_of(layout: Layout) -> tuple[npt.NDArray[Any], ...]:
    """Return the columns of a layout that the kernels read."""
    return layout.shape, layout.angle, layout.scale, layout.mirrored, layout.x, layout.y


def paint_overlapping(layout: Layout, workspace: Workspace, out: npt.NDArray[np.integer[Any]]) -> None:
    """Paint a layout with overlapping cells into labels that are 0.

    A pixel that several cells cover goes to the one that it lies deepest in: where its distance from the centre is
    the smallest fraction of the radius in that direction.
    """
    points = workspace.table.points
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    _paint_deepest(points, workspace.polar, poses_of(layout), scratch, out)
    if layout.lines is not None:
        _clear_lines(points, poses_of(layout), layout.lines, scratch, out)


@kernel
def _paint_deepest(points: Any, polar: Any, poses: Any, scratch: Any, out: npt.NDArray[Any]) -> None:
    shape, angle, scale, mirrored, x, y = poses
    height, out_width = out.shape
    for k in range(x.size):
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        for strip in range(strips_of(width)):
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                first = x[k] + left + 64 * strip
                word = scratch.words[strip * rows + row] & strip_mask(first, out_width)
                while word != ZERO:
                    column = first + lowest_bit(word)
                    word &= word - ONE
                    line = y[k] + top + row
                    other = out[line, column] - 1
                    if other < 0 or _depth(polar, poses, k, column, line) < _depth(
                        polar, poses, other, column, line
                    ):
                        out[line, column] = k + 1


@kernel
def _depth(polar: Any, poses: Any, k: int, column: int, line: int) -> float:
    """Return the distance of a pixel from the centre of cell k, relative to its radius in that direction."""
    shape, angle, scale, mirrored, x, y = poses
    dx, dy = float(column - x[k]), float(line - y[k])
    turn = math.atan2(dy, dx) - angle[k]
    if mirrored[k]:
        turn = math.pi - turn
    position = turn * (DIRECTIONS / (2.0 * math.pi))
    low = math.floor(position)
    weight = position - low
    radii = polar[shape[k]]
    radius = (1.0 - weight) * radii[int(low) % DIRECTIONS] + weight * radii[(int(low) + 1) % DIRECTIONS]
    return float(math.hypot(dx, dy) / max(scale[k] * radius, 1e-6))


@kernel
def _clear_lines(points: Any, poses: Any, lines: Any, scratch: Any, out: npt.NDArray[Any]) -> None:
    """Clear the pixels of a cell beside a later one if a line of background separates them, the last cell first."""
    shape, angle, scale, mirrored, x, y = poses
    height, out_width = out.shape
    for k in range(x.size - 1, -1, -1):
        if not lines[k]:
            continue
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        for line in range(max(0, y[k] + top), min(y[k] + top + rows, height)):
            for column in range(max(0, x[k] + left), min(x[k] + left + width, out_width)):
                if out[line, column] == k + 1 and _is_beside_later(out, column, line, k + 1):
                    out[line, column] = 0


@kernel
def _is_beside_later(out: npt.NDArray[Any], x: int, y: int, label: int) -> bool:
    """Test whether a larger label has one of the eight pixels around (x, y)."""
    height, out_width = out.shape
    for row in range(max(y - 1, 0), min(y + 2, height)):
        for column in range(max(x - 1, 0), min(x + 2, out_width)):
            if out[row, column] > label:
                return True
    return False


def join_fragments(overlaps: Overlaps, labels: LabelArray) -> None:
    """Give the fragments of cells to the cells that divide them, in place.

    The label of about one overlapping cell in a thousand has several components. A palette annotation, in which
    components are cells, would count them twice.

    Parameters
    ----------
    overlaps : Overlaps
    labels : (H, W) int32 array
        Labels of the layout, see `paint_labels`.
    """
    if not overlaps.cells:
        return
    boxes = ndimage.find_objects(labels, max(overlaps.cells) + 1)
    for cell in overlaps.cells:
        if boxes[cell] is None:
            continue
        rows, columns = (slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[cell])
        window = labels[rows, columns]
        parts, count = ndimage.label(window == cell + 1)
        if count < 2:
            continue
        largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
        for part in range(1, count + 1):
            if part != largest:
                fragment = parts == part
                around = window[ndimage.binary_dilation(fragment) & ~fragment]
                around = around[(around > 0) & (around != cell + 1)]
                window[fragment] = np.bincount(around).argmax() if len(around) else 0


class UpperCell(NamedTuple):
    """A cell that is painted in an upper layer, over the cells that it overlaps.

    Parameters
    ----------
    label : int
        Label of the cell.
    top, left : int
        First row and column of `mask` in the field, px; they may be negative.
    mask : (h, w) bool array
        All pixels of the cell, also those beyond the border of the field.
    """

    label: int
    top: int
    left: int
    mask: Mask


class Overlaps(NamedTuple):
    """The overlapping cells of a layout, numbered from 0.

    Parameters
    ----------
    pairs : (n, 2) int64 array
        Pairs of cells with a common pixel on the canvas.
    cells : dict of int to UpperCell
        All pixels of each cell of a pair, in the order of the numbers.
    """

    pairs: npt.NDArray[np.int64]
    cells: dict[int, UpperCell]


class Layers(NamedTuple):
    """The cells of a field in layers in which no two cells overlap.

    Parameters
    ----------
    base : (H, W) int32 array
        Labels of the lowest layer, with the whole outline of each of its cells.
    upper : tuple of UpperCell
        The other cells.
    """

    base: LabelArray
    upper: tuple[UpperCell, ...]


def paint_layers(overlaps: Overlaps, labels: LabelArray) -> Layers:
    """Divide the cells of a layout into a base layer and upper cells, so that no layer has overlapping cells.

    As many cells as possible are in the base layer (greedily, the cells with the fewest overlaps first).

    Parameters
    ----------
    overlaps : Overlaps
    labels : (H, W) int32 array
        Labels of the layout, see `paint_labels`.

    Returns
    -------
    Layers
        Without overlap the base layer is `labels`.
    """
    if not overlaps.cells:
        return Layers(labels, ())
    neighbours: dict[int, set[int]] = {}
    for first, second in overlaps.pairs.tolist():
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    in_base: set[int] = set()
    for cell in sorted(neighbours, key=lambda cell: (len(neighbours[cell]), cell)):
        if not neighbours[cell] & in_base:
            in_base.add(cell)
    upper = sorted(neighbours.keys() - in_base)
    base = np.where(np.isin(labels, np.array(upper) + 1), 0, labels).astype(np.int32)
    for cell in sorted(in_base):
        _stamp(base, overlaps.cells[cell])
    return Layers(base, tuple(overlaps.cells[cell] for cell in upper))


def find_overlaps(layout: Layout, workspace: Workspace, labels: npt.NDArray[np.integer[Any]]) -> Overlaps:
    """Find the cells of a layout that overlap.

    Parameters
    ----------
    layout : Layout
    workspace : Workspace
        The shapes that the layout was drawn from.
    labels : (H, W) integer array
        Labels of the layout, see `paint_labels`.
    """
    if layout.under is None or not layout.placed:
        return Overlaps(np.zeros((0, 2), np.int64), {})
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    others = np.full((layout.placed, _MAX_PAIRS), -1, np.int64)
    _find_covered(workspace.table.points, poses_of(layout), scratch, labels, others)
    rows, slots = np.nonzero(others >= 0)
    cells = np.unique(np.concatenate([rows, others[rows, slots]]))
    # The labels do not show which cells overlap only under a third one, so that all near pairs are tested.
    masks = {cell: _whole_mask(layout, workspace, cell) for cell in cells.tolist()}
    radii = workspace.table.outer[layout.shape] * np.abs(layout.scale) + 1
    pairs = [
        (first, second)
        for position, first in enumerate(cells.tolist())
        for second in cells[position + 1 :].tolist()
        if math.hypot(layout.x[first] - layout.x[second], layout.y[first] - layout.y[second])
        < radii[first] + radii[second]
        and _share_pixels(masks[first], masks[second], layout.size)
    ]
    in_pairs = sorted({cell for pair in pairs for cell in pair})
    return Overlaps(np.array(pairs, np.int64).reshape(-1, 2), {cell: masks[cell] for cell in in_pairs})


def _share_pixels(first: UpperCell, second: UpperCell, size: tuple[int, int]) -> bool:
    """Test whether two cells have a common pixel on the canvas."""
    top, left = max(first.top, second.top, 0), max(first.left, second.left, 0)
    bottom = min(size[0], *(cell.top + cell.mask.shape[0] for cell in (first, second)))
    right = min(size[1], *(cell.left + cell.mask.shape[1] for cell in (first, second)))
    if top >= bottom or left >= right:
        return False
    parts = [
        cell.mask[top - cell.top : bottom - cell.top, left - cell.left : right - cell.left]
        for cell in (first, second)
    ]
    return bool((parts[0] & parts[1]).any())


@kernel
def _find_covered(points: Any, poses: Any, scratch: Any, labels: npt.NDArray[Any], others: Any) -> None:
    """Store in the row of each cell the cells whose labels lie on its pixels, up to the width of the table."""
    shape, angle, scale, mirrored, x, y = poses
    height, out_width = labels.shape
    for k in range(x.size):
        flip = 1 if mirrored[k] else 0
        left, top, rows, width = rasterise(points[shape[k]], angle[k], scale[k], flip, scratch)
        found = 0
        for strip in range(strips_of(width)):
            for row in range(max(0, -y[k] - top), min(rows, height - y[k] - top)):
                first = x[k] + left + 64 * strip
                word = scratch.words[strip * rows + row] & strip_mask(first, out_width)
                while word != ZERO:
                    label = labels[y[k] + top + row, first + lowest_bit(word)]
                    word &= word - ONE
                    if label != 0 and label != k + 1 and found < others.shape[1]:
                        known = False
                        for slot in range(found):
                            known |= others[k, slot] == label - 1
                        if not known:
                            others[k, found] = label - 1
                            found += 1


def _whole_mask(layout: Layout, workspace: Workspace, cell: int) -> UpperCell:
    """Return all pixels of a cell, also those beyond the canvas."""
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    poses = tuple(column[cell] for column in poses_of(layout))
    left, top, rows, width = _rasterise_one(workspace.table.points, poses, scratch)
    mask = np.zeros((rows, width), np.bool_)
    _words_to_mask(scratch.words, mask)
    return UpperCell(cell + 1, int(layout.y[cell]) + top, int(layout.x[cell]) + left, mask)


@kernel
def _rasterise_one(points: Any, pose: Any, scratch: Any) -> Any:
    shape, angle, scale, mirrored, _, _ = pose
    return rasterise(points[shape], angle, scale, 1 if mirrored else 0, scratch)


@kernel
def _words_to_mask(words: Any, mask: Any) -> None:
    rows, width = mask.shape
    for strip in range(strips_of(width)):
        for row in range(rows):
            word = words[strip * rows + row]
            while word != ZERO:
                column = 64 * strip + lowest_bit(word)
                word &= word - ONE
                if column < width:
                    mask[row, column] = True


def _stamp(labels: LabelArray, cell: UpperCell) -> None:
    """Write the label of a cell onto its pixels on the field."""
    height, width = labels.shape
    rows, columns = cell.mask.shape
    top, left = max(cell.top, 0), max(cell.left, 0)
    bottom, right = min(cell.top + rows, height), min(cell.left + columns, width)
    part = cell.mask[top - cell.top : bottom - cell.top, left - cell.left : right - cell.left]
    labels[top:bottom, left:right][part] = cell.label


def full_outlines(layout: Layout, overlaps: Overlaps) -> tuple[Outline | None, ...]:
    """Return the whole outline, inside the canvas, of each cell that overlaps another one; None for the others."""
    outlines: list[Outline | None] = [None] * layout.placed
    for cell, whole in overlaps.cells.items():
        top, left = max(-whole.top, 0), max(-whole.left, 0)
        mask = whole.mask[top : layout.height - whole.top, left : layout.width - whole.left]
        outlines[cell] = Outline.of_mask(mask, (whole.left + left, whole.top + top))
    return tuple(outlines)


def overlap_fraction(layout: Layout, workspace: Workspace, labels: npt.NDArray[np.integer[Any]]) -> float:
    """Return the number of hidden pixels of all cells over the number of labelled ones.

    A pixel in three cells counts as two hidden ones. `labels` are those of the layout, see `paint_labels`.
    """
    if not layout.placed:
        return 0.0
    scratch = workspace.scratch(float(np.abs(layout.scale).max()))
    visible = int(np.count_nonzero(labels))
    total = int(_count_pixels(workspace.table.points, poses_of(layout), scratch, layout.height, layout.width))
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
