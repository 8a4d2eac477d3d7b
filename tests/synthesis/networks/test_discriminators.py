"""Discriminators: what they see, at which resolutions, and that a gain of one is one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.networks.convolutions import AlignedConv, SpectralConv
from smearsynth.synthesis.networks.discriminators import Discriminators, LabelDiscriminator
from smearsynth.synthesis.networks.generator import initialise
from smearsynth.synthesis.networks.normalisation import instance_norm


def tiny(**options) -> NetworkConfig:
    return NetworkConfig(**{"filters": 4, "discriminator_filters": 4, **options})


def fresh(network: torch.nn.Module) -> torch.nn.Module:
    initialise(network, torch.Generator().manual_seed(0))
    return network


def pair(config: NetworkConfig, height: int = 64, width: int = 64, batch: int = 1) -> tuple:
    draw = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, config.condition_channels, height, width, generator=draw),
        torch.randn(batch, 3, height, width, generator=draw),
    )


@pytest.mark.parametrize("norm", ["instance", "spectral"])
def test_discriminators_judge_at_full_and_half_resolution(norm):
    config = tiny(discriminator_norm=norm)
    outputs = Discriminators(config)(*pair(config, 64, 48, 2)).scales

    assert [len(scale) for scale in outputs] == [5, 5]  # three layers, one of stride 1, the score
    assert [x.shape[1] for x in outputs[0]] == [4, 8, 16, 32, 1]
    assert [tuple(x.shape[2:]) for x in outputs[0]] == [(33, 25), (17, 13), (9, 7), (10, 8), (11, 9)]
    assert tuple(outputs[1][0].shape[2:]) == (17, 13)
    assert all(x.shape[0] == 2 for scale in outputs for x in scale)


@pytest.mark.parametrize("norm", ["instance", "spectral"])
def test_discriminators_see_labels_and_image(norm):
    config = tiny(discriminator_norm=norm)
    network = fresh(Discriminators(config))
    given, image = pair(config)
    score = network(given, image).scales[0][-1]

    assert (network(given.flip(-1), image).scales[0][-1] - score).abs().max() > 1e-4
    assert (network(given, image.flip(-1)).scales[0][-1] - score).abs().max() > 1e-4


def test_the_halves_of_a_judgement_are_those_of_the_batch():
    config = tiny(label_discriminator=True)
    network = fresh(Discriminators(config)).eval()
    given, image = pair(config, batch=4)
    first, second = network(given, image).split()

    alone = network(given[2:], image[2:])
    assert first.pixels.shape == (2, 3, 64, 64)
    torch.testing.assert_close(second.pixels, alone.pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(second.scales[1][-1], alone.scales[1][-1], atol=1e-5, rtol=0)


def test_the_label_aware_discriminator_sees_the_image_alone_and_names_every_pixel():
    config = tiny(class_names=("red", "white"), label_discriminator=True)
    network = fresh(Discriminators(config)).eval()
    given, image = pair(config, 32, 48)
    judged = network(given, image)

    assert judged.pixels.shape == (1, 4, 32, 48)
    assert torch.equal(network(given.flip(-1), image).pixels, judged.pixels)
    assert not torch.equal(network(given, image.flip(-1)).pixels, judged.pixels)


def test_the_label_aware_discriminator_learns_where_cells_are():
    config = tiny(discriminator_filters=8, label_discriminator=True)
    network = fresh(LabelDiscriminator(config))
    optimiser = torch.optim.Adam(network.parameters(), 2e-2)
    draw = torch.Generator().manual_seed(0)
    for _ in range(40):
        wanted = F.interpolate(torch.randint(0, 2, (4, 1, 8, 8), generator=draw).float(), scale_factor=8.0)
        image = 0.8 - wanted + 0.1 * torch.randn(4, 3, 64, 64, generator=draw)
        loss = F.cross_entropy(network(image), wanted[:, 0].long() + 1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (network(image).argmax(1) == wanted[:, 0].long() + 1).float().mean() > 0.9


def test_spectral_convolutions_have_a_gain_of_one():
    layer = fresh(SpectralConv(5, 7, 3, 1, 1))
    layer.weight.data.mul_(30)
    for _ in range(60):
        layer(torch.zeros(1, 5, 8, 8))
    kept = layer.direction.clone()
    impulse = torch.eye(45).view(45, 5, 3, 3)  # each input of one output pixel in turn
    matrix = layer.eval()(impulse)[..., 1, 1] - layer.bias

    assert torch.linalg.matrix_norm(matrix.detach(), 2).item() == pytest.approx(1, rel=0.02)
    assert torch.equal(layer.direction, kept)  # looking does not change it


def test_channels_that_fill_up_change_nothing():
    layer = AlignedConv(5, 3, 3, padding=1)
    x = torch.randn(1, 5, 9, 9)
    torch.testing.assert_close(layer(F.pad(x, (0, 0, 0, 0, 0, 3))), layer(x))


def test_instance_norm_is_that_of_torch():
    x = torch.randn(2, 3, 9, 7) * 5 + 2
    torch.testing.assert_close(instance_norm(x), F.instance_norm(x), atol=1e-5, rtol=1e-5)
    assert instance_norm(x.bfloat16()).dtype == torch.bfloat16
