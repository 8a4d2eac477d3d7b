from __future__ import annotations

import numpy as np
import pytest

from smearsynth.annotation.regions import fill_holes, hull_area, largest_component, measure_shape, resize_labels


def disc(size: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_the_hull_of_a_rectangle_is_the_rectangle() -> None:
    mask = np.zeros((9, 12), bool)
    mask[2:6, 3:11] = True
    assert hull_area(mask) == 32


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_the_hull_of_pixels_on_one_line(shape: tuple[int, int]) -> None:
    assert hull_area(np.ones(shape, bool)) == shape[0] * shape[1]


def test_the_hull_of_two_distant_pixels_spans_the_gap() -> None:
    mask = np.zeros((1, 10), bool)
    mask[0, [0, 9]] = True
    assert hull_area(mask) == 10


def test_a_disc_is_convex_and_elliptic() -> None:
    shape = measure_shape(disc(60, 30, 30, 20))
    assert shape.area == pytest.approx(np.pi * 400, rel=0.02)
    assert shape.solidity > 0.95
    assert shape.ellipse_fit > 0.98
    assert shape.elongation == pytest.approx(1, abs=0.02)


def test_two_touching_discs_are_less_convex_than_one() -> None:
    pair = disc(90, 25, 40, 18) | disc(90, 58, 40, 18)
    shape = measure_shape(pair)
    assert shape.solidity < 0.93
    assert shape.elongation > 1.7


def test_the_component_with_the_core_is_selected() -> None:
    mask = np.array([[True, False, True, True]])
    core = np.array([[True, False, False, False]])
    assert largest_component(mask, core).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("scale", [0.5, 2.0, 2.5])
def test_labels_keep_their_areas_and_leave_no_gap_when_resized(scale: float) -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[disc(60, 20, 30, 12)] = 1
    labels[disc(60, 40, 30, 12) & (labels == 0)] = 2
    resized = resize_labels(labels, (round(60 * scale), round(60 * scale)))
    for k in (1, 2):
        assert (resized == k).sum() == pytest.approx((labels == k).sum() * scale**2, rel=0.06)
    row = resized[round(30 * scale), round(15 * scale) : round(45 * scale)]
    assert (row > 0).all()


def test_labels_of_the_same_size_are_unchanged() -> None:
    labels = np.eye(5, dtype=np.int32)
    assert (resize_labels(labels, (5, 5)) == labels).all()


def test_pallor_that_one_cell_encloses_is_filled_but_not_the_gap_between_cells() -> None:
    labels = np.zeros((20, 40), np.int32)
    labels[2:12, 2:12], labels[5:9, 5:9] = 1, 0
    labels[2:12, 20:30], labels[2:12, 30:38] = 2, 3
    labels[5:9, 28:32] = 0  # enclosed by two cells together
    filled = fill_holes(labels)
    assert (filled[2:12, 2:12] == 1).all()
    assert (filled[5:9, 28:32] == 0).all()
    assert (labels[5:9, 5:9] == 0).all()
