"""Structure of smears in measures that can be checked by eye: overlaps, cuts in outlines, particles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.shapes.completion import cut_length
from smearsynth.shapes.contours import contour_of_outline, trace
from smearsynth.shapes.overlaps import find_overlaps
from smearsynth.smear import Smear
from smearsynth.statistics.patterns import contact_fractions
from smearsynth.synthesis.acquisition.particles import find_particles

STRUCTURE_MEASURES = (
    "overlap darkness",
    "overlapping cells",
    "isolated cells with a cut",
    "particles per 100 cell areas",
)
_ISOLATION = 0.3  # diameters between an isolated cell and the next one
_MIN_AREA = 0.1  # of the square of the diameter: smaller cells are specks

FloatArray = npt.NDArray[np.float64]


def structure(smear: Smear, diameter: float) -> FloatArray:
    """Measure overlaps, cuts and particles of one smear.

    Overlap darkness is the mean grey level of the single cells beside an overlap minus that of the overlap. The
    whole outlines are completed from the labels in the same way for real and synthetic smears. Overlapping cells
    are those with a contact longer than half a diameter. A cut is a straight or concave part of an outline between
    two corners. In isolated cells it is a remainder of a cell that another one hid, or a real bite. Particles are
    objects in the background without annotation, per 100 areas of a median cell.

    Parameters
    ----------
    smear : Smear
    diameter : float
        Of a median cell, px.

    Returns
    -------
    (4,) float64 array
        In the order of `STRUCTURE_MEASURES`. NaN for a measure that the smear does not have.
    """
    if not smear.count:
        return np.full(len(STRUCTURE_MEASURES), np.nan)
    background = int(smear.background().sum())
    cells = 100 * math.pi * diameter**2 / 4
    return np.array(
        [
            _overlap_darkness(smear, diameter),
            contact_fractions(smear.labels, smear.count, diameter)[1],
            _cut_fraction(smear, diameter),
            cells * len(find_particles(smear)) / background if background > cells / 100 else math.nan,
        ]
    )


def _overlap_darkness(smear: Smear, diameter: float) -> float:
    """Return the mean darkness of the overlaps of a smear in grey levels; NaN without any."""
    grey = smear.image.mean(axis=2, dtype=np.float64)
    levels = [overlap.levels(grey) for overlap in find_overlaps(smear, diameter)]
    differences = [single - both for both, single in levels]
    return float(np.mean(differences)) if differences else math.nan


def _cut_fraction(smear: Smear, diameter: float) -> float:
    """Return the fraction of the isolated whole cells with a cut; NaN without isolated cells."""
    incomplete = smear.incomplete()
    reach = max(1, round(_ISOLATION * diameter))
    cuts = []
    for label, (x0, y0, x1, y1) in enumerate(smear.boxes().tolist(), start=1):
        if incomplete[label - 1]:
            continue
        window = smear.labels[max(y0 - reach, 0) : y1 + reach, max(x0 - reach, 0) : x1 + reach]
        cell = window == label
        if cell.sum() < _MIN_AREA * diameter**2:
            continue
        others = (window > 0) & ~cell
        if others.any() and ndimage.distance_transform_edt(~cell)[others].min() <= reach:
            continue
        cuts.append(cut_length(contour_of_outline(trace(cell)[0])[0]) > 0)
    return float(np.mean(cuts)) if cuts else math.nan
