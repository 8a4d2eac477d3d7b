"""Curves of real and synthetic smears as coordinates of a small SVG plot, which a template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from smearsynth.statistics.records import DataStatistics

WIDTH, HEIGHT = 480, 260  # view box of a plot, px
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40  # margins for the axes, px
_MAX_DISTANCE = 4.0  # range of the x axis, mean cell diameters

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """Tick of an axis: its position in px and its label."""

    position: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Plot of one quantity against distance, in coordinates of the view box.

    Parameters
    ----------
    title, x_name, y_name, note : str
    real, synthetic : str
        SVG path data of the curves, with gaps at undefined values; empty without values.
    band : str
        SVG path data of real mean ± one standard deviation, or empty.
    x_ticks, y_ticks : list of Tick
    reference : float or None
        y position of the reference line at 1, px.
    """

    title: str
    x_name: str
    y_name: str
    note: str
    real: str
    synthetic: str
    band: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    reference: float | None = None

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the axes, px."""
        return _LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM


@dataclass(frozen=True)
class _Axes:
    """Linear axes from 0 to `_MAX_DISTANCE` and from 0 to `y_max`."""

    y_max: float

    def transform(self, x: float, y: float) -> Point:
        return (
            _LEFT + (WIDTH - _LEFT - _RIGHT) * x / _MAX_DISTANCE,
            HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * y / self.y_max,
        )

    def path(self, segments: Sequence[Sequence[Point]], end: str = "") -> str:
        """Return SVG path data; `end` closes each segment with ``Z``."""
        parts = []
        for segment in segments:
            points = (self.transform(*point) for point in segment)
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + end)
        return "".join(parts)

    def x_ticks(self) -> list[Tick]:
        return [Tick(self.transform(k, 0)[0], str(k)) for k in range(math.floor(_MAX_DISTANCE) + 1)]

    def y_ticks(self) -> list[Tick]:
        """Return at most six ticks at multiples of 1, 2 or 5 times a power of ten."""
        step = next(
            step * 10**power for power in range(-4, 12) for step in (1, 2, 5) if self.y_max <= 5 * step * 10**power
        )
        count = math.floor(self.y_max / step + 1e-9)
        return [Tick(self.transform(0, k * step)[1], f"{k * step:g}") for k in range(count + 1)]


def pair_correlation_plot(real: DataStatistics, synthetic: DataStatistics | None) -> Plot:
    """Plot the pair correlation g(r), with the standard deviation between real smears.

    Parameters
    ----------
    real : DataStatistics
    synthetic : DataStatistics or None

    Returns
    -------
    Plot

    Examples
    --------
    >>> import numpy as np
    >>> from smearsynth.smear import Smear
    >>> from smearsynth.statistics import measure
    >>> empty = measure([Smear(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.int32), np.array([], int))])
    >>> plot = pair_correlation_plot(empty, None)
    >>> plot.real, plot.synthetic, [tick.text for tick in plot.x_ticks]
    ('', '', ['0', '1', '2', '3', '4'])
    """
    g = real.pair_correlation
    real_curve = list(zip(g.distance, g.mean, strict=True))
    spread = list(zip(g.distance, g.mean, g.std, strict=True))
    synthetic_curve = [] if synthetic is None else _curve(synthetic.pair_correlation.mean)
    # A large deviation in an almost empty bin must not flatten the curves.
    tops = [y for _, y in real_curve + synthetic_curve] + [min(y + std, 2 * y) for _, y, std in spread]
    axes = _Axes(_upper_limit(tops))
    lower = _segments([(x, max(0.0, y - std)) for x, y, std in spread])
    upper = _segments([(x, min(axes.y_max, y + std)) for x, y, std in spread])
    polygons = [[*high, *reversed(low)] for high, low in zip(upper, lower, strict=True) if len(high) > 1]
    return Plot(
        title="Pair correlation",
        x_name="distance between cell centres, mean cell diameters",
        y_name="g(r)",
        note="Frequency of cell pairs at a distance, relative to random positions (dashed line at 1). Band: real "
        "mean ± 1 SD.",
        real=axes.path(_segments(real_curve)),
        synthetic=axes.path(_segments(synthetic_curve)),
        band=axes.path(polygons, "Z") if real.smears > 1 else "",
        x_ticks=axes.x_ticks(),
        y_ticks=axes.y_ticks(),
        reference=axes.transform(0, 1)[1],
    )


def nearest_plot(real: DataStatistics, synthetic: DataStatistics | None) -> Plot:
    """Plot the distribution of the distance to the nearest neighbour.

    Parameters
    ----------
    real : DataStatistics
    synthetic : DataStatistics or None

    Returns
    -------
    Plot
    """
    real_curve = _curve(_percentages(real))
    synthetic_curve = [] if synthetic is None else _curve(_percentages(synthetic))
    # The last bin contains all larger distances, so it is no density.
    real_curve, synthetic_curve = real_curve[:-1], synthetic_curve[:-1]
    axes = _Axes(_upper_limit([y for _, y in real_curve + synthetic_curve]))
    return Plot(
        title="Nearest-neighbour distance",
        x_name="distance between cell centres, mean cell diameters",
        y_name="% of cells",
        note="Distance from each whole cell to the nearest other cell, in bins of 0.1 mean cell diameters.",
        real=axes.path(_segments(real_curve)),
        synthetic=axes.path(_segments(synthetic_curve)),
        band="",
        x_ticks=axes.x_ticks(),
        y_ticks=axes.y_ticks(),
    )


def _percentages(data: DataStatistics) -> list[float]:
    total = sum(data.nearest_histogram)
    return [100 * count / total if total else math.nan for count in data.nearest_histogram]


def _curve(values: Sequence[float]) -> list[Point]:
    """Return points at the centres of equal bins over the x axis."""
    return [((i + 0.5) * _MAX_DISTANCE / len(values), value) for i, value in enumerate(values)]


def _upper_limit(values: Sequence[float]) -> float:
    """Return the upper end of an axis that contains the values and 1."""
    return 1.06 * max([1.0, *(value for value in values if math.isfinite(value))])


def _segments(points: Sequence[Point]) -> list[list[Point]]:
    """Split a curve at undefined values."""
    gaps = [-1, *(i for i, (_, y) in enumerate(points) if not math.isfinite(y)), len(points)]
    return [list(points[a + 1 : b]) for a, b in pairwise(gaps) if b > a + 1]
