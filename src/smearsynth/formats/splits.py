"""Assignment of smears to splits by fractions, such as 80 % for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from smearsynth.errors import OptionError

# Multiples of the golden ratio, modulo 1, cover the interval evenly for any number of smears.
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def checked_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """Return the fraction of each split if they are positive and sum to 1.

    Raises
    ------
    OptionError
        If a name is not usable as a folder name, or the fractions do not sum to 1.

    Examples
    --------
    >>> checked_fractions({"train": 0.8, "val": 0.2})
    {'train': 0.8, 'val': 0.2}
    """
    for name in fractions:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise OptionError(f"split {name!r}: use letters and digits, such as train")
    values = list(fractions.values())
    if not values or not all(math.isfinite(value) and value > 0 for value in values) or abs(sum(values) - 1) > 1e-6:
        raise OptionError(f"splits {fractions}: give positive fractions that sum to 1, such as train=0.8,val=0.2")
    return dict(fractions)


def split_by_index(index: int, fractions: Mapping[str, float]) -> str:
    """Return the split of smear number `index`; the first smears of a series have nearly the given fractions.

    Examples
    --------
    >>> [split_by_index(index, {"train": 0.8, "val": 0.2}) for index in range(5)]
    ['train', 'train', 'train', 'train', 'val']
    """
    position = (0.5 + index * _GOLDEN_RATIO) % 1
    cumulative = 0.0
    for name, fraction in fractions.items():
        cumulative += fraction
        if position < cumulative:
            return name
    return list(fractions)[-1]


def split_by_order(names: Sequence[str], fractions: Mapping[str, float]) -> Callable[[str], str | None]:
    """Return a function that gives the split of each name, by its position in the sequence.

    Examples
    --------
    >>> split_of = split_by_order(["a", "b", "c", "d"], {"train": 0.5, "test": 0.5})
    >>> [split_of(name) for name in "abcd"]
    ['test', 'train', 'test', 'train']
    """
    splits = {name: split_by_index(index, fractions) for index, name in enumerate(names)}
    return splits.get


def every_third(count: int) -> tuple[list[int], list[int]]:
    """Divide smears without splits into training smears and test smears: every third one is a test smear.

    Parameters
    ----------
    count : int
        Number of smears.

    Returns
    -------
    train, test : list of int
        Indices.

    Examples
    --------
    >>> every_third(7)
    ([0, 2, 3, 5, 6], [1, 4])
    """
    return [k for k in range(count) if k % 3 != 1], list(range(1, count, 3))
