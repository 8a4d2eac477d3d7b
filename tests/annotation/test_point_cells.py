from __future__ import annotations

import numpy as np

from smears import analytic_smear
from smearsynth.annotation.image_cells import find_visible_cells
from smearsynth.annotation.point_cells import cells_at_points, median_spacing, usable_points

DISCS = [(40, 40, 17), (66, 42, 17), (110, 50, 17)]


def test_each_point_gets_the_cell_that_it_is_in() -> None:
    field = analytic_smear((90, 150), DISCS)
    result = cells_at_points(find_visible_cells(field.image, 34), np.array([[112.0, 44], [34, 46]]))
    assert result.labels[50, 110] == 1
    assert result.labels[40, 40] == 2
    assert result.labels[42, 70] == 0
    assert result.unclaimed.sum() == 1


def test_a_point_beside_a_cell_gets_this_cell() -> None:
    field = analytic_smear((90, 150), DISCS)
    result = cells_at_points(find_visible_cells(field.image, 34), np.array([[110.0, 72]]))
    assert result.labels[50, 110] == 1
    assert result.quality[0] == 1


def test_a_point_on_background_gets_a_disc() -> None:
    field = analytic_smear((90, 200), DISCS)
    result = cells_at_points(find_visible_cells(field.image, 34), np.array([[170.0, 45]]))
    assert result.quality[0] < 0.5
    assert abs((result.labels == 1).sum() / (np.pi * 17**2) - 1) < 0.2


def test_points_at_one_place_count_once() -> None:
    points = np.array([[5.0, 5], [5.5, 5], [5, 5], [15, 5]])
    assert usable_points(points, (20, 20), 2.0).tolist() == [True, False, False, True]
    assert usable_points(np.zeros((0, 2)), (20, 20), 2.0).tolist() == []


def test_the_spacing_needs_two_points() -> None:
    assert median_spacing(np.array([[1.0, 2.0]])) is None
    assert median_spacing(np.array([[0.0, 0], [3, 4]])) == 5
