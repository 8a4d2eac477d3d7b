# mypy: disable-error-code="no-any-return"
"""Shared basis of the compiled kernels: decorators, random words and single-bit arithmetic.

Numba caches machine code beside the sources, or in the user's cache folder if the package is read-only. It detects
changes in the file of a kernel, not in the kernels of other files that it calls. After editing a kernel, delete
``__pycache__`` or set ``NUMBA_CACHE_DIR`` to a new folder.
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

# nogil: several threads create layouts in parallel. error_model numpy: no test for division by zero in inner loops.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

builder = numba.njit(**_OPTIONS)
"""Decorator for compiled functions that allocate memory."""

kernel = numba.njit(**(_OPTIONS | {"_nrt": False}))
"""Decorator for compiled functions that allocate no memory.

Their callers keep all arrays alive, so no reference counts are needed. Numba's atomic reference counts, one per
array and call, took a third of the time of a layout.
"""

inlined = numba.njit(**(_OPTIONS | {"_nrt": False, "forceinline": True}))
"""Decorator for kernels that are inlined into their callers.

Records of arrays are passed by value, a hundred words of array descriptors per call. For kernels that are called at
least once per cell this took a quarter of the time of a layout.
"""

Word = Any  # one 64-bit word; mypy rejects NumPy's scalar type beside integer literals

# uint64 constants, because Numba converts the sum of a Python int and a uint64 to float64.
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
    """Return the position of the lowest set bit of a nonzero uint64 word, int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def _population_count(typing: Any, word: Any) -> Any:
    """Return the number of set bits of a uint64 word, int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


# One machine instruction each, usable in kernels only. Kernels call them with the word, without the typing context.
lowest_bit = cast(Callable[[Word], int], intrinsic(_count_trailing_zeros))
bits_of = cast(Callable[[Word], int], intrinsic(_population_count))


def seed_state(generator: np.random.Generator) -> Words:
    """Draw the state of the kernels' random stream from a generator.

    The drawn word is hashed, because splitmix64 advances by a constant: states that differ by a multiple of that
    constant would give shifted copies of one stream.

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
    """Return the next 64 random bits by splitmix64 (Steele, Lea, Flood 2014)."""
    state[0] += _GOLDEN
    z = state[0]
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@kernel
def uniform(state: Words) -> float:
    """Draw a float uniformly from [0, 1), with 53 bits."""
    return float(random_word(state) >> _S11) * _UNIT


@kernel
def below(state: Words, n: int) -> int:
    """Draw an integer uniformly from 0..n-1."""
    return int(uniform(state) * n)


@kernel
def pick_bit(state: Words, word: Word) -> int:
    """Return the position of a set bit of a nonzero word, drawn uniformly from its set bits."""
    remaining = word
    for _ in range(below(state, bits_of(word))):
        remaining &= remaining - ONE
    return lowest_bit(remaining)
