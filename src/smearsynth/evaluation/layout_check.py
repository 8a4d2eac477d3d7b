"""Layout check: statistics of synthetic layouts, compared with envelopes of the statistics of real smears."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from rich.table import Table

from smearsynth.datasets import SmearFolder, fingerprints_of
from smearsynth.errors import DataError, error_location
from smearsynth.evaluation.comparability import Data, open_data
from smearsynth.layout.contact.moments import FieldMeasurement, FieldMoments, measure_field
from smearsynth.layout.labels import LabelSource, LayoutName
from smearsynth.runs import Execution
from smearsynth.smear import Smear, touching_pairs
from smearsynth.statistics import BIN_WIDTH, BINS, measure_smear, patterns
from smearsynth.synthesis.model.folder import DEFAULT
from smearsynth.synthesis.model.synthesizer import Synthesizer

FloatArray = npt.NDArray[np.float64]

LAYOUTS: tuple[LayoutName, ...] = ("contact", "ring", "uniform")
CONTROL = "real train"  # real training smears under the same test as the layouts
CONFIDENCE = 0.95
MIN_DRAWS = 300  # fields per layout; their sampling error is then small beside that of the real smears
_BOOTSTRAPS = 1000
_MIN_SMEARS = 4
_BIN_CENTRES = (np.arange(BINS, dtype=np.float64) + 0.5) * BIN_WIDTH
_PAIR_BINS = slice(3, 30)  # 0.3 to 3 diameters
_NEAREST_BINS = slice(4, 20)
_CLUSTER_SIZES = np.arange(2, 9)
_AREAS: FloatArray = np.round(np.arange(0.1, 1.95, 0.1), 1)  # of the median real area
_EMPTY_GRID = 320  # points on the longer side of a field
_EMPTY_DISTANCES: FloatArray = np.round(np.arange(0.2, 3.05, 0.2), 1)  # diameters
_CELLS = "cells"  # axis of the cluster sizes


class Verdict(BaseModel):
    """One statistic of one layout.

    Parameters
    ----------
    value : float
        The statistic; for a curve, its largest deviation from the real curve in standard errors.
    low, high : float
        Interval that contains the value of another sample of as many real smears in 95 of 100 cases.
    inside : bool
        Whether `value` is in the interval.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    inside: bool


@dataclass(frozen=True)
class Curve:
    """A statistic for a figure: real smears with their envelope, and each layout.

    Parameters
    ----------
    title, x_name : str
    x, real, low, high : (m,) float64 array
        m is 1 for a statistic that is a single number.
    layouts : dict of str to (m,) float64 array
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
    """Comparison of synthetic layouts with real smears, from `check_layout`.

    Parameters
    ----------
    smears : int
        Number of real smears.
    draws : int
        Number of synthetic fields per layout.
    statistics : dict of str to dict of str to Verdict
        By statistic, then by layout. With a control also that of the real training smears, as "real train".
    curves : dict of str to Curve
        By statistic.
    """

    smears: int
    draws: int
    statistics: dict[str, dict[str, Verdict]]
    curves: dict[str, Curve]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the layouts, and of the control if there is one."""
        return tuple(next(iter(self.statistics.values())))

    def outside(self, layout: str) -> tuple[str, ...]:
        """Return the statistics in which a layout differs from the real smears."""
        return tuple(name for name, verdicts in self.statistics.items() if not verdicts[layout].inside)

    def to_json(self) -> str:
        """Return JSON text with value, low, high and inside by statistic and layout."""
        record = {
            name: {layout: verdict.model_dump() for layout, verdict in verdicts.items()}
            for name, verdicts in self.statistics.items()
        }
        return json.dumps(record, indent=1)

    def table(self) -> Table:
        """Return a terminal table with one row per statistic."""
        table = Table(title=f"{self.smears} real smears and {self.draws} synthetic fields per layout")
        table.add_column("statistic")
        table.add_column("95 % of real", justify="right")
        for layout in self.rows:
            table.add_column(layout, justify="right")
        for name, verdicts in self.statistics.items():
            first = next(iter(verdicts.values()))
            cells = [
                f"{verdict.value:.3g} {'inside' if verdict.inside else 'OUTSIDE'}" for verdict in verdicts.values()
            ]
            table.add_row(name, f"{first.low:.3g} to {first.high:.3g}", *cells)
        return table


