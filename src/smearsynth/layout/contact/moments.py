"""The moments that a contact law is fitted to: of real smears from their statistics, of layouts from their labels.

One pass over the labels finds areas, centres and contacts; what is computed from them is the statistics' own code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.layout.contact.parameters import FloatArray
from smearsynth.layout.kernels.compiled import kernel
from smearsynth.statistics import SmearStatistics, patterns

_MOST_NEIGHBOURS = 64  # of one cell that are noted
# Edges in bins of a tenth of a diameter. Below half a diameter hardly any cell has a neighbour.
_NEAREST = (0, 6, 7, 8, 9, 10, 11, 12, 14, 17)
_PAIRS = (4, 6, 8, 9, 10, 11, 12, 14, 18, 24, 32, 40)
_CLUSTERS = (3, 4, 5)
# Errors of touching, its deviation, clusters, and empty areas.
_LEAST_SHARES = [0.01, 0.015, 0.004, 0.002, 0.002, 0.003, 0.003, 0.002, 0.002, 0.001, 0.001]


@dataclass(frozen=True)
class FieldMoments:
    """Of one field, real or laid out.

    Parameters
    ----------
    count : int
    diameter, spread : float
        Mean diameter of whole cells, px, and its deviation over its mean; NaN without one.
    touching : float
        Share of cells that touch another.
    nearest : (BINS,) float64 array
        Nearest-neighbour distances in bins of a tenth of the mean diameter, counted.
    pairs : (BINS,) float64 array
        Pair correlation; NaN where undefined.
    clustered : (3,) float64 array
        Cells in clusters of at least 3, 4 and 5.
    cut : float
        Share of cells cut by the border.
    empty : (6,) float64 array
        Share of the field farther from any cell than each of `EMPTY_DISTANCES`; NaN where not known.
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

    @classmethod
    def of_row(cls, row: SmearStatistics) -> FieldMoments:
        """Of a real smear."""
        sizes = np.array(list(row.cluster_sizes), np.int64)
        cells = sizes * np.array(list(row.cluster_sizes.values()), np.int64)
        return cls(
            row.count,
            row.cell_diameter.mean,
            row.cell_diameter.std / row.cell_diameter.mean if row.cell_diameter.n else math.nan,
            row.touching_fraction,
            np.array(row.nearest_histogram, np.float64),
            np.array(row.pair_correlation, np.float64),
            np.array([cells[sizes >= least].sum() for least in _CLUSTERS], np.float64),
            row.border_fraction,
            np.array(row.empty_fractions or [math.nan] * len(patterns.EMPTY_DISTANCES), np.float64),
        )

    @classmethod
    def of_labels(cls, labels: npt.NDArray[np.integer[Any]], count: int) -> FieldMoments:
        """Of painted labels (H, W) with the cells 1..count.

        Examples
        --------
        >>> labels = np.zeros((20, 30), np.int32)
        >>> labels[4:10, 4:10], labels[10:16, 10:16] = 1, 2
        >>> found = FieldMoments.of_labels(labels, 2)
        >>> found.touching, round(found.diameter, 2)
        (1.0, 6.77)
        """
        return measure_field(labels, count).moments


class MeasuredField(NamedTuple):
    """The moments of a field, and what they come from, cell by cell."""

    moments: FieldMoments
    areas: npt.NDArray[np.int64]  # (n,) px
    cut: npt.NDArray[np.bool_]  # (n,) whether the border cuts the cell
    groups: npt.NDArray[np.int64]  # (n,) size of the cluster it is in


