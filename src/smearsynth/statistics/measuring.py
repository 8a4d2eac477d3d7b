"""Measurement of smears, one at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import Smear, touching_pairs
from smearsynth.statistics import patterns
from smearsynth.statistics.patterns import IntArray
from smearsynth.statistics.records import Colour, ColourSpread, DataStatistics, SmearStatistics, Spread

# Cells nearer to an ignored pixel than this many mean diameters have no nearest neighbour: it may lack a label.
_NEIGHBOUR_DISTANCE = 1.5


def measure(smears: Iterable[Smear], progress: Callable[[int], object] | None = None) -> DataStatistics:
    """Measure a data set, smear by smear; images are not stored.

    Parameters
    ----------
    smears : iterable of Smear
        Read once.
    progress : callable, optional
        Called after each smear with the number of smears measured.

    Returns
    -------
    DataStatistics

    Raises
    ------
    DataError
        If there is no smear.

    Examples
    --------
    >>> empty = Smear(np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8), np.int32), np.array([], int))
    >>> statistics = measure([empty])
    >>> statistics.count.mean, statistics.background_colour.mean, statistics.cell_width.n
    (0.0, (200.0, 200.0, 200.0), 0)
    """
    rows: list[SmearStatistics] = []
    for smear in smears:
        rows.append(measure_smear(smear))
        if progress is not None:
            progress(len(rows))
    return DataStatistics.from_rows(rows)


def measure_smear(smear: Smear) -> SmearStatistics:
    """Measure one smear.

    Parameters
    ----------
    smear : Smear

    Returns
    -------
    SmearStatistics

    Examples
    --------
    >>> labels = np.zeros((20, 30), np.int32)
    >>> labels[5:15, 5:15] = 1
    >>> row = measure_smear(Smear(np.zeros((20, 30, 3), np.uint8), labels, np.array([0]), name="field"))
    >>> row.count, row.cell_width.mean, row.cluster_sizes, row.coverage
    (1, 10.0, {1: 1}, 0.16666666666666666)
    """
    areas = smear.areas()
    height, width = smear.shape
    n = smear.count
    at_border, whole = smear.cut_by_border(), ~smear.incomplete()
    boxes = smear.boxes()[whole]
    diameter = Spread.of(np.sqrt(4 * areas[whole] / np.pi))
    centres = patterns.cell_centres(smear.labels, areas)
    sizes = patterns.cluster_sizes(n, touching_pairs(smear.labels))
    known = whole
    if smear.ignored is not None and n:
        known = whole & patterns.far_from(smear.ignored, centres, _NEIGHBOUR_DISTANCE * diameter.mean)
    nearest = patterns.nearest_neighbours(centres, known)
    cell_colour, cell_colour_std, background_colour = _colours(smear, areas)
    area = smear.annotated_area()
    return SmearStatistics(
        name=smear.name,
        width=width,
        height=height,
        um_per_px=smear.um_per_px,
        count=n,
        class_counts=_class_counts(smear, np.ones(n, bool)),
        class_touching=_class_counts(smear, sizes > 1),
        density=1e6 * n / area if area else math.nan,
        intensity=1e6 * n / _dilated_area(smear, diameter.mean) if area else math.nan,
        coverage=float(areas.sum() / area) if area else math.nan,
        cell_width=Spread.of(boxes[:, 2] - boxes[:, 0]),
        cell_height=Spread.of(boxes[:, 3] - boxes[:, 1]),
        cell_diameter=diameter,
        cell_colour=cell_colour,
        cell_colour_std=cell_colour_std,
        background_colour=background_colour,
        touching_fraction=float((sizes > 1).mean()) if n else math.nan,
        border_fraction=float(at_border.mean()) if n else math.nan,
        nearest=Spread.of(nearest),
        nearest_histogram=patterns.distance_histogram(nearest, diameter.mean),
        cluster_sizes={size: cells // size for size, cells in sorted(Counter(sizes.tolist()).items())},
        # Four decimals are finer than the noise of one smear and halve the file.
        pair_correlation=tuple(
            np.round(patterns.pair_correlation(centres, (width, height), diameter.mean, smear.ignored), 4).tolist()
        ),
        contact_fractions=tuple(np.round(patterns.contact_fractions(smear.labels, n, diameter.mean), 4).tolist()),
        empty_fractions=tuple(
            np.round(patterns.empty_fractions(smear.labels, diameter.mean, smear.ignored), 5).tolist()
        ),
    )


def _dilated_area(smear: Smear, diameter: float) -> float:
    """Return the area of the annotated part of a field dilated by a cell radius, px²."""
    height, width = smear.shape
    d = 0.0 if math.isnan(diameter) else diameter
    if smear.ignored is None:
        return width * height + (width + height) * d + math.pi * d**2 / 4  # Steiner's formula
    annotated = np.pad(~smear.ignored, math.ceil(d / 2) + 1)
    return float((ndimage.distance_transform_edt(~annotated) <= d / 2).sum())


def _colours(smear: Smear, areas: IntArray) -> tuple[Colour, Colour, Colour]:
    """Return mean and standard deviation over cells of their mean RGB, and the mean RGB of the background."""
    labels = smear.labels if smear.ignored is None else np.where(smear.ignored, len(areas) + 1, smear.labels)
    labels = labels.ravel()
    sums = np.stack(
        [np.bincount(labels, weights=smear.image[..., c].ravel(), minlength=len(areas) + 1) for c in range(3)],
        axis=1,
    )
    cells = ColourSpread.of(sums[1 : len(areas) + 1] / areas[:, None])
    pixels = smear.annotated_area() - int(areas.sum())  # of the background
    red, green, blue = (sums[0] / pixels).tolist() if pixels else (math.nan,) * 3
    return cells.mean, cells.std, (red, green, blue)


def _class_counts(smear: Smear, selected: npt.NDArray[np.bool_]) -> dict[str, int]:
    counts = np.bincount(smear.classes[selected], minlength=len(smear.class_names))
    return dict(zip(smear.class_names, counts.tolist(), strict=True))
