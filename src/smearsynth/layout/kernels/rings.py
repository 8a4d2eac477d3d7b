# mypy: disable-error-code="no-any-return"
"""Exact sampling of the paper's evolving distribution of cell centres P(i), without its map.

With a_i = 1/i the recursion of equation 3, P(i) = (1 - a_i) P(i-1) + a_i z(l_{i-1}), unrolls to

    i P(i) = n_init U + z(l_{n_init}) + ... + z(l_{i-1}),

a mixture of one uniform distribution and one ring per cell from the `n_init`-th cell on. A draw selects a
component, then a pixel of it. Neither needs the map.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.layout.kernels.compiled import Words, below, builder, inlined, kernel, random_word, uniform

_REACH = 6.0  # standard deviations; 1.5e-8 of the Gaussian lies beyond
_OUTSIDE_TRIES = 64  # a quarter of the ring of a cell in a corner is on the canvas: 0.75**64 = 1e-8
_ALWAYS = np.uint64(0xFFFFFFFF << 32)
_LOW_16 = np.uint64(0xFFFF)
_S32, _S16, _S11 = np.uint64(32), np.uint64(16), np.uint64(11)
_HALF_TURN, _QUARTER_TURN = np.uint64(2), np.uint64(1)
_UNIT = 1.0 / (1 << 53)


class Ring(NamedTuple):
    """The ring z(r) around a cell: 1 - G(r) inside the radius `cell_size`, G(r) outside."""

    # For each pixel of one quadrant, dy in 0..reach and dx in 1..reach: the probability of accepting it (upper 32
    # bits), and the alternative pixel (dy and dx - 1, 16 bits each).
    alias: Words  # (reach + 1, reach)
    sums: npt.NDArray[np.float64]  # (reach + 1, reach + 1) sum of 0..dy × 0..dx, axes with weight 1/2
    reach: int  # px
    radius2: float  # cell_size²
    falloff: float  # 1 / (2 σ²)


@lru_cache(maxsize=8)
def make_ring(cell_size: float) -> Ring:
    """Compute the tables of the ring for cells with a mean diameter of `cell_size` px.

    HWHM = cell_size, so σ = cell_size / √(2 ln 2) (paper, section 5.1). G is 0.5 at the radius `cell_size`,
    where both branches meet: the ring has its maximum one cell diameter from the centre.

    Raises
    ------
    OptionError
        If `cell_size` is not in (0, 2000] px.

    Examples
    --------
    >>> ring = make_ring(46.0)
    >>> ring.reach, round(ring_weight(ring, 46, 0), 9)
    (235, 0.5)
    """
    if not 0 < cell_size <= 2000:
        raise OptionError(f"cell_size is {cell_size} px; give the mean cell diameter, above 0 and at most 2000")
    sigma = cell_size / math.sqrt(2 * math.log(2))
    reach = math.ceil(_REACH * sigma)
    away = np.arange(reach + 1, dtype=np.float64)
    squared = away[:, None] ** 2 + away**2
    weights = np.exp(-squared / (2 * sigma**2))
    weights = np.where(squared < cell_size**2, 1 - weights, weights)
    # One quadrant, dy in 0..reach and dx in 1..reach, and its three quarter turns tile the plane except the origin,
    # where z is zero.
    alias = _alias_table(weights[:, 1:].ravel(), reach).reshape(reach + 1, reach)
    weights[0] /= 2
    weights[:, 0] /= 2
    return Ring(alias, weights.cumsum(0).cumsum(1), reach, float(cell_size) ** 2, 0.5 / sigma**2)


@builder
def _alias_table(weights: npt.NDArray[np.float64], across: int) -> Words:
    """Compute Walker's alias table of a rectangle with `across` columns, packed as in `Ring`."""
    n = weights.size
    scaled = weights * (n / weights.sum())
    order = np.empty(n, np.int64)  # indices with a weight below 1 from the front, the others from the back
    short, long = 0, n
    for k in range(n):
        if scaled[k] < 1.0:
            order[short] = k
            short += 1
        else:
            long -= 1
            order[long] = k
    table = np.empty(n, np.uint64)
    while short > 0 and long < n:
        short -= 1
        low, high = order[short], order[long]
        table[low] = (np.uint64(scaled[low] * 4294967296.0) << _S32) | np.uint64(
            high // across << 16 | high % across
        )
        scaled[high] -= 1.0 - scaled[low]
        if scaled[high] < 1.0:
            long += 1
            order[short] = high
            short += 1
    # The remaining weights are 1 except for rounding: these entries are always accepted.
    for k in range(short):
        table[order[k]] = _ALWAYS | np.uint64(order[k] // across << 16 | order[k] % across)
    for k in range(long, n):
        table[order[k]] = _ALWAYS | np.uint64(order[k] // across << 16 | order[k] % across)
    return table


@kernel
def ring_weight(ring: Any, dx: int, dy: int) -> float:
    """Return z at an offset from the centre of the cell, not normalised."""
    squared = float(dx * dx + dy * dy)
    gauss = math.exp(-squared * ring.falloff)
    return 1.0 - gauss if squared < ring.radius2 else gauss


@inlined
def ring_mass(ring: Any, x: int, y: int, width: int, height: int) -> float:
    """Return the sum of z around (x, y) over the canvas, which normalises z."""
    left, right = min(ring.reach, x), min(ring.reach, width - 1 - x)
    up, down = min(ring.reach, y), min(ring.reach, height - 1 - y)
    sums = ring.sums
    return float(sums[up, left] + sums[up, right] + sums[down, left] + sums[down, right])


@inlined
def draw_centre(
    state: Words, i: int, n_init: int, cells: Any, ring: Any, width: int, height: int
) -> tuple[int, int]:
    """Draw a centre from P(i), i counted from 1; (-1, -1) if the selected ring has no pixel on the canvas."""
    # i·P(i) has i components of equal weight: n_init times U, then z of the cells n_init .. i-1, counted from 1.
    part = 0 if i <= n_init else below(state, i)
    if part < n_init:
        return below(state, width), below(state, height)
    cell = cells[part - 1]
    x, y = cell.x, cell.y
    # z is normalised over the canvas, so that P(i) sums to one. An offset outside the canvas is therefore drawn
    # again from the same ring.
    for _ in range(_OUTSIDE_TRIES):
        place = uniform(state) * ring.reach
        turn = random_word(state)
        dx = np.int64(place)
        dy = np.int64(float(turn >> _S11) * _UNIT * (ring.reach + 1))
        entry = ring.alias[dy, dx]
        # The fractional part of `place` is uniform and independent of its integer part.
        if np.uint64((place - dx) * 4294967296.0) >= entry >> _S32:
            dy, dx = np.int64((entry >> _S16) & _LOW_16), np.int64(entry & _LOW_16)
        dx += 1
        if turn & _QUARTER_TURN:
            dx, dy = -dy, dx
        if turn & _HALF_TURN:
            dx, dy = -dx, -dy
        if 0 <= x + dx < width and 0 <= y + dy < height:
            return x + dx, y + dy
    return _draw_by_sums(state, x, y, ring, width, height)


@kernel
def _draw_by_sums(state: Words, x: int, y: int, ring: Any, width: int, height: int) -> tuple[int, int]:
    """Draw from a ring of which little lies on the canvas, by scanning its pixels on the canvas."""
    total = ring_mass(ring, x, y, width, height)
    remaining = uniform(state) * total
    last_x, last_y = -1, -1
    for py in range(max(0, y - ring.reach), min(height, y + ring.reach + 1)):
        for px in range(max(0, x - ring.reach), min(width, x + ring.reach + 1)):
            weight = ring_weight(ring, px - x, py - y)
            if weight > 0.0:
                last_x, last_y = px, py
                remaining -= weight
                if remaining < 0.0:
                    return last_x, last_y
    return last_x, last_y
