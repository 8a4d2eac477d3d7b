"""Stain augmentation: deterministic, and the result still looks like a smear."""

from __future__ import annotations

import numpy as np
import pytest

from smears import BACKGROUND, CELL_COLOURS, analytic_smear, random_smear
from smearsynth.smear import ImageArray
from smearsynth.synthesis.acquisition.stain import Stain, augment_stain

DRAWS = 1000
# Background and red cell of thin films: Giemsa, pale, blue, yellow, overexposed.
STAINS = [
    (BACKGROUND, CELL_COLOURS[0]),
    ((235, 230, 232), (212, 190, 196)),
    ((190, 200, 222), (140, 140, 190)),
    ((228, 214, 180), (190, 150, 120)),
    ((250, 248, 250), (216, 170, 180)),
]


def palette(*colours: tuple[int, int, int]) -> ImageArray:
    """An image with one pixel of each colour."""
    return np.array([colours], np.uint8)


def augmentations(pixels: ImageArray) -> np.ndarray:
    """The pixels of one row under 1,000 stains, (1000, n, 3)."""
    return np.concatenate([augment_stain(pixels, np.random.default_rng(seed)) for seed in range(DRAWS)])


def brightness(pixels: ImageArray) -> np.ndarray:
    return pixels.astype(float).mean(-1)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (64, 80)])
def test_result_has_the_same_shape_and_type_and_the_input_is_unchanged(size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    copy = pixels.copy()
    result = augment_stain(pixels, np.random.default_rng(0))
    assert result.shape == pixels.shape
    assert result.dtype == np.uint8
    assert (pixels == copy).all()


def test_result_depends_on_the_random_generator_only():
    pixels = random_smear(0).image
    first, same, other = (augment_stain(pixels, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert (first == same).all()
    assert (first != other).any()


def test_equal_colours_stay_equal():
    smear = analytic_smear()
    result = augment_stain(smear.image, np.random.default_rng(2))
    colours = np.unique(np.concatenate([smear.image, result], -1).reshape(-1, 6), axis=0)
    assert len(colours) == len(np.unique(colours[:, :3], axis=0))


def test_shift_scales_the_intensity():
    identity = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert Stain(mixing=identity, shift=(0, 0, 0)).apply(palette((10, 99, 255))).tolist() == [[[10, 99, 255]]]
    halved = Stain(mixing=identity, shift=(np.log(2), 0, 0)).apply(palette((127, 127, 127)))
    assert halved.tolist() == [[[63, 127, 127]]]


@pytest.mark.parametrize(("background", "cell"), STAINS)
def test_cells_stay_darker_than_background_and_white(background, cell):
    background_levels, cell_levels, white_levels = brightness(
        augmentations(palette(background, cell, (255, 255, 255)))
    ).T
    assert (cell_levels < background_levels).mean() >= 0.99
    assert (cell_levels < white_levels).mean() >= 0.99
    assert (background_levels <= white_levels).mean() >= 0.99


def test_green_usually_keeps_the_strongest_contrast():
    # Haemoglobin absorbs green, which separates cells from background in a typical stain.
    levels = augmentations(palette((225, 215, 220), (200, 130, 150))).astype(float)
    contrast = levels[:, 0] - levels[:, 1]
    assert (contrast.argmax(1) == 1).mean() > 0.8
    assert (contrast > 0).all(1).mean() > 0.9


def test_stains_vary_around_the_original():
    levels = augmentations(palette(*STAINS[0])).astype(float)
    deviation = levels.std(0)
    # Smears of one microscope differ by about 10 to 25 grey levels.
    assert (deviation > 8).all()
    assert (deviation < 40).all()
    assert np.abs(levels.mean(0) - np.array(STAINS[0])).max() < 12
