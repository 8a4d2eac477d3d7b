"""Acquisition: illumination, blur and noise applied to an image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from acquisition_fields import LIGHT, SIDE, flat_smear
from smearsynth.synthesis.acquisition.imaging import Acquisition, shift_plane


def test_defaults_do_not_change_the_image():
    image = flat_smear(noise=3).image
    assert (Acquisition().apply(image) == image).all()


def test_illumination_darkens_the_corners_and_keeps_the_mean():
    image = flat_smear().image
    result = Acquisition(illumination=LIGHT).apply(image)
    assert result[:8, :8].mean() < result[60:68, 60:68].mean() - 20
    assert result.mean() == pytest.approx(image.mean(), rel=0.02)
    assert result[64, 180, 0] > result[64, 10, 0] + 20  # red increases with x


def test_blur_is_a_gaussian_filter():
    image = flat_smear().image
    expected = ndimage.gaussian_filter(image[..., 1].astype(np.float32), 1.2)
    np.testing.assert_allclose(Acquisition(blur=1.2).apply(image)[..., 1], expected, atol=0.51)


def test_noise_depends_on_the_seed_only():
    image = flat_smear().image
    first, same, other = (Acquisition(noise=4, seed=seed).apply(image).astype(float) for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first - image).std() == pytest.approx(4, rel=0.05)
    assert abs(np.corrcoef((first - image).ravel(), (other - image).ravel())[0, 1]) < 0.02


def test_correlated_noise_is_common_to_channels_and_neighbours_and_noise_is_not():
    image = np.full((SIDE, SIDE, 3), 150, np.uint8)
    fields = {
        name: Acquisition(seed=3, **{name: 6.0}).apply(image).astype(float) - 150
        for name in ("correlated_noise", "noise")
    }
    for field in fields.values():
        assert field.std() == pytest.approx(6, rel=0.05)
    between_channels = {
        name: np.corrcoef(field[..., 0].ravel(), field[..., 1].ravel())[0, 1] for name, field in fields.items()
    }
    between_neighbours = {
        name: np.corrcoef(field[:, 1:, 0].ravel(), field[:, :-1, 0].ravel())[0, 1] for name, field in fields.items()
    }
    assert between_channels["correlated_noise"] > 0.99
    assert between_neighbours["correlated_noise"] > 0.5
    assert abs(between_channels["noise"]) < 0.03
    assert abs(between_neighbours["noise"]) < 0.03


def test_the_shift_moves_red_and_blue_only():
    image = flat_smear().image
    result = Acquisition(shift=(0.0, 2.0, -1.0, 0.0)).apply(image)
    assert (result[..., 1] == image[..., 1]).all()
    assert (result[:, 4:, 0] == image[:, 2:-2, 0]).all()  # to the right
    assert (result[:-4, :, 2] == image[1:-3, :, 2]).all()  # up


@pytest.mark.parametrize("amount", [-1.7, -0.5, 0.3, 1.0, 2.4])
def test_a_shifted_plane_is_the_plane_elsewhere(amount):
    y, x = np.mgrid[:40, :50].astype(np.float32)
    plane = np.sin(x / 6) * np.cos(y / 7) * 50

    def at(dy: float, dx: float) -> np.ndarray:
        return np.sin((x - dx) / 6) * np.cos((y - dy) / 7) * 50

    inner = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(shift_plane(plane, amount, 0.0)[inner], at(amount, 0)[inner], atol=0.2)
    np.testing.assert_allclose(shift_plane(plane, 0.0, amount)[inner], at(0, amount)[inner], atol=0.2)
    assert shift_plane(plane, 0.0, 0.0) is plane
