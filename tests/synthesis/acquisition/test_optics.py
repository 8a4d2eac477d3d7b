"""Optics: chromatic shift, compression and texture of smears are estimated, drawn and stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acquisition_fields import flat_smear
from smearsynth.formats.pixels.compression import compress
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.optics import Optics, OpticsModel, estimate_optics
from smearsynth.synthesis.acquisition.particles import ParticleModel
from smearsynth.synthesis.acquisition.texture import SIGMAS, Texture

SHIFT = (0.5, -0.8, -0.4, 0.6)
NO_LIGHT = np.zeros(15)


def soft_smear():
    """The flat smear as a lens shows it: its rims are as soft as those of a real one."""
    smear = flat_smear()
    return replace(smear, image=Acquisition(blur=1.2).apply(smear.image))


def test_shift_and_texture_that_the_reconstruction_lacks_are_estimated():
    smear = soft_smear()
    texture = Texture(background=((4.0, 0.0, 0.0),), cells=())
    real = Acquisition(shift=SHIFT, texture=texture, seed=1).apply(smear.image, smear.labels)
    optics = estimate_optics(replace(smear, image=real), smear.image, NO_LIGHT, 0.0, None)
    np.testing.assert_allclose(optics.shift, SHIFT, atol=0.15)
    assert optics.texture[0, :2, 0].max() == pytest.approx(4, rel=0.25)
    # A reconstruction that has the shift already needs none.
    shifted = Acquisition(shift=SHIFT).apply(smear.image)
    again = estimate_optics(replace(smear, image=real), shifted, NO_LIGHT, 0.0, None)
    assert np.abs(again.shift).max() < 0.15


def test_estimated_optics_make_a_reconstruction_resemble_the_smear():
    smear = soft_smear()
    real = Acquisition(shift=SHIFT).apply(smear.image)
    optics = estimate_optics(replace(smear, image=real), smear.image, NO_LIGHT, 0.0, None)
    result = Acquisition(shift=tuple(optics.shift.tolist())).apply(smear.image)
    errors = [np.abs(image.astype(float) - real).mean() for image in (smear.image, result)]
    assert errors[1] < 0.3 * errors[0]


def model_of(n=3):
    rows = [Optics(np.full(4, 0.1 * k), np.full((2, len(SIGMAS), 3), float(k))) for k in range(n)]
    particles = ParticleModel(np.full(n, 1e-3), np.ones((2, 6)), np.array([0, 2]))
    histories = [None, (90, 2), (75, 0)][:n]
    return OpticsModel.of(rows, np.arange(n), histories, particles, [0.8, float("nan"), 0.6][:n])


def test_draws_have_the_values_of_the_reference_smear():
    model = model_of()
    fields = Acquisition(**model.draw(10_000, 2, np.random.default_rng(0), factor=0.5))
    assert fields.shift == (0.2, 0.2, 0.2, 0.2)
    assert fields.compression == (75, 0)
    assert fields.texture == Texture.of(np.full((2, len(SIGMAS), 3), 1.0))
    assert 0 < len(fields.particles) < 30
    assert fields.visibility == 0.6
    assert model.draw(100, 1, np.random.default_rng(0), factor=1)["visibility"] == pytest.approx(0.7)  # the mean


def test_record_round_trip_and_arrays_of_different_lengths():
    model = model_of()
    record = model.to_record()
    loaded = OpticsModel.from_record(record)
    rng = np.random.default_rng
    assert loaded.draw(5000, 1, rng(0), factor=1) == model.draw(5000, 1, rng(0), factor=1)
    for name in ("texture", "compression", "particle_densities", "particle_smears"):
        with pytest.raises(ValueError, match="lengths"):
            OpticsModel.from_record({**record, name: record[name][:-1]})


@pytest.mark.parametrize("history", [(75, 2), (90, 0)])
def test_an_image_with_a_history_hardly_changes_when_it_is_saved_again(history):
    """Both the real and the synthetic images have then lost the same frequencies."""
    smear = flat_smear(noise=6)
    changes = []
    for compression in (None, history):
        image = Acquisition(compression=compression).apply(smear.image)
        changes.append(np.abs(compress(image, history).astype(float) - image).mean())
    assert changes[1] < 0.35 * changes[0]
    image[0, 0] = 0  # the result can be modified


def test_compression_is_the_last_step():
    smear = flat_smear()
    acquisition = Acquisition(noise=8.0, compression=(60, 2), seed=3)
    noisy = acquisition.model_copy(update={"compression": None}).apply(smear.image)
    assert (acquisition.apply(smear.image) == compress(noisy, (60, 2))).all()
