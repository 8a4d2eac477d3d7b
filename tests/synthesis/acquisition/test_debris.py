"""Debris: found where it lies, never on cells, and drawn as frequent and as large as it was."""

from __future__ import annotations

import numpy as np
import pytest

from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.debris import DebrisModel, find_debris


def smear(seed: int, spots: int, radius: float = 3.0, side: int = 160) -> Smear:
    """A noisy ground with one cell, and round dark spots off it."""
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


def test_spots_are_found_and_cells_are_not():
    given = smear(0, 4)
    found = find_debris(given.image, given.labels)
    assert not (found & (given.labels > 0)).any()
    assert found[80, 16]
    assert found[104, 16]
    assert 4 * 20 < found.sum() < 4 * 40


def test_a_clean_ground_has_none_and_no_ground_neither():
    clean = smear(1, 0)
    assert not find_debris(clean.image, clean.labels).any()
    assert not find_debris(clean.image, np.ones_like(clean.labels)).any()


def test_a_law_draws_as_many_blobs_of_the_size_it_saw():
    law = DebrisModel.fit([smear(k, spots) for k, spots in enumerate((2, 4, 6))])
    assert np.median(law.axes) == pytest.approx(3, abs=0.5)
    labels = np.zeros((160, 160), np.int32)
    labels[:80] = 1
    rng = np.random.default_rng(0)
    ground = int((smear(0, 0).labels == 0).sum())
    counts = [law.draw_count(ground, rng) for _ in range(400)]

    assert np.mean(counts) == pytest.approx(4, abs=0.5)
    assert not law.draw(labels, 30, 1)[:80].any()
    assert law.draw(labels, 30, 1)[80:].sum() > law.draw(labels, 3, 1)[80:].sum() > 0
    assert (law.draw(labels, 5, 2) == law.draw(labels, 5, 2)).all()
    assert (law.draw(labels, 5, 2) != law.draw(labels, 5, 3)).any()


def test_what_the_border_cuts_and_what_is_large_may_be_a_cell():
    cut = smear(0, 0)
    cut.image[60:72, :6] = 90
    large = smear(0, 1, radius=16)
    for given in (cut, large):
        assert find_debris(given.image, given.labels).any()
        assert len(DebrisModel.fit([given]).axes) == 0


def test_smears_without_debris_give_a_law_without():
    law = DebrisModel.fit([smear(0, 0)])
    assert law.draw_count(10**6, np.random.default_rng(0)) == 0
    assert not law.draw(np.zeros((9, 9), np.int32), 0, 0).any()
