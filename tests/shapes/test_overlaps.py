"""Overlaps of annotated cells are found where the completed outlines intersect."""

import numpy as np
import pytest

from smearsynth.shapes.overlaps import find_overlaps
from smearsynth.smear import Smear

RADIUS = 20


def overlapping_discs(distance, absorbance=(0.4, 0.4), visibility=1.0):
    """Two discs whose labels are divided halfway; their image by the product of transmittances."""
    rows, columns = np.mgrid[:100, :140]
    first = (rows - 50) ** 2 + (columns - 45) ** 2 <= RADIUS**2
    second = (rows - 50) ** 2 + (columns - 45 - distance) ** 2 <= RADIUS**2
    labels = np.where(first & (columns < 45 + distance / 2), 1, np.where(second, 2, np.where(first, 1, 0)))
    depth = np.maximum(first * absorbance[0], second * absorbance[1])
    depth = depth + visibility * np.minimum(first * absorbance[0], second * absorbance[1])
    image = np.rint(200 * np.exp(-depth))[..., None].repeat(3, axis=2).astype(np.uint8)
    return Smear(image, labels.astype(np.int32), np.array([0, 0])), first & second


def test_the_overlap_is_the_lens_of_both_discs():
    smear, lens = overlapping_discs(28)
    (overlap,) = find_overlaps(smear, 2 * RADIUS)
    found = np.zeros(lens.shape, bool)
    rows, columns = overlap.both.shape
    found[overlap.top :, overlap.left :][:rows, :columns] = overlap.both
    assert (found & ~lens).sum() <= 0.05 * lens.sum()
    assert found.sum() > 0.5 * lens.sum()  # away from its rim
    single = np.zeros(lens.shape, bool)
    single[overlap.top :, overlap.left :][:rows, :columns] = overlap.single
    assert not (single & lens).any()
    assert (smear.labels[single] > 0).all()


@pytest.mark.parametrize("distance", [41, 60])
def test_discs_that_do_not_overlap_have_none(distance):
    assert find_overlaps(overlapping_discs(distance)[0], 2 * RADIUS) == []


def test_a_smear_without_cells_has_none():
    empty = Smear(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.int32), np.array([], int))
    assert find_overlaps(empty, 10.0) == []
