# mypy: disable-error-code="no-any-return"
"""What all compiled kernels share: the decorator, random words and single-bit arithmetic.

Numba keeps its machine code beside the sources (or in the user's cache folder when the package is
read-only). It notices a change of the file a kernel stands in, not of the kernels it calls in other
files: after editing one here, delete ``__pycache__`` or set ``NUMBA_CACHE_DIR`` to a new folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Words = npt.NDArray[np.uint64]

# nogil: threads lay out side by side. numpy error model: no check for a zero divisor in the inner loops.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

builder = numba.njit(**_OPTIONS)
"""Decorator of compiled functions that allocate."""

kernel = numba.njit(**(_OPTIONS | {"_nrt": False}))
"""Decorator of compiled functions that allocate nothing.

They work on arrays whose owner keeps them alive meanwhile, so they need no reference counts: Numba's atomic
ones, for each array handed from function to function, took a third of the time of a layout.
"""

inlined = numba.njit(**(_OPTIONS | {"_nrt": False, "forceinline": True}))
"""Decorator of kernels that become part of their callers.

Boards, buffers and laws go from function to function by value, a hundred words of array descriptors each time.
For what is called once or more for each cell that took a quarter of the time of a layout.
"""

Word = Any  # one 64-bit word; NumPy's scalar type would not mix with the literals in mypy's eyes

# uint64 constants: a Python int beside a uint64 would turn the sum into float64 in Numba.
ZERO = np.uint64(0)
ONE = np.uint64(1)
TWO = np.uint64(2)
SIXTY_FOUR = np.uint64(64)
LAST_BIT = np.uint64(63)
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S11 = np.uint64(11)
_UNIT = 1.0 / (1 << 53)


def _count_trailing_zeros(typing: Any, word: Any) -> Any:
    """Place of the lowest set bit of a uint64 word that is not zero, int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def _count_ones(typing: Any, word: Any) -> Any:
    """Number of set bits of a uint64 word, int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


# One machine instruction each, for use in kernels alone: called with the word, not with Numba's typing context.
lowest_bit = cast(Callable[[Word], int], intrinsic(_count_trailing_zeros))
bits_of = cast(Callable[[Word], int], intrinsic(_count_ones))


def seed_state(generator: np.random.Generator) -> Words:
    """State of the kernels' random stream, drawn with full entropy from `generator`.

    The draw is hashed: splitmix64 walks one single cycle in steps of a constant, and states that differ
    by a multiple of that constant give shifted copies of the same stream.

    Returns
    -------
    state : (1,) uint64 array

    Examples
    --------
    >>> seed_state(np.random.default_rng(1)).shape
    (1,)
    """
    word = int(generator.integers(0, 1 << 64, dtype=np.uint64)) ^ 0xD1B54A32D192ED03
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = ((word ^ (word >> 33)) * factor) & 0xFFFFFFFFFFFFFFFF
    return np.array([word ^ (word >> 33)], np.uint64)


@kernel
def random_word(state: Words) -> Word:
    """Next 64 random bits: splitmix64 (Steele, Lea, Flood 2014)."""
    state[0] += _GOLDEN
    z = state[0]
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@kernel
def uniform(state: Words) -> float:
    """Uniform in [0, 1), 53 bits."""
    return float(random_word(state) >> _S11) * _UNIT


@kernel
def below(state: Words, n: int) -> int:
    """Uniform in 0..n-1."""
    return int(uniform(state) * n)


@kernel
def pick_bit(state: Words, word: Word) -> int:
    """Place of one of the set bits of a word that is not zero, each equally likely."""
    rest = word
    for _ in range(below(state, bits_of(word))):
        rest &= rest - ONE
    return lowest_bit(rest)
