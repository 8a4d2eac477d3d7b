"""Debris: segmentation, the distribution of density and size, and drawing new debris."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.debris import DebrisModel, find_debris


def spotted_smear(seed: int, spots: int, radius: float = 3.0, side: int = 160) -> Smear:
    """A smear with noise, one cell, and round dark spots in the background."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    labels[(y - 40) ** 2 + (x - 40) ** 2 < 20**2] = 1
    image = 200 + 2 * rng.standard_normal((side, side, 3))
    image[labels > 0] -= 60
    for k in range(spots):
        cy, cx = 80 + 24 * (k // 3), 16 + 48 * (k % 3)
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] -= 90
    return Smear(np.clip(image, 0, 255).astype(np.uint8), labels, np.array([0]))


def test_spots_are_debris_and_cells_are_not():
    smear = spotted_smear(0, 4)
    debris = find_debris(smear.image, smear.labels)
    assert not (debris & (smear.labels > 0)).any()
    assert debris[80, 16]
    assert debris[104, 16]
    assert 4 * 20 < debris.sum() < 4 * 40


def test_clean_background_and_field_without_background_have_no_debris():
    smear = spotted_smear(1, 0)
    assert not find_debris(smear.image, smear.labels).any()
    assert not find_debris(smear.image, np.ones_like(smear.labels)).any()


def test_count_and_size_follow_the_training_smears():
    model = DebrisModel.fit([spotted_smear(k, spots) for k, spots in enumerate((2, 4, 6))])
    assert np.median(model.axes) == pytest.approx(3, abs=0.5)
    rng = np.random.default_rng(0)
    area = int((spotted_smear(0, 0).labels == 0).sum())
    counts = [model.draw_count(area, rng) for _ in range(400)]
    assert np.mean(counts) == pytest.approx(4, abs=0.5)
    reference_counts = [model.draw_count(area, rng, reference=2) for _ in range(400)]
    assert np.mean(reference_counts) == pytest.approx(6, abs=0.5)


def test_mask_depends_on_the_seed_and_leaves_cells_free():
    model = DebrisModel.fit([spotted_smear(0, 4)])
    labels = np.zeros((160, 160), np.int32)
    labels[:80] = 1
    assert not model.draw(labels, 30, 1)[:80].any()
    assert model.draw(labels, 30, 1)[80:].sum() > model.draw(labels, 3, 1)[80:].sum() > 0
    assert (model.draw(labels, 5, 2) == model.draw(labels, 5, 2)).all()
    assert (model.draw(labels, 5, 2) != model.draw(labels, 5, 3)).any()


def test_blobs_at_the_border_and_large_blobs_are_not_fitted():
    at_border = spotted_smear(0, 0)
    at_border.image[60:72, :6] = 90
    large = spotted_smear(0, 1, radius=16)
    for smear in (at_border, large):
        assert find_debris(smear.image, smear.labels).any()
        assert len(DebrisModel.fit([smear]).axes) == 0


def test_smears_without_debris():
    model = DebrisModel.fit([spotted_smear(0, 0)])
    assert model.draw_count(10**6, np.random.default_rng(0)) == 0
    assert not model.draw(np.zeros((9, 9), np.int32), 0, 0).any()


def test_unlabelled_cells_in_ignored_pixels_are_no_debris():
    smear = spotted_smear(0, 4)
    ignored = np.zeros(smear.labels.shape, bool)
    ignored[96:] = True  # the fourth spot
    assert find_debris(smear.image, smear.labels)[96:].any()
    assert not find_debris(smear.image, smear.labels, ignored)[96:].any()
    assert find_debris(smear.image, smear.labels, ignored)[:90].any()
    half = replace(smear, ignored=ignored)
    three = DebrisModel.fit([half])
    assert len(three.axes) == 3
    assert three.densities[0] == pytest.approx(3 / half.background().sum())
    assert DebrisModel.fit([replace(smear, ignored=smear.labels == 0)]).densities.tolist() == [0]


def test_blobs_at_an_ignored_region_are_not_fitted():
    smear = spotted_smear(0, 1)  # at row 80
    ignored = np.zeros(smear.labels.shape, bool)
    ignored[86:] = True
    assert len(DebrisModel.fit([smear]).axes) == 1
    assert len(DebrisModel.fit([replace(smear, ignored=ignored)]).axes) == 0
