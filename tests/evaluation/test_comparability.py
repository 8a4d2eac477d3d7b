"""Checks before a comparison: cell sizes, scales, and folders that are open already."""

from pathlib import Path

import numpy as np
import pytest

from evaluation_smears import DIAMETER, without_cells
from smears import analytic_smear, unannotated
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.comparability import (
    check_cell_sizes,
    folder_of,
    median_diameter,
    name_of,
    open_data,
    scale_of,
)
from smearsynth.smear import Smear


def test_a_path_is_opened_and_an_open_folder_stays_as_it_is(smear_folder):
    smears = open_smears(smear_folder, scale=0.5)
    assert open_data(smears) is smears
    assert len(open_data(smears, limit=2)) == len(open_data(smear_folder, limit=2)) == 2
    assert open_data(str(smear_folder)).root == Path(smear_folder)
    for data in (smears, smear_folder):
        with pytest.raises(OptionError, match="limit must be at least 1"):
            open_data(data, limit=0)


def test_the_median_diameter_is_that_of_whole_cells(smears):
    assert median_diameter(smears) == pytest.approx(DIAMETER, rel=0.1)
    assert median_diameter([smear.resized(2) for smear in smears]) == pytest.approx(2 * DIAMETER, rel=0.1)
    with pytest.raises(DataError, match="no whole cell"):
        median_diameter([without_cells(smears[0])])


@pytest.mark.parametrize(("real", "synthetic"), [(40, 61), (61, 40)])
def test_cells_of_another_size_are_refused_with_the_scale_to_use(real, synthetic):
    with pytest.raises(DataError, match=f"--scale {0.5 * synthetic / real:.2g}"):
        check_cell_sizes(real, synthetic, 0.5)
    check_cell_sizes(40, 59)


def test_facts_of_a_folder_do_not_need_its_images(smear_folder, smears):
    folder = open_smears(smear_folder, scale=0.5)
    assert (folder_of(folder), scale_of(folder), name_of(folder, 1)) == (smear_folder, 0.5, "smear-01")
    assert (folder_of(smears), scale_of(smears), name_of(smears, 1)) == (None, 1.0, "smear-01")
    assert np.isclose(scale_of(folder[2:]), 0.5)


def test_cells_at_an_ignored_region_do_not_count_for_the_diameter():
    smear = analytic_smear((60, 100), [(20, 30, 8), (70, 30, 16)])
    cut = np.where(np.arange(100) < 62, smear.labels, 0)
    ignored = np.broadcast_to(np.arange(100) >= 62, smear.shape).copy()
    marked = Smear.from_labels(smear.image, cut, ignored=ignored)
    assert median_diameter([marked, unannotated(smear)]) == pytest.approx(16, rel=0.05)
