"""Differentiable augmentation: as drawn, real and fake alike, and open to gradients."""

from __future__ import annotations

import numpy as np
import torch

from smearsynth.synthesis.training.discriminator_augment import COLUMNS, augment_for_discriminator, draw_changes

NOTHING = torch.from_numpy(draw_changes(1, 0.0, np.random.default_rng(0)))


def scene(height: int = 32, width: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(1, 3, height, width, generator=draw) > 0.5).float(), torch.rand(
        1, 3, height, width, generator=draw
    )


def test_the_share_is_the_share():
    changes = draw_changes(4000, 0.3, np.random.default_rng(1))
    assert changes.shape == (4000, COLUMNS)
    assert abs((changes != draw_changes(1, 0.0, np.random.default_rng(0))).any(1).mean() - 0.3) < 0.03


def test_crops_that_are_not_changed_stay_as_they_are():
    given, image = scene()
    seen, shown = augment_for_discriminator(given, image, NOTHING)
    torch.testing.assert_close(shown, image, atol=1e-5, rtol=0)
    assert torch.equal(seen, given)


def test_a_quarter_turn_turns_image_and_condition_alike():
    given, image = scene(32, 32)
    turn = NOTHING.clone()
    turn[:, 0], turn[:, 1] = 0, 1
    seen, shown = augment_for_discriminator(given, image, turn)

    turned = [torch.rot90(image, k, (2, 3)) for k in (1, 3)]
    k = min((0, 1), key=lambda way: (shown - turned[way]).abs().max())
    torch.testing.assert_close(shown, turned[k], atol=1e-4, rtol=0)
    assert torch.equal(seen, torch.rot90(given, (1, 3)[k], (2, 3)))


def test_a_field_that_is_not_square_is_not_sheared():
    image = torch.zeros(1, 3, 32, 96)
    image[..., 14:18, 40:56] = 1  # a bar of 16 × 4 px in the middle
    turn = NOTHING.clone()
    turn[:, 0], turn[:, 1] = 0, 1
    rows = augment_for_discriminator(image, image, turn)[1][
        0, 0, :, 32:64
    ]  # further out the field goes on by reflection

    assert (rows > 0.5).any(1).sum() == 16
    assert (rows > 0.5).any(0).sum() == 4


def test_colours_change_as_drawn():
    given, image = scene()
    stained = NOTHING.clone()
    stained[:, 3:6] = torch.tensor([0.5, 1.0, 1.0])
    stained[:, 6:] = torch.tensor([0.0, 0.0, 0.1])
    shown = augment_for_discriminator(given, image, stained)[1]
    torch.testing.assert_close(shown[:, 0], 0.5 * image[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(shown[:, 2], image[:, 2] + 0.1, atol=1e-5, rtol=0)
    grey = NOTHING.clone()
    grey[:, 2] = 0
    assert augment_for_discriminator(given, image, grey)[1].std(1).max() < 1e-5


def test_gradients_flow_back_through_a_change():
    given, image = scene()
    image.requires_grad_(True)
    changes = torch.from_numpy(draw_changes(1, 1.0, np.random.default_rng(2)))
    augment_for_discriminator(given, image, changes)[1].sum().backward()
    assert (image.grad != 0).float().mean() > 0.5
