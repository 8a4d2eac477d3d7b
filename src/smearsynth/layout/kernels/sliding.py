# mypy: disable-error-code="no-any-return"
"""Placement by contact: slide a cell up to a partner, then leave a gap or overlap. Compiled; loops are bounded."""

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
    is_connected,
    meet,
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
_CLOSE_TRIES = 300  # tries to place a cell in contact before it is given up
_MIN_VISIBLE = 0.4  # smallest visible fraction of a partly covered cell
_DEEPEST = 0.6  # largest overlap, diameters
# Depths have a gamma distribution. With the shape 1 (exponential), most overlaps would be shallower than real ones.
_DEPTH_SHAPE = 3
ANY_CLUSTER = 1 << 30  # cells
_MAX_JOINED = 64


class Adhesion(NamedTuple):
    """`SmearParameters` in the form that the kernels read, for a canvas with a margin. Lengths in px."""

    adhesion: npt.NDArray[np.float64]  # (n_classes,) probability of attachment
    strongest: float  # largest value of `adhesion`
    seeds: int  # number of cells placed before attachment starts
    overlap: float
    depth: float
    touch: float
    gap: float
    growth: float
    chain: float
    border: float
    diameter: float
    margin: int  # px around the field; cells inside the margin do not count
    field: npt.NDArray[np.float64]  # (rows, columns) density relative to its maximum, over the whole canvas
    free_tries: int
    sparse: int  # number of cells placed one by one; the rest is added by pushing


@kernel
def place_in_contact(
    job: Any, contact: Any, table: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, tally: Any
) -> bool:
    """Place cells until enough are visible on the field, one does not fit, or a buffer is full.

    The target is `job.requested`, or `contact.sparse` in a dense field.

    Parameters
    ----------
    tally : (2,) int64 array
        Number of cells placed, and of cells with a pixel on the field; updated.

    Returns
    -------
    full : bool
        A buffer is too small. Call again with larger buffers; the same cells follow.
    """
    used = 0
    if tally[0] > 0:
        previous = cells[tally[0] - 1]
        used = previous.offset + strips_of(previous.width) * previous.rows
    while tally[1] < min(job.requested, contact.sparse):
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
                free = find_place(job, contact, table, board, cells, arena, scratch, state, slot)
            if free != ZERO:
                break
        if free == ZERO:
            return False
        cell.colour = pick_bit(state, free)
        cell.touching = 0
        if free != all_colours(job):
            cell.touching = 1 + touched(board, cells, arena, scratch, slot, cell.x, cell.y, 0)[1]
            touched(board, cells, arena, scratch, slot, cell.x, cell.y, cell.touching)
        settle(contact, table, board, cells, arena, slot)
        used += strips_of(cell.width) * cell.rows
        tally[0] += 1
        if cell.mass > 0.0:
            tally[1] += 1
    return False


@kernel
def keep_visible(cells: Any, placed: int, margin: int) -> int:
    """Drop the cells that are not visible, and shift centres to the field; return the number left."""
    count = 0
    for slot in range(placed):
        if cells[slot].mass > 0.0:
            if slot != count:
                cells[count] = cells[slot]
            cells[count].x -= margin
            cells[count].y -= margin
            count += 1
    return count


