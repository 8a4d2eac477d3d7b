"""Comparison of the statistics of synthetic smears with those of real smears, as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from smearsynth.statistics.records import Colour, ColourSpread, DataStatistics, SmearStatistics, Spread

LIMIT = 2.0  # real standard deviations beyond which a synthetic mean is marked
_MAX_SWATCHES = 12  # colours of single smears per row
_CHANNELS = ("red", "green", "blue")

Verdict = Literal["within", "above", "below", "none"]


@dataclass(frozen=True)
class Row:
    """One statistic of real and synthetic smears.

    Parameters
    ----------
    name, unit : str
    real, synthetic : str
        Mean ± standard deviation; a dash if the statistic is undefined.
    offsets : tuple of (str, float)
        Synthetic mean minus real mean, in real standard deviations: one pair with an empty name, or one per colour
        channel. Empty if the standard deviation is undefined.
    verdict : str
        Position of the synthetic mean: ``within`` real mean ± 2 standard deviations, ``above`` or ``below``;
        ``none`` without offsets.
    reason : str
        The channels outside, or why there is no verdict.
    real_swatches, synthetic_swatches : tuple of str
        CSS colours of single smears, from dark to light.
    """

    name: str
    unit: str
    real: str
    synthetic: str
    offsets: tuple[tuple[str, float], ...]
    verdict: Verdict
    reason: str = ""
    real_swatches: tuple[str, ...] = ()
    synthetic_swatches: tuple[str, ...] = ()

    @property
    def outside(self) -> bool:
        """Whether the synthetic mean is outside real mean ± 2 standard deviations."""
        return self.verdict in ("above", "below")


def compare(real: DataStatistics, synthetic: DataStatistics | None) -> list[Row]:
    """Compare the statistics of synthetic smears with those of real smears.

    Parameters
    ----------
    real : DataStatistics
    synthetic : DataStatistics or None
        None if there are no synthetic smears; then no row has a verdict.

    Returns
    -------
    list of Row

    Examples
    --------
    >>> import numpy as np
    >>> from smearsynth.smear import Smear
    >>> from smearsynth.statistics import measure
    >>> no_cells = np.zeros((8, 8), np.int32), np.array([], int)
    >>> real = measure(Smear(np.full((8, 8, 3), grey, np.uint8), *no_cells) for grey in (198, 200, 202))
    >>> dark = measure([Smear(np.full((8, 8, 3), 100, np.uint8), *no_cells)])
    >>> row = compare(real, dark)[-1]
    >>> row.name, row.real, row.verdict, row.offsets[0]
    ('background colour', '200, 200, 200 ± 2, 2, 2', 'below', ('red', -50.0))
    """
    rows = [_count_row(real, synthetic)]
    rows += [_spread_row(statistic, real, synthetic) for statistic in _STATISTICS]
    rows += [_colour_row(statistic, real, synthetic) for statistic in _COLOURS]
    return rows


def css_colour(colour: Colour) -> str:
    """Format an RGB colour, grey levels 0 to 255, for CSS.

    Examples
    --------
    >>> css_colour((200.4, 0.0, 255.0))
    'rgb(200 0 255)'
    """
    return f"rgb({' '.join(f'{value:.0f}' for value in colour)})"


@dataclass(frozen=True)
class _Statistic:
    """A statistic with a mean and a standard deviation, multiplied by `factor` for display."""

    name: str
    unit: str
    digits: int
    factor: float
    value: Callable[[DataStatistics], Spread]

    def text(self, data: DataStatistics | None) -> str:
        spread = None if data is None else self.value(data)
        if spread is None or not spread.n:
            return "–"
        mean = f"{spread.mean * self.factor:.{self.digits}f}"
        return f"{mean} ± {spread.std * self.factor:.{self.digits}f}" if spread.n > 1 else mean


@dataclass(frozen=True)
class _ColourStatistic:
    """A colour, of a data set and of a smear."""

    name: str
    value: Callable[[DataStatistics], ColourSpread]
    of_smear: Callable[[SmearStatistics], Colour]

    def text(self, data: DataStatistics | None) -> str:
        spread = None if data is None else self.value(data)
        if spread is None or not spread.n:
            return "–"
        mean, std = (", ".join(f"{value:.0f}" for value in values) for values in (spread.mean, spread.std))
        return f"{mean} ± {std}" if spread.n > 1 else mean

    def swatches(self, data: DataStatistics | None) -> tuple[str, ...]:
        """Return colours of single smears, equally spaced from dark to light."""
        rows = () if data is None else data.rows
        colours = sorted((self.of_smear(row) for row in rows if not math.isnan(self.of_smear(row)[0])), key=sum)
        if len(colours) > _MAX_SWATCHES:
            colours = [colours[round(i * (len(colours) - 1) / (_MAX_SWATCHES - 1))] for i in range(_MAX_SWATCHES)]
        return tuple(css_colour(colour) for colour in colours)


_COUNT = _Statistic("cells per smear", "cells", 1, 1, lambda data: data.count)
_STATISTICS = (
    _Statistic("cell density", "cells per Mpx", 0, 1, lambda data: data.density),
    _Statistic("coverage", "% of area", 1, 100, lambda data: data.coverage),
    _Statistic("cell width", "px", 1, 1, lambda data: data.cell_width),
    _Statistic("cell height", "px", 1, 1, lambda data: data.cell_height),
    _Statistic("equivalent cell diameter", "px", 1, 1, lambda data: data.cell_diameter),
    _Statistic("touching cells", "% of cells", 1, 100, lambda data: data.touching_fraction),
    _Statistic("cells cut by the border", "% of cells", 1, 100, lambda data: data.border_fraction),
    _Statistic("nearest-neighbour distance", "px", 1, 1, lambda data: data.nearest),
)
_COLOURS = (
    _ColourStatistic("cell colour", lambda data: data.cell_colour, lambda row: row.cell_colour),
    _ColourStatistic("background colour", lambda data: data.background_colour, lambda row: row.background_colour),
)


def _count_row(real: DataStatistics, synthetic: DataStatistics | None) -> Row:
    row = _spread_row(_COUNT, real, synthetic)
    if synthetic is None or (_sizes(real) == _sizes(synthetic) and len(_sizes(real)) == 1):
        return row
    # A larger field contains more cells; only the density can be compared.
    return Row(row.name, row.unit, row.real, row.synthetic, (), "none", "field sizes differ")


def _sizes(data: DataStatistics) -> set[tuple[int, int]]:
    return {(row.width, row.height) for row in data.rows}


def _spread_row(statistic: _Statistic, real: DataStatistics, synthetic: DataStatistics | None) -> Row:
    spread = statistic.value(real)
    offset = math.nan
    if synthetic is not None:
        offset = _offset(spread.mean, spread.std, spread.n, statistic.value(synthetic).mean)
    return _row(statistic.name, statistic.unit, (statistic.text(real), statistic.text(synthetic)), {"": offset})


def _colour_row(statistic: _ColourStatistic, real: DataStatistics, synthetic: DataStatistics | None) -> Row:
    spread = statistic.value(real)
    offsets = dict.fromkeys(_CHANNELS, math.nan)
    if synthetic is not None:
        means = statistic.value(synthetic).mean
        for i, channel in enumerate(_CHANNELS):
            offsets[channel] = _offset(spread.mean[i], spread.std[i], spread.n, means[i])
    texts = statistic.text(real), statistic.text(synthetic)
    return _row(
        statistic.name, "RGB, 0-255", texts, offsets, (statistic.swatches(real), statistic.swatches(synthetic))
    )


def _row(
    name: str,
    unit: str,
    texts: tuple[str, str],
    offsets: dict[str, float],
    swatches: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Row:
    """Return a row with the verdict of its largest offset."""
    if any(math.isnan(offset) for offset in offsets.values()):
        missing = [side for side, text in zip(("real", "synthetic"), texts, strict=True) if text == "–"]
        reason = f"no {' or '.join(missing)} value" if missing else "real SD undefined: only one value"
        return Row(name, unit, *texts, (), "none", reason, *swatches)
    largest = max(offsets.values(), key=abs)
    verdict: Verdict = "within" if abs(largest) <= LIMIT else "above" if largest > 0 else "below"
    outside = ", ".join(channel for channel, offset in offsets.items() if channel and abs(offset) > LIMIT)
    return Row(name, unit, *texts, tuple(offsets.items()), verdict, outside, *swatches)


def _offset(mean: float, std: float, n: int, value: float) -> float:
    """Return the offset of a value from a mean of n values in standard deviations; NaN if that is undefined."""
    if n < 2 or math.isnan(value):
        return math.nan
    if std == 0:
        return 0.0 if math.isclose(value, mean) else math.copysign(math.inf, value - mean)
    return (value - mean) / std