def check_layout(
    data: Data,
    model: Synthesizer | Path | str = DEFAULT,
    *,
    control: Data | None = None,
    draws: int | None = None,
    rng: int | np.random.Generator = 0,
    execution: Execution = Execution(),
) -> LayoutCheck:
    """Test whether the layouts of a model differ from those of real smears, statistic by statistic.

    Parameters
    ----------
    data : Path or str or SmearFolder
        Real smears at the scale of the model. Smears that the model was not trained on are the best comparison.
    model : Synthesizer or Path or str
        A model, its folder, or "default" for the shipped model.
    control : Path or str or SmearFolder, optional
        Real smears that are put under the same test as the layouts, such as the training smears: what real smears
        of the same slides fail, layouts cannot be expected to pass.
    draws : int, optional
        Number of synthetic fields per layout. Default: the number of real smears, but at least 300.
    rng : int or numpy.random.Generator
    execution : Execution
        Only its progress is used.

    Returns
    -------
    LayoutCheck

    Raises
    ------
    DataError
        If the smears cannot be read, or are too few for an envelope.
    ModelError
        If the model folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from smearsynth.formats import open_writer
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows, columns = np.mgrid[:200, :200]
    >>> labels = ((rows - 60) ** 2 + (columns - 60) ** 2 < 400).astype(np.int32)
    >>> labels += 2 * ((rows - 140) ** 2 + (columns - 120) ** 2 < 400)
    >>> with open_writer(folder) as writer:
    ...     for k in range(4):
    ...         writer.write(Smear.from_labels(np.zeros((200, 200, 3), np.uint8), labels, name=f"smear-{k}"))
    >>> check = check_layout(folder, draws=4)
    >>> check.smears, check.draws, list(check.statistics["pair_correlation"])
    (4, 4, ['contact', 'ring', 'uniform'])
    """
    smears = open_data(data, progress=execution.progress)
    control_smears = () if control is None else open_data(control, progress=execution.progress)
    if not isinstance(model, Synthesizer):
        model = Synthesizer.load(model, "cpu")
    _report_seen(smears, model, execution)
    total = len(smears) + len(control_smears) + len(LAYOUTS) * _draw_count(draws, len(smears))
    with error_location(smears.root):
        return compare_layouts(
            smears,
            model.label_source,
            control=control_smears,
            draws=draws,
            rng=rng,
            on_field=lambda done: execution.progress.advance("measuring", done, total),
        )


def compare_layouts(
    smears: Iterable[Smear],
    source: LabelSource,
    *,
    layouts: Sequence[LayoutName] = LAYOUTS,
    control: Iterable[Smear] = (),
    draws: int | None = None,
    rng: int | np.random.Generator = 0,
    on_field: Callable[[int], object] | None = None,
) -> LayoutCheck:
    """Compare the layouts of a label source with real smears.

    An envelope covers the statistics of another sample of as many real smears: the difference of two bootstrap
    samples of the smears exceeds it in 5 of 100 cases. A curve is tested as a whole, by its largest deviation in
    standard errors (Myllymäki et al. 2017, *Global envelope tests for spatial processes*).

    Parameters
    ----------
    smears : iterable of Smear
        Real smears at the scale of the source; read once. Statistics exclude ignored pixels, as in `measure`, and
        smears in which all pixels are ignored are skipped.
    source : LabelSource
    layouts : sequence of str
    control : iterable of Smear
        Other real smears that are put under the same test; none by default.
    draws : int, optional
        Number of synthetic fields per layout. Default: the number of real smears, but at least 300.
    rng : int or numpy.random.Generator
    on_field : callable, optional
        Called with the number of fields measured, real and synthetic.

    Returns
    -------
    LayoutCheck

    Raises
    ------
    DataError
        If there are fewer than four smears, or no whole cell.
    """
    generator = np.random.default_rng(rng)
    measure = _FieldMeter(on_field)
    real = [field for smear in smears if (field := measure.smear(smear)) is not None]
    if len(real) < _MIN_SMEARS:
        raise DataError(f"an envelope needs at least {_MIN_SMEARS} smears, here: {len(real)}; add smears")
    whole_areas = np.concatenate([field.measurement.areas[~field.measurement.cut] for field in real])
    if not len(whole_areas):
        raise DataError(f"no whole cell in the {len(real)} smears; give smears with cells to compare layouts")
    count = _draw_count(draws, len(real))
    compared: dict[str, list[_Field]] = {}
    for layout in layouts:
        compared[layout] = []
        for k in range(count):
            sample = source.draw(real[k % len(real)].size, layout=layout, rng=generator)
            compared[layout].append(measure(sample.labels, len(sample.classes)))
    if controls := [field for smear in control if (field := measure.smear(smear)) is not None]:
        compared[CONTROL] = controls
    unit = float(np.median(whole_areas))
    statistics: dict[str, dict[str, Verdict]] = {}
    curves: dict[str, Curve] = {}
    samples = generator.multinomial(len(real), np.full(len(real), 1 / len(real)), (2, _BOOTSTRAPS))
    for name, statistic in _STATISTICS.items():
        sums = _Sums.of_fields(real, statistic.terms, unit)
        layout_curves = {
            layout: _Sums.of_fields(fields, statistic.terms, unit).curve() for layout, fields in compared.items()
        }
        curves[name], statistics[name] = _test(statistic, sums, layout_curves, samples)
    return LayoutCheck(len(real), count, statistics, curves)


