"""The paper's Figure 4: its maps are those of the recursion, and the file is complete."""

import numpy as np
import pytest
from PIL import Image

import layout_reference
from layout_reference import ellipses
from smearsynth.errors import DataError, OptionError
from smearsynth.layout import ring_layout
from smearsynth.layout.figure4 import probability_map, write_figure4

DISCS = ellipses([(7, 7), (8, 6)])


@pytest.mark.parametrize("placed", [0, 3, 4, 20])
def test_maps_are_those_of_the_recursion(placed):
    layout = ring_layout((90, 120), placed, DISCS, cell_size=14, n_init=4, rng=1)
    probabilities = probability_map(layout, cell_size=14, n_init=4)
    centres = np.stack([layout.x, layout.y], 1)
    expected = layout_reference.probability_map((90, 120), placed + 1, 4, centres, 14)
    assert np.allclose(probabilities, expected, rtol=1e-5, atol=1e-12)


def test_the_figure_is_written_completely(tmp_path):
    path = tmp_path / "figure.png"
    assert write_figure4((120, 160), (2, 8, 20), DISCS, cell_size=14, n_init=2, rng=1, path=path) == path
    with Image.open(path) as figure:
        assert figure.width > 1500
        assert np.asarray(figure.convert("L")).std() > 20
        assert figure.info["synthetic"] == "true"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("counts", [(5,), (5, 5), (9, 3), (-1, 4)])
def test_counts_must_increase(counts, tmp_path):
    with pytest.raises(OptionError, match="increasing"):
        write_figure4((120, 160), counts, DISCS, cell_size=14, rng=1, path=tmp_path / "no.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        write_figure4((60, 80), (1, 2), DISCS, cell_size=14, rng=1, path=tmp_path)
