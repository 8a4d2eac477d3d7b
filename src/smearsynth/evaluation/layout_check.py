"""The layout certificate: statistics of real smears with their envelopes, against those of synthetic layouts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.layout.contact.moments import FieldMeasurement, measure_field
from smearsynth.layout.labels import LabelSource, LayoutName
from smearsynth.smear import Smear
from smearsynth.statistics import BIN_WIDTH, BINS, patterns

FloatArray = npt.NDArray[np.float64]

LAYOUTS: tuple[LayoutName, ...] = ("contact", "ring", "uniform")
CONFIDENCE = 0.95
_BOOTSTRAPS = 1000
MIN_DRAWS = 300  # synthetic fields of each layout: enough that chance moves them little beside the real ones
_MIN_SMEARS = 4
_MIDDLES = (np.arange(BINS, dtype=np.float64) + 0.5) * BIN_WIDTH
_PAIRS = slice(3, 30)  # bins of 0.3 to 3 diameters
_NEAREST = slice(4, 20)
_CLUSTERS = np.arange(2, 9)
_AREAS: FloatArray = np.round(np.arange(0.1, 1.95, 0.1), 1)  # of the median real area
_EMPTY_GRID = 320  # points on the longer side of a field
_EMPTY: FloatArray = np.round(np.arange(0.2, 3.05, 0.2), 1)  # diameters


class Verdict(BaseModel):
    """One statistic of one layout.

    Parameters
    ----------
    value : float
        A figure, or for a curve the largest deviation from the real one, in its standard errors.
    low, high : float
        Between them lies the value of another set of as many real smears, in 95 of 100 cases.
    inside : bool
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    inside: bool


@dataclass(frozen=True)
class Curve:
    """A statistic as drawn: the real one with its envelope, and that of each layout.

    `x`, `real`, `low`, `high` and each of `layouts` are (m,) float64; m is 1 for a single figure.
    """

    title: str
    x_name: str
    x: FloatArray
    real: FloatArray
    low: FloatArray
    high: FloatArray
    layouts: dict[str, FloatArray]


@dataclass(frozen=True)
class LayoutCheck:
    """What `check_layout` found.

    Parameters
    ----------
    smears : int
        Real smears.
    draws : int
        Synthetic fields of each layout.
    statistics : dict of str to dict of str to Verdict
        By statistic, then by layout.
    curves : dict of str to Curve
    """

    smears: int
    draws: int
    statistics: dict[str, dict[str, Verdict]]
    curves: dict[str, Curve]

    def outside(self, layout: str) -> tuple[str, ...]:
        """The statistics on which a layout can be told from the real smears."""
        return tuple(name for name, of in self.statistics.items() if not of[layout].inside)

    def to_json(self) -> str:
        """JSON text: per statistic and layout value, low, high and inside."""
        plain = {
            name: {layout: verdict.model_dump() for layout, verdict in of.items()}
            for name, of in self.statistics.items()
        }
        return json.dumps(plain, indent=1)

    def table(self) -> Table:
        """A line for each statistic, for a terminal."""
        table = Table(title=f"{self.smears} real smears against {self.draws} fields of each layout")
        table.add_column("statistic")
        table.add_column("95 % of real", justify="right")
        for layout in next(iter(self.statistics.values())):
            table.add_column(layout, justify="right")
        for name, of in self.statistics.items():
            first = next(iter(of.values()))
            marks = [f"{one.value:.3g} {'inside' if one.inside else 'OUTSIDE'}" for one in of.values()]
            table.add_row(name, f"{first.low:.3g} to {first.high:.3g}", *marks)
        return table

    def figure(self, path: Path | str | None = None) -> Any:
        """Draw each statistic: the real one, its envelope, the layouts; write a PNG to `path` if one is given."""
        from smearsynth.evaluation.figures import layout_check_figure

        figure = layout_check_figure(self)
        if path is not None:
            with atomic_write(Path(path)) as temporary:
                figure.savefig(temporary, format="png", dpi=110, metadata={"Software": "smearsynth"})
        return figure


