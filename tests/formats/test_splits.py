from __future__ import annotations

from collections import Counter

import pytest

from smearsynth.errors import OptionError
from smearsynth.formats.splits import checked_fractions, split_by_index, split_by_order


def test_a_series_of_any_length_has_nearly_the_fractions() -> None:
    fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    for n in (10, 37, 100, 1000):
        counts = Counter(split_by_index(index, fractions) for index in range(n))
        for name, fraction in fractions.items():
            assert abs(counts[name] - fraction * n) <= 2
    assert set(map(split_by_order(list("abcdefghij"), fractions), "abcdefghij")) == set(fractions)


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.2, "b": -0.2}, {"a": float("nan")}, {"../x": 1.0}])
def test_fractions_that_are_no_split_are_rejected(fractions: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="split"):
        checked_fractions(fractions)
