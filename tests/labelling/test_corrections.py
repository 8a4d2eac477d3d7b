from __future__ import annotations

import numpy as np

from smears import analytic_smear
from smearsynth.labelling.corrections import merge_corrections

PRESENT = analytic_smear((60, 90), [(20, 20, 9), (50, 20, 9), (70, 40, 9)]).labels


def test_cells_that_differ_by_rounding_keep_their_present_pixels() -> None:
    correction = PRESENT.copy()
    rows, columns = np.nonzero(PRESENT == 1)
    correction[rows[0], columns[0]] = 0
    correction[correction == 3] = 9
    merged = merge_corrections(PRESENT, correction)
    assert (merged.labels == PRESENT).all()
    assert merged.present.tolist() == [1, 2, 3]


def test_only_changed_new_and_removed_cells_change() -> None:
    correction = analytic_smear((60, 90), [(20, 20, 9), (50, 20, 6), (20, 45, 7)]).labels
    merged = merge_corrections(PRESENT, correction)
    assert merged.present.tolist() == [1, 0, 0]
    assert ((merged.labels == 1) == (PRESENT == 1)).all()
    for k in (2, 3):
        assert ((merged.labels == k) == (correction == k)).all()
    assert (merged.labels[PRESENT == 3] == 0).all()


def test_a_changed_cell_is_not_overwritten_by_an_unchanged_neighbour() -> None:
    present = np.zeros((30, 60), np.int32)
    present[5:25, 5:25], present[5:25, 25:45] = 1, 2
    correction = present.copy()
    correction[5:25, 5:25] = 1
    correction[5:25, 25:26] = 0
    correction[8:12, 24:25] = 3  # a new cell on the border of cell 1
    merged = merge_corrections(present, correction)
    assert (merged.labels[8:12, 24] == 3).all()


def test_no_cells_in_either() -> None:
    empty = np.zeros((5, 5), np.int32)
    assert merge_corrections(empty, empty).present.tolist() == []
    assert merge_corrections(PRESENT, np.zeros_like(PRESENT)).labels.max() == 0