def _report_seen(smears: SmearFolder, model: Synthesizer, execution: Execution) -> None:
    """Report how many smears the model was trained on; layouts that fit those need not fit new ones."""
    if model.training_smears is None:
        return
    seen = len(model.training_smears.find(fingerprints_of(smears)))
    if seen:
        execution.progress.message(
            f"{seen} of {len(smears)} smears are training smears of the model; the result does not show whether "
            "its layouts fit other smears"
        )


def _draw_count(draws: int | None, smears: int) -> int:
    return max(smears, MIN_DRAWS) if draws is None else draws


@dataclass(frozen=True)
class _Field:
    """Measurements of one field, real or synthetic."""

    measurement: FieldMeasurement
    distances: FloatArray  # (points,) from grid points to the nearest cell, px; 0 on a cell
    size: tuple[int, int]
    ignored: FloatArray | None = None  # (points,) from grid points to the nearest ignored pixel, px


class _FieldMeter:
    """Measures fields and reports their number."""

    def __init__(self, on_field: Callable[[int], object] | None) -> None:
        self._on_field = on_field
        self._done = 0

    def smear(self, smear: Smear) -> _Field | None:
        """Measure a real smear; None if all of its pixels are ignored."""
        if smear.ignored is None:
            return self(smear.labels, smear.count)
        self._tick()
        if not smear.annotated_area():
            return None
        return _Field(
            _measure_annotated(smear),
            patterns.empty_distances(smear.labels, _EMPTY_GRID),
            smear.shape,
            patterns.ignored_distances(smear.ignored, _EMPTY_GRID),
        )

    def __call__(self, labels: npt.NDArray[np.integer[Any]], count: int) -> _Field:
        self._tick()
        return _Field(measure_field(labels, count), patterns.empty_distances(labels, _EMPTY_GRID), labels.shape)

    def _tick(self) -> None:
        self._done += 1
        if self._on_field is not None:
            self._on_field(self._done)


def _measure_annotated(smear: Smear) -> FieldMeasurement:
    """Measure the annotated part of a smear; cells that touch an ignored pixel have no size."""
    groups = patterns.cluster_sizes(smear.count, touching_pairs(smear.labels))
    moments = FieldMoments.from_statistics(measure_smear(smear))
    return FieldMeasurement(moments, smear.areas(), smear.incomplete(), groups)


_Terms: TypeAlias = Callable[[_Field, float], tuple[npt.ArrayLike, npt.ArrayLike]]


@dataclass(frozen=True)
class _Statistic:
    """A statistic as a ratio: `terms` returns numerator (m,) and denominator of a field for a median cell area."""

    title: str
    x_name: str
    x: FloatArray
    terms: _Terms


