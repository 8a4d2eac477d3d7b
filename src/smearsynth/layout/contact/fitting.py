"""Fit a contact law to the statistics of real smears by simulation: no knobs, a few seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from smearsynth.errors import DataError
from smearsynth.layout.contact.moments import FieldMoments, FieldMeasurement, measure_field, pooled, uncertainty
from smearsynth.layout.contact.parameters import InteractionParameters, ContactParameters, FloatArray, border_for, field_areas
from smearsynth.layout.contact.sampler import contact_layout
from smearsynth.layout.painting import paint_labels
from smearsynth.layout.record import Layout
from smearsynth.layout.workspace import Workspace, as_workspace
from smearsynth.shapes import ShapeLibrary
from smearsynth.statistics import DataStatistics, SmearStatistics

_FIELDS, _MANY_FIELDS = 24, 64  # laid out for each trial of a law, at first and near its end
_ROUNDS, _TRIALS, _LAST = 12, 6, 4
_AROUND = 0.4  # usual ranges, between the trials round the best one of the first half
_SETTLING = 3  # passes, twice, over all smears that settle how often the cells of each touch
_CLASS_SETTLING = 4  # passes that settle how often the cells of each class touch
_MIN_OF_CLASS = 30  # cells of a class that tell how often it touches
_MAX_SMEARS = 150  # that a law keeps the parameters of; of more, evenly chosen ones
_PRIOR_WEIGHT = 0.3  # pulls what the data do not tell towards the middle of its range
# Coordinates of a trial, their start and their usual range: logits of shares, logarithms of lengths.
_START = {
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
_LENGTHS = ("touch_std", "depth", "gap", "unevenness")
_TOUCH = list(_START).index("touch")
_EXTREME = 6.0  # of a logit


def fit_contact(
    statistics: DataStatistics,
    shapes: ShapeLibrary | Workspace,
    *,
    rng: int | np.random.Generator = 0,
    on_trial: Callable[[int, int], object] | None = None,
) -> ContactParameters:
    """Fit the law of contact layouts to real smears.

    Trial laws lay out fields like a sample of the real smears, each with the count and the cell size of its own
    real one; their pair correlation, nearest neighbours, touching fraction (mean and deviation between smears)
    and clusters are compared with the real ones, in standard errors of the latter. The moments are regressed on
    the trials near the best one, which smooths the noise of simulation, and the next trials are laid where the
    regression meets the real moments (Gauss-Newton).

    Parameters
    ----------
    statistics : DataStatistics
    shapes : ShapeLibrary or Workspace
        Of the same smears.
    rng : int or numpy.random.Generator
    on_trial : callable, optional
        Called with the trials done and their number, for a progress bar.

    Returns
    -------
    ContactParameters
        With one smear, or a few, the deviation between smears is mostly that of smears in general: 20 % in
        density, 5 % in cell size.

    Raises
    ------
    DataError
        When no smear holds a whole cell.
    """
    generator = np.random.default_rng(rng)
    warm = as_workspace(shapes)
    rows = [row for row in statistics.rows if row.count and row.cell_diameter.n]
    if not rows:
        raise DataError(
            "no smear with a whole cell to fit a contact law to; add smears with cells inside the field"
        )
    real = [FieldMoments.of_row(row) for row in rows]
    rows = rows[:: math.ceil(len(rows) / _MAX_SMEARS)]
    target, error = pooled(real), uncertainty(real)
    smears = _parameters(rows)
    chosen = _sample(smears, _FIELDS)
    trials = _Trials(warm, rows, smears, chosen, _kept_at_border(rows), generator)
    trials.empty = sum(row.count == 0 for row in statistics.rows) / len(statistics.rows)
    fits: list[tuple[FloatArray, FloatArray]] = []
    start, width = np.array(list(_START.values())).T
    total = 5 * len(start) + _ROUNDS * _TRIALS + _LAST

    done = 0

    def run(point: FloatArray) -> None:
        nonlocal done
        done += 1
        # Statistics of an earlier version lack some moments: those say nothing.
        fits.append((point, np.nan_to_num((trials.moments(point) - target) / error)))
        if on_trial is not None:
            on_trial(done, total)

    for _ in range(3 * len(start)):
        run(start + width * np.clip(generator.standard_normal(len(start)), -2, 2))
    best = start
    for number in range(_ROUNDS):
        best = _next_point(fits, start, width)
        trials.calibrate()
        if number == _ROUNDS // 2:
            for k in range(_SETTLING):
                trials.settle(best, 1 / math.sqrt(1 + k))
            trials.chosen = _sample(smears, _MANY_FIELDS)
            # What was found with another touch of each smear would mislead the regression.
            fits.clear()
            for _ in range(2 * len(start)):
                run(best + _AROUND * width * np.clip(generator.standard_normal(len(start)), -2, 2))
            best = _next_point(fits, start, width)
        for k in range(_TRIALS):
            nudge = 0.0 if k == 0 else 0.5 / (1 + number / 3)
            run(best + nudge * width * generator.standard_normal(len(start)))
    # A trial may look good by luck, and the regression may be off: what is taken proves itself once more.
    trials.chosen = list(range(len(rows)))
    good = sorted(fits[-3 * _TRIALS :], key=lambda fit: float((fit[1] ** 2).sum()))[: _LAST - 2]
    last = [best, _next_point(fits, start, width), *(point for point, _ in good)]
    for point in last:
        run(point)
    best, _ = min(fits[-_LAST:], key=lambda fit: float((fit[1] ** 2).sum()))
    for k in range(_SETTLING):
        trials.settle(best, 0.5 / math.sqrt(1 + k))
    trials.settle_classes(best)
    return trials.law(best)


class _Trials:
    """Lays out fields like the real ones by a trial law and measures them."""

    def __init__(
        self,
        shapes: Workspace,
        rows: Sequence[SmearStatistics],
        smears: FloatArray,
        chosen: list[int],
        kept: float,
        generator: np.random.Generator,
    ) -> None:
        self.shapes, self.rows, self.smears, self.chosen = shapes, rows, smears, chosen
        self.kept, self.generator = kept, generator
        self.shift = np.zeros(2)  # on log diameter and log spread: what is seen is smaller than what is laid
        self.touch: FloatArray | None = None  # (n,) logits, once each smear has its own
        self.base = 0.0  # coordinate of touch at which they hold
        self.class_adhesion: dict[str, float] = {}
        self.empty = 0.0
        self._last: list[FieldMoments] = []

    def moments(self, point: FloatArray) -> FloatArray:
        """`pooled` of the fields of a trial."""
        self._last = [field.moments for _, field in self._lay_out(self.law(point))]
        return pooled(self._last)

    def _lay_out(self, law: ContactParameters) -> Iterator[tuple[Layout, FieldMeasurement]]:
        """A field like each of the chosen smears."""
        for k in self.chosen:
            row = self.rows[k]
            size = row.height, row.width
            laid = contact_layout(
                size, row.count, self.shapes, parameters=law.smear(law.smears[k]), rng=self.generator
            )
            yield laid, measure_field(paint_labels(laid, self.shapes), laid.placed)

    def settle(self, point: FloatArray, pace: float) -> None:
        """Move the touch of each smear by what its own field lacks, then sizes (Robbins and Monro 1951).

        The real fractions are those of some hundred cells: a law that gave each its own would spread them twice
        over by chance. Hence the deviation between smears is held to the real one.
        """
        self.touch = self._touch(point)
        self.base = point[_TOUCH]
        self.chosen = list(range(len(self.rows)))
        self.moments(point)
        real, laid = (
            np.array([_smoothed_logit(one.touching, one.count) for one in many])
            for many in ([FieldMoments.of_row(row) for row in self.rows], self._last)
        )
        self.touch = np.clip(self.touch + pace * np.clip(real - laid, -1.5, 1.5), -_EXTREME, _EXTREME)
        fractions = np.array([field.touching for field in self._last])
        wanted = np.array([row.touching_fraction for row in self.rows])
        if fractions.std() > 0 and wanted.std() > 0:
            factor = min(max(float(wanted.std() / fractions.std()), 0.7), 1.2) ** pace
            self.touch = self.touch.mean() + factor * (self.touch - self.touch.mean())
        self.calibrate()
        cut = float(np.nanmean([field.cut for field in self._last]))
        aim = float(np.mean([row.border_fraction for row in self.rows]))
        if 0 < cut < 1 and aim < 1:
            ratio = aim / (1 - aim) * (1 - cut) / cut
            self.kept = min(self.kept * min(max(ratio, 0.7), 1.4) ** pace, 1.0)

    def settle_classes(self, point: FloatArray) -> None:
        """Move the adhesion of each class by what its cells lack in touching others; the mean of all stays."""
        names = self.shapes.shapes.class_names
        cells = np.array([sum(row.class_counts.get(name, 0) for row in self.rows) for name in names])
        touching = np.array([sum(row.class_touching.get(name, 0) for row in self.rows) for name in names])
        known = (cells >= _MIN_OF_CLASS) & (self.shapes.odds > 0)
        if known.sum() < 2 or not touching.any():
            return
        real = np.array([_smoothed_logit(t / max(n, 1), n) for t, n in zip(touching, cells, strict=True)])
        offsets = np.zeros(len(names))
        for k in range(_CLASS_SETTLING):
            found = np.zeros((2, len(names)))
            for laid, field in self._lay_out(self.law(point)):
                found[0] += np.bincount(laid.classes, minlength=len(names))
                found[1] += np.bincount(laid.classes[field.groups > 1], minlength=len(names))
            laid_out = np.array([_smoothed_logit(t / max(n, 1), int(n)) for n, t in found.T])
            offsets += np.where(known & (found[0] > 0), np.clip(real - laid_out, -1.5, 1.5), 0.0) / math.sqrt(1 + k)
            offsets = np.clip(offsets - np.average(offsets, weights=cells * known), -_EXTREME, _EXTREME) * known
            self.class_adhesion = {
                name: round(float(x), 3) for name, x, one in zip(names, offsets, known, strict=True) if one
            }

    def _touch(self, point: FloatArray) -> FloatArray:
        """Logits of touch of all smears at a point: its own mean, and a multiple of the real deviations."""
        if self.touch is not None:
            moved: FloatArray = self.touch + (point[_TOUCH] - self.base)
            return np.clip(moved, -_EXTREME, _EXTREME)
        off = self.smears[:, 3] - self.smears[:, 3].mean()
        place = dict(zip(_START, point.tolist(), strict=True))
        touch: FloatArray = place["touch"] + math.exp(place["touch_std"]) * off
        return np.clip(touch, -_EXTREME, _EXTREME)

    def calibrate(self) -> None:
        """Move sizes by what the last trial's fields lack."""
        wanted = [(self.rows[k].cell_diameter.mean, self.rows[k].cell_diameter) for k in self.chosen]
        gaps = []
        for (mean, spread), field in zip(wanted, self._last, strict=True):
            if field.diameter > 0 and field.spread > 0 and spread.std > 0:
                gaps.append((math.log(mean / field.diameter), math.log(spread.std / mean / field.spread)))
        if gaps:
            limits = np.array([0.3, 1.0])
            self.shift = np.clip(self.shift + np.median(gaps, axis=0), -limits, limits)

    def law(self, point: FloatArray) -> ContactParameters:
        """The law at a point of the unbounded coordinates."""
        values = {
            name: math.exp(x) if name in _LENGTHS else 1 / (1 + math.exp(-x))
            for name, x in zip(_START, np.clip(point, -_EXTREME, _EXTREME).tolist(), strict=True)
        }
        form = InteractionParameters(
            overlap=values["overlap"],
            depth=min(values["depth"], 1.0),
            gap=min(values["gap"], 2.0),
            growth=values["growth"],
            chain=values["chain"],
            seeds=values["seeds"],
            unevenness=min(values["unevenness"], 3.0),
            border=border_for(self.kept),
        )
        moved = self.smears + np.array([0.0, *self.shift, 0.0])
        moved[:, 3] = self._touch(point)
        kept = [tuple(round(value, 5) for value in row) for row in moved.tolist()]
        return ContactParameters(
            form=form,
            adhesion=round(float(point[0]), 5),
            adhesion_slope=round(float(point[1]), 5),
            class_adhesion=self.class_adhesion,
            smears=tuple(kept),
            empty=self.empty,
        )


