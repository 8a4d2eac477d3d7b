# mypy: disable-error-code="no-any-return"
"""Dense fields: cells that cannot be placed one by one are added anywhere and pushed apart. Compiled, bounded."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.kernels.bitmaps import rasterise, strips_of
from smearsynth.layout.kernels.compiled import ZERO, Words, below, inlined, kernel, pick_bit
from smearsynth.layout.kernels.placement import draw_cell
from smearsynth.layout.kernels.sliding import ANY_CLUSTER, place_under, settle

DIRECTIONS = 64  # number of directions in which radii are stored
_PUSH = 0.45  # fraction of the overlap that each of two cells moves
_MAX_STEP = 0.25  # largest move per round, diameters
_SKIN = 0.2  # gap below which two cells are listed as neighbours, diameters
_NEIGHBOURS = 16  # largest number of listed pairs per cell
_SECTOR = DIRECTIONS / (2.0 * math.pi)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Crowd(NamedTuple):
    """Buffers for cells that are pushed apart."""

    places: Floats  # (n, 2) centres x, y in px
    moves: Floats  # (n, 2)
    radii: Floats  # (n, DIRECTIONS) px
    outer: Floats  # (n,) largest radius
    chain: Ints  # (n,) next cell in the same bucket of the grid
    pairs: npt.NDArray[np.int32]  # (NEIGHBOURS * n, 2) neighbours

    def first(self, n: int) -> Crowd:
        """Return a view of the first `n` cells."""
        return self._replace(
            places=self.places[:n],
            moves=self.moves[:n],
            radii=self.radii[:n],
            outer=self.outer[:n],
            chain=self.chain[:n],
        )


def make_crowd(n: int) -> Crowd:
    """Allocate buffers for `n` cells."""
    return Crowd(
        places=np.empty((n, 2)),
        moves=np.empty((n, 2)),
        radii=np.empty((n, DIRECTIONS)),
        outer=np.empty(n),
        chain=np.empty(n, np.int64),
        pairs=np.empty((_NEIGHBOURS * n, 2), np.int32),
    )


def polar_radii(points: Floats) -> Floats:
    """Return the radii of contours (n, 2, vertices) in `DIRECTIONS` directions, (n, DIRECTIONS) px.

    Each is the distance of the farthest vertex in its sector; a sector without a vertex takes the mean of the
    nearest sectors with one on either side.

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
    """Draw the cells from `start` to `end` at uniform positions."""
    for slot in range(start, end):
        cell = cells[slot]
        draw_cell(job, table, cell, scratch, state)
        cell.x, cell.y = below(state, board.width), below(state, board.height)


@kernel
def load_crowd(polar: Floats, cells: Any, crowd: Any) -> None:
    """Copy the centres and radii of the cells into the crowd."""
    for slot in range(crowd.outer.size):
        cell = cells[slot]
        crowd.places[slot, 0], crowd.places[slot, 1] = cell.x, cell.y
        radii, turn = polar[cell.shape], cell.angle * _SECTOR
        # Direction k of the cell in its pose is direction k - turn of its contour; if mirrored, it is half a turn
        # minus that direction.
        sign = -1 if cell.mirrored else 1
        start = DIRECTIONS // 2 + round(turn) if cell.mirrored else -round(turn)
        crowd.outer[slot] = 0.0
        for k in range(DIRECTIONS):
            radius = cell.scale * radii[(start + sign * k) % DIRECTIONS]
            crowd.radii[slot, k] = radius
            crowd.outer[slot] = max(crowd.outer[slot], radius)


@kernel
def push_apart(board: Any, cells: Any, crowd: Any, diameter: float, aim: tuple[float, float], rounds: int) -> None:
    """Push cells apart along the line of their centres, in at most `rounds` rounds.

    `aim` holds the clearance in px and the tolerance: pushing ends when the mean missing clearance of the pairs
    that are too close falls below it. All cells move at once. Neighbours are listed again when cells that are not
    listed may have met (Verlet 1967).
    """
    places, moves, (clearance, tolerance) = crowd.places, crowd.moves, aim
    n, pair_count, drift = crowd.outer.size, 0, math.inf
    max_step = _MAX_STEP * diameter
    for _ in range(rounds):
        if 2.0 * drift > _SKIN * diameter:
            pair_count, drift = find_pairs(board, crowd, _SKIN * diameter), 0.0
        for k in range(n):
            moves[k, 0] = moves[k, 1] = 0.0
        total, pairs = 0.0, 0
        for k in range(pair_count):
            overlap = _push(crowd, crowd.pairs[k, 0], crowd.pairs[k, 1], clearance)
            if overlap > 0.0:
                total += overlap
                pairs += 1
        farthest = 0.0
        for k in range(n):
            length = math.sqrt(moves[k, 0] ** 2 + moves[k, 1] ** 2)
            factor = min(1.0, max_step / length) if length > 0.0 else 0.0
            places[k, 0] = min(max(places[k, 0] + factor * moves[k, 0], 0.0), board.width - 1.0)
            places[k, 1] = min(max(places[k, 1] + factor * moves[k, 1], 0.0), board.height - 1.0)
            farthest = max(farthest, factor * length)
        drift += farthest
        if total <= tolerance * max(pairs, 1) or total <= 0.001 * diameter * n:
            break
    for k in range(n):
        cells[k].x, cells[k].y = round(places[k, 0]), round(places[k, 1])


