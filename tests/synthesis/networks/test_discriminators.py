"""Discriminators: inputs, resolutions, and the label discriminator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.networks.discriminators import Discriminators, LabelDiscriminator
from smearsynth.synthesis.networks.generator import initialise


def make_config(**options) -> NetworkConfig:
    return NetworkConfig(**{"filters": 4, "discriminator_filters": 4, **options})


def initialised(network: torch.nn.Module) -> torch.nn.Module:
    initialise(network, torch.Generator().manual_seed(0))
    return network


def random_inputs(config: NetworkConfig, height: int = 64, width: int = 64, batch: int = 1) -> tuple:
    """Condition and image."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, config.condition_channels, height, width, generator=generator),
        torch.randn(batch, 3, height, width, generator=generator),
    )


@pytest.mark.parametrize("norm", ["instance", "spectral"])
def test_outputs_at_full_and_half_resolution(norm):
    config = make_config(discriminator_norm=norm)
    outputs = Discriminators(config)(*random_inputs(config, 64, 48, 2)).scales

    assert [len(scale) for scale in outputs] == [5, 5]  # three layers, one of stride 1, the score
    assert [x.shape[1] for x in outputs[0]] == [4, 8, 16, 32, 1]
    assert [tuple(x.shape[2:]) for x in outputs[0]] == [(33, 25), (17, 13), (9, 7), (10, 8), (11, 9)]
    assert tuple(outputs[1][0].shape[2:]) == (17, 13)
    assert all(x.shape[0] == 2 for scale in outputs for x in scale)


@pytest.mark.parametrize("norm", ["instance", "spectral"])
def test_patch_discriminators_depend_on_condition_and_image(norm):
    config = make_config(discriminator_norm=norm)
    network = initialised(Discriminators(config))
    condition, image = random_inputs(config)
    score = network(condition, image).scales[0][-1]

    assert (network(condition.flip(-1), image).scales[0][-1] - score).abs().max() > 1e-4
    assert (network(condition, image.flip(-1)).scales[0][-1] - score).abs().max() > 1e-4


def test_split_returns_the_halves_of_the_batch():
    config = make_config(label_discriminator=True)
    network = initialised(Discriminators(config)).eval()
    condition, image = random_inputs(config, batch=4)
    first, second = network(condition, image).split()

    expected = network(condition[2:], image[2:])
    assert first.pixels.shape == (2, 3, 64, 64)
    torch.testing.assert_close(second.pixels, expected.pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(second.scales[1][-1], expected.scales[1][-1], atol=1e-5, rtol=0)


def test_split_without_a_label_discriminator():
    config = make_config()
    first, second = Discriminators(config)(*random_inputs(config, batch=2)).split()
    assert first.pixels is None
    assert second.scales[0][0].shape[0] == 1


def test_label_discriminator_depends_on_the_image_only():
    config = make_config(class_names=("red", "white"), label_discriminator=True)
    network = initialised(Discriminators(config)).eval()
    condition, image = random_inputs(config, 32, 48)
    pixels = network(condition, image).pixels

    assert pixels.shape == (1, 4, 32, 48)
    assert torch.equal(network(condition.flip(-1), image).pixels, pixels)
    assert not torch.equal(network(condition, image.flip(-1)).pixels, pixels)


def test_label_discriminator_learns_to_segment():
    config = make_config(discriminator_filters=8, label_discriminator=True)
    network = initialised(LabelDiscriminator(config))
    optimiser = torch.optim.Adam(network.parameters(), 2e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        coarse = torch.randint(0, 2, (4, 1, 8, 8), generator=generator).float()
        mask = F.interpolate(coarse, scale_factor=8.0)
        image = 0.8 - mask + 0.1 * torch.randn(4, 3, 64, 64, generator=generator)
        loss = F.cross_entropy(network(image), mask[:, 0].long() + 1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (network(image).argmax(1) == mask[:, 0].long() + 1).float().mean() > 0.9
