"""Tests of the comparison of real and synthetic statistics: offsets and verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear, empty_smear, random_smear
from smearsynth.report.comparison import Row, compare
from smearsynth.smear import Smear
from smearsynth.statistics.measuring import measure


def row_of(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


def uniform_smear(grey: int) -> Smear:
    return Smear(np.full((8, 8, 3), grey, np.uint8), np.zeros((8, 8), np.int32), np.array([], np.int64))


def test_different_smears_are_marked_and_similar_ones_are_not() -> None:
    real = measure(random_smear(i) for i in range(12))
    similar = compare(real, measure(random_smear(i) for i in range(20, 28)))
    assert not [row.name for row in similar if row.outside]
    discs = [(x, y, 4) for x in range(8, 96, 9) for y in range(8, 96, 9)]
    different = compare(real, measure([analytic_smear((96, 96), discs, background=(60, 196, 200))]))
    assert row_of(different, "cell density").verdict == "above"
    assert row_of(different, "cell width").verdict == "below"
    background = row_of(different, "background colour")
    assert (background.verdict, background.reason) == ("below", "red")


def test_offsets_are_in_real_standard_deviations() -> None:
    real = measure(uniform_smear(grey) for grey in (90, 100, 110))
    for grey, expected in ((120, 2.0), (100, 0.0), (75, -2.5)):
        row = row_of(compare(real, measure([uniform_smear(grey)])), "background colour")
        assert [offset for _, offset in row.offsets] == pytest.approx([expected] * 3)
        assert row.outside == (abs(expected) > 2)


def test_offsets_without_real_variation_are_zero_or_infinite() -> None:
    real = measure(uniform_smear(100) for _ in range(3))
    equal, brighter = (row_of(compare(real, measure([uniform_smear(g)])), "background colour") for g in (100, 101))
    assert (equal.verdict, equal.offsets[0]) == ("within", ("red", 0.0))
    assert (brighter.verdict, brighter.offsets[0]) == ("above", ("red", np.inf))


def test_a_single_real_value_has_no_verdict() -> None:
    real = measure([random_smear(0)])
    row = row_of(compare(real, measure([random_smear(1)])), "cell density")
    assert (row.verdict, row.offsets) == ("none", ())
    assert "only one value" in row.reason
    assert "±" not in row.real


def test_undefined_statistics_are_dashes() -> None:
    rows = compare(measure(random_smear(i) for i in range(4)), measure([empty_smear()]))
    row = row_of(rows, "cell width")
    assert (row.synthetic, row.verdict, row.reason) == ("–", "none", "no synthetic value")
    assert not any("nan" in row.real + row.synthetic for row in rows)


def test_counts_of_fields_of_different_sizes_are_not_compared() -> None:
    real = measure(random_smear(i) for i in range(4))
    rows = compare(real, measure([random_smear(5, (200, 200))]))
    assert row_of(rows, "cells per smear").verdict == "none"
    assert row_of(rows, "cell density").verdict != "none"


def test_without_synthetic_smears_there_is_no_verdict() -> None:
    rows = compare(measure(random_smear(i) for i in range(4)), None)
    assert {row.verdict for row in rows} == {"none"}
    assert {row.synthetic for row in rows} == {"–"}


def test_swatches_are_at_most_twelve_from_dark_to_light() -> None:
    real = measure(uniform_smear(grey) for grey in range(130, 100, -1))
    row = row_of(compare(real, None), "background colour")
    greys = [int(colour.removeprefix("rgb(").split()[0]) for colour in row.real_swatches]
    assert len(greys) == 12
    assert greys == sorted(greys)
    assert (greys[0], greys[-1]) == (101, 130)
    assert row.synthetic_swatches == ()
