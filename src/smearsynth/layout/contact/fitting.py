"""Fit contact parameters to the statistics of real smears by simulation, in seconds and without manual tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from smearsynth.errors import DataError
from smearsynth.layout.contact.moments import FieldMoments, fill_unknown_empty, pool_moments, standard_errors
from smearsynth.layout.contact.parameters import ContactParameters, FloatArray
from smearsynth.layout.contact.trials import COORDINATES, Trials, sample_smears
from smearsynth.layout.workspace import Workspace, as_workspace
from smearsynth.shapes import ShapeLibrary
from smearsynth.statistics import DataStatistics, SmearStatistics

_FIELDS, _MANY_FIELDS = 24, 64  # simulated fields per trial, in the first and in the second half of the fit
_ROUNDS, _ROUND_TRIALS, _FINAL_TRIALS = 12, 6, 4
_STARTS_FIRST, _STARTS_SECOND = 3, 2  # random trials at the start of each half, per coordinate
_RESTART_WIDTH = 0.4  # of the second half's random trials around the best point, in ranges of the coordinates
_TOUCH_PASSES = 3  # over all smears, in the middle and at the end, that fit the touch of each smear
_MAX_SMEARS = 150  # smears whose parameters are kept; a regular subset of more
_PRIOR_WEIGHT = 0.3  # pulls coordinates that the data do not determine towards the middle of their range
_MAX_STEP = 1.5  # of the regression, in ranges of the coordinates

_Fit = tuple[FloatArray, FloatArray]  # coordinates of a trial, and its errors in standard errors


def fit_contact(
    statistics: DataStatistics,
    shapes: ShapeLibrary | Workspace,
    *,
    rng: int | np.random.Generator = 0,
    on_trial: Callable[[int, int], object] | None = None,
) -> ContactParameters:
    """Fit the parameters of contact layouts to real smears.

    Each trial simulates fields with the cell counts and sizes of a sample of the real smears. Its pair
    correlation, nearest neighbours, touching fraction (mean and standard deviation between smears) and clusters
    are compared with the real ones, in standard errors of the latter. The moments are regressed on the trials near
    the best one, which smooths the noise of the simulation. The next trials are placed where the regression meets
    the real moments (Gauss-Newton).

    Parameters
    ----------
    statistics : DataStatistics
    shapes : ShapeLibrary or Workspace
        Of the same smears.
    rng : int or numpy.random.Generator
    on_trial : callable, optional
        Called with the number of trials done and their total.

    Returns
    -------
    ContactParameters
        With few smears, the spread between smears is mostly a prior: 20 % in density, 5 % in cell size.

    Raises
    ------
    DataError
        If no smear has a whole cell.
    """
    generator = np.random.default_rng(rng)
    rows = [row for row in statistics.rows if row.count and row.cell_diameter.n]
    if not rows:
        raise DataError(
            "no smear has a whole cell to fit contact parameters to; add smears with cells inside the field"
        )
    search = _Search(statistics, rows, as_workspace(shapes), generator, on_trial)
    return search.run()


class _Search:
    """The search for the coordinates whose simulated moments are nearest to the real ones."""

    def __init__(
        self,
        statistics: DataStatistics,
        rows: Sequence[SmearStatistics],
        shapes: Workspace,
        generator: np.random.Generator,
        on_trial: Callable[[int, int], object] | None,
    ) -> None:
        real = fill_unknown_empty([FieldMoments.from_statistics(row) for row in rows])
        rows = rows[:: math.ceil(len(rows) / _MAX_SMEARS)]
        self.target, self.error = pool_moments(real), standard_errors(real)
        self.trials = Trials(shapes, rows, generator)
        self.trials.subset = sample_smears(self.trials.smears, _FIELDS)
        self.trials.empty = _empty_fraction(statistics.rows)
        self.generator = generator
        self.on_trial = on_trial
        self.start, self.width = np.array(list(COORDINATES.values())).T
        self.size = len(self.start)
        self.total = (_STARTS_FIRST + _STARTS_SECOND) * self.size + _ROUNDS * _ROUND_TRIALS + _FINAL_TRIALS
        self.done = 0
        self.fits: list[_Fit] = []

    def run(self) -> ContactParameters:
        """Return the parameters of the best trial."""
        self._try_around(self.start, _STARTS_FIRST * self.size, 1.0)
        best = self.start
        for number in range(_ROUNDS):
            best = _next_point(self.fits, self.start, self.width)
            self.trials.calibrate_sizes()
            if number == _ROUNDS // 2:
                best = self._restart(best)
            for k in range(_ROUND_TRIALS):
                noise = 0.0 if k == 0 else 0.5 / (1 + number / 3)
                self._try(best + noise * self.width * self.generator.standard_normal(self.size))
        best = self._best_of_final_trials(best)
        for k in range(_TOUCH_PASSES):
            self.trials.fit_touch(best, 0.5 / math.sqrt(1 + k))
        self.trials.fit_classes(best)
        return self.trials.parameters_at(best)

    def _restart(self, best: FloatArray) -> FloatArray:
        """Fit the touch of each smear, then search again near the best point with more fields per trial."""
        for k in range(_TOUCH_PASSES):
            self.trials.fit_touch(best, 1 / math.sqrt(1 + k))
        self.trials.subset = sample_smears(self.trials.smears, _MANY_FIELDS)
        # Trials with another touch per smear would bias the regression.
        self.fits.clear()
        self._try_around(best, _STARTS_SECOND * self.size, _RESTART_WIDTH)
        return _next_point(self.fits, self.start, self.width)

    def _best_of_final_trials(self, best: FloatArray) -> FloatArray:
        """Run the best candidates again on all smears.

        A trial may look good by chance, and the regression may be inaccurate.
        """
        self.trials.subset = list(range(len(self.trials.rows)))
        good = sorted(self.fits[-3 * _ROUND_TRIALS :], key=_cost)[: _FINAL_TRIALS - 2]
        for point in [best, _next_point(self.fits, self.start, self.width), *(point for point, _ in good)]:
            self._try(point)
        return min(self.fits[-_FINAL_TRIALS:], key=_cost)[0]

    def _try_around(self, centre: FloatArray, count: int, width: float) -> None:
        for _ in range(count):
            noise = np.clip(self.generator.standard_normal(self.size), -2, 2)
            self._try(centre + width * self.width * noise)

    def _try(self, point: FloatArray) -> None:
        """Simulate a trial and store its errors."""
        # Statistics written by an earlier version lack some moments (NaN): these have no weight.
        self.fits.append((point, np.nan_to_num((self.trials.moments(point) - self.target) / self.error)))
        self.done += 1
        if self.on_trial is not None:
            self.on_trial(self.done, self.total)


def _empty_fraction(rows: Sequence[SmearStatistics]) -> float:
    """Return the fraction of the annotated smears without a cell."""
    counts = [row.count for row in rows if row.annotated]
    return sum(count == 0 for count in counts) / len(counts)


def _cost(fit: _Fit) -> float:
    return float((fit[1] ** 2).sum())


def _next_point(fits: Sequence[_Fit], start: FloatArray, width: FloatArray) -> FloatArray:
    """Return the point where the moments, regressed on the best trials, meet the real ones; its step is bounded."""
    size = len(start)
    points = np.array([(point - start) / width for point, _ in fits])
    errors = np.array([error for _, error in fits])
    costs = (errors**2).sum(axis=1) + _PRIOR_WEIGHT**2 * (points**2).sum(axis=1)
    best = np.argsort(costs, kind="stable")[: 3 * size]
    points, errors = points[best], errors[best]
    centre = points[:size].mean(axis=0)
    weights = np.exp(-0.5 * ((points - centre) ** 2).sum(axis=1) / size)[:, None]
    design = np.column_stack([points - centre, np.ones(len(points))])
    # Ridge regression: with hardly more trials than coordinates an unpenalised slope is mostly noise.
    gram = design.T @ (weights * design) + 0.3 * np.diag([1.0] * size + [0.0])
    solution = np.linalg.solve(gram, design.T @ (weights * errors))
    level, slope = solution[-1], solution[:-1]
    normal = slope @ slope.T + (_PRIOR_WEIGHT**2 + 0.1) * np.eye(size)
    step = -np.linalg.solve(normal, slope @ level + _PRIOR_WEIGHT**2 * centre)
    length = float(np.linalg.norm(step))
    return np.asarray(start + width * (centre + step * min(1.0, _MAX_STEP / max(length, 1e-9))))
