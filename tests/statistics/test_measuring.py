"""Tests of measurement on smears with known counts, contacts, distances and colours."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from smears import analytic_smear, crowded_smear, empty_smear, partly_annotated, unannotated
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.statistics.measuring import measure, measure_smear
from smearsynth.statistics.patterns import BIN_WIDTH

# A chain of three touching squares, two that touch at a corner, two with a gap of one pixel, one cut by the border.
CORNERS = ((20, 20), (30, 20), (40, 20), (20, 50), (30, 60), (60, 60), (71, 60), (0, 90))


def squares() -> Smear:
    labels = np.zeros((100, 120), np.int32)
    image = np.full((100, 120, 3), 200, np.uint8)
    for k, (x, y) in enumerate(CORNERS, 1):
        labels[y : y + 10, x : x + 10] = k
        image[labels == k] = (10 * k, 50, 90)
    return Smear(image, labels, np.zeros(len(CORNERS), np.int64), name="field")


def test_one_smear_is_measured_exactly():
    row = measure_smear(squares())

    assert (row.name, row.width, row.height, row.count) == ("field", 120, 100, 8)
    assert row.density == pytest.approx(8 / 0.012)
    assert row.coverage == pytest.approx(800 / 12000)
    assert (row.cell_width.mean, row.cell_height.mean, row.cell_width.std, row.cell_width.n) == (10, 10, 0, 7)
    assert row.cell_diameter.mean == pytest.approx(math.sqrt(400 / math.pi))
    assert row.touching_fraction == pytest.approx(5 / 8)
    assert row.border_fraction == pytest.approx(1 / 8)
    assert row.cluster_sizes == {1: 3, 2: 1, 3: 1}
    # Chain: 10, 10, 10; corner pair: √200 twice; pair with a gap: 11 twice. The cut cell has no value.
    assert row.nearest.mean == pytest.approx((3 * 10 + 2 * math.sqrt(200) + 2 * 11) / 7)
    assert row.nearest.n == sum(row.nearest_histogram) == 7
    assert row.cell_colour == (45, 50, 90)
    assert row.background_colour == (200, 200, 200)
    assert row.class_counts == {"cell": 8}
    assert row.class_touching == {"cell": 5}


def test_intensity_corrects_for_cells_cut_by_the_border():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(30):  # discs of radius 8 at random positions; the field is a part of the plane
        discs = [(x, y, 8.0) for x, y in rng.uniform(-20, 220, (20, 2))]
        rows.append(measure_smear(analytic_smear((200, 200), discs)))
    expected = 1e6 * 20 / 240**2
    assert np.mean([row.intensity for row in rows]) == pytest.approx(expected, rel=0.05)
    assert np.mean([row.density for row in rows]) > 1.07 * expected


def test_progress_is_called_after_each_smear():
    calls: list[int] = []
    assert measure(iter([squares(), empty_smear()]), calls.append).smears == 2
    assert calls == [1, 2]
    with pytest.raises(DataError, match="no smears"):
        measure([])


@pytest.mark.realdata
def test_chula_has_plausible_statistics(real_data: Path):
    statistics = measure(open_smears(real_data / "chula", split="train", limit=24))
    assert 70 < statistics.count.mean < 130
    assert 37 < statistics.cell_size < 43
    assert 0.15 < statistics.border_fraction.mean < 0.3
    curve = np.array(statistics.pair_correlation.mean)
    assert curve[:5].max() < 0.1  # cells do not lie on top of each other
    assert 1.0 < np.nanargmax(curve) * BIN_WIDTH < 1.3  # cells adhere


def test_an_unannotated_half_does_not_change_the_statistics():
    # 12 × 6 squares; beyond column 120 they are there but have no label.
    labels = np.zeros((120, 240), np.int32)
    for k in range(72):
        labels[20 * (k % 6) + 5 : 20 * (k % 6) + 15, 20 * (k // 6) + 5 : 20 * (k // 6) + 15] = k + 1
    image = np.where(labels[..., None] > 0, 40, 200).repeat(3, axis=2).astype(np.uint8)
    whole = Smear(image, labels, np.zeros(72, np.int64))
    half = partly_annotated(whole, 120)
    assert half.count == 36
    row, reference = measure_smear(half), measure_smear(whole)
    assert row.density == pytest.approx(reference.density)
    assert row.coverage == pytest.approx(reference.coverage)
    assert row.background_colour == (200, 200, 200)
    assert row.cell_width == reference.cell_width.model_copy(update={"n": 36})
    assert row.expected_count == 72
    # Unlabelled, the right half would look empty: a quarter of the area 2 diameters away from any cell.
    assert row.empty_fractions == pytest.approx(reference.empty_fractions, abs=0.03)
    assert row.nearest.mean == pytest.approx(20)


def test_cells_at_an_ignored_region_have_no_size_and_no_nearest_neighbour():
    smear = analytic_smear((60, 200), [(20, 30, 8), (60, 30, 8), (100, 30, 8), (140, 30, 8)])
    ignored = np.zeros(smear.shape, bool)
    ignored[:, 109:132] = True  # touches the third cell, starts the fourth
    row = measure_smear(Smear(smear.image, smear.labels, smear.classes, ignored=ignored))
    assert row.cell_diameter.n == 2
    assert row.border_fraction == 0
    assert row.nearest.n == 2
    assert measure_smear(smear).cell_diameter.n == measure_smear(smear).nearest.n == 4


def test_intensity_corrects_for_cells_cut_by_an_ignored_region():
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(30):
        discs = [(x, y, 8.0) for x, y in rng.uniform(-20, 220, (20, 2))]
        smear = analytic_smear((200, 200), discs)
        window = np.ones(smear.shape, bool)
        window[:, 40:160] = False
        cut = np.where(window, 0, smear.labels)
        rows.append(measure_smear(Smear.from_labels(smear.image, cut, smear.classes, ignored=window)))
    expected = 1e6 * 20 / 240**2
    assert np.mean([row.intensity for row in rows]) == pytest.approx(expected, rel=0.07)
    assert np.mean([row.density for row in rows]) > 1.1 * expected


def test_unannotated_smears_have_no_statistics_and_do_not_count():
    blank = unannotated(analytic_smear())
    row = measure_smear(blank)
    assert (row.count, row.annotated, row.expected_count) == (0, False, 0)
    assert all(math.isnan(value) for value in (row.density, row.intensity, row.coverage, *row.background_colour))
    both, alone = measure([analytic_smear(), blank]), measure([analytic_smear()])
    assert both.count == alone.count
    assert both.density == alone.density
    assert both.class_counts == alone.class_counts
    assert both.pair_correlation.mean == pytest.approx(alone.pair_correlation.mean, nan_ok=True)
    assert math.isnan(measure([blank]).density.mean)


def test_rows_of_fully_annotated_smears_expect_their_count():
    for size, count in (((480, 640), 60), ((321, 333), 7)):
        row = measure_smear(crowded_smear(size, count))
        assert row.expected_count == row.count
