# mypy: disable-error-code="no-any-return"
"""Dense fields: cells pushed apart until they hardly overlap, once no more fit one by one. Compiled, bounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from smearsynth.layout.bitmaps import rasterise, strips_of
from smearsynth.layout.compiled import ZERO, Words, below, kernel, pick_bit
from smearsynth.layout.placement import draw_cell
from smearsynth.layout.sliding import place_under, settle

DIRECTIONS = 32  # in which a cell's radius is known
_PUSH = 0.45  # of the overlap, for each of two cells
_LONGEST = 0.25  # diameters that a cell is moved at once
_CLEARANCE = 0.5  # px that cells keep, for the rounding of their centres
_ENOUGH = 0.025  # mean overlap of the pushed pairs in diameters, at which pushing ends

Floats = npt.NDArray[np.float64]


@kernel
def add_cells(
    job: Any, table: Any, board: Any, cells: Any, scratch: Any, state: Words, start: int, end: int
) -> None:
    """Draw the cells `start` to `end` and put them anywhere."""
    for slot in range(start, end):
        cell = cells[slot]
        draw_cell(job, table, cell, scratch, state)
        cell.x, cell.y = below(state, board.width), below(state, board.height)


@kernel
def find_radii(table: Any, cells: Any, scratch: Any, radii: Floats) -> None:
    """Radius of each cell in `DIRECTIONS` directions, (cells, DIRECTIONS) px; 0 for a cell without a pixel."""
    n = table.points.shape[2]
    for slot in range(radii.shape[0]):
        cell, own = cells[slot], radii[slot]
        rasterise(table.points[cell.shape], cell.angle, cell.scale, cell.mirrored, scratch)
        own[:] = 0.0
        for k in range(n):
            x, y = scratch.x[k], scratch.y[k]
            own[direction(x, y)] = max(own[direction(x, y)], math.sqrt(x * x + y * y))
        for k in range(DIRECTIONS):  # one without a vertex has the radius of the one before
            if own[k] == 0.0:
                own[k] = own[k - 1] if k > 0 else own[DIRECTIONS - 1]


@kernel
def direction(x: float, y: float) -> int:
    """Index of the direction of (x, y)."""
    return int((math.atan2(y, x) / (2.0 * math.pi) + 1.0) * DIRECTIONS + 0.5) % DIRECTIONS


@kernel
def push_apart(
    board: Any, radii: Floats, diameter: float, places: Floats, moves: Floats, chain: Any, rounds: int
) -> None:
    """Push overlapping cells apart along the line of their centres, `rounds` times at most.

    Parameters
    ----------
    places, moves : (cells, 2) float64 arrays
        Centres x, y in px, brought up to date; and room for their moves.
    chain : (cells,) int64 array
        Room for the grid's lists.
    """
    n = places.shape[0]
    for _ in range(rounds):
        board.buckets[:] = -1
        for k in range(n):
            moves[k, 0] = moves[k, 1] = 0.0
            bucket = int(places[k, 1]) // board.side * board.across + int(places[k, 0]) // board.side
            chain[k] = board.buckets[bucket]
            board.buckets[bucket] = k
        total, pairs = 0.0, 0
        for k in range(n):
            column, row = int(places[k, 0]) // board.side, int(places[k, 1]) // board.side
            for near in range(max(row - 1, 0) * board.across, (row + 2) * board.across, board.across):
                if near >= board.buckets.size:
                    break
                for at in range(near + max(column - 1, 0), near + min(column + 2, board.across)):
                    other = board.buckets[at]
                    while other > k:
                        deep = _push(radii, places, moves, k, other)
                        if deep > 0.0:
                            total += deep
                            pairs += 1
                        other = chain[other]
        longest = _LONGEST * diameter
        for k in range(n):
            length = math.sqrt(moves[k, 0] ** 2 + moves[k, 1] ** 2)
            factor = min(1.0, longest / length) if length > 0.0 else 0.0
            places[k, 0] = min(max(places[k, 0] + factor * moves[k, 0], 0.0), board.width - 1.0)
            places[k, 1] = min(max(places[k, 1] + factor * moves[k, 1], 0.0), board.height - 1.0)
        if total <= _ENOUGH * diameter * max(pairs, 1) or total <= 0.001 * diameter * n:
            return


@kernel
def _push(radii: Floats, places: Floats, moves: Floats, k: int, other: int) -> float:
    """Add to the moves of two cells what parts them; their overlap in px."""
    dx, dy = places[other, 0] - places[k, 0], places[other, 1] - places[k, 1]
    squared = dx * dx + dy * dy
    most = radii[k, 0] + radii[other, 0]
    if squared > 2.25 * most * most:
        return 0.0
    distance = math.sqrt(squared)
    if distance < 1e-6:
        dx, dy, distance = 1e-3, 0.0, 1e-3
    way = direction(dx, dy)
    deep = radii[k, way] + radii[other, (way + DIRECTIONS // 2) % DIRECTIONS] + _CLEARANCE - distance
    if deep <= 0.0:
        return 0.0
    step = _PUSH * deep / distance
    moves[k, 0] -= step * dx
    moves[k, 1] -= step * dy
    moves[other, 0] += step * dx
    moves[other, 1] += step * dy
    return deep


@kernel
def put_back(
    job: Any, law: Any, table: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, tally: Any
) -> bool:
    """Take the pixels of the first `tally[0]` cells anew, each under those before it, up to `job.requested` seen.

    Parameters
    ----------
    tally : (2,) int64 array
        Brought to the cells kept, and those of them seen on the field. What hardly shows is left out.

    Returns
    -------
    full : bool
        The arena is too small.
    """
    n, kept, seen, used = tally[0], 0, 0, 0
    for slot in range(n):
        if seen == job.requested:
            break
        if slot != kept:
            cells[kept] = cells[slot]
        cell = cells[kept]
        left, top, rows, width = rasterise(table.points[cell.shape], cell.angle, cell.scale, cell.mirrored, scratch)
        cell.left, cell.top, cell.rows, cell.width, cell.offset = left, top, rows, width, used
        cell.line, cell.joins, cell.touching = 0, 1, 0
        if used + strips_of(width) * rows > arena.size:
            return True
        free = place_under(job, law, board, cells, arena, scratch, state, kept)
        if rows > 0 and free != ZERO:
            cell.colour = pick_bit(state, free)
            settle(law, table, board, cells, arena, kept)
            used += strips_of(width) * rows
            kept += 1
            seen += 1 if cell.mass > 0.0 else 0
    tally[0], tally[1] = kept, seen
    return False
