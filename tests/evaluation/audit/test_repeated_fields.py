"""Repeated fields: several cells in their places prove a copy, single cells and other arrangements do not."""

import numpy as np
import pytest

from smearsynth.evaluation.audit.descriptors import CellDescriptors, NearestCells
from smearsynth.evaluation.audit.repeated_fields import find_repeated_fields

DIAMETER = 20.0
POINTS = np.array([[10.0, 10], [50, 10], [50, 40], [90, 70], [20, 80]])


def find(points, positions, *, margin=1.0, rotation=0.0, mirrored=False):
    """Cells at `positions` whose nearest training cells are at `points`."""
    n = len(points)

    def cells(smear, centres):
        harmonics = np.zeros((n, 1, 1), np.complex64)
        return CellDescriptors(harmonics, np.full(n, smear), np.arange(1, n + 1), np.asarray(centres, float))

    margins = np.broadcast_to(margin, n).astype(float)
    nearest = NearestCells(np.arange(n), np.ones(n), margins, np.full(n, rotation), np.full(n, mirrored))
    return find_repeated_fields(cells(2, positions), nearest, cells(5, points), DIAMETER)


def test_a_shifted_field_is_found():
    (field,) = find(POINTS[:3], POINTS[:3] + 7)
    assert (field.smear, field.training, field.cells, field.rotation, field.mirrored) == (2, 5, 3, 0, False)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_rotated_field_is_found(mirrored):
    positions = POINTS * [1, -1] if mirrored else POINTS
    angle = np.deg2rad(30)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    (field,) = find(POINTS, positions @ matrix + 100, rotation=33.0, mirrored=mirrored)
    assert (field.cells, field.mirrored) == (5, mirrored)
    assert find(POINTS, positions @ matrix + 100, rotation=60.0, mirrored=mirrored) == []


def test_fewer_cells_or_margins_prove_nothing():
    assert find(POINTS[:2], POINTS[:2]) == []
    assert find(POINTS[:3], POINTS[:3], margin=0.1) == []
    assert find(POINTS[:3], POINTS[:3], margin=[1.0, 0.1, 0.1]) == []
    assert find(POINTS[:3], POINTS[:3], margin=[1.0, 1.0, 0.1])[0].cells == 3
    assert find(POINTS[:4], POINTS[:4], margin=0.1) == []
    assert find(POINTS, POINTS, margin=0.1)[0].cells == 5


def test_another_arrangement_is_no_copy():
    assert find(POINTS, POINTS[[0, 2, 4, 1, 3]]) == []
    assert find(np.repeat(POINTS[:1], 5, 0), POINTS) == []  # five copies of one cell
    assert find(POINTS[:0], POINTS[:0]) == []
