"""Tests of the SVG plots: coordinates, gaps and ticks."""

from __future__ import annotations

import re

import numpy as np
import pytest

from smears import crowded_smear, empty_smear
from smearsynth.report.plots import HEIGHT, WIDTH, nearest_plot, pair_correlation_plot
from smearsynth.statistics.measuring import measure
from smearsynth.statistics.records import DataStatistics


@pytest.fixture(scope="module")
def real() -> DataStatistics:
    return measure(crowded_smear((240, 320), 60, radius=12, seed=i) for i in range(4))


def points(path: str) -> np.ndarray:
    return np.array(re.findall(r"[\d.-]+", path), float).reshape(-1, 2)


def test_curves_are_inside_the_view_box(real: DataStatistics) -> None:
    synthetic = measure([crowded_smear((240, 320), 60, radius=12, seed=9)])
    for plot in (pair_correlation_plot(real, synthetic), nearest_plot(real, synthetic)):
        for path in (plot.real, plot.synthetic, plot.band):
            assert "nan" not in path
            assert (points(path) >= 0).all()
            assert (points(path) <= (WIDTH, HEIGHT)).all()
        assert plot.real
        assert plot.synthetic
    assert len(pair_correlation_plot(real, synthetic).y_ticks) >= 2


def test_curves_have_the_values_of_the_statistics(real: DataStatistics) -> None:
    plot = pair_correlation_plot(real, None)
    assert plot.reference is not None
    left, _, right, bottom = plot.frame
    x, y = points(plot.real).T
    defined = ~np.isnan(real.pair_correlation.mean)
    assert x == pytest.approx(
        left + (right - left) * np.array(real.pair_correlation.distance)[defined] / 4, abs=0.06
    )
    # The reference line at g = 1 gives the scale of the y axis.
    g = (bottom - y) / (bottom - plot.reference)
    assert g == pytest.approx(np.array(real.pair_correlation.mean)[defined], abs=0.01)


def test_the_nearest_neighbour_plot_omits_the_bin_of_larger_distances(real: DataStatistics) -> None:
    plot = nearest_plot(real, None)
    assert len(points(plot.real)) == len(real.nearest_histogram) - 1
    assert (plot.synthetic, plot.band, plot.reference) == ("", "", None)


def test_undefined_values_are_gaps() -> None:
    curve = tuple([1.0] * 10 + [float("nan")] * 5 + [2.0] * 25)
    rows = measure([crowded_smear((240, 320), 60, radius=12)]).rows
    data = DataStatistics.from_rows([rows[0].model_copy(update={"pair_correlation": curve})])
    path = pair_correlation_plot(data, None).real
    assert [len(points(segment)) for segment in path.split("M")[1:]] == [10, 25]


def test_plots_without_cells_have_axes_but_no_curves() -> None:
    empty = measure([empty_smear()])
    for plot in (pair_correlation_plot(empty, empty), nearest_plot(empty, empty)):
        assert (plot.real, plot.synthetic, plot.band) == ("", "", "")
        assert [tick.text for tick in plot.y_ticks] == ["0", "0.5", "1"]
