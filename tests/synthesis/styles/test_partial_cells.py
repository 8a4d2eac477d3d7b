"""Exclusion of partial cells by their area relative to the median of their class."""

from __future__ import annotations

import numpy as np

from smearsynth.smear import Smear
from smearsynth.synthesis.styles.partial_cells import drop_partial_cells


def test_small_cells_of_a_class_are_dropped():
    labels = np.zeros((20, 40), np.int32)
    labels[:10, :10], labels[:10, 12:22], labels[:10, 24:34], labels[12:16, :10] = 1, 2, 3, 4
    labels[12:16, 12:18], labels[12:16, 20:26] = 5, 6
    smear = Smear(np.zeros((20, 40, 3), np.uint8), labels, np.array([0, 0, 0, 0, 1, 1]), ("red", "platelet"))
    styles, classes = drop_partial_cells(np.arange(7, dtype=np.float32)[:, None], smear)
    # Cell 4 is less than half of the median red cell; platelets are compared with platelets.
    assert styles.ravel().tolist() == [0, 1, 2, 3, 5, 6]
    assert classes.tolist() == [0, 0, 0, 1, 1]


def test_smear_without_cells():
    smear = Smear(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int32), np.array([], int))
    styles, classes = drop_partial_cells(np.zeros((1, 1), np.float32), smear)
    assert len(styles) == 1
    assert len(classes) == 0