@dataclass(frozen=True)
class _Sums:
    """Numerators and denominators of a statistic by field, (fields, m), for fast bootstrap samples."""

    numerators: FloatArray
    denominators: FloatArray

    @classmethod
    def of_fields(cls, fields: Sequence[_Field], terms: _Terms, unit: float) -> _Sums:
        pairs = [terms(field, unit) for field in fields]
        numerators = np.stack([np.asarray(pair[0], np.float64) for pair in pairs])
        shape = numerators.shape[1:]
        denominators = np.stack([np.broadcast_to(np.asarray(pair[1], np.float64), shape) for pair in pairs])
        return cls(numerators, denominators)

    def curve(self, weights: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Return the statistic of all fields, (m,), or of weighted samples (samples, fields): (samples, m)."""
        counts = np.ones(len(self.numerators)) if weights is None else weights
        return np.asarray((counts @ self.numerators) / np.maximum(counts @ self.denominators, 1e-9))


def _test(
    statistic: _Statistic, real: _Sums, layouts: dict[str, FloatArray], samples: npt.NDArray[np.int64]
) -> tuple[Curve, dict[str, Verdict]]:
    """Compare the curves of the layouts with the envelope of the real smears."""
    curve = real.curve()
    differences = real.curve(samples[0]) - real.curve(samples[1])
    error = differences.std(axis=0)
    # Where there are very few cells, the bootstrap underestimates the error. It is set to at least 0.5 % of the
    # height of the curve, and for clusters to that of three cells: by the rule of three, zero observations are
    # compatible with an expectation of up to three.
    error = np.maximum(error, 0.005 * float(np.abs(curve).max()) + 1e-9)
    if statistic.x_name == _CELLS:
        error = np.maximum(error, math.sqrt(3) * statistic.x / max(float(real.denominators[:, 0].sum()), 1.0))
    if len(curve) == 1:
        low, high = np.quantile(differences[:, 0], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) + curve[0]
        envelope = np.array([low]), np.array([high])
        values = {layout: float(values[0]) for layout, values in layouts.items()}
    else:
        max_deviations = np.abs(differences / error).max(axis=1)
        low, high = 0.0, float(np.quantile(max_deviations, CONFIDENCE))
        envelope = curve - high * error, curve + high * error
        values = {layout: float(np.abs((values - curve) / error).max()) for layout, values in layouts.items()}
    verdicts = {
        layout: Verdict(value=value, low=float(low), high=float(high), inside=bool(low <= value <= high))
        for layout, value in values.items()
    }
    return Curve(statistic.title, statistic.x_name, statistic.x, curve, *envelope, layouts), verdicts


def _pair_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    g = field.measurement.moments.pairs[_PAIR_BINS]
    weights = field.measurement.moments.count * ~np.isnan(g)
    return weights * np.nan_to_num(g), weights


def _nearest_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    counts = field.measurement.moments.nearest
    return counts.cumsum()[_NEAREST_BINS], counts.sum()


def _touching_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    return _fraction_terms(field.measurement.moments.touching)


def _border_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    return _fraction_terms(field.measurement.moments.cut)


def _fraction_terms(fraction: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    """Return the terms of a mean over fields; fields without cells do not count."""
    return [np.nan_to_num(fraction)], [0 if math.isnan(fraction) else 1]


def _cluster_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    sizes = field.measurement.groups
    return (sizes[:, None] >= _CLUSTER_SIZES).sum(axis=0), len(sizes)


def _area_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    areas = field.measurement.areas[~field.measurement.cut]
    return (areas[:, None] <= _AREAS * unit).sum(axis=0), len(areas)


def _empty_terms(field: _Field, unit: float) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    diameter = math.sqrt(4 * unit / math.pi)
    if field.ignored is not None:
        return patterns.count_far_points(field.distances, field.ignored, _EMPTY_DISTANCES * diameter)
    return (field.distances[:, None] > _EMPTY_DISTANCES * diameter).sum(axis=0), len(field.distances)


_DIAMETERS = "distance, diameters"
_STATISTICS = {
    "pair_correlation": _Statistic("pair correlation", _DIAMETERS, _BIN_CENTRES[_PAIR_BINS], _pair_terms),
    "nearest_neighbour": _Statistic(
        "fraction with a neighbour within", _DIAMETERS, _BIN_CENTRES[_NEAREST_BINS] + BIN_WIDTH / 2, _nearest_terms
    ),
    "touching_fraction": _Statistic("touching fraction, mean of smears", "", np.zeros(1), _touching_terms),
    "cluster_sizes": _Statistic(
        "fraction in clusters of at least", _CELLS, _CLUSTER_SIZES.astype(np.float64), _cluster_terms
    ),
    "cell_areas": _Statistic("fraction of whole cells smaller than", "area, real medians", _AREAS, _area_terms),
    "border_fraction": _Statistic("fraction cut by the border, mean of smears", "", np.zeros(1), _border_terms),
    "empty_areas": _Statistic("area fraction farther from cells than", _DIAMETERS, _EMPTY_DISTANCES, _empty_terms),
}