def _next_point(fits: list[tuple[FloatArray, FloatArray]], start: FloatArray, width: FloatArray) -> FloatArray:
    """Where the moments, regressed on the best trials so far, meet the real ones; a step of bounded length."""
    points = np.array([(point - start) / width for point, _ in fits])
    misses = np.array([miss for _, miss in fits])
    costs = (misses**2).sum(axis=1) + _PRIOR_WEIGHT**2 * (points**2).sum(axis=1)
    kept = np.argsort(costs, kind="stable")[: 3 * len(start)]
    points, misses = points[kept], misses[kept]
    middle, level = points[: len(start)].mean(axis=0), misses[: len(start)].mean(axis=0)
    near = np.exp(-0.5 * ((points - middle) ** 2).sum(axis=1) / len(start))[:, None]
    design = np.column_stack([points - middle, np.ones(len(points))])
    # Ridge: with hardly more trials than coordinates an unpenalised slope is mostly noise.
    gram = design.T @ (near * design) + 0.3 * np.diag([1.0] * len(start) + [0.0])
    slope = np.linalg.solve(gram, design.T @ (near * misses))
    level, slope = slope[-1], slope[:-1]
    normal = slope @ slope.T + (_PRIOR_WEIGHT**2 + 0.1) * np.eye(len(start))
    step = -np.linalg.solve(normal, slope @ level + _PRIOR_WEIGHT**2 * middle)
    length = float(np.linalg.norm(step))
    return np.asarray(start + width * (middle + step * min(1.0, 1.5 / max(length, 1e-9))))


