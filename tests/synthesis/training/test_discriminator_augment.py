"""Discriminator augmentation: identity, rotation, colours and gradients."""

from __future__ import annotations

import numpy as np
import torch

from smearsynth.synthesis.training.discriminator_augment import COLUMNS, augment_for_discriminator, draw_changes

IDENTITY = torch.from_numpy(draw_changes(1, 0.0, np.random.default_rng(0)))


def scene(height: int = 32, width: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(1, 3, height, width, generator=draw) > 0.5).float(), torch.rand(
        1, 3, height, width, generator=draw
    )


def test_fraction_of_augmented_crops():
    changes = draw_changes(4000, 0.3, np.random.default_rng(1))
    assert changes.shape == (4000, COLUMNS)
    assert abs((changes != draw_changes(1, 0.0, np.random.default_rng(0))).any(1).mean() - 0.3) < 0.03


def test_identity_changes_nothing():
    condition, image = scene()
    augmented_condition, augmented_image = augment_for_discriminator(condition, image, IDENTITY)
    torch.testing.assert_close(augmented_image, image, atol=1e-5, rtol=0)
    assert torch.equal(augmented_condition, condition)


def test_image_and_condition_are_rotated_together():
    condition, image = scene(32, 32)
    rotation = IDENTITY.clone()
    rotation[:, 0], rotation[:, 1] = 0, 1
    augmented_condition, augmented_image = augment_for_discriminator(condition, image, rotation)

    rotated = [torch.rot90(image, k, (2, 3)) for k in (1, 3)]
    k = min((0, 1), key=lambda way: (augmented_image - rotated[way]).abs().max())
    torch.testing.assert_close(augmented_image, rotated[k], atol=1e-4, rtol=0)
    assert torch.equal(augmented_condition, torch.rot90(condition, (1, 3)[k], (2, 3)))


def test_rotation_does_not_shear_other_aspect_ratios():
    image = torch.zeros(1, 3, 32, 96)
    image[..., 14:18, 40:56] = 1  # a central bar of 16 × 4 px
    rotation = IDENTITY.clone()
    rotation[:, 0], rotation[:, 1] = 0, 1
    rows = augment_for_discriminator(image, image, rotation)[1][
        0, 0, :, 32:64
    ]  # further out the image is extended by reflection

    assert (rows > 0.5).any(1).sum() == 16
    assert (rows > 0.5).any(0).sum() == 4


def test_gain_shift_and_saturation():
    condition, image = scene()
    recoloured = IDENTITY.clone()
    recoloured[:, 3:6] = torch.tensor([0.5, 1.0, 1.0])
    recoloured[:, 6:] = torch.tensor([0.0, 0.0, 0.1])
    augmented_image = augment_for_discriminator(condition, image, recoloured)[1]
    torch.testing.assert_close(augmented_image[:, 0], 0.5 * image[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(augmented_image[:, 2], image[:, 2] + 0.1, atol=1e-5, rtol=0)
    grey = IDENTITY.clone()
    grey[:, 2] = 0
    assert augment_for_discriminator(condition, image, grey)[1].std(1).max() < 1e-5


def test_gradients_are_propagated():
    condition, image = scene()
    image.requires_grad_(True)
    changes = torch.from_numpy(draw_changes(1, 1.0, np.random.default_rng(2)))
    augment_for_discriminator(condition, image, changes)[1].sum().backward()
    assert (image.grad != 0).float().mean() > 0.5
