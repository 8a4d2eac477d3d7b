# mypy: disable-error-code="no-any-return"
"""Sequential placement of cells: draw a cell, find a centre, mark its pixels. Compiled; every loop is bounded.

`place_cells` is the loop of the paper. Contact layouts find centres in another way and use the same `draw_cell` and
`colours_at`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.kernels.bitmaps import (
    bit_at,
    clip,
    grow,
    mark_disc,
    meet,
    overlaps,
    rasterise,
    stamp,
    strip_mask,
    strips_of,
)
from smearsynth.layout.kernels.compiled import (
    ONE,
    ZERO,
    Word,
    Words,
    below,
    inlined,
    kernel,
    lowest_bit,
    pick_bit,
    uniform,
)
from smearsynth.layout.kernels.rings import draw_centre, ring_mass, ring_weight

# Two discs whose radii add up to the distance of their centres plus √2 share a disc of diameter √2, which contains
# a pixel centre. It lies between the two centres, so it is on the canvas.
SURE_OVERLAP = 1.5


class ShapeTable(NamedTuple):
    """Shape library in the form that the kernels read."""

    points: npt.NDArray[np.float64]  # (n, 2, VERTICES) x, then y, so that rotation is vector arithmetic
    inner: npt.NDArray[np.float64]  # (n,) radius of the largest disc around the centroid inside the contour, or 0
    outer: npt.NDArray[np.float64]  # (n,) largest distance of the contour from its centroid
    order: npt.NDArray[np.int64]  # (n,) shapes sorted by class
    first: npt.NDArray[np.int64]  # (n_classes + 1,) first index of each class in `order`


class Job(NamedTuple):
    """Number of cells to place, and the probabilities of classes and poses."""

    requested: int
    n_init: int
    n_colours: int
    centre_tries: int  # draws of a centre before all feasible centres are scanned
    shape_tries: int  # shapes drawn for one cell, each proved not to fit, before placement ends
    odds: npt.NDArray[np.float64]  # (n_classes,) probability of each class
    mix: npt.NDArray[np.float64]  # (n_classes,) cumulative sum of `odds`
    rotation: float
    scaling: float
    scale_low: float
    scale_high: float
    flip_horizontal: float
    flip_vertical: float
    sizes: npt.NDArray[np.float64]  # (n,) factor on each shape of the library, before random scaling


@kernel
def place_cells(
    job: Any, table: Any, ring: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, placed: int
) -> tuple[int, bool]:
    """Place cells from number `placed` on, until all are placed, one does not fit, or a buffer is full.

    Returns
    -------
    placed : int
    full : bool
        A buffer is too small. Call again with larger buffers; the same cells follow.
    """
    used = 0
    if placed > 0:
        previous = cells[placed - 1]
        used = previous.offset + strips_of(previous.width) * previous.rows
    for slot in range(placed, job.requested):
        if slot == cells.size:
            return slot, True
        state_before = state[0]
        cell = cells[slot]
        cell.offset = used
        free = ZERO
        for _ in range(job.shape_tries):
            draw_cell(job, table, cell, scratch, state)
            words = strips_of(cell.width) * cell.rows
            if used + words > arena.size:
                # Undo this cell, because the result must not depend on the size of a buffer.
                state[0] = state_before
                return slot, True
            if words > 0:
                # The shape stays the same in all tries for a centre; redrawing it would favour small cells.
                free = find_centre(job, table, ring, board, cells, arena, scratch, state, slot)
            if free != ZERO:
                break
        if free == ZERO:
            return slot, False
        cell.colour = pick_bit(state, free)
        cell.line = cell.touching = cell.under = 0
        used += strips_of(cell.width) * cell.rows
        commit(table, ring, board, cells, arena, slot)
    return job.requested, False


@inlined
def draw_cell(job: Any, table: Any, cell: Any, scratch: Any, state: Words) -> None:
    """Draw class, shape and pose of a cell (paper, section 4.1.1) and rasterise it into ``scratch.words``."""
    pick = uniform(state)
    klass = 0
    while klass < job.mix.size - 1 and pick >= job.mix[klass]:
        klass += 1
    start, end = table.first[klass], table.first[klass + 1]
    cell.klass = klass
    cell.shape = table.order[start + below(state, end - start)]
    angle, scale = 0.0, 1.0
    if uniform(state) < job.rotation:
        angle = uniform(state) * 2.0 * math.pi
    if uniform(state) < job.scaling:
        scale = job.scale_low + uniform(state) * (job.scale_high - job.scale_low)
    mirrored = 1 if uniform(state) < job.flip_horizontal else 0
    if uniform(state) < job.flip_vertical:
        # A vertical flip is a horizontal flip and a rotation by 180°.
        mirrored = 1 - mirrored
        angle += math.pi
    scale *= job.sizes[cell.shape]
    cell.angle, cell.scale, cell.mirrored = angle, scale, mirrored
    left, top, rows, width = rasterise(table.points[cell.shape], angle, scale, mirrored, scratch)
    cell.left, cell.top, cell.rows, cell.width = left, top, rows, width


@inlined
def find_centre(
    job: Any, table: Any, ring: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int
) -> Word:
    """Draw a centre for the cell from P(i); return its possible colours as bits, 0 if it does not fit."""
    cell = cells[slot]
    level = level_of(board, table.inner[cell.shape] * cell.scale)
    quick = min(level, 0) if level < board.eager else board.eager
    for _ in range(job.centre_tries):
        x, y = draw_centre(state, slot + 1, job.n_init, cells, ring, board.width, board.height)
        if x < 0 or (quick >= 0 and bit_at(board, quick, x, y)):
            continue
        free = colours_at(job.n_colours, board, cells, arena, scratch, slot, x, y)
        if free != ZERO:
            cell.x, cell.y = x, y
            return free
    mark_dead_centres(table, board, cells, max(level, 0), slot)
    return find_any_centre(job, ring, board, cells, arena, scratch, state, slot, level)


@kernel
def level_of(board: Any, inner: float) -> int:
    """Return the level of infeasible centres that is valid for a cell of this inscribed radius; -1 for none.

    Level 0, the occupied pixels, is valid for every cell that contains the pixel at its centre.
    """
    if inner <= 0.0:
        return -1
    level = 0
    for k in range(1, board.radii.size):
        if inner >= board.radii[k]:
            level = k
    return level


@inlined
def colours_at(
    n_colours: int, board: Any, cells: Any, arena: Words, scratch: Any, slot: int, x: int, y: int
) -> Word:
    """Return the colours, as bits 1..n_colours, that the cell may have at (x, y); 0 if it does not fit.

    It fits if none of its pixels is occupied, at least one is on the canvas, and some colour is not that of an
    8-connected neighbour. Its pixels on the canvas are written to the arena.
    """
    cell = cells[slot]
    column, line = x + cell.left, y + cell.top
    if overlaps(board, scratch.words, column, line, cell.rows, cell.width):
        return ZERO
    mine = arena[cell.offset : cell.offset + strips_of(cell.width) * cell.rows]
    if not clip(board, scratch.words, column, line, cell.rows, cell.width, mine):
        return ZERO
    free = ((ONE << np.uint64(n_colours)) - ONE) << ONE
    grow(mine, cell.rows, cell.width, scratch)
    if overlaps(board, scratch.grown, column - 1, line - 1, cell.rows + 2, cell.width + 2):
        free &= ~touched(board, cells, arena, scratch, slot, x, y, 0)[0]
    return free


@kernel
def touched(
    board: Any, cells: Any, arena: Words, scratch: Any, slot: int, x: int, y: int, mark: int
) -> tuple[Word, int]:
    """Return the colours, as bits, of the cells that ``scratch.grown`` intersects, and the size of their clusters.

    Cluster sizes are used by contact layouts only. A nonzero `mark` is stored as the cluster size of the
    intersected cells; cells further away in the cluster are not updated.
    """
    cell = cells[slot]
    reach = 2 * board.reach + 2
    used, count = ZERO, 0
    for row in range(max(y - reach, 0) // board.side, min(y + reach, board.height - 1) // board.side + 1):
        for column in range(max(x - reach, 0) // board.side, min(x + reach, board.width - 1) // board.side + 1):
            j = board.buckets[row * board.across + column]
            while j >= 0:
                other = cells[j]
                if meet(
                    scratch.grown,
                    x + cell.left - 1,
                    y + cell.top - 1,
                    cell.rows + 2,
                    cell.width + 2,
                    arena[other.offset :],
                    other,
                    other.x + other.left,
                    other.y + other.top,
                ):
                    used |= ONE << np.uint64(other.colour)
                    count += max(other.touching, 1)
                    if mark:
                        other.touching = mark
                j = other.next
    return used, count


@kernel
def find_any_centre(
    job: Any, ring: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int, level: int
) -> Word:
    """Draw from P(i) restricted to all centres where the cell fits; 0 proves that there is none.

    One pass over the canvas (reservoir sampling): each feasible centre replaces the selected one with probability
    weight / (sum of weights so far).
    """
    cell = cells[slot]
    total, selected = 0.0, False
    best_x, best_y = 0, 0
    for strip in range((board.width + 63) >> 6):
        mask = strip_mask(64 * strip, board.width)
        at = (strip + (board.pad >> 6)) * board.stride + board.pad
        for y in range(board.height):
            live = mask if level < 0 else mask & ~board.bits[level, at + y]
            while live != ZERO:
                x = 64 * strip + lowest_bit(live)
                live &= live - ONE
                if colours_at(job.n_colours, board, cells, arena, scratch, slot, x, y) != ZERO:
                    weight = weight_at(job, ring, board, cells, slot, x, y)
                    total += weight
                    if weight > 0.0 and uniform(state) * total < weight:
                        best_x, best_y, selected = x, y, True
    if not selected:
        return ZERO
    cell.x, cell.y = best_x, best_y
    return colours_at(job.n_colours, board, cells, arena, scratch, slot, best_x, best_y)


@kernel
def weight_at(job: Any, ring: Any, board: Any, cells: Any, slot: int, x: int, y: int) -> float:
    """Return i·P(i) at a pixel: n_init/(H·W) plus the ring of each cell from the `n_init`-th on."""
    weight = job.n_init / (float(board.width) * float(board.height))
    if slot < job.n_init:
        return weight
    reach = ring.reach
    for row in range(max(y - reach, 0) // board.side, min(y + reach, board.height - 1) // board.side + 1):
        for column in range(max(x - reach, 0) // board.side, min(x + reach, board.width - 1) // board.side + 1):
            j = board.buckets[row * board.across + column]
            while j >= 0:
                other = cells[j]
                dx, dy = x - other.x, y - other.y
                if j >= job.n_init - 1 and abs(dx) <= reach and abs(dy) <= reach and other.mass > 0.0:
                    weight += ring_weight(ring, dx, dy) / other.mass
                j = other.next
    return weight


@inlined
def commit(table: Any, ring: Any, board: Any, cells: Any, arena: Words, slot: int) -> None:
    """Mark the pixels of the placed cell and the centres that it makes infeasible, and add it to the grid."""
    cell = cells[slot]
    x, y = cell.x, cell.y
    stamp(board, arena[cell.offset :], x + cell.left, y + cell.top, cell.rows, cell.width)
    mark_dead_centres(table, board, cells, board.eager, slot + 1)
    cell.mass = ring_mass(ring, x, y, board.width, board.height)
    bucket = (y // board.side) * board.across + x // board.side
    cell.next = board.buckets[bucket]
    board.buckets[bucket] = slot


@inlined
def mark_dead_centres(table: Any, board: Any, cells: Any, level: int, placed: int) -> None:
    """Update a level to `placed` cells: mark the centres where its shapes certainly overlap one of them."""
    if level == 0:
        return
    if board.marked[level] < 0:
        board.bits[level, :] = ZERO
        board.marked[level] = 0
    for slot in range(board.marked[level], placed):
        cell = cells[slot]
        inner = table.inner[cell.shape] * cell.scale
        radius = board.radii[level] + inner - SURE_OVERLAP
        if inner > 0.0 and radius >= 0.0:
            mark_disc(board, level, cell.x, cell.y, radius)
    board.marked[level] = max(board.marked[level], placed)
