# mypy: disable-error-code="no-any-return"
"""The paper's evolving law of cell centres P(i), drawn exactly without its map.

With a_i = 1/i the recursion of equation 3, P(i) = (1 - a_i) P(i-1) + a_i z(l_{i-1}), unrolls to

    i P(i) = n_init U + z(l_{n_init}) + ... + z(l_{i-1}),

a mixture of one uniform law and one ring for each cell from the `n_init`-th on. A draw picks the component,
then a pixel of it; neither needs the map.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.layout.kernels.compiled import Words, below, builder, inlined, kernel, random_word, uniform

_REACH = 6.0  # standard deviations kept of the Gaussian; beyond lies 1.5e-8 of it
_OUTSIDE_TRIES = 64  # a corner keeps a quarter of its ring: 0.75**64 = 1e-8
_ALWAYS = np.uint64(0xFFFFFFFF << 32)
_LOW_16 = np.uint64(0xFFFF)
_S32, _S16, _S11 = np.uint64(32), np.uint64(16), np.uint64(11)
_HALF_TURN, _QUARTER_TURN = np.uint64(2), np.uint64(1)
_UNIT = 1.0 / (1 << 53)


class Ring(NamedTuple):
    """The ring z(r) about one cell: 1 - G(r) inside the radius `cell_size`, G(r) outside it."""

    # Of each pixel of one quadrant, dy in 0..reach and dx in 1..reach: the chance of keeping it (upper 32 bits)
    # and the pixel to take otherwise (dy and dx - 1, 16 bits each).
    alias: Words  # (reach + 1, reach)
    sums: npt.NDArray[np.float64]  # (reach + 1, reach + 1) mass of 0..dy × 0..dx, the axes counted half
    reach: int  # px
    radius2: float  # cell_size²
    falloff: float  # 1 / (2 σ²)


@lru_cache(maxsize=8)
def make_ring(cell_size: float) -> Ring:
    """Tables of the ring for cells of a mean diameter of `cell_size` px.

    HWHM = cell_size, hence σ = cell_size / √(2 ln 2) (paper, section 5.1): G is 0.5 at the radius
    `cell_size`, where both branches meet. There is the ridge: one cell diameter from the centre.

    Raises
    ------
    OptionError
        When `cell_size` is not a positive number of at most 2000 px.

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
    # One quadrant, dy in 0..reach and dx in 1..reach, and its three quarter turns tile the plane but for the
    # origin, where z is zero.
    alias = _alias_table(weights[:, 1:].ravel(), reach).reshape(reach + 1, reach)
    weights[0] /= 2
    weights[:, 0] /= 2
    return Ring(alias, weights.cumsum(0).cumsum(1), reach, float(cell_size) ** 2, 0.5 / sigma**2)


@builder
def _alias_table(weights: npt.NDArray[np.float64], across: int) -> Words:
    """Walker's alias table of the rows of a rectangle `across` wide, packed as in `Ring`."""
    n = weights.size
    share = weights * (n / weights.sum())
    order = np.empty(n, np.int64)  # indices short of 1 from the front, the others from the back
    short, long = 0, n
    for k in range(n):
        if share[k] < 1.0:
            order[short] = k
            short += 1
        else:
            long -= 1
            order[long] = k
    table = np.empty(n, np.uint64)
    while short > 0 and long < n:
        short -= 1
        low, high = order[short], order[long]
        table[low] = (np.uint64(share[low] * 4294967296.0) << _S32) | np.uint64(
            high // across << 16 | high % across
        )
        share[high] -= 1.0 - share[low]
        if share[high] < 1.0:
            long += 1
            order[short] = high
            short += 1
    # What is left has a share of 1 but for rounding: it is always kept, and its alias is itself.
    for k in range(short):
        table[order[k]] = _ALWAYS | np.uint64(order[k] // across << 16 | order[k] % across)
    for k in range(long, n):
        table[order[k]] = _ALWAYS | np.uint64(order[k] // across << 16 | order[k] % across)
    return table


@kernel
def ring_weight(ring: Any, dx: int, dy: int) -> float:
    """Z at an offset from the cell's centre, not normalised."""
    squared = float(dx * dx + dy * dy)
    gauss = math.exp(-squared * ring.falloff)
    return 1.0 - gauss if squared < ring.radius2 else gauss


@inlined
def ring_mass(ring: Any, x: int, y: int, width: int, height: int) -> float:
    """Sum of z about (x, y) over the canvas: what normalises it."""
    left, right = min(ring.reach, x), min(ring.reach, width - 1 - x)
    up, down = min(ring.reach, y), min(ring.reach, height - 1 - y)
    sums = ring.sums
    return float(sums[up, left] + sums[up, right] + sums[down, left] + sums[down, right])


@inlined
def draw_centre(
    state: Words, i: int, n_init: int, cells: Any, ring: Any, width: int, height: int
) -> tuple[int, int]:
    """One exact draw from P(i), i counted from 1; (-1, -1) when the drawn ring has no pixel on the canvas."""
    # i·P(i) has i parts of equal weight: n_init times U, then z of the cells n_init .. i-1 counted from 1.
    part = 0 if i <= n_init else below(state, i)
    if part < n_init:
        return below(state, width), below(state, height)
    cell = cells[part - 1]
    x, y = cell.x, cell.y
    # z is normalised over the canvas (only so does P(i) sum to one): an offset that leaves it is drawn again
    # from the same ring.
    for _ in range(_OUTSIDE_TRIES):
        place = uniform(state) * ring.reach
        turn = random_word(state)
        dx = np.int64(place)
        dy = np.int64(float(turn >> _S11) * _UNIT * (ring.reach + 1))
        entry = ring.alias[dy, dx]
        # The fraction of `place` is uniform and independent of its whole part.
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
    """Draw from a ring of which the canvas holds little, by walking its pixels on the canvas."""
    total = ring_mass(ring, x, y, width, height)
    rest = uniform(state) * total
    found_x, found_y = -1, -1
    for py in range(max(0, y - ring.reach), min(height, y + ring.reach + 1)):
        for px in range(max(0, x - ring.reach), min(width, x + ring.reach + 1)):
            weight = ring_weight(ring, px - x, py - y)
            if weight > 0.0:
                found_x, found_y = px, py
                rest -= weight
                if rest < 0.0:
                    return found_x, found_y
    return found_x, found_y
