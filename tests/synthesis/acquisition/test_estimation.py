"""Estimation of illumination, blur and noise: known values are recovered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acquisition_fields import LIGHT, flat_smear
from smears import partly_annotated
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.estimation import (
    estimate_blur,
    estimate_illumination,
    estimate_noise,
    measure_noise,
)
from smearsynth.synthesis.acquisition.imaging import Acquisition


def test_illumination_is_recovered():
    smear = flat_smear(noise=2)
    image = Acquisition(illumination=LIGHT).apply(smear.image)
    np.testing.assert_allclose(estimate_illumination(image, smear.labels), LIGHT, atol=0.012)


def test_illumination_of_a_field_without_background_is_zero():
    smear = flat_smear(noise=2)
    assert not estimate_illumination(smear.image, np.ones_like(smear.labels)).any()


@pytest.mark.parametrize("blur", [0.0, 0.8, 1.5])
def test_blur_is_recovered(blur):
    smear = flat_smear()
    real = Acquisition(blur=blur).apply(smear.image)
    assert estimate_blur(real, smear.image, smear.labels) == pytest.approx(blur, abs=0.15)
    assert estimate_blur(smear.image, real, smear.labels) == 0  # the reconstruction is already too soft


def test_blur_of_a_field_without_cells_is_zero():
    smear = flat_smear()
    assert estimate_blur(smear.image, smear.image, np.zeros_like(smear.labels)) == 0


def test_measured_noise_grows_with_the_noise_and_ignores_cells():
    smear = flat_smear()
    values = [measure_noise(flat_smear(1, noise).image, smear.labels)[0] for noise in (0, 2, 4, 8)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[3] / values[2] == pytest.approx(2, rel=0.1)


def test_measured_noise_ignores_dirt():
    smear = flat_smear()
    image = Acquisition(correlated_noise=4.0, noise=2.0, seed=1).apply(smear.image)
    clean = measure_noise(image, smear.labels)
    image[60:66, 60:70] = 40
    assert measure_noise(image, smear.labels) == pytest.approx(clean, rel=0.05)


def test_only_the_noise_that_the_reconstruction_lacks_is_estimated():
    smear = flat_smear()
    real = Acquisition(noise=5.0, seed=1).apply(smear.image)
    assert estimate_noise(real, smear.image, smear.labels)[0] == pytest.approx(5, rel=0.1)
    assert estimate_noise(real, flat_smear(2, 4.0).image, smear.labels)[0] == pytest.approx(3, rel=0.15)
    assert estimate_noise(smear.image, real, smear.labels) == (0, 0)


def half_unannotated(smear: Smear) -> Smear:
    """Return the smear with bright and noisy unlabelled pixels in its ignored right third."""
    half = partly_annotated(smear, 128)
    image = half.image.copy()
    image[:, 150:] = np.random.default_rng(0).integers(190, 250, image[:, 150:].shape)
    return replace(half, image=image)


def test_ignored_pixels_do_not_change_the_illumination():
    smear = half_unannotated(flat_smear())
    assert np.abs(estimate_illumination(smear.image, smear.labels, smear.ignored)).max() < 0.01
    assert np.abs(estimate_illumination(smear.image, smear.labels)).max() > 0.1
    assert not estimate_illumination(smear.image, smear.labels, np.ones_like(smear.ignored)).any()


def test_ignored_pixels_do_not_change_the_noise():
    smear = half_unannotated(flat_smear(1, 3.0))
    expected = measure_noise(flat_smear(1, 3.0).image, flat_smear().labels)
    assert measure_noise(smear.image, smear.labels, smear.ignored) == pytest.approx(expected, rel=0.05)
    assert measure_noise(smear.image, smear.labels)[0] > 1.5 * expected[0]
    assert measure_noise(smear.image, smear.labels, smear.labels == 0) == (0, 0)
    clean = half_unannotated(flat_smear())
    assert estimate_noise(smear.image, clean.image, smear.labels, smear.ignored)[0] == pytest.approx(3, rel=0.15)


def test_ignored_pixels_do_not_change_the_blur():
    sharp = flat_smear()
    real = half_unannotated(replace(sharp, image=Acquisition(blur=1.0).apply(sharp.image)))
    blur = estimate_blur(real.image, sharp.image, real.labels, real.ignored)
    assert blur == pytest.approx(
        estimate_blur(Acquisition(blur=1.0).apply(sharp.image), sharp.image, sharp.labels), abs=0.05
    )
    assert abs(estimate_blur(real.image, sharp.image, real.labels) - blur) > 0.1
    assert estimate_blur(real.image, sharp.image, real.labels, real.labels == 0) == 0
