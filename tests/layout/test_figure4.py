"""The figure that explains the layout, and its maps against the paper's recursion."""

import doctest

import numpy as np
import pytest
from PIL import Image

from layout_reference import ellipses, probability_map
from smearsynth.errors import OptionError
from smearsynth.layout import figure4 as explain
from smearsynth.layout import ring_layout
from smearsynth.layout.figure4 import write_figure4

DISCS = ellipses([(7, 7), (8, 6)])


@pytest.mark.parametrize("placed", [0, 3, 4, 20])
def test_maps_are_those_of_the_recursion(placed):
    laid = ring_layout((90, 120), placed, DISCS, cell_size=14, n_init=4, rng=1)
    found = explain.probability_map(laid, cell_size=14, n_init=4)
    centres = np.stack([laid.x, laid.y], 1)
    expected = probability_map((90, 120), placed + 1, 4, centres, 14)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-12)


def test_the_figure_is_written_whole(tmp_path):
    path = tmp_path / "figure.png"
    assert write_figure4((120, 160), (2, 8, 20), DISCS, cell_size=14, n_init=2, rng=1, path=path) == path
    with Image.open(path) as figure:
        assert figure.width > 1500
        assert np.asarray(figure.convert("L")).std() > 20
        assert figure.info["synthetic"] == "true"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("counts", [(5,), (5, 5), (9, 3), (-1, 4)])
def test_counts_must_rise(counts, tmp_path):
    with pytest.raises(OptionError, match="rising"):
        write_figure4((120, 160), counts, DISCS, cell_size=14, rng=1, path=tmp_path / "no.png")
    assert not list(tmp_path.iterdir())


def test_examples_run():
    found = doctest.testmod(explain)
    assert found.failed == 0
    assert found.attempted > 0
