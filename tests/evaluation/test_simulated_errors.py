"""Simulated label errors: each kind changes the labels as described, and says which label is wrong."""

import numpy as np
import pytest

from evaluation_smears import DIAMETER, SIZE
from smears import analytic_smear
from smearsynth.evaluation.simulated_errors import SIMULATED_ERRORS, simulate_errors
from smearsynth.smear import Smear


def simulate(kind, discs, seed=0):
    smear = analytic_smear(SIZE, discs)
    labels, errors = simulate_errors(smear, kind, DIAMETER, np.random.default_rng(seed))
    return smear, labels, errors


def test_a_deleted_cell_has_no_label():
    smear, labels, (error,) = simulate("deleted", ((30, 30, 9), (70, 70, 9)))
    assert error.label == 0
    assert (labels[error.unlabelled] == 0).all()
    assert error.unlabelled.sum() in smear.areas()
    assert (labels > 0).sum() == (smear.labels > 0).sum() - error.unlabelled.sum()


def test_an_added_label_is_on_background():
    smear, labels, (error,) = simulate("added", ((25, 25, 9),))
    assert error.label == 2
    assert (smear.labels[labels == 2] == 0).all()
    assert (labels[smear.labels == 1] == 1).all()
    assert not error.unlabelled.any()


def test_a_shifted_label_moves_by_half_a_diameter():
    smear, labels, (error,) = simulate("shifted", ((48, 48, 9),))
    assert error.label == 1
    before, after = (np.argwhere(array == 1).mean(axis=0) for array in (smear.labels, labels))
    assert np.hypot(*(after - before)) == pytest.approx(DIAMETER / 2, abs=1)
    assert np.array_equal(error.unlabelled, smear.labels == 1)


def test_a_swapped_label_has_another_size():
    smear, labels, (error,) = simulate("swapped", ((25, 25, 9), (65, 65, 12)))
    old, new = smear.areas()[error.label - 1], (labels == error.label).sum()
    assert not 2 / 3 < new / old < 1.5
    assert simulate("swapped", ((25, 25, 9), (65, 65, 9)))[2] == []  # no cell of another size


@pytest.mark.parametrize("kind", SIMULATED_ERRORS)
def test_cells_that_the_border_cuts_are_not_damaged(kind):
    smear, labels, errors = simulate(kind, ((2, 48, 9),))
    assert errors == []
    assert np.array_equal(labels, smear.labels)


def test_the_same_seed_simulates_the_same_errors():
    discs = ((20, 20, 9), (60, 25, 9), (30, 70, 12))
    assert np.array_equal(simulate("shifted", discs, 5)[1], simulate("shifted", discs, 5)[1])


def test_errors_are_outside_of_ignored_pixels():
    smear = analytic_smear(SIZE, ((20, 20, 9), (20, 70, 9)))
    ignored = np.zeros(SIZE, bool)
    ignored[:, 45:] = True
    ignored[79:] = True  # touches the second cell
    marked = Smear.from_labels(smear.image, smear.labels, ignored=ignored)
    for seed in range(8):
        labels, errors = simulate_errors(marked, "deleted", DIAMETER, np.random.default_rng(seed))
        assert [int(labels[20, 20]), len(errors)] == [0, 1]
        labels, errors = simulate_errors(marked, "added", DIAMETER, np.random.default_rng(seed))
        added = np.argwhere(labels == 3)
        assert not errors or not ignored[tuple(np.rint(added.mean(axis=0)).astype(int))]