def _parameters(rows: Sequence[SmearStatistics]) -> FloatArray:
    """Log intensity, log diameter, log spread and logit of the touching fraction of each smear, (n, 4)."""
    kept = _kept_at_border(rows)
    found = np.empty((len(rows), 4))
    for k, row in enumerate(rows):
        whole, cut = field_areas((row.height, row.width), row.cell_diameter.mean)
        spread = row.cell_diameter.std / row.cell_diameter.mean
        found[k, :3] = (
            math.log(1e6 * row.count / (whole + kept * cut)),
            math.log(row.cell_diameter.mean),
            math.log(min(max(spread, 0.02), 0.5)),
        )
        found[k, 3] = _smoothed_logit(row.touching_fraction, row.count)
    return found


def _smoothed_logit(share: float, count: int) -> float:
    """The logit of a share of some cells, with half a cell added on both sides."""
    if not count:
        return 0.0
    return math.log((share * count + 0.5) / ((1 - share) * count + 0.5))


def _kept_at_border(rows: Sequence[SmearStatistics]) -> float:
    """Share of the cells cut by the border that are annotated: those found over those that chance would cut."""
    cut = sum(row.border_fraction * row.count for row in rows)
    whole = sum(row.count for row in rows) - cut
    areas = np.array([field_areas((row.height, row.width), row.cell_diameter.mean) for row in rows])
    density = np.array([row.density for row in rows])
    expected = float((density * areas[:, 1]).sum() / max((density * areas[:, 0]).sum(), 1e-9))
    return min(cut / max(whole, 1.0) / max(expected, 1e-9), 1.0)


def _sample(smears: FloatArray, most: int) -> list[int]:
    """Smears to lay out in each trial: evenly through their order of touching, and repeated where there are few."""
    n = len(smears)
    if n <= most:
        return [k % n for k in range(max(n, _FIELDS // 2))]
    order = np.argsort(smears[:, 3], kind="stable")
    return [int(k) for k in order[np.linspace(0, n - 1, most).round().astype(int)]]
