"""Positive controls: copies of whole cells of the smear that they name, altered."""

import numpy as np

from evaluation_smears import without_cells
from smearsynth.evaluation.audit.positive_controls import make_positive_controls, recolour


def test_copies_have_the_name_of_their_smear(training):
    copies = list(make_positive_controls(training, 9, np.random.default_rng(1)))
    assert len(copies) == 9
    assert {copy.name for copy in copies} <= {smear.name for smear in training}
    areas = {smear.name: smear.areas() for smear in training}
    for copy in copies:
        assert copy.count == 1
        assert np.abs(areas[copy.name] - copy.areas()[0]).min() < 0.05 * copy.areas()[0]


def test_a_smear_without_whole_cells_gives_no_copies(training):
    assert list(make_positive_controls([without_cells(training[0])], 5, np.random.default_rng(0))) == []


def test_recolouring_keeps_the_texture(training):
    image = training[0].image
    grey = image.mean(axis=2).ravel()
    changed = 0
    for seed in range(12):
        copy = recolour(image, np.random.default_rng(seed))
        changed += not np.array_equal(copy, image)
        assert abs(np.corrcoef(grey, copy.mean(axis=2).ravel())[0, 1]) > 0.9
    assert changed >= 10
