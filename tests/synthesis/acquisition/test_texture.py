"""Texture: noise of known deviation, correlation and colour is drawn and recovered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from acquisition_fields import SIDE, flat_smear
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.texture import SIGMAS, Texture, band_powers, estimate_texture

SMEAR = flat_smear()
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def texture_of(background: dict[int, float], cells: dict[int, float] | None = None, channel: int = 0) -> Texture:
    """Return a texture with deviations by number of the band, in one channel (0 = luma)."""
    table = np.zeros((2, len(SIGMAS), 3))
    for region, deviations in enumerate((background, background if cells is None else cells)):
        for band, deviation in deviations.items():
            table[region, band, channel] = deviation
    return Texture.of(table)


def with_texture(texture: Texture, seed: int = 0) -> np.ndarray:
    return Acquisition(texture=texture, seed=seed).apply(SMEAR.image, SMEAR.labels)


def missing(real: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Return the deviations that a reconstruction without an acquisition model lacks."""

    def develop(texture: Texture) -> np.ndarray:
        return Acquisition(texture=texture, seed=9).apply(reconstruction, SMEAR.labels)

    return estimate_texture(real, SMEAR.labels, None, develop)


@pytest.mark.parametrize("band", range(len(SIGMAS)))
def test_noise_of_each_band_has_its_deviation_and_correlation(band: int) -> None:
    noise = texture_of({band: 4.0}).draw((512, 512), None, np.random.default_rng(band))
    assert noise.shape == (3, 512, 512)
    assert noise.std() == pytest.approx(4, rel=0.15)
    assert np.abs(noise[0] - noise[2]).max() < 1e-4  # luma is common to the channels
    neighbours = np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]
    sigma = SIGMAS[band]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * sigma**2)) if sigma else 0, abs=0.05)


def test_chroma_noise_changes_colour_but_not_luma() -> None:
    noise = texture_of({0: 3.0}, channel=1).draw((256, 256), None, np.random.default_rng(0))
    luma = np.tensordot([0.299, 0.587, 0.114], noise, 1)
    assert np.abs(luma).max() < 0.01
    assert noise[2].std() == pytest.approx(1.772 * 3, rel=0.05)


def test_cells_and_background_have_different_noise() -> None:
    noise = texture_of({0: 1.0}, {0: 5.0}).draw((SIDE, SIDE), SMEAR.labels > 0, np.random.default_rng(0))
    assert noise[0][SMEAR.labels == 0].std() < 2
    assert noise[0][32 - 8 : 32 + 8, 32 - 8 : 32 + 8].std() == pytest.approx(5, rel=0.2)


def test_powers_of_bands_grow_with_the_noise_and_are_those_of_its_correlation() -> None:
    powers = [band_powers(with_texture(texture_of({0: level})), EVERYWHERE) for level in (2.0, 4.0, 8.0)]
    assert powers[2][0, 0] > 3 * powers[1][0, 0] > 9 * powers[0][0, 0]
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for band in (0, 2, 4):
        image = Acquisition(texture=texture_of({band: 6.0})).apply(flat)
        measured = band_powers(image, EVERYWHERE)
        assert measured is not None
        assert abs(int(measured[:, 0].argmax()) - band) <= 1
        assert measured[:, 1:].max() < 0.5  # no chroma
    assert band_powers(flat, np.zeros((SIDE, SIDE), bool)) is None


@pytest.mark.parametrize("band", [0, 1, 3])
def test_the_missing_noise_is_recovered(band: int) -> None:
    deviations = missing(with_texture(texture_of({band: 5.0}, {})), SMEAR.image)
    assert deviations.shape == (2, len(SIGMAS), 3)
    assert np.sqrt((deviations[0, :, 0] ** 2).sum()) == pytest.approx(5, rel=0.25)
    near = deviations[0, max(band - 1, 0) : band + 2, 0]
    assert np.sqrt((near**2).sum()) > 4
    assert deviations[0, :, 1:].max() < 1.0
    assert deviations[1].max() < 1.5  # the noise is in the background only


def test_a_reconstruction_that_lacks_nothing_gets_nearly_nothing() -> None:
    noise = texture_of({0: 3.0, 2: 3.0})
    real, equal = with_texture(noise, 1), with_texture(noise, 2)
    assert missing(real, equal).max() < 1.0
    lacking = missing(real, SMEAR.image)
    assert lacking[0, :, 0].max() > 2
    assert missing(SMEAR.image, real).max() < 0.3  # noisier than the real one


@pytest.mark.parametrize("quality", [90, 75])
def test_noise_is_recovered_through_compression(quality: int) -> None:
    """Compression removes part of the noise, so more has to be added before it than is measured after it."""

    def develop(texture: Texture, seed: int = 5) -> np.ndarray:
        acquisition = Acquisition(texture=texture, compression=(quality, 2), seed=seed)
        return acquisition.apply(SMEAR.image, SMEAR.labels)

    real = develop(texture_of({0: 10.0}), seed=1)
    deviations = estimate_texture(real, SMEAR.labels, None, develop)
    assert deviations[0, 0, 0] == pytest.approx(10, rel=0.15)
    background = ndimage.binary_dilation(SMEAR.labels > 0, iterations=6) == 0
    measured, drawn = (band_powers(image, background) for image in (real, develop(Texture.of(deviations))))
    np.testing.assert_allclose(drawn[:3, 0], measured[:3, 0], rtol=0.25)


def test_ignored_pixels_have_no_noise_to_recover() -> None:
    image = SMEAR.image.copy()
    image[:, 100:] = np.random.default_rng(0).integers(0, 255, image[:, 100:].shape)
    ignored = np.zeros(SMEAR.labels.shape, bool)
    ignored[:, 98:] = True
    labels = np.where(ignored, 0, SMEAR.labels).astype(np.int32)

    def develop(texture: Texture) -> np.ndarray:
        return Acquisition(texture=texture).apply(SMEAR.image, labels)

    assert estimate_texture(image, labels, ignored, develop).max() < 0.5


def test_scaled_noise_has_scaled_deviations() -> None:
    texture = texture_of({0: 2.0, 3: 1.0}, {1: 4.0})
    assert texture.scaled(1.5) == texture_of({0: 3.0, 3: 1.5}, {1: 6.0})
    assert Texture().draw((20, 30), None, np.random.default_rng(0)).any() is np.False_
