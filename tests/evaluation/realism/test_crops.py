"""Crops: within the field, disjoint, at cells of one size; their features by smear."""

import numpy as np
import pytest

from smears import unannotated
from smearsynth.errors import DataError
from smearsynth.evaluation.realism.crops import (
    CropFeatures,
    check_field_sizes,
    embed,
    random_crops,
    scale_to_cells,
)


def test_crops_are_in_the_field_and_do_not_overlap():
    index = np.arange(70 * 100, dtype=np.int64).reshape(70, 100)
    coded = np.stack([index % 251, index // 251, index * 0], axis=2).astype(np.uint8)
    crops = random_crops(coded, 32, 4, np.random.default_rng(0))
    values = crops[..., 0].astype(int) + 251 * crops[..., 1].astype(int)
    assert crops.shape == (4, 32, 32, 3)
    assert len(np.unique(values)) == values.size
    assert (np.diff(values, axis=2) == 1).all()  # neighbours stay neighbours


def test_cells_are_resized_to_one_size():
    assert [scale_to_cells(diameter) for diameter in (36.5, 40, 43.5)] == [1, 1, 1]  # near enough: pixels stay
    assert scale_to_cells(20) == 2
    assert scale_to_cells(100) == 0.4


def test_features_do_not_depend_on_the_magnification(features, smears):
    small = embed(smears[:4], 32, features, scale=2.0, rng=0)
    large = embed([smear.resized(2) for smear in smears[:4]], 32, features, rng=0)
    assert np.allclose(small.vectors, large.vectors, atol=1e-5)


def test_a_subset_numbers_its_smears_anew():
    crops = CropFeatures(np.arange(6.0)[:, None], np.array([0, 0, 1, 2, 2, 2]))
    subset = crops.subset(np.array([2, 0]))
    assert crops.count == 3
    assert subset.count == 2
    assert subset.vectors[:, 0].tolist() == [3, 4, 5, 0, 1]
    assert subset.smears.tolist() == [0, 0, 0, 1, 1]


def test_features_belong_to_their_smear(features, smears):
    done = []
    crops = embed(smears[:3], 32, features, max_crops=4, rng=5, on_smear=done.append)
    assert crops.smears.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert done == [1, 2, 3]
    first = embed(smears[:1], 32, features, max_crops=4, rng=5)
    assert np.allclose(first.vectors, crops.vectors[:4])
    assert not np.allclose(crops.vectors[:4], crops.vectors[4:8])


def test_small_and_absent_smears_are_refused(features, smears):
    check_field_sizes(smears, 96)
    check_field_sizes(smears, 192, scale=2.0)
    with pytest.raises(DataError, match=r"smear-00 \(96×96 px\) is smaller than a crop of 128 px"):
        embed(smears, 128, features)
    with pytest.raises(DataError, match=r"is smaller than a crop of 128 px \(64 px at cells of 40 px\)"):
        embed(smears, 64, features, scale=0.5)
    with pytest.raises(DataError, match="no smears"):
        embed([], 32, features)


def test_crops_of_ignored_places_are_left_out(features, smears):
    ignored = np.zeros((70, 100), bool)
    ignored[:, 40:] = True
    image = np.where(ignored[..., None], 255, 0).repeat(3, axis=2).astype(np.uint8)
    for seed in range(5):
        crops = random_crops(image, 32, 9, np.random.default_rng(seed), ignored)
        assert (crops.mean(axis=(1, 2, 3)) <= 0.25 * 255).all()
    assert len(random_crops(image, 32, 9, np.random.default_rng(0), np.ones((70, 100), bool))) == 0
    blank = unannotated(smears[0])
    crops = embed([smears[0], blank, smears[1]], 32, features, max_crops=4)
    assert crops.smears.tolist() == [0] * 4 + [1] * 4
    with pytest.raises(DataError, match="no smears with an annotated crop"):
        embed([blank], 32, features)
