"""Reused buffers do not change a layout."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from layout_reference import as_rows, ellipses
from smearsynth.errors import DataError, OptionError
from smearsynth.layout import Workspace, ring_layout, uniform_layout
from smearsynth.shapes import ShapeLibrary


def test_the_same_seed_gives_the_same_layout_whatever_the_buffers():
    size, platelets = (300, 400), ellipses([(3.5, 3)])
    warm = Workspace(platelets)
    first = ring_layout(size, 1500, platelets, cell_size=8, rng=11)  # grows its buffers on the way
    for _ in range(2):
        again = ring_layout(size, 1500, warm, cell_size=8, rng=np.random.default_rng(11))
        assert np.array_equal(as_rows(first), as_rows(again))
    other = ring_layout(size, 1500, warm, cell_size=8, rng=12)
    assert first.placed == other.placed == 1500
    assert not np.array_equal(as_rows(first), as_rows(other))
    # Neighbouring seeds give unrelated streams, not shifted copies of one.
    starts = [ring_layout(size, 40, warm, cell_size=8, rng=seed).x for seed in range(6)]
    for one, next_one in pairwise(starts):
        assert len(np.intersect1d(one, next_one)) < 20


def test_an_empty_class_and_an_empty_library_are_named():
    library = ellipses([(5, 5)], [0], ("red", "white"))
    with pytest.raises(OptionError, match="white"):
        uniform_layout((60, 80), 3, library, mix=(0.9, 0.1), rng=1)
    with pytest.raises(DataError, match="needs at least one cell"):
        Workspace(ShapeLibrary(np.zeros((0, 64, 2), np.float32), np.zeros(0, np.int64)))
    with pytest.raises(DataError, match="16384"):
        Workspace(ellipses([(20_000, 3)]))
