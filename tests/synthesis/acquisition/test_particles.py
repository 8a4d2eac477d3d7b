"""Particles: those of a field are found, and drawn at the same rate outside the cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acquisition_fields import flat_smear
from smears import disc_mask, empty_smear
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.particles import (
    Particle,
    ParticleModel,
    absorption,
    find_particles,
    particle_absorbance,
)

SMEAR = flat_smear()
BETWEEN = [(x, y) for x in (64, 128) for y in (64, 128)]  # far from the nine cells
PLATELET = (150, 90, 160)


def with_platelets(places: list[tuple[int, int]], radius: float = 4) -> Smear:
    image = flat_smear(1, 1.0).image.copy()
    for x, y in places:
        image[disc_mask(SMEAR.labels.shape, (x, y, radius))] = PLATELET
    return replace(SMEAR, image=image)


def test_particles_are_found_with_size_and_colour() -> None:
    particles = find_particles(with_platelets(BETWEEN[:3]))
    assert len(particles) == 3
    for particle in particles:
        assert 2.5 < particle.semi_minor <= particle.semi_major < 5
        assert particle.green == pytest.approx(np.log(180 / 90), abs=0.2)
        assert particle.green > particle.red > particle.blue > 0


def test_a_clean_background_has_no_particles() -> None:
    assert find_particles(flat_smear(1, 1.0)) == []
    assert find_particles(empty_smear()) == []


def test_cells_particles_beside_them_and_ignored_pixels_are_not_found() -> None:
    assert find_particles(with_platelets([(32, 32), (32, 50)])) == []  # on a cell, and at its rim
    smear = with_platelets(BETWEEN)
    ignored = np.zeros(smear.labels.shape, bool)
    ignored[:, 96:] = True
    labels = np.where(ignored, 0, smear.labels).astype(np.int32)
    part = Smear.from_labels(smear.image, labels, ignored=ignored)
    assert len(find_particles(part)) == 2


def test_particles_in_focus_are_left_out_for_generators_that_paint_them() -> None:
    smear = with_platelets(BETWEEN)
    assert len(find_particles(smear)) == 4
    assert len(find_particles(smear, sharp=False)) == 0


def test_particles_are_drawn_at_the_measured_rate() -> None:
    smears = [with_platelets(BETWEEN), with_platelets(BETWEEN[:1]), with_platelets([])]
    model = ParticleModel.fit(smears)
    area = int(SMEAR.background().sum())
    rng = np.random.default_rng(0)
    means = [np.mean([model.draw_count(area, rng, number) for _ in range(400)]) for number in range(3)]
    np.testing.assert_allclose(means, [4, 1, 0], atol=0.35)
    assert np.mean([model.draw_count(3 * area, rng, 0) for _ in range(400)]) == pytest.approx(12, rel=0.1)
    particles = model.draw(50, 0, rng)
    assert {particle.green for particle in particles} <= set(model.particles[model.smears == 0, 4])
    assert len(model.draw(5, 2, rng)) == 5  # a smear without particles uses those of all
    assert model.draw(0, 0, rng) == []


def test_drawn_particles_are_found_again() -> None:
    """The rate is the same after a second measurement, up to particles that meet a cell, the border or another."""
    platelet = Particle(4.0, 3.5, 0.9, 0.3, 0.6, 0.15)
    counts = []
    for seed in range(6):
        image = Acquisition(particles=(platelet,) * 4, seed=seed).apply(SMEAR.image, SMEAR.labels)
        counts.append(len(find_particles(replace(SMEAR, image=image))))
    assert 0 < np.mean(counts) <= 4
    assert max(counts) <= 4


def test_particles_lie_centred_on_the_background_and_absorb_their_colour() -> None:
    free = SMEAR.labels == 0
    platelet = Particle(3.0, 2.0, 0.5, 0.2, 0.6, 0.1)
    for seed in range(20):
        planes = particle_absorbance([platelet], free, np.random.default_rng(seed))
        assert planes.shape == (3, *free.shape)
        y, x = np.unravel_index(planes[1].argmax(), free.shape)
        assert free[y, x]
        np.testing.assert_allclose(planes[:, y, x], [0.2, 0.6, 0.1], rtol=0.05)
    assert not particle_absorbance([platelet], np.zeros_like(free), np.random.default_rng(0)).any()
    assert not particle_absorbance([], free, np.random.default_rng(0)).any()


def test_cells_stay_as_they_are() -> None:
    particles = (Particle(3.0, 3.0, 0.5, 0.5, 0.5, 0.5),) * 30
    image = Acquisition(particles=particles, seed=2).apply(SMEAR.image, SMEAR.labels)
    changed = (image != SMEAR.image).any(axis=2)
    assert changed[SMEAR.labels == 0].mean() > 0.02
    inside = np.zeros_like(changed)
    for k in range(9):
        inside |= disc_mask(changed.shape, (32 + 64 * (k % 3), 32 + 64 * (k // 3), 8))
    assert not changed[inside].any()


def test_particles_that_the_generator_paints_are_not_drawn_again() -> None:
    few, many = (find_particles(with_platelets(BETWEEN[:n])) for n in (1, 4))
    assert absorption(many) == pytest.approx(4 * absorption(few), rel=0.1)
    model = ParticleModel(np.array([0.004]), np.zeros((0, 6)), np.zeros(0, np.int64))
    assert model.without_painted(absorption(many), absorption(few)).densities[0] == pytest.approx(0.003, rel=0.05)
    assert model.without_painted(absorption(few), absorption(many)).densities[0] == 0
