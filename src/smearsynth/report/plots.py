"""Curves of synthetic and real smears as coordinates of a small SVG plot, which the template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from smearsynth.statistics import DataStatistics

WIDTH, HEIGHT = 480, 260  # of the plot's view box, px
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40  # margins for the axes

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: its place in px and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """A plot of one quantity against distance, in coordinates of the view box.

    Parameters
    ----------
    title, x_name, y_name, note : str
    real, synthetic : str
        SVG path data of the curves; empty where there is none. Gaps are left where a value is undefined.
    band : str
        SVG path data of real mean ± one standard deviation, or empty.
    x_ticks, y_ticks : list of Tick
    chance : float or None
        Height of the line of complete randomness, px.
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
    chance: float | None = None

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the axes, px."""
        return _LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM


@dataclass(frozen=True)
class _Axes:
    right: float  # of x, diameters
    high: float  # of y

    def place(self, x: float, y: float) -> Point:
        return (
            _LEFT + (WIDTH - _LEFT - _RIGHT) * x / self.right,
            HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * y / self.high,
        )

    def path(self, runs: Sequence[Sequence[Point]], end: str = "") -> str:
        lines = []
        for run in runs:
            placed = (self.place(*point) for point in run)
            lines.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed) + end)
        return "".join(lines)

    def x_ticks(self) -> list[Tick]:
        return [Tick(self.place(k, 0)[0], str(k)) for k in range(math.floor(self.right) + 1)]

    def y_ticks(self) -> list[Tick]:
        step = next(
            step * 10**power for power in range(-4, 12) for step in (1, 2, 5) if self.high <= 5 * step * 10**power
        )
        count = math.floor(self.high / step + 1e-9)
        return [Tick(self.place(0, k * step)[1], f"{k * step:g}") for k in range(count + 1)]


def pair_correlation_plot(real: DataStatistics, synthetic: DataStatistics | None) -> Plot:
    """Plot how often two cells lie at a distance, relative to chance, with the real smears' deviation.

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
    known = real.pair_correlation
    mean = list(zip(known.distance, known.mean, strict=True))
    spread = list(zip(known.distance, known.mean, known.std, strict=True))
    found = [] if synthetic is None else _points(synthetic.pair_correlation.mean)
    # A wild deviation in a nearly empty bin must not flatten the curves.
    tops = [y for _, y in mean + found] + [min(y + std, 2 * y) for _, y, std in spread]
    axes = _Axes(4.0, _high(tops))
    low = [(x, max(0.0, y - std)) for x, y, std in spread]
    high = [(x, min(axes.high, y + std)) for x, y, std in spread]
    rings = [
        [*upper, *reversed(lower)] for upper, lower in zip(_runs(high), _runs(low), strict=True) if len(upper) > 1
    ]
    return Plot(
        title="Pair correlation",
        x_name="distance between centres, mean cell diameters",
        y_name="g(r)",
        note="How often two cells lie at a distance, relative to chance (1, dashed). Band: real mean ± 1 std.",
        real=axes.path(_runs(mean)),
        synthetic=axes.path(_runs(found)),
        band=axes.path(rings, "Z") if real.smears > 1 else "",
        x_ticks=axes.x_ticks(),
        y_ticks=axes.y_ticks(),
        chance=axes.place(0, 1)[1],
    )


def nearest_plot(real: DataStatistics, synthetic: DataStatistics | None) -> Plot:
    """Plot the share of cells whose nearest neighbour lies at a distance; parameters as above.

    Returns
    -------
    Plot
    """
    known = _points(_shares(real))
    found = [] if synthetic is None else _points(_shares(synthetic))
    # The last bin gathers all that is farther, so it is no density.
    known, found = known[:-1], found[:-1]
    axes = _Axes(4.0, _high([y for _, y in known + found]))
    return Plot(
        title="Nearest neighbour",
        x_name="distance between centres, mean cell diameters",
        y_name="% of cells",
        note="Distance from each whole cell to the nearest other one, in bins of a tenth of a diameter.",
        real=axes.path(_runs(known)),
        synthetic=axes.path(_runs(found)),
        band="",
        x_ticks=axes.x_ticks(),
        y_ticks=axes.y_ticks(),
    )


def _shares(data: DataStatistics) -> list[float]:
    total = sum(data.nearest_histogram)
    return [100 * count / total if total else math.nan for count in data.nearest_histogram]


def _points(values: Sequence[float]) -> list[Point]:
    """Values at the middles of equal bins over 0 to 4 diameters."""
    return [((i + 0.5) * 4.0 / len(values), value) for i, value in enumerate(values)]


def _high(values: Sequence[float]) -> float:
    """Give the upper end of an axis that shows these values and 1."""
    return 1.06 * max([1.0, *(value for value in values if math.isfinite(value))])


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Split a curve where values are undefined."""
    cuts = [-1, *(i for i, (_, y) in enumerate(points) if not math.isfinite(y)), len(points)]
    return [list(points[a + 1 : b]) for a, b in pairwise(cuts) if b > a + 1]
