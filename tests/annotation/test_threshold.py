from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.threshold import smear_from_photograph, threshold_labels


def test_cells_are_separated_from_the_background() -> None:
    smear = analytic_smear(discs=[(20, 20, 9), (60, 44, 12)], noise=3.0)
    labels = threshold_labels(smear.image)
    assert labels.dtype == np.int32
    assert labels.max() == 2
    for k, area in enumerate(smear.areas(), 1):
        (ids,) = np.unique(labels[(smear.labels == k) & (labels > 0)])[None]
        assert len(ids) == 1
        assert (labels == ids[0]).sum() == pytest.approx(area, rel=0.15)


def test_touching_cells_are_one_instance() -> None:
    assert threshold_labels(analytic_smear().image).max() == 2  # three discs, two of which overlap


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_an_image_without_cells_has_no_instances(noise: float) -> None:
    assert not threshold_labels(analytic_smear(discs=[], noise=noise).image).any()


def test_small_dark_spots_are_removed() -> None:
    discs = [(15, 15, 9), (45, 15, 9), (15, 45, 9), (60, 50, 3)]
    assert threshold_labels(analytic_smear(discs=discs).image).max() == 3


def test_a_photograph_becomes_a_smear_of_one_class() -> None:
    image = analytic_smear().image
    smear = smear_from_photograph(image, "slide-1")
    assert (smear.name, smear.class_names, smear.classes.tolist()) == ("slide-1", ("cell",), [0, 0])
    assert (smear.labels == threshold_labels(image)).all()