def check_layout(
    smears: Iterable[Smear],
    source: LabelSource,
    *,
    layouts: Sequence[LayoutName] = LAYOUTS,
    draws: int | None = None,
    rng: int | np.random.Generator = 0,
    on_field: Callable[[int], object] | None = None,
) -> LayoutCheck:
    """Test synthetic layouts against real smears, best those of a test split.

    The envelopes hold what another set of as many real smears would give: the statistics of two bootstrap
    samples of the smears differ by more in 5 of 100 cases. A curve is judged as a whole, by its largest
    deviation in standard errors (Myllymäki et al. 2017, *Global envelope tests for spatial processes*).

    Parameters
    ----------
    smears : iterable of Smear
        Real ones, at the scale of the source; read once.
    source : LabelSource
    layouts : sequence of str
    draws : int, optional
        Synthetic fields of each layout; as many as there are smears when None, but 300 at least.
    rng : int or numpy.random.Generator
    on_field : callable, optional
        Called with the number of fields measured, real and synthetic.

    Returns
    -------
    Certificate

    Raises
    ------
    DataError
        When there are too few smears for an envelope.
    """
    generator = np.random.default_rng(rng)
    done = 0

    def measured(labels: npt.NDArray[np.integer[Any]], count: int) -> _Field:
        nonlocal done
        done += 1
        if on_field is not None:
            on_field(done)
        return _Field(measure_field(labels, count), patterns.empty_distances(labels, _EMPTY_GRID), labels.shape)

    real = [measured(smear.labels, smear.count) for smear in smears]
    if len(real) < _MIN_SMEARS:
        raise DataError(f"{len(real)} smears are too few for an envelope; give {_MIN_SMEARS} at least")
    if not any((~field.measured.cut).any() for field in real):
        raise DataError(
            f"no whole cell in the {len(real)} smears, so nothing to compare layouts by; give smears with cells"
        )
    wanted = max(len(real), MIN_DRAWS) if draws is None else draws
    laid: dict[str, list[_Field]] = {}
    for layout in layouts:
        laid[layout] = []
        for k in range(wanted):
            mask = source.draw(real[k % len(real)].size, layout=layout, rng=generator)
            laid[layout].append(measured(mask.labels, len(mask.classes)))
    areas = np.concatenate([field.measured.areas[~field.measured.cut] for field in real])
    unit = float(np.median(areas)) if len(areas) else 1.0
    statistics: dict[str, dict[str, Verdict]] = {}
    curves: dict[str, Curve] = {}
    samples = generator.multinomial(len(real), np.full(len(real), 1 / len(real)), (2, _BOOTSTRAPS))
    for name, (title, x_name, x, parts) in _STATISTICS.items():
        ours = _Sums.of(real, parts, unit)
        theirs = {layout: _Sums.of(fields, parts, unit).curve() for layout, fields in laid.items()}
        curves[name], statistics[name] = _judge(Curve(title, x_name, x, x, x, x, theirs), ours, samples)
    return LayoutCheck(len(real), wanted, statistics, curves)


@dataclass(frozen=True)
class _Field:
    measured: FieldMeasurement
    empty: FloatArray  # (pixels looked at,) distance to the nearest cell, px; 0 on a cell
    size: tuple[int, int]