@inlined
def settle(contact: Any, table: Any, board: Any, cells: Any, arena: Words, slot: int) -> None:
    """Mark the pixels of the placed cell, add it to the grid, and store whether it is visible on the field."""
    cell = cells[slot]
    words = arena[cell.offset :]
    stamp(board, words, cell.x + cell.left, cell.y + cell.top, cell.rows, cell.width)
    mark_dead_centres(table, board, cells, board.eager, slot + 1)
    cell.mass = 1.0 if visible_pixels(contact, board, cell, words) > 0 else 0.0
    bucket = (cell.y // board.side) * board.across + cell.x // board.side
    cell.next = board.buckets[bucket]
    board.buckets[bucket] = slot


@inlined
def find_place(
    job: Any, contact: Any, table: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int
) -> Word:
    """Find a place for the cell; return its possible colours as bits, 0 if none was found."""
    cell = cells[slot]
    cell.line = cell.attached = cell.under = 0
    # Once per cell, not per try: it is a distribution over cells, not over places.
    cell.joins = largest_joined(state, contact.growth)
    if slot >= max(contact.seeds, 1) and uniform(state) < contact.adhesion[cell.klass]:
        for _ in range(ATTACH_TRIES):
            free = attach(job, contact, table, board, cells, arena, scratch, state, slot, False)
            if free != ZERO:
                return free
    level = level_of(board, table.inner[cell.shape] * cell.scale)
    quick = min(level, 0) if level < board.eager else board.eager
    for _ in range(contact.free_tries):
        x, y = below(state, board.width), below(state, board.height)
        if quick >= 0 and bit_at(board, quick, x, y):
            continue
        if uniform(state) >= density_at(contact, board, x, y):
            continue
        cell.x, cell.y = x, y
        free = place_at(job, contact, board, cells, arena, scratch, state, slot, uniform(state) < contact.touch)
        if free != ZERO:
            return free
    cell.joins = ANY_CLUSTER
    if slot > 0:
        for _ in range(_CLOSE_TRIES):
            free = attach(job, contact, table, board, cells, arena, scratch, state, slot, True)
            if free != ZERO:
                return free
    return ZERO


@kernel
def largest_joined(state: Words, growth: float) -> int:
    """Draw the largest cluster that a cell may join: at least s cells with probability growth**(s - 1)."""
    if growth >= 1.0:
        return ANY_CLUSTER
    size = 1
    while size < _MAX_JOINED and uniform(state) < growth:
        size += 1
    return size


@kernel
def density_at(contact: Any, board: Any, x: int, y: int) -> float:
    """Return the density of unattached cells at a pixel, relative to its maximum."""
    rows, columns = contact.field.shape
    return contact.field[y * rows // board.height, x * columns // board.width]


@inlined
def attach(
    job: Any,
    contact: Any,
    table: Any,
    board: Any,
    cells: Any,
    arena: Words,
    scratch: Any,
    state: Words,
    slot: int,
    must_touch: bool,
) -> Word:
    """Slide the cell up to a random partner from a random side; leave no gap if `must_touch`."""
    cell = cells[slot]
    partner = below(state, slot)
    other = cells[partner]
    if not must_touch:
        if other.attached and uniform(state) >= contact.chain:
            return ZERO
        # A class that is rarely attached is equally rarely a partner.
        other_words = contact.adhesion[other.klass]
        if other_words < contact.strongest and uniform(state) * contact.strongest >= other_words:
            return ZERO
    turn = uniform(state) * 2.0 * math.pi
    along, down = math.cos(turn), math.sin(turn)
    reach = slide(table, cell, other, arena[other.offset :], scratch, along, down)
    under, may_touch = False, True
    if not must_touch:
        pick = uniform(state)
        if pick < contact.overlap:
            depth = 0.0
            for _ in range(_DEPTH_SHAPE):
                depth -= math.log(1.0 - uniform(state)) * contact.depth / _DEPTH_SHAPE
            reach -= min(depth, _DEEPEST * contact.diameter)
            under = depth >= 1.0
        elif uniform(state) >= contact.touch:
            may_touch = False
            reach += 1.0 + (uniform(state) + uniform(state)) * contact.gap
    x, y = other.x + round(along * reach), other.y + round(down * reach)
    if not (0 <= x < board.width and 0 <= y < board.height):
        return ZERO
    cell.x, cell.y = x, y
    cell.line = 1 if under and uniform(state) >= contact.touch else 0
    # A line around a cell outside the field would be visible on the field, but its cell would not be in the layout.
    if cell.line and not beside_border(contact, board, cell):
        return ZERO
    if under:
        free = place_under(job, contact, board, cells, arena, scratch, state, slot)
    else:
        free = place_at(job, contact, board, cells, arena, scratch, state, slot, may_touch)
    if free != ZERO:
        cell.attached = other.attached = 1
    return free


@inlined
def slide(table: Any, cell: Any, other: Any, other_words: Words, scratch: Any, along: float, down: float) -> float:
    """Return the distance of the centres at which the cell, moving in along a direction, first touches another.

    At this distance the cells are 8-connected; one px nearer they would overlap.
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
            other_words,
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
    job: Any,
    contact: Any,
    board: Any,
    cells: Any,
    arena: Words,
    scratch: Any,
    state: Words,
    slot: int,
    may_touch: bool,
) -> Word:
    """Return the possible colours of the cell at its place; 0 if it overlaps or would not be annotated.

    A cell that may not touch keeps a distance of one pixel from all others.
    """
    cell = cells[slot]
    if not annotated(contact, board, cell, scratch.words, state):
        return ZERO
    free = colours_at(job.n_colours, board, cells, arena, scratch, slot, cell.x, cell.y)
    if free == ZERO or free == all_colours(job):
        return free
    if may_touch and touched(board, cells, arena, scratch, slot, cell.x, cell.y, 0)[1] <= cell.joins:
        return free
    return ZERO


@inlined
def place_under(
    job: Any, contact: Any, board: Any, cells: Any, arena: Words, scratch: Any, state: Words, slot: int
) -> Word:
    """Return the possible colours of the cell under the cells at its place; 0 if too little of it is visible."""
    cell = cells[slot]
    if not annotated(contact, board, cell, scratch.words, state):
        return ZERO
    column, row = cell.x + cell.left, cell.y + cell.top
    words_left = arena[cell.offset : cell.offset + strips_of(cell.width) * cell.rows]
    if not clip(board, scratch.words, column, row, cell.rows, cell.width, words_left):
        return ZERO
    before = count_bits(words_left)
    reach = 1 if cell.line else 0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            uncover(board, words_left, column + dx, row + dy, cell.rows, cell.width)
    visible = count_bits(words_left)
    if visible < max(1.0, _MIN_VISIBLE * before):
        return ZERO
    if visible < before and not is_connected(words_left, cell.rows, cell.width, scratch.spread):
        return ZERO  # a colour annotation would split its parts into cells
    # The pixels of an overlap are divided between both cells when they are painted, so that all pixels count here.
    cell.under = 1 if visible < before else 0
    clip(board, scratch.words, column, row, cell.rows, cell.width, words_left)
    free = all_colours(job)
    grow(words_left, cell.rows, cell.width, scratch)
    if overlaps(board, scratch.grown, column - 1, row - 1, cell.rows + 2, cell.width + 2):
        colours, clustered = touched(board, cells, arena, scratch, slot, cell.x, cell.y, 0)
        if clustered > cell.joins:
            return ZERO
        free &= ~colours
    return free


@kernel
def all_colours(job: Any) -> Word:
    """Return the bits of all colours, which are those of a cell that touches none."""
    return ((ONE << np.uint64(job.n_colours)) - ONE) << ONE


@inlined
def uncover(board: Any, words: Words, x: int, y: int, rows: int, width: int) -> None:
    """Clear the pixels of a bitmap, with its first pixel at (x, y), that are occupied on the canvas."""
    column = x + board.pad
    shift = np.uint64(column) & np.uint64(63)
    remaining = np.uint64(63) - shift
    at = (column >> 6) * board.stride + y + board.pad
    for strip in range(strips_of(width)):
        current = board.bits[0, at : at + rows]
        following = board.bits[0, at + board.stride : at + board.stride + rows]
        words_left = words[strip * rows : strip * rows + rows]
        for k in range(rows):
            words_left[k] &= ~((current[k] >> shift) | ((following[k] << ONE) << remaining))
        at += board.stride


@inlined
def annotated(contact: Any, board: Any, cell: Any, words: Words, state: Words) -> bool:
    """Draw whether a cell is annotated: always if whole, else by its fraction on the field."""
    if contact.border == 0.0:
        return True
    left, top = cell.x + cell.left - contact.margin, cell.y + cell.top - contact.margin
    wide, tall = board.width - 2 * contact.margin, board.height - 2 * contact.margin
    if left >= 0 and top >= 0 and left + cell.width <= wide and top + cell.rows <= tall:
        return True
    visible = visible_pixels(contact, board, cell, words)
    if visible == 0:
        return True  # outside the field: it is a neighbour and never annotated
    return uniform(state) < (visible / count_bits(words[: strips_of(cell.width) * cell.rows])) ** contact.border


@kernel
def beside_border(contact: Any, board: Any, cell: Any) -> bool:
    """Test whether the box of a cell lies strictly inside the field, or outside it."""
    left, top = cell.x + cell.left - contact.margin, cell.y + cell.top - contact.margin
    right, bottom = left + cell.width, top + cell.rows
    wide, tall = board.width - 2 * contact.margin, board.height - 2 * contact.margin
    inside = left > 0 and top > 0 and right < wide and bottom < tall
    return inside or right <= 0 or bottom <= 0 or left >= wide or top >= tall


@kernel
def visible_pixels(contact: Any, board: Any, cell: Any, words: Words) -> int:
    """Count the pixels of a bitmap, at the place of a cell, that lie on the field (inside the margin)."""
    left, top = cell.x + cell.left - contact.margin, cell.y + cell.top - contact.margin
    wide, tall = board.width - 2 * contact.margin, board.height - 2 * contact.margin
    count = 0
    for strip in range(strips_of(cell.width)):
        mask = strip_mask(left + 64 * strip, wide)
        for k in range(max(0, -top), min(cell.rows, tall - top)):
            count += bits_of(words[strip * cell.rows + k] & mask)
    return count
