"""Moments that contact parameters are fitted to: of real smears from their statistics, of layouts from labels.

One pass over the labels finds areas, centres and contacts. The moments are then computed by the code of
`smearsynth.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.contact.parameters import FloatArray
from smearsynth.layout.kernels.compiled import kernel
from smearsynth.statistics import SmearStatistics, patterns

_MAX_NEIGHBOURS = 64  # contacts stored per cell
# Bin edges in tenths of a diameter. Hardly any cell has a neighbour within half a diameter.
_NEAREST_EDGES = (0, 6, 7, 8, 9, 10, 11, 12, 14, 17)
_PAIR_EDGES = (4, 6, 8, 9, 10, 11, 12, 14, 18, 24, 32, 40)
_CLUSTER_SIZES = (3, 4, 5)
# Smallest standard errors: of nearest-neighbour fractions and of the pair correlation (few pairs are nearer than a
# diameter, but deep overlaps show in them), then of touching, its deviation, clusters, empty areas and long
# contacts.
_MIN_NEAREST_ERROR = 0.005
_MIN_PAIR_ERRORS = [0.005, 0.01, 0.02, *[0.03] * (len(_PAIR_EDGES) - 4)]
_MIN_EMPTY_ERRORS = [0.003, 0.003, 0.002, 0.002, 0.001, 0.001]
_MIN_CONTACT_ERRORS = [0.01] * len(patterns.CONTACT_LENGTHS)
_MIN_FRACTION_ERRORS = [0.01, 0.015, 0.004, 0.002, 0.002, *_MIN_EMPTY_ERRORS, *_MIN_CONTACT_ERRORS]


@dataclass(frozen=True)
class FieldMoments:
    """Moments of one field, real or synthetic.

    Parameters
    ----------
    count : int
        Number of cells.
    diameter, spread : float
        Mean diameter of the whole cells in px, and their standard deviation over the mean; NaN without such cells.
    touching : float
        Fraction of the cells that touch another.
    nearest : (BINS,) float64 array
        Histogram of the nearest-neighbour distances, in bins of a tenth of the mean diameter.
    pairs : (BINS,) float64 array
        Pair correlation; NaN where undefined.
    clustered : (3,) float64 array
        Number of cells in clusters of at least 3, 4 and 5.
    cut : float
        Fraction of the cells that the border cuts.
    empty : (6,) float64 array
        Fraction of the field farther from any cell than each of `EMPTY_DISTANCES`; NaN if unknown.
    contacts : (3,) float64 array
        Fraction of the cells with a contact longer than each of `CONTACT_LENGTHS`; NaN if unknown.
    """

    count: int
    diameter: float
    spread: float
    touching: float
    nearest: FloatArray
    pairs: FloatArray
    clustered: FloatArray
    cut: float
    empty: FloatArray
    contacts: FloatArray

    @classmethod
    def from_statistics(cls, row: SmearStatistics) -> FieldMoments:
        """Return the moments of a real smear."""
        sizes = np.array(list(row.cluster_sizes), np.int64)
        cells = sizes * np.array(list(row.cluster_sizes.values()), np.int64)
        return cls(
            row.count,
            row.cell_diameter.mean,
            row.cell_diameter.std / row.cell_diameter.mean if row.cell_diameter.n else math.nan,
            row.touching_fraction,
            np.array(row.nearest_histogram, np.float64),
            np.array(row.pair_correlation, np.float64),
            np.array([cells[sizes >= size].sum() for size in _CLUSTER_SIZES], np.float64),
            row.border_fraction,
            np.array(row.empty_fractions or [math.nan] * len(patterns.EMPTY_DISTANCES), np.float64),
            np.array(row.contact_fractions or [math.nan] * len(patterns.CONTACT_LENGTHS), np.float64),
        )

    @classmethod
    def from_labels(cls, labels: npt.NDArray[np.integer[Any]], count: int) -> FieldMoments:
        """Return the moments of labels (H, W) with the cells 1..count.

        Examples
        --------
        >>> labels = np.zeros((20, 30), np.int32)
        >>> labels[4:10, 4:10], labels[10:16, 10:16] = 1, 2
        >>> moments = FieldMoments.from_labels(labels, 2)
        >>> moments.touching, round(moments.diameter, 2)
        (1.0, 6.77)
        """
        return measure_field(labels, count).moments


class FieldMeasurement(NamedTuple):
    """The moments of a field and the measurements of its cells.

    Parameters
    ----------
    moments : FieldMoments
    areas : (n,) int64 array
        In px².
    cut : (n,) bool array
        Whether the border cuts the cell.
    groups : (n,) int64 array
        Number of cells in the cluster of each cell.
    """

    moments: FieldMoments
    areas: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]


def measure_field(labels: npt.NDArray[np.integer[Any]], count: int) -> FieldMeasurement:
    """Measure labels (H, W) with the cells 1..count."""
    sums = np.zeros((count + 1, 4), np.int64)
    neighbours = np.full((count + 1, _MAX_NEIGHBOURS), -1, np.int32)
    _scan(labels, sums, neighbours)
    sums, neighbours = sums[1:], neighbours[1:]
    centres = sums[:, 1:3] / np.maximum(sums[:, :1], 1)
    whole = sums[:, 3] == 0
    diameters = np.sqrt(4 * sums[whole, 0] / np.pi)
    mean = float(diameters.mean()) if len(diameters) else math.nan
    first, slot = np.nonzero(neighbours > 0)
    contacts = np.stack([neighbours[first, slot], first + 1], 1).astype(np.int64)
    groups = patterns.cluster_sizes(count, contacts)
    nearest = patterns.nearest_neighbours(centres, whole)
    moments = FieldMoments(
        count,
        mean,
        float(diameters.std(ddof=1)) / mean if len(diameters) > 1 else math.nan,
        float((groups > 1).mean()) if count else math.nan,
        np.array(patterns.distance_histogram(nearest, mean), np.float64),
        patterns.pair_correlation(centres, (labels.shape[1], labels.shape[0]), mean),
        np.array([(groups >= size).sum() for size in _CLUSTER_SIZES], np.float64),
        1 - float(whole.mean()) if count else math.nan,
        patterns.empty_fractions(labels, mean),
        _contact_fractions(labels, count, mean),
    )
    return FieldMeasurement(moments, sums[:, 0], ~whole, groups)


def _contact_fractions(labels: npt.NDArray[np.integer[Any]], count: int, diameter: float) -> FloatArray:
    """Return the result of `patterns.contact_fractions`, compiled: a fit measures thousands of fields."""
    if not count or not diameter > 0:
        return np.full(len(patterns.CONTACT_LENGTHS), math.nan)
    partners = np.zeros((count + 1, _MAX_NEIGHBOURS), np.int32)
    lengths = np.zeros((2, count + 1, _MAX_NEIGHBOURS), np.int32)
    _scan_contacts(labels, partners, lengths)
    squares = np.hypot(lengths[0], lengths[1])
    rows, slots = np.nonzero(partners)
    longest = np.zeros(count + 1)
    np.maximum.at(longest, rows, squares[rows, slots])
    np.maximum.at(longest, partners[rows, slots], squares[rows, slots])
    fractions: FloatArray = (longest[1:, None] > diameter * np.array(patterns.CONTACT_LENGTHS)).mean(axis=0)
    return fractions


@kernel
def _scan_contacts(labels: Any, partners: Any, lengths: Any) -> None:
    """Count, per pair of cells, the pixels that face each other along rows and columns, at most 1 px apart."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label > 0:
                for step in range(1, 3):
                    if x + step < width and labels[y, x + step] != 0:
                        _add_facing(partners, lengths[0], label, labels[y, x + step])
                        break
                for step in range(1, 3):
                    if y + step < height and labels[y + step, x] != 0:
                        _add_facing(partners, lengths[1], label, labels[y + step, x])
                        break


