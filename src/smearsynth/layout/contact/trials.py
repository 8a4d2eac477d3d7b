"""Simulated fields for trial values of the contact parameters, and the corrections that a trial suggests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from smearsynth.layout.contact.moments import FieldMeasurement, FieldMoments, measure_field, pool_moments
from smearsynth.layout.contact.parameters import (
    ContactParameters,
    FloatArray,
    InteractionParameters,
    border_exponent,
    field_areas,
)
from smearsynth.layout.contact.sampler import contact_layout
from smearsynth.layout.painting import paint_labels
from smearsynth.layout.record import Layout
from smearsynth.layout.workspace import Workspace
from smearsynth.statistics import SmearStatistics

# Coordinates of a trial with their start and usual range: logits of fractions, logarithms of the others.
COORDINATES = {
    "adhesion": (-0.3, 1.0),
    "adhesion_slope": (0.2, 0.3),
    "touch": (-1.5, 1.0),
    "touch_std": (0.0, 0.5),
    "overlap": (-2.0, 1.0),
    "depth": (-2.0, 0.6),
    "gap": (-2.7, 0.6),
    "growth": (1.0, 1.5),
    "chain": (0.0, 1.2),
    "seeds": (0.0, 1.2),
    "unevenness": (-1.2, 0.8),
}
_LOGARITHMS = ("touch_std", "depth", "gap", "unevenness")
_TOUCH = list(COORDINATES).index("touch")
_MAX_LOGIT = 6.0
_MAX_CHANGE = 1.5  # of a logit in one pass
_CLASS_PASSES = 4  # that fit the adhesion of each class
_MIN_CLASS_CELLS = 30  # cells of a class that determine its adhesion
_MIN_FIELDS = 12  # per trial; few smears are repeated
_SIZE_LIMITS = np.array([0.3, 1.0])  # of the corrections of log diameter and log spread


class Trials:
    """Simulates fields like the real smears with trial parameters, and measures them.

    Parameters
    ----------
    shapes : Workspace
    rows : sequence of SmearStatistics
        Of the real smears.
    generator : numpy.random.Generator

    Attributes
    ----------
    smears : (n, 4) float64 array
        Parameters of the real smears, as in `ContactParameters.smears`, with the touching fraction for the touch.
    subset : list of int
        Numbers of the smears that are simulated in a trial.
    empty : float
        Fraction of the smears without a cell.
    """

    def __init__(self, shapes: Workspace, rows: Sequence[SmearStatistics], generator: np.random.Generator) -> None:
        self.shapes, self.rows, self.generator = shapes, rows, generator
        self.smears = smear_rows(rows)
        self.subset = list(range(len(rows)))
        self.empty = 0.0
        self._annotated = annotated_at_border(rows)
        # Correction of log diameter and log spread: visible cells are smaller than the placed ones.
        self._size_shift = np.zeros(2)
        self._fitted_touch: FloatArray | None = None  # (n,) logits, after `fit_touch`
        self._touch_coordinate = 0.0  # at which `_fitted_touch` holds
        self._class_adhesion: dict[str, float] = {}
        self._last_fields: list[FieldMoments] = []

    def moments(self, point: FloatArray) -> FloatArray:
        """Simulate a trial and return its `pool_moments`."""
        self._last_fields = [field.moments for _, field in self._simulate(self.parameters_at(point))]
        return pool_moments(self._last_fields)

    def _simulate(self, parameters: ContactParameters) -> Iterator[tuple[Layout, FieldMeasurement]]:
        """Yield a field for each smear of the subset, of its size and with its number of cells."""
        for k in self.subset:
            row = self.rows[k]
            layout = contact_layout(
                (row.height, row.width),
                row.expected_count,
                self.shapes,
                parameters=parameters.smear(parameters.smears[k]),
                rng=self.generator,
            )
            yield layout, measure_field(paint_labels(layout, self.shapes), layout.placed)

    def fit_touch(self, point: FloatArray, rate: float) -> None:
        """Correct the touch of each smear by the error of its field, then the sizes (Robbins and Monro 1951).

        The real fractions are those of some hundred cells. If each smear had its own fraction exactly, chance would
        spread them twice. Hence the standard deviation between smears is scaled to the real one.
        """
        self._fitted_touch = self._touch(point)
        self._touch_coordinate = point[_TOUCH]
        self.subset = list(range(len(self.rows)))
        self.moments(point)
        real_fields = [FieldMoments.from_statistics(row) for row in self.rows]
        real, simulated = (
            np.array([smoothed_logit(field.touching, field.count) for field in fields])
            for fields in (real_fields, self._last_fields)
        )
        change = rate * np.clip(real - simulated, -_MAX_CHANGE, _MAX_CHANGE)
        touch = np.clip(self._fitted_touch + change, -_MAX_LOGIT, _MAX_LOGIT)
        fractions = np.array([field.touching for field in self._last_fields])
        real_fractions = np.array([row.touching_fraction for row in self.rows])
        if fractions.std() > 0 and real_fractions.std() > 0:
            factor = min(max(float(real_fractions.std() / fractions.std()), 0.7), 1.2) ** rate
            touch = touch.mean() + factor * (touch - touch.mean())
        self._fitted_touch = touch
        self.calibrate_sizes()
        self._calibrate_border(rate)

    def _calibrate_border(self, rate: float) -> None:
        """Correct the fraction of annotated cells at the border by the error of the last trial."""
        cut = float(np.nanmean([field.cut for field in self._last_fields]))
        target = float(np.mean([row.border_fraction for row in self.rows]))
        if 0 < cut < 1 and target < 1:
            ratio = target / (1 - target) * (1 - cut) / cut
            self._annotated = min(self._annotated * min(max(ratio, 0.7), 1.4) ** rate, 1.0)

    def calibrate_sizes(self) -> None:
        """Correct the sizes by the median error of the last trial."""
        errors = []
        for k, field in zip(self.subset, self._last_fields, strict=True):
            diameter = self.rows[k].cell_diameter
            if field.diameter > 0 and field.spread > 0 and diameter.std > 0:
                spread = diameter.std / diameter.mean
                errors.append((math.log(diameter.mean / field.diameter), math.log(spread / field.spread)))
        if errors:
            shift = self._size_shift + np.median(errors, axis=0)
            self._size_shift = np.clip(shift, -_SIZE_LIMITS, _SIZE_LIMITS)

    def fit_classes(self, point: FloatArray) -> None:
        """Correct the adhesion of each class by the error of its touching fraction, without changing the mean."""
        names = self.shapes.shapes.class_names
        cells = np.array([sum(row.class_counts.get(name, 0) for row in self.rows) for name in names])
        touching = np.array([sum(row.class_touching.get(name, 0) for row in self.rows) for name in names])
        fitted = (cells >= _MIN_CLASS_CELLS) & (self.shapes.odds > 0)
        if fitted.sum() < 2 or not touching.any():
            return
        real = np.array([smoothed_logit(t / max(n, 1), n) for t, n in zip(touching, cells, strict=True)])
        offsets = np.zeros(len(names))
        for k in range(_CLASS_PASSES):
            counts = np.zeros((2, len(names)))  # of all cells, and of touching ones
            for layout, field in self._simulate(self.parameters_at(point)):
                counts[0] += np.bincount(layout.classes, minlength=len(names))
                counts[1] += np.bincount(layout.classes[field.groups > 1], minlength=len(names))
            simulated = np.array([smoothed_logit(t / max(n, 1), int(n)) for n, t in counts.T])
            change = np.where(fitted & (counts[0] > 0), np.clip(real - simulated, -_MAX_CHANGE, _MAX_CHANGE), 0.0)
            offsets += change / math.sqrt(1 + k)
            offsets = offsets - np.average(offsets, weights=cells * fitted)
            offsets = np.clip(offsets, -_MAX_LOGIT, _MAX_LOGIT) * fitted
            self._class_adhesion = {
                name: round(float(offset), 3)
                for name, offset, use in zip(names, offsets, fitted, strict=True)
                if use
            }

    def _touch(self, point: FloatArray) -> FloatArray:
        """Return the logits of touch of all smears: a mean, and a multiple of the real deviations."""
        if self._fitted_touch is not None:
            shifted: FloatArray = self._fitted_touch + (point[_TOUCH] - self._touch_coordinate)
            return np.clip(shifted, -_MAX_LOGIT, _MAX_LOGIT)
        deviations = self.smears[:, 3] - self.smears[:, 3].mean()
        values = dict(zip(COORDINATES, point.tolist(), strict=True))
        touch: FloatArray = values["touch"] + math.exp(values["touch_std"]) * deviations
        return np.clip(touch, -_MAX_LOGIT, _MAX_LOGIT)

    def parameters_at(self, point: FloatArray) -> ContactParameters:
        """Return the contact parameters at a point of the unbounded coordinates."""
        values = {
            name: math.exp(x) if name in _LOGARITHMS else 1 / (1 + math.exp(-x))
            for name, x in zip(COORDINATES, np.clip(point, -_MAX_LOGIT, _MAX_LOGIT).tolist(), strict=True)
        }
        form = InteractionParameters(
            overlap=values["overlap"],
            depth=min(values["depth"], 1.0),
            gap=min(values["gap"], 2.0),
            growth=values["growth"],
            chain=values["chain"],
            seeds=values["seeds"],
            unevenness=min(values["unevenness"], 3.0),
            border=border_exponent(self._annotated),
        )
        rows = self.smears + np.array([0.0, *self._size_shift, 0.0])
        rows[:, 3] = self._touch(point)
        return ContactParameters(
            form=form,
            adhesion=round(float(point[0]), 5),
            adhesion_slope=round(float(point[1]), 5),
            class_adhesion=self._class_adhesion,
            smears=tuple(tuple(round(value, 5) for value in row) for row in rows.tolist()),
            empty=self.empty,
        )


def smear_rows(rows: Sequence[SmearStatistics]) -> FloatArray:
    """Return log intensity, log diameter, log spread and logit of the touching fraction of each smear, (n, 4)."""
    annotated = annotated_at_border(rows)
    result = np.empty((len(rows), 4))
    for k, row in enumerate(rows):
        whole_area, cut_area = field_areas((row.height, row.width), row.cell_diameter.mean)
        spread = row.cell_diameter.std / row.cell_diameter.mean
        result[k, :3] = (
            math.log(1e6 * row.expected_count / (whole_area + annotated * cut_area)),
            math.log(row.cell_diameter.mean),
            math.log(min(max(spread, 0.02), 0.5)),
        )
        result[k, 3] = smoothed_logit(row.touching_fraction, row.count)
    return result


def smoothed_logit(fraction: float, count: int) -> float:
    """Return the logit of a fraction of `count` cells, with half a cell added on both sides.

    Examples
    --------
    >>> round(smoothed_logit(1.0, 10), 2), smoothed_logit(0.5, 10)
    (3.04, 0.0)
    """
    if not count:
        return 0.0
    return math.log((fraction * count + 0.5) / ((1 - fraction) * count + 0.5))


def annotated_at_border(rows: Sequence[SmearStatistics]) -> float:
    """Return the fraction of the cells cut by the border that are annotated.

    It is their number over the number that is expected by chance.
    """
    cut = sum(row.border_fraction * row.count for row in rows)
    whole = sum(row.count for row in rows) - cut
    areas = np.array([field_areas((row.height, row.width), row.cell_diameter.mean) for row in rows])
    density = np.array([row.density for row in rows])
    expected = float((density * areas[:, 1]).sum() / max((density * areas[:, 0]).sum(), 1e-9))
    return min(cut / max(whole, 1.0) / max(expected, 1e-9), 1.0)


def sample_smears(smears: FloatArray, count: int) -> list[int]:
    """Return the numbers of smears to simulate in a trial, evenly over the order of touching.

    With `count` smears or fewer, all are simulated; few smears are repeated to at least 12.
    """
    n = len(smears)
    if n <= count:
        return [k % n for k in range(max(n, _MIN_FIELDS))]
    order = np.argsort(smears[:, 3], kind="stable")
    return [int(k) for k in order[np.linspace(0, n - 1, count).round().astype(int)]]
