"""Another stain of the same field: drawn by the generator alone, and still a smear to look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smears import BACKGROUND, CELL_COLOURS, analytic_smear, random_smear
from smearsynth.smear import ImageArray
from smearsynth.synthesis.acquisition.stain import stain_augmentation
from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.training.crops import CropBatch, draw_crops

SMEARS = [random_smear(seed) for seed in range(4)]
CONFIG = TrainingConfig(crop=(32, 48), batch=6, seed=3)
DRAWS = 1000
# ground and red cell of thin films: Giemsa, a pale one, a blue one, a yellow one, an overexposed one
STAINS = [
    (BACKGROUND, CELL_COLOURS[0]),
    ((235, 230, 232), (212, 190, 196)),
    ((190, 200, 222), (140, 140, 190)),
    ((228, 214, 180), (190, 150, 120)),
    ((250, 248, 250), (216, 170, 180)),
]


def field(*colours: tuple[int, int, int]) -> ImageArray:
    """One pixel of each colour."""
    return np.array([colours], np.uint8)


def brightness(pixels: ImageArray) -> np.ndarray:
    return pixels.astype(float).mean(-1)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (64, 80)])
def test_size_and_type_stay_and_the_field_given_is_left_alone(size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    before = pixels.copy()
    changed = stain_augmentation(pixels, np.random.default_rng(0))
    assert changed.shape == pixels.shape
    assert changed.dtype == np.uint8
    assert (pixels == before).all()


def test_the_generator_alone_decides():
    pixels = SMEARS[0].image
    same, again, other = (stain_augmentation(pixels, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert (same == again).all()
    assert (same != other).any()


def test_equal_colours_stay_equal_wherever_they_lie():
    smear = analytic_smear()
    changed = stain_augmentation(smear.image, np.random.default_rng(2))
    colours = np.unique(np.concatenate([smear.image, changed], -1).reshape(-1, 6), axis=0)
    assert len(colours) == len(np.unique(colours[:, :3], axis=0))


@pytest.mark.parametrize(("ground", "cell"), STAINS)
def test_cells_stay_darker_than_the_ground_and_than_white(ground, cell):
    pixels = field(ground, cell, (255, 255, 255))
    drawn = np.concatenate([stain_augmentation(pixels, np.random.default_rng(seed)) for seed in range(DRAWS)])
    of_ground, of_cell, of_white = brightness(drawn).T
    assert (of_cell < of_ground).mean() >= 0.99
    assert (of_cell < of_white).mean() >= 0.99
    assert (of_ground <= of_white).mean() >= 0.99


def test_the_channel_that_a_cell_darkens_most_mostly_stays_so():
    # haemoglobin absorbs green: what tells cell from ground in a typical stain goes on to do so
    pixels = field((225, 215, 220), (200, 130, 150))
    drawn = np.concatenate(
        [stain_augmentation(pixels, np.random.default_rng(seed)) for seed in range(DRAWS)]
    ).astype(float)
    darker = drawn[:, 0] - drawn[:, 1]
    assert (darker.argmax(1) == 1).mean() > 0.8
    assert (darker > 0).all(1).mean() > 0.9


def test_stains_vary_as_slides_do_about_the_stain_that_was():
    drawn = np.concatenate(
        [stain_augmentation(field(*STAINS[0]), np.random.default_rng(seed)) for seed in range(DRAWS)]
    )
    deviation = drawn.astype(float).std(0)
    # the smears of one microscope differ by some 10 to 25 grey levels; a few levels would teach nothing new
    assert (deviation > 8).all()
    assert (deviation < 40).all()
    assert np.abs(drawn.mean(0) - np.array(STAINS[0])).max() < 12


# In the crops of a training.


def drawn(share: float, step: int = 0, **options: object) -> CropBatch:
    return draw_crops(SMEARS, CONFIG.model_copy(update={"stain_augmentation": share}), step, **options)


def recoloured(share: float, step: int) -> list[bool]:
    pairs = zip(drawn(share, step).pixels, drawn(0, step).pixels, strict=True)
    return [not torch.equal(one, other) for one, other in pairs]


def test_no_share_leaves_the_crops_and_the_whole_share_changes_all():
    usual = draw_crops(SMEARS, CONFIG, 5)
    assert torch.equal(drawn(0.0, 5).pixels, usual.pixels)
    assert all(all(recoloured(1.0, step)) for step in range(5))


def test_a_share_changes_about_so_many():
    changed = [one for step in range(30) for one in recoloured(0.3, step)]
    assert 0.2 < np.mean(changed) < 0.4


def test_places_labels_debris_and_changes_stay():
    for step in range(3):
        config = CONFIG.model_copy(update={"discriminator_augmentation": 0.5})
        plain = draw_crops(SMEARS, config, step, debris=True)
        other = draw_crops(SMEARS, config.model_copy(update={"stain_augmentation": 1.0}), step, debris=True)
        assert not torch.equal(other.pixels, plain.pixels)
        for name in ("labels", "channels_of", "changes", "debris"):
            assert torch.equal(getattr(other, name), getattr(plain, name)), name


def test_the_same_step_gives_the_same_stains():
    assert torch.equal(drawn(0.5, 4).pixels, drawn(0.5, 4).pixels)


def test_styles_that_were_computed_before_go_with_the_stain_as_it_was():
    styles = [np.zeros((smear.count + 1, 3), np.float32) for smear in SMEARS]
    assert torch.equal(drawn(1.0, styles=styles).pixels, drawn(0.0, styles=styles).pixels)
