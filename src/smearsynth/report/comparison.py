"""Figures of synthetic smears beside those of the real ones, row by row, with a mark where they differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from smearsynth.statistics import ColourSpread, DataStatistics, SmearStatistics, Spread

LIMIT = 2.0  # real standard deviations beyond which a synthetic mean is marked
_CHIPS = 12  # colours of single smears shown in a row
_CHANNELS = ("red", "green", "blue")

Verdict = Literal["within", "above", "below", "none"]


@dataclass(frozen=True)
class Row:
    """One figure of the table.

    Parameters
    ----------
    name, unit : str
    real, synthetic : str
        Mean ± standard deviation; a dash where the figure is undefined.
    offsets : tuple of (str, float)
        Where the synthetic mean lies, in real standard deviations from the real mean: one pair with an
        empty name, or one per colour channel; none where no deviation is known.
    verdict : str
        ``within``, ``above`` or ``below`` real mean ± 2 standard deviations; ``none`` without offsets.
    why : str
        The channels that lie outside, or why there is no verdict.
    real_chips, synthetic_chips : tuple of str
        CSS colours of single smears, from the darkest to the lightest.
    """

    name: str
    unit: str
    real: str
    synthetic: str
    offsets: tuple[tuple[str, float], ...]
    verdict: Verdict
    why: str = ""
    real_chips: tuple[str, ...] = ()
    synthetic_chips: tuple[str, ...] = ()

    @property
    def outside(self) -> bool:
        """Whether the synthetic mean lies outside real mean ± 2 standard deviations."""
        return self.verdict in ("above", "below")


def compare(real: DataStatistics, synthetic: DataStatistics | None) -> list[Row]:
    """Set the figures of synthetic smears beside those of the real ones.

    Parameters
    ----------
    real : DataStatistics
    synthetic : DataStatistics or None
        None where there is no synthetic smear: then no row has a verdict.

    Returns
    -------
    list of Row

    Examples
    --------
    >>> import numpy as np
    >>> from smearsynth.smear import Smear
    >>> from smearsynth.statistics import measure
    >>> nothing = np.zeros((8, 8), np.int32), np.array([], int)
    >>> real = measure(Smear(np.full((8, 8, 3), grey, np.uint8), *nothing) for grey in (198, 200, 202))
    >>> dark = measure([Smear(np.full((8, 8, 3), 100, np.uint8), *nothing)])
    >>> row = compare(real, dark)[-1]
    >>> row.name, row.real, row.verdict, row.offsets[0]
    ('background colour', '200, 200, 200 ± 2, 2, 2', 'below', ('red', -50.0))
    """
    rows = [_count_row(real, synthetic)]
    rows += [_spread_row(*line, real, synthetic) for line in _LINES]
    rows.append(
        _colour_row("cell colour", real, synthetic, lambda data: data.cell_colour, lambda row: row.cell_colour)
    )
    rows.append(
        _colour_row(
            "background colour",
            real,
            synthetic,
            lambda data: data.background_colour,
            lambda row: row.background_colour,
        )
    )
    return rows


def css_colour(colour: tuple[float, float, float]) -> str:
    """Give RGB grey levels as CSS writes them.

    Examples
    --------
    >>> css_colour((200.4, 0.0, 255.0))
    'rgb(200 0 255)'
    """
    return f"rgb({' '.join(f'{value:.0f}' for value in colour)})"


_Line = tuple[str, str, int, float, Callable[[DataStatistics], Spread]]
# name, unit, digits, factor to the unit, figure
_LINES: tuple[_Line, ...] = (
    ("cell density", "cells per Mpx", 0, 1, lambda data: data.density),
    ("coverage", "% of the field", 1, 100, lambda data: data.coverage),
    ("cell width", "px", 1, 1, lambda data: data.cell_width),
    ("cell height", "px", 1, 1, lambda data: data.cell_height),
    ("cell diameter", "px", 1, 1, lambda data: data.cell_diameter),
    ("touching cells", "% of cells", 1, 100, lambda data: data.touching_fraction),
    ("cells cut by the border", "% of cells", 1, 100, lambda data: data.border_fraction),
    ("nearest neighbour", "px", 1, 1, lambda data: data.nearest),
)


def _count_row(real: DataStatistics, synthetic: DataStatistics | None) -> Row:
    row = _spread_row("cells per smear", "cells", 1, 1.0, lambda data: data.count, real, synthetic)
    if synthetic is None or (_sizes(real) == _sizes(synthetic) and len(_sizes(real)) == 1):
        return row
    # A larger field holds more cells: only the density can be compared.
    return Row(row.name, row.unit, row.real, row.synthetic, (), "none", "the fields differ in size")


def _sizes(data: DataStatistics) -> set[tuple[int, int]]:
    return {(row.width, row.height) for row in data.rows}


def _spread_row(
    name: str,
    unit: str,
    digits: int,
    factor: float,
    figure: Callable[[DataStatistics], Spread],
    real: DataStatistics,
    synthetic: DataStatistics | None,
) -> Row:
    def text(spread: Spread | None) -> str:
        if spread is None or not spread.n:
            return "–"
        mean = f"{spread.mean * factor:.{digits}f}"
        return f"{mean} ± {spread.std * factor:.{digits}f}" if spread.n > 1 else mean

    known, found = figure(real), None if synthetic is None else figure(synthetic)
    offset = math.nan if found is None else _offset(known.mean, known.std, known.n, found.mean)
    return _row(name, unit, (text(known), text(found)), {"": offset})


def _colour_row(
    name: str,
    real: DataStatistics,
    synthetic: DataStatistics | None,
    figure: Callable[[DataStatistics], ColourSpread],
    own: Callable[[SmearStatistics], tuple[float, float, float]],
) -> Row:
    def text(colour: ColourSpread | None) -> str:
        if colour is None or not colour.n:
            return "–"
        mean, std = (", ".join(f"{value:.0f}" for value in values) for values in (colour.mean, colour.std))
        return f"{mean} ± {std}" if colour.n > 1 else mean

    known, found = figure(real), None if synthetic is None else figure(synthetic)
    offsets = {
        channel: math.nan if found is None else _offset(known.mean[i], known.std[i], known.n, found.mean[i])
        for i, channel in enumerate(_CHANNELS)
    }
    chips = _chips(real, own), () if synthetic is None else _chips(synthetic, own)
    return _row(name, "R, G, B of 0 to 255", (text(known), text(found)), offsets, chips)


def _row(
    name: str,
    unit: str,
    texts: tuple[str, str],
    offsets: dict[str, float],
    chips: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Row:
    real, synthetic = texts
    if any(math.isnan(offset) for offset in offsets.values()):
        lacking = [side for side, text in zip(("real", "synthetic"), texts, strict=True) if text == "–"]
        why = f"no {' or '.join(lacking)} value" if lacking else "one real value has no spread"
        return Row(name, unit, real, synthetic, (), "none", why, *chips)
    farthest = max(offsets.values(), key=abs)
    verdict: Verdict = "within" if abs(farthest) <= LIMIT else "above" if farthest > 0 else "below"
    outside = ", ".join(channel for channel, offset in offsets.items() if channel and abs(offset) > LIMIT)
    return Row(name, unit, real, synthetic, tuple(offsets.items()), verdict, outside, *chips)


def _offset(mean: float, std: float, n: int, value: float) -> float:
    """Distance of a value from a mean in standard deviations; NaN where the deviation is not known."""
    if n < 2 or math.isnan(value):
        return math.nan
    if std == 0:
        return 0.0 if math.isclose(value, mean) else math.copysign(math.inf, value - mean)
    return (value - mean) / std


def _chips(data: DataStatistics, own: Callable[[SmearStatistics], tuple[float, float, float]]) -> tuple[str, ...]:
    """Colours of single smears, evenly chosen from the darkest to the lightest."""
    colours = sorted((own(row) for row in data.rows if not math.isnan(own(row)[0])), key=sum)
    if len(colours) > _CHIPS:
        colours = [colours[round(i * (len(colours) - 1) / (_CHIPS - 1))] for i in range(_CHIPS)]
    return tuple(css_colour(colour) for colour in colours)
