from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.confidence import rate_cells
from smearsynth.annotation.image_cells import VisibleCells, find_visible_cells
from smearsynth.smear import LabelArray

DISCS = [(40, 40, 17), (100, 42, 17), (40, 100, 17), (100, 100, 17)]


@pytest.fixture(scope="module")
def cells() -> VisibleCells:
    return find_visible_cells(analytic_smear((140, 140), DISCS).image, 34)


def rate(labels: LabelArray, cells: VisibleCells) -> np.ndarray:
    n = int(labels.max())
    return rate_cells(labels, cells, np.ones(n), np.ones(n, bool))


def test_whole_cells_are_certain(cells: VisibleCells) -> None:
    assert (rate(cells.labels, cells) > 0.95).all()


def test_wrong_outlines_are_the_least_certain(cells: VisibleCells) -> None:
    y, x = np.mgrid[:140, :140]
    half = np.where((cells.labels == 1) & (x > DISCS[0][0]), 0, cells.labels).astype(np.int32)
    star = cells.labels.copy()
    star[(np.abs(x - 40) < 3) & (y < 60) & (star == 0)] = star[40, 40]
    shifted = np.roll(cells.labels, 12, axis=1)
    for labels, k in ((half, half[40, 32] or 1), (star, star[40, 40])):
        ratings = rate(labels, cells)
        assert ratings[k - 1] == ratings.min()
        assert 1 - ratings[k - 1] > 20 * (1 - np.median(ratings))
    assert rate(shifted, cells).max() < rate(cells.labels, cells).min()


def test_labels_without_evidence_and_marks_are_less_certain(cells: VisibleCells) -> None:
    n = int(cells.labels.max())
    usual = rate(cells.labels, cells)
    assert (rate_cells(cells.labels, cells, np.zeros(n), np.ones(n, bool)) < usual).all()
    assert (rate_cells(cells.labels, cells, np.ones(n), np.zeros(n, bool)) < usual).all()


def test_a_cell_that_does_not_fill_its_box_is_less_certain(cells: VisibleCells) -> None:
    n = int(cells.labels.max())
    fitting = np.array([[x - r, y - r, x + r, y + r] for x, y, r in DISCS], float)
    order = [int(cells.labels[y, x]) - 1 for x, y, _ in DISCS]
    boxes = np.empty((n, 4))
    boxes[order] = fitting
    good = rate_cells(cells.labels, cells, np.ones(n), np.ones(n, bool), boxes)
    boxes[0, 2:] += 30
    bad = rate_cells(cells.labels, cells, np.ones(n), np.ones(n, bool), boxes)
    assert bad[0] < good[0]
    assert bad[1:] == pytest.approx(good[1:])


def test_no_cells(cells: VisibleCells) -> None:
    nothing = np.zeros_like(cells.labels)
    assert rate_cells(nothing, cells, np.zeros(0), np.zeros(0, bool)).shape == (0,)
