"""Colour and texture: every measure changes with what it measures."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation_smears import DIAMETER, blurred, noisy, without_cells
from smears import partly_annotated, random_smear, unannotated
from smearsynth.evaluation.realism.appearance import MEASURES, appearance, compare_appearance


def measures(smear):
    return dict(zip(MEASURES, appearance(smear, DIAMETER), strict=True))


def test_blur_and_noise_change_sharpness_and_grain():
    smear = random_smear(3)
    base, soft, rough = measures(smear), measures(blurred(smear, 2)), measures(noisy(smear, 10))
    assert soft["rim sharpness"] < 0.8 * base["rim sharpness"]
    assert soft["background grain"] < 0.5 * base["background grain"]
    assert rough["cell grain"] > 1.25 * base["cell grain"]
    assert base["cell green"] == pytest.approx(soft["cell green"], abs=5)


def test_a_smear_without_cells_has_no_measures():
    assert np.isnan(appearance(without_cells(random_smear(3)), DIAMETER)).all()


def test_the_offset_is_in_standard_deviations_of_the_real_smears():
    comparison = compare_appearance([np.full(12, v) for v in (1.0, 3.0)], [np.full(12, v) for v in (0.0, 1.0)])
    assert list(comparison) == list(MEASURES)
    assert comparison["cell red"].model_dump() == {
        "real": 2.0,
        "real_std": 1.0,
        "synthetic": 0.5,
        "synthetic_std": 0.5,
        "offset": -1.5,
        "real_interval": (1.0, 3.0),
    }
    assert not comparison["cell red"].is_inside


def test_a_single_smear_with_cells_is_not_compared(smears):
    rows = [appearance(smear, DIAMETER) for smear in (smears[4], *map(without_cells, smears[:4]))]
    assert compare_appearance(rows, rows) == {}


def test_ignored_pixels_are_no_background():
    smear = random_smear(3, (96, 200))
    half = partly_annotated(smear, 110)
    unmarked = replace(half, ignored=None)
    assert measures(half)["background green"] == pytest.approx(measures(smear)["background green"], abs=1)
    assert measures(unmarked)["background green"] < measures(half)["background green"] - 2
    assert np.isnan(appearance(unannotated(smear), DIAMETER)).all()
