"""Structure: darkness and rate of overlaps, cuts and particles change with what they measure."""

import numpy as np
import pytest

from evaluation_smears import without_cells
from smears import random_smear
from smearsynth.evaluation.realism.structure import STRUCTURE_MEASURES, structure
from smearsynth.smear import Smear


def field(discs, specks=(), absorbance=0.4, visibility=1.0, cuts=()):
    """A field of discs (row, column, radius); labels of overlapping discs are divided halfway."""
    rows, columns = np.mgrid[:200, :300]
    distances = np.array([np.hypot(rows - y, columns - x) / r for y, x, r in discs])
    inside = distances <= 1
    labels = np.where(inside.any(axis=0), distances.argmin(axis=0) + 1, 0)
    for k, column in cuts:
        labels[(labels == k) & (columns > column)] = 0
    count = (inside & (labels > 0)).sum(axis=0)
    depth = absorbance * (np.minimum(count, 1) + visibility * np.maximum(count - 1, 0))
    image = np.rint(200 * np.exp(-depth)[..., None] * np.ones(3))
    for y, x in specks:
        image[y : y + 5, x : x + 5] = (140, 90, 140)
    return Smear(image.astype(np.uint8), labels.astype(np.int32), np.zeros(len(discs), int))


def measures(smear):
    return dict(zip(STRUCTURE_MEASURES, structure(smear, 40.0), strict=True))


PAIR = [(60, 60, 20), (60, 86, 20), (140, 150, 20), (140, 240, 20)]


def test_overlap_darkness_follows_the_absorbance_of_the_lower_cell():
    filters, opaque = measures(field(PAIR)), measures(field(PAIR, visibility=0.0))
    expected = 200 * (np.exp(-0.4) - np.exp(-0.8))
    assert filters["overlap darkness"] == pytest.approx(expected, rel=0.1)
    assert abs(opaque["overlap darkness"]) < 2
    assert filters["overlapping cells"] == 0.5


def test_isolated_cells_with_a_cut_are_counted():
    whole = [(60, 60, 20), (60, 160, 20), (140, 60, 20), (140, 160, 20)]
    assert measures(field(whole))["isolated cells with a cut"] == 0
    assert measures(field(whole, cuts=[(1, 66)]))["isolated cells with a cut"] == 0.25


def test_particles_are_counted_per_cell_area():
    specks = [(20, 200), (100, 20), (180, 250), (100, 280)]
    few, many = measures(field(PAIR, specks[:1])), measures(field(PAIR, specks))
    assert many["particles per 100 cell areas"] == pytest.approx(4 * few["particles per 100 cell areas"], rel=0.01)


def test_a_smear_without_cells_has_no_structure():
    assert np.isnan(structure(without_cells(random_smear(3)), 40.0)).all()
