"""Records of measured statistics: of one smear, and of a data set computed from the rows of its smears."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from rich.table import Table

from smearsynth.errors import DataError
from smearsynth.migrations import to_current
from smearsynth.statistics.patterns import BIN_WIDTH, BINS


def _null_to_nan(value: object) -> object:
    return math.nan if value is None else value


# JSON has no NaN: pydantic writes null, which is read back here.
Number = Annotated[float, BeforeValidator(_null_to_nan)]
Colour = tuple[Number, Number, Number]

_SAME_SIZE = 1.3  # ratio of cell sizes above which a network must learn another magnification
_Line = tuple[str, str, str, str]  # name, mean, standard deviation, unit


_READING_KEYS = frozenset({"read_from", "cells", "left_out"})


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Record):
    """Mean and standard deviation of a quantity.

    The standard deviation has the denominator n - 1 and is 0 for a single value. Without values both are NaN (null
    in JSON).

    Parameters
    ----------
    mean, std : float
        In the unit of the quantity.
    n : int
        Number of values; undefined values (NaN) do not count.

    Examples
    --------
    >>> Spread.of([1.0, 3.0, float("nan")])
    Spread(mean=2.0, std=1.4142135623730951, n=2)
    >>> Spread.pooled([Spread.of([1.0]), Spread.of([3.0, 5.0])]) == Spread.of([1.0, 3.0, 5.0])
    True
    """

    mean: Number
    std: Number
    n: int

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Spread:
        """Compute mean and standard deviation of values, (n,); NaN are ignored."""
        array = np.asarray(values, np.float64)
        array = array[~np.isnan(array)]
        if len(array) == 0:
            return cls(mean=math.nan, std=math.nan, n=0)
        deviation = float(array.std(ddof=1)) if len(array) > 1 else 0.0
        return cls(mean=float(array.mean()), std=deviation, n=len(array))

    @classmethod
    def pooled(cls, parts: Iterable[Spread]) -> Spread:
        """Compute the exact spread of all values from the spreads of disjoint parts."""
        defined = [part for part in parts if part.n]
        n = sum(part.n for part in defined)
        if n == 0:
            return cls(mean=math.nan, std=math.nan, n=0)
        mean = math.fsum(part.n * part.mean for part in defined) / n
        squares = math.fsum((part.n - 1) * part.std**2 + part.n * (part.mean - mean) ** 2 for part in defined)
        return cls(mean=mean, std=math.sqrt(squares / (n - 1)) if n > 1 else 0.0, n=n)


class ColourSpread(_Record):
    """Mean and standard deviation of a colour, RGB in grey levels 0 to 255."""

    mean: Colour
    std: Colour
    n: int

    @classmethod
    def of(cls, colours: npt.ArrayLike) -> ColourSpread:
        """Compute mean and standard deviation of colours, (n, 3), per channel; NaN are ignored."""
        values = np.asarray(colours, np.float64).reshape(-1, 3)
        red, green, blue = (Spread.of(values[:, channel]) for channel in range(3))
        return cls(mean=(red.mean, green.mean, blue.mean), std=(red.std, green.std, blue.std), n=red.n)


class PairCorrelation(_Record):
    """Frequency of pairs of cells by distance, relative to complete randomness (1).

    Parameters
    ----------
    distance : tuple of float, (BINS,)
        Centre of each bin, in mean diameters of the whole cells of the same smear.
    distance_px : tuple of float, (BINS,)
        The same in px, for the mean diameter of the data set.
    mean : tuple of float, (BINS,)
        Mean of the smears' g, weighted by their number of cells (Diggle, Lange, Beneš 1991).
    std : tuple of float, (BINS,)
        Standard deviation between smears.
    """

    distance: tuple[Number, ...]
    distance_px: tuple[Number, ...]
    mean: tuple[Number, ...]
    std: tuple[Number, ...]


class SmearStatistics(_Record):
    """Statistics of one smear.

    Parameters
    ----------
    name : str
    width, height : int
        Size of the field in px.
    um_per_px : float or None
    count : int
        Number of annotated cells, including those cut by the border (as in the paper's Table 1).
    class_counts : dict of str to int
    class_touching : dict of str to int
        Number of cells that touch another cell of any class. Empty in files of earlier versions.
    density : float
        Cells per Mpx of the annotated area.
    intensity : float
        Cells per Mpx without border effects. Cut cells are counted although their centre may lie outside, so the
        count is divided by the area dilated by a cell radius: W·H + (W + H)·d + π·d²/4 (Steiner) for a whole field.
    coverage : float
        Fraction of the annotated pixels that belong to cells.
    cell_width, cell_height, cell_diameter : Spread
        Bounding box and equivalent diameter √(4·area/π) of whole cells (`Smear.incomplete`), px.
    cell_colour, cell_colour_std : tuple of 3 floats
        Mean and standard deviation over the cells of their mean RGB.
    background_colour : tuple of 3 floats
        Mean RGB of the annotated pixels outside all cells.
    touching_fraction : float
        Fraction of cells that are 8-adjacent to another cell.
    border_fraction : float
        Fraction of cells cut by the border of the field.
    nearest : Spread
        Distance from the centre of each whole cell to the nearest centre of another cell, px; without cells nearer
        than 1.5 mean diameters to an ignored pixel.
    nearest_histogram : tuple of int, (BINS,)
        These distances in bins of `BIN_WIDTH` mean diameters; larger ones are in the last bin.
    cluster_sizes : dict of int to int
        Number of clusters of touching cells by size; a single cell is a cluster of one.
    pair_correlation : tuple of float, (BINS,)
        g(r) in the same bins, see `pair_correlation`.
    empty_fractions : tuple of float, (6,)
        Fraction of the field farther from any cell than 0.25 to 2 mean diameters, see `empty_fractions`. Empty in
        files of earlier versions.
    contact_fractions : tuple of float, (3,)
        Fraction of cells with a contact longer than 0.3 to 0.7 mean diameters, see `contact_fractions`. Empty in
        files of earlier versions.

    Notes
    -----
    Undefined values (the colour of no cells, the density without an annotated pixel) are NaN, null in JSON.
    Touching cells in an ignored region are not seen: `touching_fraction` and `cluster_sizes` are slightly too low.
    """

    name: str
    width: int
    height: int
    um_per_px: float | None
    count: int
    class_counts: dict[str, int]
    class_touching: dict[str, int] = {}
    density: Number
    intensity: Number
    coverage: Number
    cell_width: Spread
    cell_height: Spread
    cell_diameter: Spread
    cell_colour: Colour
    cell_colour_std: Colour
    background_colour: Colour
    touching_fraction: Number
    border_fraction: Number
    nearest: Spread
    nearest_histogram: tuple[int, ...]
    cluster_sizes: dict[int, int]
    pair_correlation: tuple[Number, ...]
    empty_fractions: tuple[Number, ...] = ()
    contact_fractions: tuple[Number, ...] = ()

    @property
    def annotated(self) -> bool:
        """Whether any pixel is annotated."""
        return not math.isnan(self.density)

    @property
    def expected_count(self) -> int:
        """Number of cells expected on the whole field at its density; `count` if no pixel is ignored."""
        return round(self.density * self.width * self.height / 1e6) if self.annotated else 0


class DataStatistics(_Record):
    """Statistics of a data set; `SmearStatistics` defines them.

    `count`, the colours, `density`, `intensity`, `coverage`, `touching_fraction` and `border_fraction` are means
    and standard deviations *between smears*; `cell_width`, `cell_height`, `cell_diameter` and `nearest` are over
    all cells. Cell colour is one mean colour per smear, so its standard deviation is the variation of stain and
    exposure (the paper's Table 1 does not define it). Smears in which all pixels are ignored do not count.

    Parameters
    ----------
    smears : int
        Number of smears measured.
    rows : tuple of SmearStatistics
        Rows from which all other fields are computed.

    Examples
    --------
    >>> from smearsynth.smear import Smear
    >>> from smearsynth.statistics import measure
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[4:14, 6:16] = 1
    >>> labels[4:14, 16:26] = 2
    >>> statistics = measure([Smear(np.zeros((40, 40, 3), np.uint8), labels, np.array([0, 0]))])
    >>> statistics.count.mean, statistics.cell_width.mean, statistics.touching_fraction.mean
    (2.0, 10.0, 1.0)
    >>> statistics.nearest.mean, statistics.cluster_sizes, statistics.counts_for((40, 80))
    (10.0, {2: 1}, (4.0, 0.0))
    >>> DataStatistics.from_json(statistics.to_json()).to_json() == statistics.to_json()
    True
    """

    version: Literal[1] = 1
    smears: int
    um_per_px: float | None
    count: Spread
    class_counts: dict[str, Spread]
    cell_width: Spread
    cell_height: Spread
    cell_diameter: Spread
    cell_colour: ColourSpread
    background_colour: ColourSpread
    density: Spread
    intensity: Spread
    coverage: Spread
    touching_fraction: Spread
    border_fraction: Spread
    nearest: Spread
    nearest_histogram: tuple[int, ...]
    cluster_sizes: dict[int, int]
    pair_correlation: PairCorrelation
    rows: tuple[SmearStatistics, ...]

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        record = to_current("statistics", record)
        # `smearsynth stats --json` adds what was read from the files.
        return (
            {key: value for key, value in record.items() if key not in _READING_KEYS}
            if isinstance(record, dict)
            else record
        )

    @classmethod
    def from_rows(cls, rows: Sequence[SmearStatistics]) -> DataStatistics:
        """Compute the statistics of the smears of `rows`.

        Raises
        ------
        DataError
            If there is no row.
        """
        if not rows:
            raise DataError("there are no smears to measure; choose a folder or split that contains smears")
        annotated = [row for row in rows if row.annotated]
        names = list(dict.fromkeys(name for row in rows for name in row.class_counts))
        scales = {row.um_per_px for row in rows if row.um_per_px is not None}
        clusters: Counter[int] = Counter()
        for row in rows:
            clusters.update(row.cluster_sizes)
        diameter = Spread.pooled(row.cell_diameter for row in rows)
        return cls(
            smears=len(rows),
            um_per_px=scales.pop() if len(scales) == 1 else None,
            count=Spread.of([row.count for row in annotated]),
            class_counts={name: Spread.of([row.class_counts.get(name, 0) for row in annotated]) for name in names},
            cell_width=Spread.pooled(row.cell_width for row in rows),
            cell_height=Spread.pooled(row.cell_height for row in rows),
            cell_diameter=diameter,
            cell_colour=ColourSpread.of([row.cell_colour for row in rows]),
            background_colour=ColourSpread.of([row.background_colour for row in rows]),
            density=Spread.of([row.density for row in rows]),
            intensity=Spread.of([row.intensity for row in rows]),
            coverage=Spread.of([row.coverage for row in rows]),
            touching_fraction=Spread.of([row.touching_fraction for row in rows]),
            border_fraction=Spread.of([row.border_fraction for row in rows]),
            nearest=Spread.pooled(row.nearest for row in rows),
            nearest_histogram=tuple(np.sum([row.nearest_histogram for row in rows], axis=0).tolist()),
            cluster_sizes=dict(sorted(clusters.items())),
            pair_correlation=_pool_pair_correlation(rows, diameter.mean),
            rows=tuple(rows),
        )

    @property
    def cell_size(self) -> float:
        """Mean of width and height of a whole cell, px, the `cellsize` of the paper (46).

        Raises
        ------
        DataError
            If the data have no whole cell.
        """
        if not self.cell_width.n:
            raise DataError("no whole cell in the data, so no cell size; add smears with cells inside the field")
        return (self.cell_width.mean + self.cell_height.mean) / 2

    def scale_to(self, other: DataStatistics) -> float | None:
        """Return the scale at which the cells have the size of those of `other`, or None within a factor of 1.3.

        A network must learn another magnification above that factor. None also without whole cells.
        """
        if not (self.cell_width.n and other.cell_width.n):
            return None
        scale = other.cell_size / self.cell_size
        return None if max(scale, 1 / scale) < _SAME_SIZE else scale

    @property
    def field_size(self) -> tuple[int, int]:
        """Most frequent size (H, W) of the smears, px; the largest of equally frequent ones."""
        sizes = Counter((row.height, row.width) for row in self.rows)
        return max(sizes, key=lambda size: (sizes[size], size))

    def counts_for(self, size: tuple[int, int]) -> tuple[float, float]:
        """Return mean and standard deviation of the number of cells on a canvas (paper, section 4.1, Norm(µ, σ)).

        Parameters
        ----------
        size : tuple of int
            Canvas (H, W) in px.

        Returns
        -------
        mean, std : float
            Of the counts of the smears times the ratio of the areas. The standard deviation is proportional to the
            area, not to its square root as for independent cells, because smears differ in density more than chance
            explains (2.6 times in Chula RBC-12, 3.8 times in BBBC041Seg): a larger field of a dense smear is dense
            too.

        Raises
        ------
        DataError
            If the canvas has no pixels.
        """
        height, width = size
        if width < 1 or height < 1:
            raise DataError(f"a canvas of {width}×{height} px has no pixels; give a width and height of at least 1")
        return self.density.mean * width * height / 1e6, self.density.std * width * height / 1e6

    def to_json(self) -> str:
        """Return JSON text, with null for undefined values.

        Contacts that an earlier version did not measure are left out, so that its models keep their hash.
        """
        unknown = {k: {"contact_fractions"} for k, row in enumerate(self.rows) if not row.contact_fractions}
        return self.model_dump_json(indent=1, exclude={"rows": unknown} if unknown else None)

    @classmethod
    def from_json(cls, text: str, path: Path | str | None = None) -> DataStatistics:
        """Read JSON text written by `to_json`; errors name `path`.

        Raises
        ------
        DataError
            If the text is not a record of statistics.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "JSON"
            raise DataError(
                f"not a record of statistics ({field}: {first['msg']}); measure the smears again", path
            ) from error

    def table(self) -> Table:
        """Return a terminal table with the paper's Table 1, then the layout statistics, with units."""
        table = Table(
            title=f"Statistics of {self.smears} smear{'' if self.smears == 1 else 's'}",
            caption="SD: standard deviation, over cells for size, diameter and nearest-neighbour distance, over "
            "clusters for cluster size, over smears otherwise",
        )
        table.add_column("Statistic")
        table.add_column("Mean", justify="right")
        table.add_column("SD", justify="right")
        table.add_column("Unit")
        for line in self._table_1_lines():
            table.add_row(*line)
        table.add_section()
        for line in self._layout_lines():
            table.add_row(*line)
        return table

    def _table_1_lines(self) -> list[_Line]:
        width, height = self.cell_width, self.cell_height
        lines = [_line("cells per smear", self.count, 0, "cells")]
        for unit, factor in (("px", 1.0), ("µm", self.um_per_px)):
            if factor is not None:
                mean = f"{width.mean * factor:.1f} × {height.mean * factor:.1f}"
                std = f"{width.std * factor:.1f} × {height.std * factor:.1f}"
                lines.append(("cell size, width × height", mean, std, unit))
        for name, colour in (("cell", self.cell_colour), ("background", self.background_colour)):
            mean, std = (", ".join(f"{value:.0f}" for value in values) for values in (colour.mean, colour.std))
            lines.append((f"{name} colour, RGB", mean, std, "grey levels (0-255)"))
        return lines

    def _layout_lines(self) -> list[_Line]:
        lines = []
        if len(self.class_counts) > 1:  # with one class it repeats the number of cells
            lines = [_line(f"{name} per smear", spread, 1, "cells") for name, spread in self.class_counts.items()]
        sizes = [size for size, clusters in self.cluster_sizes.items() for _ in range(clusters)]
        lines += [
            _line("cell density", self.density, 0, "cells per Mpx"),
            _line("coverage", self.coverage, 3, "fraction of area"),
            _line("touching cells", self.touching_fraction, 3, "fraction of cells"),
            _line("cells cut by the border", self.border_fraction, 3, "fraction of cells"),
            _line("equivalent cell diameter", self.cell_diameter, 1, "px"),
            _line("nearest-neighbour distance", self.nearest, 1, "px"),
            _line("cluster size", Spread.of(sizes), 2, "cells"),
        ]
        curve = np.array(self.pair_correlation.mean)
        if not np.isnan(curve).all():
            peak = int(np.nanargmax(curve))
            mean, std = f"{curve[peak]:.2f}", f"{self.pair_correlation.std[peak]:.2f}"
            distance = f"at r = {self.pair_correlation.distance[peak]:.2f} cell diameters"
            lines.append(("pair correlation, maximum", mean, std, distance))
        return lines


def _pool_pair_correlation(rows: Sequence[SmearStatistics], diameter: float) -> PairCorrelation:
    curves = np.array([row.pair_correlation for row in rows], np.float64)
    defined = ~np.isnan(curves)
    weights = defined * np.array([row.count for row in rows], np.float64)[:, None]
    total = weights.sum(axis=0)
    mean = np.full(BINS, np.nan)
    np.divide((weights * np.where(defined, curves, 0)).sum(axis=0), total, out=mean, where=total > 0)
    centres = (np.arange(BINS) + 0.5) * BIN_WIDTH
    return PairCorrelation(
        distance=tuple(np.round(centres, 6).tolist()),
        distance_px=tuple((centres * diameter).tolist()),
        mean=tuple(mean.tolist()),
        std=tuple(Spread.of(curve).std for curve in curves.T),
    )


def _line(name: str, spread: Spread, digits: int, unit: str) -> _Line:
    return name, f"{spread.mean:.{digits}f}", f"{spread.std:.{digits}f}", unit