@dataclass(frozen=True)
class _Sums:
    """A statistic of several fields as a ratio of sums, so that any sample of the fields is quickly computed.

    `above` and `below` are (fields, m) float64.
    """

    above: FloatArray
    below: FloatArray

    @classmethod
    def of(cls, fields: Sequence[_Field], parts: _Parts, unit: float) -> _Sums:
        pairs = [parts(field, unit) for field in fields]
        above = np.stack([np.asarray(pair[0], np.float64) for pair in pairs])
        below = np.stack([np.broadcast_to(np.asarray(pair[1], np.float64), above.shape[1:]) for pair in pairs])
        return cls(above, below)

    def curve(self, weights: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Of all fields, (m,), or of samples (draws, fields) of them, (draws, m)."""
        counts = np.ones(len(self.above)) if weights is None else weights
        return np.asarray((counts @ self.above) / np.maximum(counts @ self.below, 1e-9))


_Parts = Callable[[_Field, float], tuple[npt.ArrayLike, npt.ArrayLike]]


def _judge(blank: Curve, ours: _Sums, samples: npt.NDArray[np.int64]) -> tuple[Curve, dict[str, Verdict]]:
    real = ours.curve()
    differences = ours.curve(samples[0]) - ours.curve(samples[1])
    error = differences.std(axis=0)
    # Where hardly a cell is seen the bootstrap knows no error. There it is half a percent of the curve's height,
    # and for clusters that of three of them: no more, by the rule of three, is excluded by seeing none.
    error = np.maximum(error, 0.005 * float(np.abs(real).max()) + 1e-9)
    if blank.x_name == "cells":
        error = np.maximum(error, math.sqrt(3) * blank.x / max(float(ours.below[:, 0].sum()), 1.0))
    if len(real) == 1:
        low, high = np.quantile(differences[:, 0], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) + real[0]
        band = np.array([low]), np.array([high])
        values = {layout: float(curve[0]) for layout, curve in blank.layouts.items()}
    else:
        largest = np.abs(differences / error).max(axis=1)
        low, high = 0.0, float(np.quantile(largest, CONFIDENCE))
        band = real - high * error, real + high * error
        values = {layout: float(np.abs((curve - real) / error).max()) for layout, curve in blank.layouts.items()}
    verdicts = {
        layout: Verdict(value=value, low=float(low), high=float(high), inside=bool(low <= value <= high))
        for layout, value in values.items()
    }
    return Curve(blank.title, blank.x_name, blank.x, real, *band, blank.layouts), verdicts


def _pairs(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    g = field.measured.moments.pairs[_PAIRS]
    known = field.measured.moments.count * ~np.isnan(g)
    return known * np.nan_to_num(g), known


def _nearest(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    counts = field.measured.moments.nearest
    return counts.cumsum()[_NEAREST], counts.sum()


def _touching(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    share = field.measured.moments.touching
    return [np.nan_to_num(share)], [0 if math.isnan(share) else 1]


def _clusters(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    groups = field.measured.groups
    return (groups[:, None] >= _CLUSTERS).sum(axis=0), len(groups)


def _areas(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    areas = field.measured.areas[~field.measured.cut]
    return (areas[:, None] <= _AREAS * unit).sum(axis=0), len(areas)


def _cut(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    share = field.measured.moments.cut
    return [np.nan_to_num(share)], [0 if math.isnan(share) else 1]


def _empty(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    diameter = math.sqrt(4 * unit / math.pi)
    return (field.empty[:, None] > _EMPTY * diameter).sum(axis=0), len(field.empty)


_STATISTICS: dict[str, tuple[str, str, FloatArray, _Parts]] = {
    "pair_correlation": ("pair correlation", "distance, diameters", _MIDDLES[_PAIRS], _pairs),
    "nearest_neighbour": (
        "nearest neighbour, share nearer than",
        "distance, diameters",
        _MIDDLES[_NEAREST] + BIN_WIDTH / 2,
        _nearest,
    ),
    "touching_fraction": ("touching cells, mean of smears", "", np.zeros(1), _touching),
    "cluster_sizes": (
        "cells in clusters of at least",
        "cells",
        _CLUSTERS.astype(np.float64),
        _clusters,
    ),
    "cell_areas": ("whole cells smaller than", "area, real medians", _AREAS, _areas),
    "border_fraction": ("cells cut by the border, mean of smears", "", np.zeros(1), _cut),
    "empty_areas": ("field farther from any cell than", "distance, diameters", _EMPTY, _empty),
}
