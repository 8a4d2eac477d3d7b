"""Statistics of smears whose counts, contacts, distances and colours are known beforehand."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from smears import analytic_smear, random_smear
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.statistics import (
    BIN_WIDTH,
    DataStatistics,
    Spread,
    cluster_sizes,
    measure,
    measure_smear,
    pair_correlation,
    touching_pairs,
)

# A chain of three touching squares, two that meet at a corner, two a pixel apart, one cut by the border.
SQUARES = ((20, 20), (30, 20), (40, 20), (20, 50), (30, 60), (60, 60), (71, 60), (0, 90))


def squares(corners=SQUARES, side: int = 10, size: tuple[int, int] = (100, 120), **options) -> Smear:
    labels = np.zeros(size, np.int32)
    image = np.full((*size, 3), 200, np.uint8)
    for k, (x, y) in enumerate(corners, 1):
        labels[y : y + side, x : x + side] = k
        image[labels == k] = (10 * k, 50, 90)
    return Smear(image, labels, np.zeros(len(corners), np.int64), **options)


def blank(size: tuple[int, int] = (50, 60)) -> Smear:
    return Smear(np.full((*size, 3), 90, np.uint8), np.zeros(size, np.int32), np.zeros(0, np.int64))


def test_one_smear_is_measured_exactly():
    row = measure_smear(squares(name="field"))

    assert (row.name, row.width, row.height, row.count) == ("field", 120, 100, 8)
    assert row.density == pytest.approx(8 / 0.012)
    assert row.coverage == pytest.approx(800 / 12000)
    assert (row.cell_width.mean, row.cell_height.mean, row.cell_width.std, row.cell_width.n) == (10, 10, 0, 7)
    assert row.cell_diameter.mean == pytest.approx(math.sqrt(400 / math.pi))
    assert row.touching_fraction == pytest.approx(5 / 8)
    assert row.border_fraction == pytest.approx(1 / 8)
    assert row.cluster_sizes == {1: 3, 2: 1, 3: 1}
    # Chain: 10, 10, 10; the corner pair: √200 twice; the two apart: 11 twice; the cut cell is no reference.
    assert row.nearest.mean == pytest.approx((3 * 10 + 2 * math.sqrt(200) + 2 * 11) / 7)
    assert row.nearest.n == sum(row.nearest_histogram) == 7
    assert row.cell_colour == (45, 50, 90)
    assert row.background_colour == (200, 200, 200)
    assert row.class_counts == {"cell": 8}


def test_a_gap_of_one_pixel_is_no_contact():
    assert len(touching_pairs(squares(((20, 20), (30, 20))).labels)) == 1
    assert len(touching_pairs(squares(((20, 20), (31, 20))).labels)) == 0
    assert len(touching_pairs(squares(((20, 20), (10, 30))).labels)) == 1  # the other diagonal


def test_touching_pairs_of_many_ids_do_not_collide():
    labels = np.arange(1, 60001, dtype=np.int32).reshape(200, 300)
    pairs = touching_pairs(labels)
    assert len(pairs) == 200 * 299 + 199 * 300 + 2 * 199 * 299
    assert cluster_sizes(60000, pairs).tolist() == [60000] * 60000


def test_intensity_counts_cut_cells_for_the_border_they_hang_over():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(30):  # discs of radius 8 thrown on a plane of which a window is seen
        discs = [(x, y, 8.0) for x, y in rng.uniform(-20, 220, (20, 2))]
        rows.append(measure_smear(analytic_smear((200, 200), discs)))
    truth = 1e6 * 20 / 240**2
    assert np.mean([row.intensity for row in rows]) == pytest.approx(truth, rel=0.05)
    assert np.mean([row.density for row in rows]) > 1.07 * truth


def test_pair_correlation_is_one_for_points_without_structure():
    rng = np.random.default_rng(0)
    curves = [pair_correlation(rng.uniform(0, (800, 600), (300, 2)), (800, 600), 20.0) for _ in range(20)]
    mean = np.mean(curves, axis=0)
    assert np.abs(mean - 1)[10:].max() < 0.15  # some 500 pairs a bin
    assert abs(mean[10:].mean() - 1) < 0.01
    assert abs(mean[30:].mean() - 1) < 0.01  # no bias from the edges, where it would be largest


def test_pair_correlation_is_zero_below_contact_of_discs_and_high_where_they_stick():
    rng = np.random.default_rng(1)
    single, pairs = [], []
    while len(single) < 150:
        point = rng.uniform(0, (1000, 800))
        if not single or np.linalg.norm(np.array(single) - point, axis=1).min() >= 40:
            single.append(point)
            angle = rng.uniform(0, 2 * np.pi)
            pairs += [point, point + 20 * np.array([np.cos(angle), np.sin(angle)])]
    contact = round(1 / BIN_WIDTH)
    apart = pair_correlation(np.array(single), (1000, 800), 40.0)
    assert (apart[:contact] == 0).all()
    assert apart[contact:].mean() == pytest.approx(1, abs=0.15)
    stuck = pair_correlation(np.array(pairs), (1000, 800), 20.0)
    scattered = pair_correlation(rng.uniform(0, (1000, 800), (300, 2)), (1000, 800), 20.0)
    assert stuck[contact - 1 : contact + 1].max() > 3 > scattered[contact - 1 : contact + 1].max()


def test_data_set_is_the_pool_of_its_smears():
    smears = [random_smear(seed) for seed in range(6)] + [blank()]
    calls: list[int] = []
    statistics = measure(iter(smears), calls.append)

    assert calls == [1, 2, 3, 4, 5, 6, 7]
    assert statistics.smears == len(statistics.rows) == 7
    counts = [smear.count for smear in smears]
    assert statistics.count.mean == pytest.approx(np.mean(counts))
    assert statistics.count.std == pytest.approx(np.std(counts, ddof=1))
    boxes = np.concatenate([smear.boxes()[~smear.cut_by_border()] for smear in smears])
    assert statistics.cell_width.std == pytest.approx(np.std(boxes[:, 2] - boxes[:, 0], ddof=1))
    assert statistics.cell_width.n == len(boxes)
    assert sum(size * n for size, n in statistics.cluster_sizes.items()) == sum(counts)
    grounds = [smear.image[smear.labels == 0].mean(axis=0) for smear in smears]
    assert statistics.background_colour.mean == pytest.approx(np.mean(grounds, axis=0))
    assert statistics.cell_colour.n == 6  # the blank one has no cell colour
    part = DataStatistics.from_rows(statistics.rows[:3])
    assert part.to_json() == measure(smears[:3]).to_json()


def test_classes_are_counted_by_name():
    two = analytic_smear(classes=[0, 1, 1], class_names=("rbc", "wbc"))
    statistics = measure([two, analytic_smear(classes=[0, 0, 0], class_names=("rbc",))])
    assert statistics.class_counts["rbc"].mean == 2
    assert statistics.class_counts["wbc"].mean == 1


def test_counts_for_scales_with_the_area():
    statistics = measure([squares(SQUARES[:4]), squares(SQUARES)])
    mean, std = statistics.counts_for((120, 100))
    assert (mean, std) == pytest.approx((6, math.sqrt(8)))
    assert statistics.counts_for((240, 200)) == pytest.approx((24, 4 * math.sqrt(8)))
    assert statistics.cell_size == 10
    with pytest.raises(DataError, match="100×0"):
        statistics.counts_for((0, 100))


@pytest.mark.parametrize(
    "smear",
    [
        blank(),
        squares(((20, 20),)),
        squares(((0, 0), (110, 90))),
        squares(((0, 0),), side=200),
        squares(((0, 0),), size=(1, 1)),
    ],
    ids=["empty", "one cell", "all cut", "no background", "one pixel"],
)
def test_degenerate_smears_have_defined_values_and_survive_json(smear: Smear):
    statistics = measure([smear])
    text = statistics.to_json()
    assert "NaN" not in text
    assert DataStatistics.from_json(text).to_json() == text
    assert statistics.count.std == 0
    assert math.isfinite(statistics.counts_for((100, 100))[0])
    console = Console(file=io.StringIO(), width=120)
    console.print(statistics.table())
    if not statistics.cell_width.n:
        with pytest.raises(DataError, match="no whole cell"):
            _ = statistics.cell_size


def test_table_begins_with_the_papers_rows_and_names_units():
    statistics = measure([squares(um_per_px=0.25), squares(um_per_px=0.25)])
    console = Console(file=io.StringIO(), width=120)
    console.print(statistics.table())
    text = console.file.getvalue()
    assert text.index("cells per smear") < text.index("10.0 × 10.0") < text.index("45 × 50 × 90")
    assert "2.5 × 2.5" in text
    assert "µm" in text
    assert text.index("background colour") < text.index("touching cells")


def test_bad_input_is_named():
    with pytest.raises(DataError, match="no smears"):
        measure([])
    text = measure([squares()]).to_json()
    with pytest.raises(DataError, match=r"stats\.json.*extra"):
        DataStatistics.from_json(text.replace('"smears"', '"extra": 1, "smears"', 1), "stats.json")
    with pytest.raises(DataError, match="write them anew"):
        DataStatistics.from_json("{")


def test_spread_pools_exactly():
    values = np.random.default_rng(0).normal(5, 2, 100)
    pooled = Spread.pooled([Spread.of(values[:1]), Spread.of(values[1:30]), Spread.of([]), Spread.of(values[30:])])
    whole = Spread.of(values)
    assert (pooled.mean, pooled.std, pooled.n) == pytest.approx((whole.mean, whole.std, 100))


@pytest.mark.realdata
def test_chula_is_as_described(real_data: Path):
    statistics = measure(open_smears(real_data / "chula", split="train", limit=24))
    assert 70 < statistics.count.mean < 130
    assert 37 < statistics.cell_size < 43
    assert 0.15 < statistics.border_fraction.mean < 0.3
    curve = np.array(statistics.pair_correlation.mean)
    assert curve[:5].max() < 0.1  # cells do not lie on each other
    assert 1.0 < np.nanargmax(curve) * BIN_WIDTH < 1.3  # and stick together
