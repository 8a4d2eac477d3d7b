"""Tests of measurement on smears with known counts, contacts, distances and colours."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from smears import analytic_smear, empty_smear
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
