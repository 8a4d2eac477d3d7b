# mypy: disable-error-code="no-any-return"
"""Placing cells by contact: pick a partner, slide up to it, leave a gap or lie under it. Compiled and bounded."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.kernels.bitmaps import (
    bit_at,
    clip,
    count_bits,
    grow,
    meet,
    one_piece,
    overlaps,
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
    bits_of,
    inlined,
    kernel,
    pick_bit,
    uniform,
)
from smearsynth.layout.kernels.placement import (
    SURE_OVERLAP,
    colours_at,
    draw_cell,
    level_of,
    mark_dead_centres,
    touched,
)

ATTACH_TRIES = 40
_CLOSE_TRIES = 300  # touching, before a cell is given up
_LEAST_SEEN = 0.4  # of a cell that lies under others
_DEEPEST = 0.6  # of a diameter
ANY_CLUSTER = 1 << 30  # cells
_MOST_JOINED = 64


class Adhesion(NamedTuple):
    """A `SmearParameters` as the kernels read it, on a canvas with a margin all round. Lengths in px."""

    adhesion: npt.NDArray[np.float64]  # (n_classes,) probability of being attached
    strongest: float  # the largest of them
    seeds: int  # cells placed before any is attached
    overlap: float
    depth: float
    touch: float
    gap: float
    growth: float
    chain: float
    border: float
    diameter: float
    margin: int  # px round the field; what lies in it alone does not count
    field: npt.NDArray[np.float64]  # (rows, columns) density relative to its maximum, over the whole canvas
    free_tries: int
    sparse: int  # cells that are placed one by one; of more, the rest is pushed in between


@kernel
def place_in_contact(
    job: Any, law: Any, table: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, tally: Any
) -> bool:
    """Place cells until enough are seen on the field, one fits nowhere, or a buffer is full.

    Enough are `job.requested`, or `law.sparse` in a dense field.

    Parameters
    ----------
    tally : (2,) int64 array
        Cells placed, and those of them with a pixel on the field; brought up to date.

    Returns
    -------
    full : bool
        A buffer was too small: call again with larger ones, and the same cells follow.
    """
    used = 0
    if tally[0] > 0:
        former = cells[tally[0] - 1]
        used = former.offset + strips_of(former.width) * former.rows
    while tally[1] < min(job.requested, law.sparse):
        slot = tally[0]
        if slot == cells.size:
            return True
        before = state[0]
        cell = cells[slot]
        cell.offset = used
        free = ZERO
        for _ in range(job.shape_tries):
            draw_cell(job, table, cell, scratch, state)
            words = strips_of(cell.width) * cell.rows
            if used + words > arena.size:
                state[0] = before
                return True
            if words > 0:
                free = find_place(job, law, table, board, cells, arena, scratch, state, slot)
            if free != ZERO:
                break
        if free == ZERO:
            return False
        cell.colour = pick_bit(state, free)
        cell.touching = 0
        if free != all_colours(job):
            cell.touching = 1 + touched(board, cells, arena, scratch, slot, cell.x, cell.y, 0)[1]
            touched(board, cells, arena, scratch, slot, cell.x, cell.y, cell.touching)
        settle(law, table, board, cells, arena, slot)
        used += strips_of(cell.width) * cell.rows
        tally[0] += 1
        if cell.mass > 0.0:
            tally[1] += 1
    return False


@kernel
def keep_seen(cells: Any, placed: int, margin: int) -> int:
    """Drop the cells not seen on the field, and make the centres of the others relative to it; their number."""
    kept = 0
    for slot in range(placed):
        if cells[slot].mass > 0.0:
            if slot != kept:
                cells[kept] = cells[slot]
            cells[kept].x -= margin
            cells[kept].y -= margin
            kept += 1
    return kept


@inlined
def settle(law: Any, table: Any, board: Any, cells: Any, arena: Words, slot: int) -> None:
    """Take the pixels of the placed cell, enter it in the grid, note whether it is seen on the field."""
    cell = cells[slot]
    words = arena[cell.offset :]
    stamp(board, words, cell.x + cell.left, cell.y + cell.top, cell.rows, cell.width)
    mark_dead_centres(table, board, cells, board.eager, slot + 1)
    cell.mass = 1.0 if seen_pixels(law, board, cell, words) > 0 else 0.0
    bucket = (cell.y // board.side) * board.across + cell.x // board.side
    cell.next = board.buckets[bucket]
    board.buckets[bucket] = slot


@inlined
def find_place(
    job: Any, law: Any, table: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int
) -> Word:
    """Find the drawn cell a place; its possible colours as bits, none when it was not found one."""
    cell = cells[slot]
    cell.line = cell.attached = 0
    # Once for each cell, whatever its tries: the law is one of cells, not of places.
    cell.joins = largest_joined(state, law.growth)
    if slot >= max(law.seeds, 1) and uniform(state) < law.adhesion[cell.klass]:
        for _ in range(ATTACH_TRIES):
            free = attach(job, law, table, board, cells, arena, scratch, state, slot, False)
            if free != ZERO:
                return free
    level = level_of(board, table.inner[cell.shape] * cell.scale)
    quick = min(level, 0) if level < board.eager else board.eager
    for _ in range(law.free_tries):
        x, y = below(state, board.width), below(state, board.height)
        if quick >= 0 and bit_at(board, quick, x, y):
            continue
        if uniform(state) >= density_at(law, board, x, y):
            continue
        cell.x, cell.y = x, y
        free = place_at(job, law, board, cells, arena, scratch, state, slot, uniform(state) < law.touch)
        if free != ZERO:
            return free
    cell.joins = ANY_CLUSTER
    if slot > 0:
        for _ in range(_CLOSE_TRIES):
            free = attach(job, law, table, board, cells, arena, scratch, state, slot, True)
            if free != ZERO:
                return free
    return ZERO


@kernel
def largest_joined(state: Words, growth: float) -> int:
    """Cells of the largest cluster that a cell may join: at least s with the probability growth**(s - 1)."""
    if growth >= 1.0:
        return ANY_CLUSTER
    size = 1
    while size < _MOST_JOINED and uniform(state) < growth:
        size += 1
    return size


@kernel
def density_at(law: Any, board: Any, x: int, y: int) -> float:
    """Density of free cells at a pixel, relative to its maximum."""
    rows, columns = law.field.shape
    return law.field[y * rows // board.height, x * columns // board.width]


@inlined
def attach(
    job: Any,
    law: Any,
    table: Any,
    board: Any,
    cells: Any,
    arena: Words,
    scratch: Any,
    state: Words,
    slot: int,
    close: bool,
) -> Word:
    """Slide the drawn cell up to a partner from a random side; leave a gap by the law, none if `close`."""
    cell = cells[slot]
    partner = below(state, slot)
    other = cells[partner]
    if not close:
        if other.attached and uniform(state) >= law.chain:
            return ZERO
        # A class that is rarely attached is as rarely what others are attached to.
        theirs = law.adhesion[other.klass]
        if theirs < law.strongest and uniform(state) * law.strongest >= theirs:
            return ZERO
    turn = uniform(state) * 2.0 * math.pi
    along, down = math.cos(turn), math.sin(turn)
    reach = slide(table, cell, other, arena[other.offset :], scratch, along, down)
    under, may_touch = False, True
    if not close:
        pick = uniform(state)
        if pick < law.overlap:
            deep = -math.log(1.0 - uniform(state)) * law.depth
            reach -= min(deep, _DEEPEST * law.diameter)
            under = deep >= 1.0
        elif uniform(state) >= law.touch:
            may_touch = False
            reach += 1.0 + (uniform(state) + uniform(state)) * law.gap
    x, y = other.x + round(along * reach), other.y + round(down * reach)
    if not (0 <= x < board.width and 0 <= y < board.height):
        return ZERO
    cell.x, cell.y = x, y
    cell.line = 1 if under and uniform(state) >= law.touch else 0
    # A line round a cell beside the field would be seen on the field, and the record would not tell why.
    if cell.line and not beside_border(law, board, cell):
        return ZERO
    if under:
        free = place_under(job, law, board, cells, arena, scratch, state, slot)
    else:
        free = place_at(job, law, board, cells, arena, scratch, state, slot, may_touch)
    if free != ZERO:
        cell.attached = other.attached = 1
    return free


@inlined
def slide(table: Any, cell: Any, other: Any, theirs: Words, scratch: Any, along: float, down: float) -> float:
    """Distance of the centres at which the drawn cell, coming in along a direction, first touches another.

    One px nearer they would share a pixel; here they are side by side or corner to corner.
    """
    inner = table.inner[cell.shape] * cell.scale + table.inner[other.shape] * other.scale
    outer = table.outer[cell.shape] * cell.scale + table.outer[other.shape] * other.scale
    low, high = max(int(inner - SURE_OVERLAP), 0), int(outer) + 2
    while high - low > 1:
        middle = (low + high) >> 1
        x = other.x + round(along * middle) + cell.left
        y = other.y + round(down * middle) + cell.top
        if meet(
            scratch.words,
            x,
            y,
            cell.rows,
            cell.width,
            theirs,
            other,
            other.x + other.left,
            other.y + other.top,
        ):
            low = middle
        else:
            high = middle
    return float(high)


@inlined
def place_at(
    job: Any, law: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int, may_touch: bool
) -> Word:
    """The possible colours of the drawn cell at its place; none if that is not free, or not annotated there.

    What is neither attached nor by chance to touch keeps a pixel from all others.
    """
    cell = cells[slot]
    if not annotated(law, board, cell, scratch.words, state):
        return ZERO
    free = colours_at(job.n_colours, board, cells, arena, scratch, slot, cell.x, cell.y)
    if free == ZERO or free == all_colours(job):
        return free
    if may_touch and touched(board, cells, arena, scratch, slot, cell.x, cell.y, 0)[1] <= cell.joins:
        return free
    return ZERO


@inlined
def place_under(
    job: Any, law: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int
) -> Word:
    """The possible colours of the drawn cell at its place, under those that are there; none if little is seen."""
    cell = cells[slot]
    if not annotated(law, board, cell, scratch.words, state):
        return ZERO
    column, row = cell.x + cell.left, cell.y + cell.top
    mine = arena[cell.offset : cell.offset + strips_of(cell.width) * cell.rows]
    if not clip(board, scratch.words, column, row, cell.rows, cell.width, mine):
        return ZERO
    before = count_bits(mine)
    reach = 1 if cell.line else 0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            uncover(board, mine, column + dx, row + dy, cell.rows, cell.width)
    seen = count_bits(mine)
    if seen < max(1.0, _LEAST_SEEN * before):
        return ZERO
    if seen < before and not one_piece(mine, cell.rows, cell.width, scratch.spread):
        return ZERO  # annotation by colour would take its parts for cells
    free = all_colours(job)
    grow(mine, cell.rows, cell.width, scratch)
    if overlaps(board, scratch.grown, column - 1, row - 1, cell.rows + 2, cell.width + 2):
        colours, clustered = touched(board, cells, arena, scratch, slot, cell.x, cell.y, 0)
        if clustered > cell.joins:
            return ZERO
        free &= ~colours
    return free


@kernel
def all_colours(job: Any) -> Word:
    """The bits of all colours: those of a cell that touches none."""
    return ((ONE << np.uint64(job.n_colours)) - ONE) << ONE


@inlined
def uncover(board: Any, words: Words, x: int, y: int, rows: int, width: int) -> None:
    """Leave of a bitmap, in place, what is not taken on the canvas when its first pixel is at (x, y)."""
    column = x + board.pad
    shift = np.uint64(column) & np.uint64(63)
    rest = np.uint64(63) - shift
    at = (column >> 6) * board.stride + y + board.pad
    for strip in range(strips_of(width)):
        here = board.bits[0, at : at + rows]
        there = board.bits[0, at + board.stride : at + board.stride + rows]
        mine = words[strip * rows : strip * rows + rows]
        for k in range(rows):
            mine[k] &= ~((here[k] >> shift) | ((there[k] << ONE) << rest))
        at += board.stride


@inlined
def annotated(law: Any, board: Any, cell: Any, words: Words, state: Words) -> bool:
    """Whether a cell at its place would be annotated: always when whole, else by the share on the field."""
    if law.border == 0.0:
        return True
    left, top = cell.x + cell.left - law.margin, cell.y + cell.top - law.margin
    wide, tall = board.width - 2 * law.margin, board.height - 2 * law.margin
    if left >= 0 and top >= 0 and left + cell.width <= wide and top + cell.rows <= tall:
        return True
    seen = seen_pixels(law, board, cell, words)
    if seen == 0:
        return True  # beside the field: it is a neighbour, and not annotated anyway
    return uniform(state) < (seen / count_bits(words[: strips_of(cell.width) * cell.rows])) ** law.border


@kernel
def beside_border(law: Any, board: Any, cell: Any) -> bool:
    """Whether the box of a cell lies on the field without its outermost pixels, or beside it."""
    left, top = cell.x + cell.left - law.margin, cell.y + cell.top - law.margin
    right, bottom = left + cell.width, top + cell.rows
    wide, tall = board.width - 2 * law.margin, board.height - 2 * law.margin
    inside = left > 0 and top > 0 and right < wide and bottom < tall
    return inside or right <= 0 or bottom <= 0 or left >= wide or top >= tall


@kernel
def seen_pixels(law: Any, board: Any, cell: Any, words: Words) -> int:
    """Pixels of a bitmap at the place of a cell that lie on the field, inside the margin."""
    left, top = cell.x + cell.left - law.margin, cell.y + cell.top - law.margin
    wide, tall = board.width - 2 * law.margin, board.height - 2 * law.margin
    count = 0
    for strip in range(strips_of(cell.width)):
        mask = strip_mask(left + 64 * strip, wide)
        for k in range(max(0, -top), min(cell.rows, tall - top)):
            count += bits_of(words[strip * cell.rows + k] & mask)
    return count