def measure_field(labels: npt.NDArray[np.integer[Any]], count: int) -> MeasuredField:
    """Measure painted labels (H, W) with the cells 1..count."""
    sums = np.zeros((count + 1, 4), np.int64)
    near = np.full((count + 1, _MOST_NEIGHBOURS), -1, np.int32)
    _scan(labels, sums, near)
    sums, near = sums[1:], near[1:]
    centres = sums[:, 1:3] / np.maximum(sums[:, :1], 1)
    whole = sums[:, 3] == 0
    diameters = np.sqrt(4 * sums[whole, 0] / np.pi)
    mean = float(diameters.mean()) if len(diameters) else math.nan
    first, place = np.nonzero(near > 0)
    groups = patterns.cluster_sizes(count, np.stack([near[first, place], first + 1], 1).astype(np.int64))
    nearest = patterns.nearest_neighbours(centres, whole)
    moments = FieldMoments(
        count,
        mean,
        float(diameters.std(ddof=1)) / mean if len(diameters) > 1 else math.nan,
        float((groups > 1).mean()) if count else math.nan,
        np.array(patterns.distance_histogram(nearest, mean), np.float64),
        patterns.pair_correlation(centres, (labels.shape[1], labels.shape[0]), mean),
        np.array([(groups >= least).sum() for least in _CLUSTERS], np.float64),
        1 - float(whole.mean()) if count else math.nan,
        patterns.empty_fractions(labels, mean),
    )
    return MeasuredField(moments, sums[:, 0], ~whole, groups)


@kernel
def _scan(labels: Any, sums: Any, near: Any) -> None:
    """Fill, per label, area, sum of x, sum of y, pixels on the border; and the smaller labels it touches."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            if own > 0:
                sums[own, 0] += 1
                sums[own, 1] += x
                sums[own, 2] += y
                if x == 0 or y == 0 or x == width - 1 or y == height - 1:
                    sums[own, 3] += 1
                if x > 0 and labels[y, x - 1] != own:
                    _note(near, own, labels[y, x - 1])
                if y > 0:
                    for there in range(max(x - 1, 0), min(x + 2, width)):
                        if labels[y - 1, there] != own:
                            _note(near, own, labels[y - 1, there])


@kernel
def _note(near: Any, first: int, second: int) -> None:
    """Note a contact once, with the larger label."""
    if second > 0:
        high, low = max(first, second), min(first, second)
        for k in range(near.shape[1]):
            if near[high, k] == low:
                return
            if near[high, k] < 0:
                near[high, k] = low
                return


def pooled(fields: Sequence[FieldMoments]) -> FloatArray:
    """The moments of several fields together, (32,): what a law is fitted to.

    Shares of nearest-neighbour distances and pair correlation in bins, mean and deviation of the touching
    fraction between fields, shares of cells in clusters of at least 3, 4 and 5, mean shares of empty areas.
    """
    nearest = np.add.reduceat(sum(field.nearest for field in fields), _NEAREST)
    curves = np.stack([field.pairs for field in fields])
    weights = ~np.isnan(curves) * np.array([field.count for field in fields], np.float64)[:, None]
    total = np.maximum(weights.sum(axis=0), 1e-9)
    curve = (weights * np.nan_to_num(curves)).sum(axis=0) / total
    groups = [curve[low:high].mean() for low, high in pairwise(_PAIRS)]
    touching = np.array([field.touching for field in fields])
    touching = touching[~np.isnan(touching)]
    cells = max(sum(field.count for field in fields), 1)
    spread = touching.std(ddof=1) if len(touching) > 1 else 0.0
    return np.concatenate(
        [
            nearest / max(nearest.sum(), 1),
            groups,
            [touching.mean() if len(touching) else 0.0, spread],
            sum(field.clustered for field in fields) / cells,
            np.mean([field.empty for field in fields], axis=0),
        ]
    )


def uncertainty(fields: Sequence[FieldMoments], draws: int = 100) -> FloatArray:
    """Standard errors of `pooled`, (32,), by bootstrap over the fields; never below what a fit needs to reach.

    The draws are the same for the same fields.
    """
    generator = np.random.default_rng(0)
    n = len(fields)
    least = np.concatenate(
        # Few pairs are nearer than a diameter, but they are what deep overlaps show in.
        [np.full(len(_NEAREST), 0.005), [0.005, 0.01, 0.02], np.full(len(_PAIRS) - 4, 0.03), _LEAST_SHARES]
    )
    if n < 3:
        return 3 * least
    found = [pooled([fields[k] for k in generator.integers(n, size=n)]) for _ in range(draws)]
    return np.asarray(np.maximum(np.std(found, axis=0), least))