@kernel
def _add_facing(partners: Any, lengths: Any, first: int, second: int) -> None:
    if first == second:
        return
    high, low = max(first, second), min(first, second)
    for slot in range(partners.shape[1]):
        if partners[high, slot] == 0:
            partners[high, slot] = low
        if partners[high, slot] == low:
            lengths[high, slot] += 1
            return


@kernel
def _scan(labels: Any, sums: Any, neighbours: Any) -> None:
    """Fill, per label, area, sum of x, sum of y, pixels on the border; and the smaller labels it touches."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label > 0:
                sums[label, 0] += 1
                sums[label, 1] += x
                sums[label, 2] += y
                if x == 0 or y == 0 or x == width - 1 or y == height - 1:
                    sums[label, 3] += 1
                if x > 0 and labels[y, x - 1] != label:
                    _add_contact(neighbours, label, labels[y, x - 1])
                if y > 0:
                    for column in range(max(x - 1, 0), min(x + 2, width)):
                        if labels[y - 1, column] != label:
                            _add_contact(neighbours, label, labels[y - 1, column])


@kernel
def _add_contact(neighbours: Any, first: int, second: int) -> None:
    """Store a contact once, in the row of the larger label."""
    if second > 0:
        high, low = max(first, second), min(first, second)
        for k in range(neighbours.shape[1]):
            if neighbours[high, k] == low:
                return
            if neighbours[high, k] < 0:
                neighbours[high, k] = low
                return


def pool_moments(fields: Sequence[FieldMoments]) -> FloatArray:
    """Return the joint moments of several fields, (35,): the target of a fit.

    They are the fractions of nearest-neighbour distances and the pair correlation in bins, mean and standard
    deviation of the touching fraction between fields, the fractions of cells in clusters of at least 3, 4 and 5,
    and the mean fractions of empty area and of cells with long contacts.
    """
    nearest = np.add.reduceat(sum(field.nearest for field in fields), _NEAREST_EDGES)
    curves = np.stack([field.pairs for field in fields])
    weights = ~np.isnan(curves) * np.array([field.count for field in fields], np.float64)[:, None]
    total = np.maximum(weights.sum(axis=0), 1e-9)
    curve = (weights * np.nan_to_num(curves)).sum(axis=0) / total
    pairs = [curve[low:high].mean() for low, high in pairwise(_PAIR_EDGES)]
    touching = np.array([field.touching for field in fields])
    touching = touching[~np.isnan(touching)]
    cells = max(sum(field.count for field in fields), 1)
    spread = touching.std(ddof=1) if len(touching) > 1 else 0.0
    return np.concatenate(
        [
            nearest / max(nearest.sum(), 1),
            pairs,
            [touching.mean() if len(touching) else 0.0, spread],
            sum(field.clustered for field in fields) / cells,
            np.mean([field.empty for field in fields], axis=0),
            np.mean([field.contacts for field in fields], axis=0),
        ]
    )


def fill_unknown_empty(fields: Sequence[FieldMoments]) -> list[FieldMoments]:
    """Replace unknown fractions of empty area by the mean of the fields where they are known.

    They are unknown where no annotated point is far enough from the ignored pixels. Without the replacement, one
    such smear would take them out of the fit.
    """
    values = np.stack([field.empty for field in fields])
    known = ~np.isnan(values)
    if known.all():
        return list(fields)
    counts = known.sum(axis=0)
    means = np.where(counts > 0, np.nan_to_num(values).sum(axis=0) / np.maximum(counts, 1), math.nan)
    filled = np.where(known, values, means)
    return [replace(field, empty=row) for field, row in zip(fields, filled, strict=True)]


def standard_errors(fields: Sequence[FieldMoments], draws: int = 100) -> FloatArray:
    """Return the standard errors of `pool_moments`, (35,), by a bootstrap over the fields.

    They have a lower limit: a fit does not need to be more accurate. The same fields give the same result.
    """
    generator = np.random.default_rng(0)
    n = len(fields)
    limits = np.concatenate(
        [np.full(len(_NEAREST_EDGES), _MIN_NEAREST_ERROR), _MIN_PAIR_ERRORS, _MIN_FRACTION_ERRORS]
    )
    if n < 3:
        return 3 * limits
    samples = [pool_moments([fields[k] for k in generator.integers(n, size=n)]) for _ in range(draws)]
    return np.asarray(np.maximum(np.std(samples, axis=0), limits))
