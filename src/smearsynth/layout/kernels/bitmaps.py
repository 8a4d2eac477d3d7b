# mypy: disable-error-code="no-any-return"
"""Cells and canvases as bitmaps of 64-bit words: rasterise, test, stamp, dilate, paint.

A bitmap is stored in column strips of 64 px. The words of one strip are contiguous, so that loops over the rows of
a cell become vector instructions. A cell takes ceil(width / 64) strips of its bounding box: the cost is
proportional to its area.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.kernels.compiled import (
    ALL_BITS,
    LAST_BIT,
    ONE,
    SIXTY_FOUR,
    TWO,
    ZERO,
    Word,
    Words,
    bits_of,
    inlined,
    kernel,
    lowest_bit,
)

# A cell during placement. The box (left, top, rows, width) is relative to its centre.
CELL = np.dtype(
    [
        ("x", np.int32),
        ("y", np.int32),
        ("shape", np.int32),
        ("klass", np.int32),
        ("colour", np.int32),
        ("mirrored", np.int32),
        ("left", np.int32),
        ("top", np.int32),
        ("rows", np.int32),
        ("width", np.int32),
        ("next", np.int32),  # next cell in the same bucket of the grid, -1 at the end
        ("line", np.int32),  # whether a line of background separates it from the cells above (contact layouts)
        ("touching", np.int32),  # known size of its cluster, 0 if it touches none (contact layouts)
        ("attached", np.int32),  # whether it is attached to another cell, or another cell to it
        ("joins", np.int32),  # size of the largest cluster that it may join
        ("under", np.int32),  # whether it lies partly under cells that were placed before (contact layouts)
        ("angle", np.float64),
        ("scale", np.float64),
        ("mass", np.float64),  # sum of its ring on the canvas; in contact layouts 1 if visible on the field
        ("offset", np.int64),  # index of its words in the arena
    ]
)


_BLOCK = np.uint64(8)  # pixels written at once


class Board(NamedTuple):
    """A canvas during placement: occupied pixels, infeasible centres, and a grid of the cells."""

    height: int
    width: int
    pad: int  # px around the canvas, a multiple of 64, so that no cell leaves the bitmap
    stride: int  # words in a strip
    bits: Words  # (levels, strips * stride); [0] occupied pixels, others infeasible centres
    radii: npt.NDArray[np.float64]  # (levels,) smallest inscribed radius of each level; ascending from 0
    half: npt.NDArray[np.int64]  # buffer for the half widths of a disc per row
    marked: npt.NDArray[np.int64]  # (levels,) number of cells in the level, -1 before it is cleared
    eager: int  # level that is updated per cell; the others only when all centres are scanned
    buckets: npt.NDArray[np.int64]  # (rows * across,) last cell of each bucket of the grid, or -1
    side: int  # side of a bucket, px
    across: int
    reach: int  # largest distance of a pixel from the centre of its cell, px


class Scratch(NamedTuple):
    """Buffers for one cell, each on its own cache line."""

    x: npt.NDArray[np.float64]  # (VERTICES + 1,) contour in its pose, first point repeated
    y: npt.NDArray[np.float64]
    column: npt.NDArray[np.int64]  # (VERTICES + 1,) first pixel right of and below each point
    row: npt.NDArray[np.int64]
    slope: npt.NDArray[np.float64]  # (VERTICES,) dx/dy of each edge
    base: npt.NDArray[np.float64]  # (VERTICES,) x of each edge on row 0, relative to the box
    low: npt.NDArray[np.int64]  # (VERTICES,) rows low..high - 1 that the edge crosses
    high: npt.NDArray[np.int64]
    toggles: Words  # (VERTICES,) pixels that the edge toggles in a row
    words: Words  # the rasterised cell
    spread: Words  # the cell dilated horizontally
    grown: Words  # the cell dilated by one pixel in all directions


def make_scratch(vertices: int, words: int) -> Scratch:
    """Allocate buffers for contours of `vertices` points and cells of `words` words.

    Each buffer starts on a cache line. With shared cache lines, filling a contour took up to twice as long.
    """

    def empty(n: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        block = np.empty(n + 7, np.uint64)
        first = -(block.ctypes.data // 8) % 8
        return block[first : first + n].view(dtype)

    def along(dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return empty(vertices + 1, dtype)

    real, whole, word = np.float64, np.int64, np.uint64
    return Scratch(
        x=along(real),
        y=along(real),
        column=along(whole),
        row=along(whole),
        slope=along(real),
        base=along(real),
        low=along(whole),
        high=along(whole),
        toggles=along(word),
        words=empty(words, word),
        spread=empty(words, word),
        grown=empty(words, word),
    )


@kernel
def strips_of(width: int) -> int:
    """Return the number of column strips of `width` px."""
    return (width + 63) >> 6


@inlined
def rasterise(
    points: npt.NDArray[np.float64], angle: float, scale: float, mirrored: int, scratch: Any
) -> tuple[int, int, int, int]:
    """Rasterise a contour, (2, VERTICES), in its pose into ``scratch.words``; return left, top, rows, width.

    A pixel belongs to the cell if its centre, a point of integer coordinates, is inside the contour by the even-odd
    rule. Painting calls this function too, so labels and layout agree bit for bit.
    """
    n = points.shape[1]
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    sign = -1.0 if mirrored else 1.0
    xs, ys, columns, lines = scratch.x, scratch.y, scratch.column, scratch.row
    for k in range(n):
        px, py = sign * points[0, k], points[1, k]
        xs[k] = px * cosine - py * sine
        ys[k] = px * sine + py * cosine
        columns[k] = math.ceil(xs[k])
        lines[k] = math.ceil(ys[k])
    xs[n], ys[n], lines[n] = xs[0], ys[0], lines[0]
    left, right, top, bottom = columns[0], columns[0], lines[0], lines[0]
    for k in range(n):
        left, right = min(left, columns[k]), max(right, columns[k])
        top, bottom = min(top, lines[k]), max(bottom, lines[k])
    rows, width = bottom - top, right - left
    for k in range(strips_of(width) * rows):
        scratch.words[k] = ZERO
    _toggle(scratch, n, left, top, rows, width)
    return left, top, rows, width


@inlined
def _toggle(scratch: Any, n: int, left: int, top: int, rows: int, width: int) -> None:
    """Toggle all pixels to the right of each edge, in every row that it crosses.

    All edges advance row by row together; edges without rows left toggle nothing. The inner loops do not depend on
    the contour, so they are vector instructions without mispredicted branches.
    """
    xs, ys, lines, lows, highs = scratch.x, scratch.y, scratch.row, scratch.low, scratch.high
    max_rows = 0
    for k in range(n):
        slope = (xs[k + 1] - xs[k]) / (ys[k + 1] - ys[k])  # not finite for horizontal edges, which are not used
        scratch.slope[k] = slope
        scratch.base[k] = xs[k] - left - ys[k] * slope
        lows[k], highs[k] = min(lines[k], lines[k + 1]), max(lines[k], lines[k + 1])
        max_rows = max(max_rows, highs[k] - lows[k])
    for strip in range(strips_of(width)):
        words = scratch.words[strip * rows :]
        for step in range(max_rows):
            for k in range(n):
                y = lows[k] + step
                bit = min(max(math.ceil(scratch.base[k] + y * scratch.slope[k]) - 64 * strip, 0), 64)
                half = np.uint64(bit >> 1)  # in two steps: a shift by 64 is undefined
                word = (ALL_BITS << half) << (np.uint64(bit) - half)
                scratch.toggles[k] = word if y < highs[k] else ZERO
            for k in range(n):
                words[np.uint64(lows[k] + step - top)] ^= scratch.toggles[k]


@inlined
def overlaps(board: Any, words: Words, x: int, y: int, rows: int, width: int) -> bool:
    """Test whether a bitmap with its first pixel at (x, y) covers an occupied pixel of the canvas."""
    column = x + board.pad
    shift = np.uint64(column) & LAST_BIT
    remaining = LAST_BIT - shift
    at = (column >> 6) * board.stride + y + board.pad
    for strip in range(strips_of(width)):
        current = board.bits[0, at : at + rows]
        following = board.bits[0, at + board.stride : at + board.stride + rows]
        source = words[strip * rows : strip * rows + rows]
        hit = ZERO
        for k in range(rows):
            # Shift by 64 - shift in two steps, because a shift by 64 is undefined.
            hit |= (current[k] & (source[k] << shift)) | (following[k] & ((source[k] >> ONE) >> remaining))
        if hit != ZERO:
            return True
        at += board.stride
    return False


@inlined
def stamp(board: Any, words: Words, x: int, y: int, rows: int, width: int) -> None:
    """Mark the pixels of a bitmap on the canvas as occupied."""
    column = x + board.pad
    shift = np.uint64(column) & LAST_BIT
    remaining = LAST_BIT - shift
    at = (column >> 6) * board.stride + y + board.pad
    for strip in range(strips_of(width)):
        current = board.bits[0, at : at + rows]
        following = board.bits[0, at + board.stride : at + board.stride + rows]
        source = words[strip * rows : strip * rows + rows]
        for k in range(rows):
            current[k] |= source[k] << shift
        for k in range(rows):
            following[k] |= (source[k] >> ONE) >> remaining
        at += board.stride


@inlined
def clip(board: Any, words: Words, x: int, y: int, rows: int, width: int, clipped: Words) -> bool:
    """Copy the pixels of a bitmap that lie on the canvas; return whether there are any."""
    any_left = ZERO
    for strip in range(strips_of(width)):
        mask = strip_mask(x + 64 * strip, board.width)
        source = words[strip * rows : strip * rows + rows]
        out = clipped[strip * rows : strip * rows + rows]
        for k in range(rows):
            inside = source[k] & mask if 0 <= y + k < board.height else ZERO
            out[k] = inside
            any_left |= inside
    return any_left != ZERO


@kernel
def strip_mask(x: int, width: int) -> Word:
    """Return the bits of a word with its first pixel at x that lie in 0..width-1."""
    if x >= width or x <= -64:
        return ZERO
    mask: Word = ALL_BITS
    if x < 0:
        mask = mask << np.uint64(-x)
    if x + 64 > width:
        mask = mask & (ALL_BITS >> np.uint64(x + 64 - width))
    return mask


@inlined
def grow(words: Words, rows: int, width: int, scratch: Any) -> None:
    """Dilate by one pixel in all eight directions into ``scratch.grown``, a box 2 px wider and higher."""
    strips, wide = strips_of(width), strips_of(width + 2)
    spread, grown = scratch.spread, scratch.grown
    for strip in range(wide):
        base = strip * rows
        for k in range(rows):
            word = words[base + k] if strip < strips else ZERO
            previous = words[base - rows + k] if strip > 0 else ZERO
            spread[base + k] = (
                word | (word << ONE) | (word << TWO) | (previous >> LAST_BIT) | (previous >> (LAST_BIT - ONE))
            )
    tall = rows + 2
    for strip in range(wide):
        source = spread[strip * rows : strip * rows + rows]
        out = grown[strip * tall : strip * tall + tall]
        for k in range(rows):
            out[k] = source[k]
        out[rows] = out[rows + 1] = ZERO
        for k in range(rows):
            out[k + 1] |= source[k]
        for k in range(rows):
            out[k + 2] |= source[k]


@kernel
def meet(words: Words, x: int, y: int, rows: int, width: int, other: Words, cell: Any, ox: int, oy: int) -> bool:
    """Test whether a bitmap at (x, y) and that of `cell`, with its first pixel at (ox, oy), intersect."""
    low, high = max(y, oy), min(y + rows, oy + cell.rows)
    if low >= high or ox + cell.width <= x or x + width <= ox:
        return False
    for strip in range(strips_of(width)):
        source = words[strip * rows + low - y : strip * rows + high - y]
        for other_strip in range(strips_of(cell.width)):
            shift = ox + 64 * other_strip - x - 64 * strip
            if -64 < shift < 64:
                start = other_strip * cell.rows - oy
                target = other[start + low : start + high]
                up, down = np.uint64(max(shift, 0)), np.uint64(max(-shift, 0))
                hit = ZERO
                for k in range(high - low):
                    hit |= source[k] & ((target[k] << up) >> down)
                if hit != ZERO:
                    return True
    return False


@kernel
def bit_at(board: Any, level: int, x: int, y: int) -> bool:
    """Test whether the pixel (x, y) is set in a level."""
    word = board.bits[level, ((x + board.pad) >> 6) * board.stride + y + board.pad]
    return (word >> (np.uint64(x) & LAST_BIT)) & ONE != ZERO


@inlined
def fill_runs(seeds: Word, word: Word) -> Word:
    """Return the runs of ones of a word that contain a seed, in doubling steps (Kogge and Stone 1973)."""
    up, down, free_up, free_down, step = seeds, seeds, word, word, ONE
    while step < SIXTY_FOUR:
        up |= free_up & (up << step)
        down |= free_down & (down >> step)
        free_up &= free_up << step
        free_down &= free_down >> step
        step <<= ONE
    return up | down


@kernel
def is_connected(words: Words, rows: int, width: int, flood: Words) -> bool:
    """Test whether the pixels of a bitmap are 4-connected, by a flood fill from one of them."""
    strips = strips_of(width)
    first = 0
    while words[first] == ZERO:
        first += 1
    for k in range(strips * rows):
        flood[k] = ZERO
    flood[first] = fill_runs(words[first] & (~words[first] + ONE), words[first])
    for turn in range(2 * rows):
        changed = False
        for step in range(rows):
            k = step if turn % 2 == 0 else rows - 1 - step
            for at in range(k, strips * rows, rows):
                word, reached = words[at], flood[at]
                near = reached
                if k > 0:
                    near |= flood[at - 1]
                if k < rows - 1:
                    near |= flood[at + 1]
                if at >= rows:
                    near |= flood[at - rows] >> LAST_BIT
                if at + rows < strips * rows:
                    near |= (flood[at + rows] & ONE) << LAST_BIT
                if near & word != reached:
                    changed = True
                    flood[at] = fill_runs(near & word, word)
        if not changed:
            break
    remaining = ZERO
    for k in range(strips * rows):
        remaining |= flood[k] ^ words[k]
    return remaining == ZERO


@kernel
def count_bits(words: Words) -> int:
    """Return the number of set bits of a bitmap."""
    count = 0
    for k in range(words.size):
        count += bits_of(words[k])
    return count


@inlined
def mark_disc(board: Any, level: int, x: int, y: int, radius: float) -> None:
    """Set all pixels on the canvas within `radius` px of (x, y)."""
    reach = int(radius)
    first, last = max(-reach, -y), min(reach, board.height - 1 - y)
    for k in range(last - first + 1):
        dy = float(k + first)
        board.half[k] = int(math.sqrt(radius * radius - dy * dy))
    column = x + board.pad
    low_strip = (max(x - reach, 0) + board.pad) >> 6
    high_strip = (min(x + reach, board.width - 1) + board.pad) >> 6
    for strip in range(low_strip, high_strip + 1):
        middle = column - strip * 64
        at = strip * board.stride + y + board.pad
        out = board.bits[level, at + first : at + last + 1]
        for k in range(last - first + 1):
            low = min(max(middle - board.half[k], 0), 64)
            high = min(max(63 - middle - board.half[k], 0), 64)
            # Both shifts may be by 64, so they are done in two steps.
            left = (ALL_BITS << np.uint64(low >> 1)) << np.uint64(low - (low >> 1))
            right = (ALL_BITS >> np.uint64(high >> 1)) >> np.uint64(high - (high >> 1))
            out[k] |= left & right


@kernel
def paint_words(words: Words, x: int, y: int, rows: int, width: int, value: Any, out: Any) -> None:
    """Write `value` at the pixels of a bitmap that lie on the canvas `out`, C-contiguous."""
    height, across = out.shape
    flat = out.reshape(-1)
    for strip in range(strips_of(width)):
        first = x + 64 * strip
        mask = strip_mask(first, across)
        for k in range(max(0, -y), min(rows, height - y)):
            word = words[strip * rows + k] & mask
            line = np.uint64((y + k) * across + first)  # wraps around where `first` is outside the canvas
            while word != ZERO:
                start = np.uint64(lowest_bit(word))
                # Adding the lowest set bit clears the lowest run of ones and sets the zero above it.
                carried = word + (ONE << start)
                end = SIXTY_FOUR if carried == ZERO else np.uint64(lowest_bit(carried & ~word))
                _fill(flat, line + start, line + end, value)
                word = word & carried


@kernel
def _fill(flat: Any, start: Word, end: Word, value: Any) -> None:
    """Set the pixels start..end - 1.

    Pixels are written in blocks of fixed length, each one wide store; the last block overlaps the one before. A
    loop of variable length would write the last pixels one by one.
    """
    if end - start < _BLOCK:
        while start < end:
            flat[start] = value
            start += ONE
        return
    last = end - _BLOCK
    while start < last:
        for k in range(8):
            flat[start + np.uint64(k)] = value
        start += _BLOCK
    for k in range(8):
        flat[last + np.uint64(k)] = value