@kernel
def find_pairs(board: Any, crowd: Any, skin: float) -> int:
    """List all pairs of cells with a gap below `skin` px; return their number."""
    places, chain = crowd.places, crowd.chain
    board.buckets[:] = -1
    pair_count = 0
    for k in range(crowd.outer.size):
        x, y, radius_k = places[k, 0], places[k, 1], crowd.outer[k] + skin
        column, row = int(x) // board.side, int(y) // board.side
        for down in range(max(row - 1, 0) * board.across, (row + 2) * board.across, board.across):
            if down >= board.buckets.size:
                break
            for at in range(down + max(column - 1, 0), down + min(column + 2, board.across)):
                other = board.buckets[at]
                while other >= 0:
                    dx, dy = places[other, 0] - x, places[other, 1] - y
                    near = radius_k + crowd.outer[other]
                    if dx * dx + dy * dy < near * near and pair_count < crowd.pairs.shape[0]:
                        crowd.pairs[pair_count, 0], crowd.pairs[pair_count, 1] = k, other
                        pair_count += 1
                    other = chain[other]
        bucket = row * board.across + column
        chain[k] = board.buckets[bucket]
        board.buckets[bucket] = k
    return pair_count


@inlined
def _push(crowd: Any, k: int, other: int, clearance: float) -> float:
    """Add the moves that separate two cells; return their overlap in px."""
    places, moves, radii = crowd.places, crowd.moves, crowd.radii
    dx, dy = places[other, 0] - places[k, 0], places[other, 1] - places[k, 1]
    squared = dx * dx + dy * dy
    reach = crowd.outer[k] + crowd.outer[other] + clearance
    if squared > reach * reach:
        return 0.0
    distance = math.sqrt(squared)
    if distance < 1e-6:
        dx, dy, distance = 1e-3, 0.0, 1e-3
    sector = direction(dx, dy)
    overlap = radii[k, sector] + radii[other, (sector + DIRECTIONS // 2) % DIRECTIONS] + clearance - distance
    if overlap <= 0.0:
        return 0.0
    step = _PUSH * overlap / distance
    moves[k, 0] -= step * dx
    moves[k, 1] -= step * dy
    moves[other, 0] += step * dx
    moves[other, 1] += step * dy
    return overlap


@inlined
def direction(x: float, y: float) -> int:
    """Return the index of the direction of (x, y), with an error of at most a tenth of a sector.

    The arc tangent of a ratio up to 1 is a polynomial with an error below 0.005 (Rajan et al. 2006).
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
def count_visible(contact: Any, board: Any, crowd: Any) -> int:
    """Count the cells that cover a pixel of the field (inside the margin) however their centres are rounded."""
    right, down, left, up = 0, DIRECTIONS // 4, DIRECTIONS // 2, 3 * DIRECTIONS // 4
    low = contact.margin + 1.5
    wide, tall = board.width - low, board.height - low
    visible = 0
    for k in range(crowd.outer.size):
        x, y, radii = crowd.places[k, 0], crowd.places[k, 1], crowd.radii[k]
        if x + radii[right] > low and x - radii[left] < wide and y + radii[down] > low and y - radii[up] < tall:
            visible += 1
    return visible


@kernel
def place_again(
    job: Any, contact: Any, table: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, tally: Any
) -> bool:
    """Place the first `tally[0]` cells again, each under the cells before it, until `job.requested` are visible.

    Parameters
    ----------
    tally : (2,) int64 array
        Set to the number of cells placed, and of cells visible on the field. Mostly hidden cells are dropped.

    Returns
    -------
    full : bool
        Whether the arena is too small.
    """
    n, count, visible, used = tally[0], 0, 0, 0
    for slot in range(n):
        if visible == job.requested:
            break
        if slot != count:
            cells[count] = cells[slot]
        cell = cells[count]
        left, top, rows, width = rasterise(table.points[cell.shape], cell.angle, cell.scale, cell.mirrored, scratch)
        cell.left, cell.top, cell.rows, cell.width, cell.offset = left, top, rows, width, used
        cell.line, cell.joins, cell.touching, cell.under = 0, ANY_CLUSTER, 0, 0
        if used + strips_of(width) * rows > arena.size:
            return True
        free = place_under(job, contact, board, cells, arena, scratch, state, count)
        if rows > 0 and free != ZERO:
            cell.colour = pick_bit(state, free)
            settle(contact, table, board, cells, arena, count)
            used += strips_of(width) * rows
            count += 1
            visible += 1 if cell.mass > 0.0 else 0
    tally[0], tally[1] = count, visible
    return False
