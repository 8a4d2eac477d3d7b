"""Estimation of illumination, blur and chromatic shift: known values are recovered."""

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
    estimate_shift,
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


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0, 0.0), (0.6, 0.0, 0.0, -0.9), (-0.4, 0.7, 0.5, 0.3)])
def test_chromatic_shift_is_recovered_with_its_sign_and_removed(shift):
    smear = soft_smear()
    image = Acquisition(shift=shift).apply(smear.image)
    estimate = estimate_shift(image, smear.labels)
    np.testing.assert_allclose(estimate, shift, atol=0.1)
    # A shift by the opposite amount removes it.
    opposite = tuple((-estimate).tolist())
    assert np.abs(estimate_shift(Acquisition(shift=opposite).apply(image), smear.labels)).max() < 0.1


def test_shift_of_a_field_without_cells_or_of_one_colour_is_zero():
    smear = soft_smear()
    assert not estimate_shift(smear.image, np.zeros_like(smear.labels)).any()
    image = smear.image.copy()
    image[..., 0] = 200  # cells are invisible in red
    estimate = estimate_shift(image, smear.labels)
    assert not estimate[:2].any()


def test_ignored_pixels_do_not_change_the_shift():
    smear = soft_smear()
    half = half_unannotated(replace(smear, image=Acquisition(shift=(0.5, 0.5, 0.0, 0.0)).apply(smear.image)))
    np.testing.assert_allclose(estimate_shift(half.image, half.labels, half.ignored), (0.5, 0.5, 0, 0), atol=0.15)
    assert not estimate_shift(half.image, half.labels, np.ones_like(half.ignored)).any()


def soft_smear() -> Smear:
    """Return the flat smear with rims as soft as a lens shows them."""
    smear = flat_smear()
    return replace(smear, image=Acquisition(blur=1.2).apply(smear.image))


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


def test_ignored_pixels_do_not_change_the_blur():
    sharp = flat_smear()
    real = half_unannotated(replace(sharp, image=Acquisition(blur=1.0).apply(sharp.image)))
    blur = estimate_blur(real.image, sharp.image, real.labels, real.ignored)
    assert blur == pytest.approx(
        estimate_blur(Acquisition(blur=1.0).apply(sharp.image), sharp.image, sharp.labels), abs=0.05
    )
    assert abs(estimate_blur(real.image, sharp.image, real.labels) - blur) > 0.1
    assert estimate_blur(real.image, sharp.image, real.labels, real.labels == 0) == 0
