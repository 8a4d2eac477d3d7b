"""Tests of the statistics records: pooling, JSON and the terminal table."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from smears import analytic_smear, empty_smear, random_smear
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.statistics.measuring import measure
from smearsynth.statistics.records import ColourSpread, DataStatistics, Spread

CORNERS = ((20, 20), (30, 20), (40, 20), (20, 50), (30, 60), (60, 60), (71, 60), (0, 90))


def squares(corners=CORNERS, side: int = 10, size: tuple[int, int] = (100, 120), **options) -> Smear:
    labels = np.zeros(size, np.int32)
    image = np.full((*size, 3), 200, np.uint8)
    for k, (x, y) in enumerate(corners, 1):
        labels[y : y + side, x : x + side] = k
        image[labels == k] = (10 * k, 50, 90)
    return Smear(image, labels, np.zeros(len(corners), np.int64), **options)


def printed_table(statistics: DataStatistics) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(statistics.table())
    return console.file.getvalue()


def test_statistics_of_a_data_set_pool_its_smears():
    smears = [random_smear(seed) for seed in range(6)] + [empty_smear()]
    statistics = measure(smears)

    assert statistics.smears == len(statistics.rows) == 7
    counts = [smear.count for smear in smears]
    assert statistics.count.mean == pytest.approx(np.mean(counts))
    assert statistics.count.std == pytest.approx(np.std(counts, ddof=1))
    boxes = np.concatenate([smear.boxes()[~smear.cut_by_border()] for smear in smears])
    assert statistics.cell_width.std == pytest.approx(np.std(boxes[:, 2] - boxes[:, 0], ddof=1))
    assert statistics.cell_width.n == len(boxes)
    assert sum(size * n for size, n in statistics.cluster_sizes.items()) == sum(counts)
    backgrounds = [smear.image[smear.labels == 0].mean(axis=0) for smear in smears]
    assert statistics.background_colour.mean == pytest.approx(np.mean(backgrounds, axis=0))
    assert statistics.cell_colour.n == 6  # the empty smear has no cell colour
    subset = DataStatistics.from_rows(statistics.rows[:3])
    assert subset.to_json() == measure(smears[:3]).to_json()


def test_classes_are_counted_by_name():
    two_classes = analytic_smear(classes=[0, 1, 1], class_names=("rbc", "wbc"))
    statistics = measure([two_classes, analytic_smear(classes=[0, 0, 0], class_names=("rbc",))])
    assert statistics.class_counts["rbc"].mean == 2
    assert statistics.class_counts["wbc"].mean == 1
    table = printed_table(statistics)
    assert table.index("cells per smear") < table.index("rbc per smear") < table.index("wbc per smear")


def test_counts_are_proportional_to_the_area():
    statistics = measure([squares(CORNERS[:4]), squares(CORNERS)])
    mean, std = statistics.counts_for((120, 100))
    assert (mean, std) == pytest.approx((6, math.sqrt(8)))
    assert statistics.counts_for((240, 200)) == pytest.approx((24, 4 * math.sqrt(8)))
    assert statistics.cell_size == 10
    with pytest.raises(DataError, match="100×0"):
        statistics.counts_for((0, 100))


def test_scale_to_is_the_ratio_of_cell_sizes():
    small, large, similar = (measure([squares(((20, 20),), side=side)]) for side in (10, 20, 12))
    assert small.scale_to(large) == 2
    assert large.scale_to(small) == 0.5
    assert small.scale_to(similar) is None
    assert small.scale_to(measure([empty_smear()])) is None


def test_field_size_is_the_most_frequent_size():
    sizes = [(30, 40), (50, 60), (30, 40), (50, 60), (90, 90)]
    assert measure([empty_smear(size) for size in sizes]).field_size == (50, 60)


@pytest.mark.parametrize(
    "smear",
    [
        empty_smear((50, 60)),
        squares(((20, 20),)),
        squares(((0, 0), (110, 90))),
        squares(((0, 0),), side=200),
        squares(((0, 0),), size=(1, 1)),
    ],
    ids=["empty", "one cell", "all cut", "no background", "one pixel"],
)
def test_degenerate_smears_have_defined_values_and_valid_json(smear: Smear):
    statistics = measure([smear])
    text = statistics.to_json()
    assert "NaN" not in text
    assert DataStatistics.from_json(text).to_json() == text
    assert statistics.count.std == 0
    assert math.isfinite(statistics.counts_for((100, 100))[0])
    assert "cells per smear" in printed_table(statistics)
    if not statistics.cell_width.n:
        with pytest.raises(DataError, match="no whole cell"):
            _ = statistics.cell_size


def test_table_begins_with_table_1_of_the_paper_and_has_units():
    text = printed_table(measure([squares(um_per_px=0.25), squares(um_per_px=0.25)]))
    assert text.index("cells per smear") < text.index("10.0 × 10.0") < text.index("45, 50, 90")
    assert "2.5 × 2.5" in text
    assert "µm" in text
    assert text.index("background colour") < text.index("touching cells")
    assert "µm" not in printed_table(measure([squares()]))


def test_invalid_records_are_rejected():
    text = measure([squares()]).to_json()
    with pytest.raises(DataError, match=r"stats\.json.*extra"):
        DataStatistics.from_json(text.replace('"smears"', '"extra": 1, "smears"', 1), "stats.json")
    with pytest.raises(DataError, match="measure the smears again"):
        DataStatistics.from_json("{")
    with pytest.raises(DataError, match="no smears"):
        DataStatistics.from_rows([])


def test_pooled_spread_is_exact():
    values = np.random.default_rng(0).normal(5, 2, 100)
    pooled = Spread.pooled([Spread.of(values[:1]), Spread.of(values[1:30]), Spread.of([]), Spread.of(values[30:])])
    expected = Spread.of(values)
    assert (pooled.mean, pooled.std, pooled.n) == pytest.approx((expected.mean, expected.std, 100))
    assert (expected.mean, expected.std) == pytest.approx((values.mean(), values.std(ddof=1)))


def test_colour_spread_is_computed_per_channel():
    spread = ColourSpread.of([(10, 20, 30), (30, 20, 10), (math.nan,) * 3])
    assert (spread.mean, spread.n) == ((20, 20, 20), 2)
    assert spread.std == pytest.approx((200**0.5, 0, 200**0.5))


def test_contacts_that_were_not_measured_are_left_out_of_the_json():
    """Models of earlier versions keep their hash."""
    statistics = measure([random_smear(0), random_smear(1)])
    assert statistics.to_json().count('"contact_fractions"') == 2
    rows = (statistics.rows[0].model_copy(update={"contact_fractions": ()}), statistics.rows[1])
    text = statistics.model_copy(update={"rows": rows}).to_json()
    assert text.count('"contact_fractions"') == 1
    assert DataStatistics.from_json(text).rows[0].contact_fractions == ()
    assert DataStatistics.from_json(text).to_json() == text
