# mypy: disable-error-code="no-any-return"
"""Dense fields: cells pushed apart until they hardly overlap, once no more fit one by one. Compiled, bounded."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.kernels.bitmaps import rasterise, strips_of
from smearsynth.layout.kernels.compiled import ZERO, Words, below, inlined, kernel, pick_bit
from smearsynth.layout.kernels.placement import draw_cell
from smearsynth.layout.kernels.sliding import ANY_CLUSTER, place_under, settle

DIRECTIONS = 64  # in which a cell's radius is known
_PUSH = 0.45  # of the overlap, for each of two cells
_LONGEST = 0.25  # diameters that a cell is moved at once
_SKIN = 0.2  # diameters within which two cells are noted as neighbours before they meet
_NEIGHBOURS = 16  # noted pairs for each cell, at most
_SECTOR = DIRECTIONS / (2.0 * math.pi)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Crowd(NamedTuple):
    """Cells that are pushed apart, and room to do it in."""

    places: Floats  # (n, 2) centres x, y in px
    moves: Floats  # (n, 2)
    radii: Floats  # (n, DIRECTIONS) px
    outer: Floats  # (n,) the largest of them
    chain: Ints  # (n,) next cell of the same bucket of the grid
    pairs: npt.NDArray[np.int32]  # (NEIGHBOURS * n, 2) neighbours

    def first(self, n: int) -> Crowd:
        """The first `n` cells."""
        return self._replace(
            places=self.places[:n],
            moves=self.moves[:n],
            radii=self.radii[:n],
            outer=self.outer[:n],
            chain=self.chain[:n],
        )


def make_crowd(n: int) -> Crowd:
    """Room for `n` cells."""
    return Crowd(
        places=np.empty((n, 2)),
        moves=np.empty((n, 2)),
        radii=np.empty((n, DIRECTIONS)),
        outer=np.empty(n),
        chain=np.empty(n, np.int64),
        pairs=np.empty((_NEIGHBOURS * n, 2), np.int32),
    )


def polar_radii(points: Floats) -> Floats:
    """Radius of contours (n, 2, vertices) about the origin in `DIRECTIONS` directions, (n, DIRECTIONS) px.

    The farthest vertex of each sector; a sector without one has the mean of the two beside it that have.

    Examples
    --------
    >>> square = np.array([[[2.0, -2.0, -2.0, 2.0], [2.0, 2.0, -2.0, -2.0]]])
    >>> polar_radii(square)[0, ::8].round(2).tolist()
    [2.83, 2.83, 2.83, 2.83, 2.83, 2.83, 2.83, 2.83]
    """
    away = np.hypot(points[:, 0], points[:, 1])
    sector = np.rint(np.arctan2(points[:, 1], points[:, 0]) * _SECTOR).astype(np.int64) % DIRECTIONS
    radii = np.zeros((len(points), DIRECTIONS))
    np.maximum.at(radii, (np.arange(len(points))[:, None], sector), away)
    before, after = radii.copy(), radii.copy()
    for _ in range(DIRECTIONS):
        before = np.where(before > 0, before, np.roll(before, 1, axis=1))
        after = np.where(after > 0, after, np.roll(after, -1, axis=1))
    return np.where(radii > 0, radii, (before + after) / 2)


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
def set_out(polar: Floats, cells: Any, crowd: Any) -> None:
    """Note the places and the radii of the cells."""
    for slot in range(crowd.outer.size):
        cell = cells[slot]
        crowd.places[slot, 0], crowd.places[slot, 1] = cell.x, cell.y
        own, turn = polar[cell.shape], cell.angle * _SECTOR
        # The direction k of the posed cell is the direction k - turn of its contour; mirrored, that of half a
        # turn less as much.
        sign = -1 if cell.mirrored else 1
        start = DIRECTIONS // 2 + round(turn) if cell.mirrored else -round(turn)
        crowd.outer[slot] = 0.0
        for k in range(DIRECTIONS):
            radius = cell.scale * own[(start + sign * k) % DIRECTIONS]
            crowd.radii[slot, k] = radius
            crowd.outer[slot] = max(crowd.outer[slot], radius)


@kernel
def push_apart(board: Any, cells: Any, crowd: Any, diameter: float, aim: tuple[float, float], rounds: int) -> None:
    """Push cells apart along the line of their centres, `rounds` times at most.

    The aim is a clearance in px, and the mean lack of it, of the pairs that lack any, at which to end.

    All of a round move at once. Neighbours are looked up again when two cells may have met that were not noted
    (Verlet 1967).
    """
    places, moves, (clearance, enough) = crowd.places, crowd.moves, aim
    n, noted, drift = crowd.outer.size, 0, math.inf
    longest = _LONGEST * diameter
    for _ in range(rounds):
        if 2.0 * drift > _SKIN * diameter:
            noted, drift = note_pairs(board, crowd, _SKIN * diameter), 0.0
        for k in range(n):
            moves[k, 0] = moves[k, 1] = 0.0
        total, pairs = 0.0, 0
        for k in range(noted):
            deep = _push(crowd, crowd.pairs[k, 0], crowd.pairs[k, 1], clearance)
            if deep > 0.0:
                total += deep
                pairs += 1
        farthest = 0.0
        for k in range(n):
            length = math.sqrt(moves[k, 0] ** 2 + moves[k, 1] ** 2)
            factor = min(1.0, longest / length) if length > 0.0 else 0.0
            places[k, 0] = min(max(places[k, 0] + factor * moves[k, 0], 0.0), board.width - 1.0)
            places[k, 1] = min(max(places[k, 1] + factor * moves[k, 1], 0.0), board.height - 1.0)
            farthest = max(farthest, factor * length)
        drift += farthest
        if total <= enough * max(pairs, 1) or total <= 0.001 * diameter * n:
            break
    for k in range(n):
        cells[k].x, cells[k].y = round(places[k, 0]), round(places[k, 1])


@kernel
def note_pairs(board: Any, crowd: Any, skin: float) -> int:
    """Note all pairs of cells that are less than `skin` px apart; their number."""
    places, chain = crowd.places, crowd.chain
    board.buckets[:] = -1
    noted = 0
    for k in range(crowd.outer.size):
        x, y, own = places[k, 0], places[k, 1], crowd.outer[k] + skin
        column, row = int(x) // board.side, int(y) // board.side
        for down in range(max(row - 1, 0) * board.across, (row + 2) * board.across, board.across):
            if down >= board.buckets.size:
                break
            for at in range(down + max(column - 1, 0), down + min(column + 2, board.across)):
                other = board.buckets[at]
                while other >= 0:
                    dx, dy = places[other, 0] - x, places[other, 1] - y
                    near = own + crowd.outer[other]
                    if dx * dx + dy * dy < near * near and noted < crowd.pairs.shape[0]:
                        crowd.pairs[noted, 0], crowd.pairs[noted, 1] = k, other
                        noted += 1
                    other = chain[other]
        bucket = row * board.across + column
        chain[k] = board.buckets[bucket]
        board.buckets[bucket] = k
    return noted


@inlined
def _push(crowd: Any, k: int, other: int, clearance: float) -> float:
    """Add to the moves of two cells what parts them; their overlap in px."""
    places, moves, radii = crowd.places, crowd.moves, crowd.radii
    dx, dy = places[other, 0] - places[k, 0], places[other, 1] - places[k, 1]
    squared = dx * dx + dy * dy
    most = crowd.outer[k] + crowd.outer[other] + clearance
    if squared > most * most:
        return 0.0
    distance = math.sqrt(squared)
    if distance < 1e-6:
        dx, dy, distance = 1e-3, 0.0, 1e-3
    way = direction(dx, dy)
    deep = radii[k, way] + radii[other, (way + DIRECTIONS // 2) % DIRECTIONS] + clearance - distance
    if deep <= 0.0:
        return 0.0
    step = _PUSH * deep / distance
    moves[k, 0] -= step * dx
    moves[k, 1] -= step * dy
    moves[other, 0] += step * dx
    moves[other, 1] += step * dy
    return deep


@inlined
def direction(x: float, y: float) -> int:
    """Index of the direction of (x, y), exact to a tenth of a sector.

    The arc tangent of a ratio up to 1 by a polynomial with an error below 0.005 (Rajan et al. 2006).
    """
    wide, tall = abs(x), abs(y)
    ratio = min(wide, tall) / max(wide, tall)
    turn = ratio * (math.pi / 4.0 + 0.273 * (1.0 - ratio))
    if tall > wide:
        turn = math.pi / 2.0 - turn
    if x < 0.0:
        turn = math.pi - turn
    if y < 0.0:
        turn = -turn
    return int(turn * _SECTOR + DIRECTIONS + 0.5) % DIRECTIONS


@kernel
def count_seen(law: Any, board: Any, crowd: Any) -> int:
    """Cells that reach onto the field, inside the margin, by a pixel however their centres are rounded."""
    right, down, left, up = 0, DIRECTIONS // 4, DIRECTIONS // 2, 3 * DIRECTIONS // 4
    low = law.margin + 1.5
    wide, tall = board.width - low, board.height - low
    seen = 0
    for k in range(crowd.outer.size):
        x, y, radii = crowd.places[k, 0], crowd.places[k, 1], crowd.radii[k]
        if x + radii[right] > low and x - radii[left] < wide and y + radii[down] > low and y - radii[up] < tall:
            seen += 1
    return seen


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
        cell.line, cell.joins, cell.touching = 0, ANY_CLUSTER, 0
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
