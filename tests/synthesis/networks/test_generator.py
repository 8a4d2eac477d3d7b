"""Generator and encoder: shapes, receptive field, influence of each input, and initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.networks.generator import Encoder, Generator, ResidualBlock, initialise
from smearsynth.synthesis.networks.noise import draw_noise


def make_config(**options) -> NetworkConfig:
    return NetworkConfig(
        **{"style_channels": 3, "filters": 4, "discriminator_filters": 4, "downs": 2, "blocks": 1, **options}
    )


def with_large_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with weights so large that a change anywhere in the receptive field changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return network.eval().requires_grad_(False)


def random_inputs(config: NetworkConfig, height: int, width: int, batch: int = 1, seed: int = 0) -> tuple:
    """Condition, styles and noise."""
    generator = torch.Generator().manual_seed(seed)
    condition = torch.randn(batch, config.condition_channels, height, width, generator=generator)
    styles = torch.randn(batch, config.style_channels, height, width, generator=generator)
    return condition, styles, draw_noise((batch, height, width), config.downs, generator)


@pytest.mark.parametrize("size", [(8, 8), (8, 20), (64, 48)])
@pytest.mark.parametrize("classes", [1, 3])
def test_sizes_are_multiples_of_the_downsampling_factor(size, classes):
    config = make_config(class_names=tuple("abc"[:classes]))

    image = with_large_weights(Generator(config))(*random_inputs(config, *size, batch=2))

    assert image.shape == (2, 3, *size)
    assert image.abs().max() <= 1
    assert image.std() > 0.01


@pytest.mark.parametrize("options", [{}, {"modulation": True}, {"modulation": True, "padding": "zeros"}])
@pytest.mark.parametrize(("downs", "blocks"), [(1, 0), (1, 2), (2, 1), (3, 1)])
def test_inputs_beyond_reach_have_no_influence(downs, blocks, options):
    config = make_config(downs=downs, blocks=blocks, **options)
    network = with_large_weights(Generator(config))
    reach, grid = network.reach, 1 << downs
    assert reach % grid == 0
    side = 2 * reach + 8 * grid
    condition, styles, noise = random_inputs(config, side, side)
    before = network(condition, styles, noise)
    # the first and the last pixel of a coarse pixel
    for at in (side // 2, side // 2 + grid - 1):
        outside = torch.ones(side, side, dtype=torch.bool)
        outside[at - reach : at + reach + 1, at - reach : at + reach + 1] = False

        changed = network(condition + 5 * outside, styles - 3 * outside, noise)

        torch.testing.assert_close(changed[..., at, at], before[..., at, at], atol=1e-5, rtol=0)
        assert (changed - before)[..., 0, 0].abs().max() > 1e-3


def test_reach_is_close_to_the_true_radius():
    # The true radius, from the gradient, is at most two coarse pixels smaller.
    config = make_config(downs=2, blocks=1)
    network = with_large_weights(Generator(config)).double()
    side = 4 * network.reach
    condition, styles, noise = random_inputs(config, side, side)
    condition = condition.double().requires_grad_(True)
    image = network(condition, styles.double(), [level.double() for level in noise])
    image[0, :, side // 2, side // 2].sum().backward()
    rows = condition.grad.abs().sum((0, 1, 3)).nonzero().flatten() - side // 2
    assert network.reach - 8 <= max(-int(rows.min()), int(rows.max())) <= network.reach


@pytest.mark.parametrize("modulation", [False, True])
def test_crop_with_margin_equals_the_field(modulation):
    config = make_config(modulation=modulation)
    network = with_large_weights(Generator(config))
    reach = network.reach
    side = 2 * reach + 24
    condition, styles, noise = random_inputs(config, side, side + 40)
    # Another stain on the right: statistics over the field would spread it everywhere.
    styles[..., side:] += 30
    field = network(condition, styles, noise)
    crop_noise = [noise[0][..., : side // 2], noise[1][..., :side]]
    crop = network(condition[..., :side], styles[..., :side], crop_noise)

    torch.testing.assert_close(crop[..., : side - reach], field[..., : side - reach], atol=1e-5, rtol=0)


def test_items_of_a_batch_are_independent():
    config = make_config()
    network = with_large_weights(Generator(config))
    condition, styles, noise = random_inputs(config, 32, 32, batch=2)

    second = network(condition[1:], styles[1:], [level[1:] for level in noise])

    torch.testing.assert_close(network(condition, styles, noise)[1:], second, atol=1e-5, rtol=0)


def test_styles_reach_the_image_after_all_normalisation():
    # A field of one style: instance normalisation at the input would remove it.
    config = make_config()
    network = Generator(config)
    initialise(network, torch.Generator().manual_seed(0))
    condition = torch.zeros(1, config.condition_channels, 32, 32)
    condition[:, 0] = 1
    noise = draw_noise((1, 32, 32), config.downs, torch.Generator().manual_seed(0))

    def contrast() -> float:
        dark, light = (network(condition, torch.full((1, 3, 32, 32), value), noise) for value in (-0.8, 0.8))
        return (dark - light).abs().mean().item()

    with torch.no_grad():
        with_styles = contrast()
        network.mix.weight[:, config.filters :] = 0
        without_styles = contrast()
    assert with_styles > 2 * without_styles


def test_noise_gain_of_zero_removes_the_noise():
    config = make_config()
    network = with_large_weights(Generator(config))
    condition, styles, noise = random_inputs(config, 32, 32)
    other_noise = draw_noise((1, 32, 32), config.downs, torch.Generator().manual_seed(9))
    assert (network(condition, styles, noise) - network(condition, styles, other_noise)).abs().max() > 1e-3

    for stage in network.up:
        stage.noise_gain.data.zero_()
    assert torch.equal(network(condition, styles, noise), network(condition, styles, other_noise))


def test_missing_noise_levels_are_an_error():
    config = make_config()
    condition, styles, noise = random_inputs(config, 32, 32)
    with pytest.raises(ValueError, match="zip"):
        Generator(config)(condition, styles, noise[:1])


def test_modulation_bypasses_the_convolutions():
    config = make_config(modulation=True)
    network = with_large_weights(Generator(config))
    condition, styles, noise = random_inputs(config, 32, 32)
    before = network(condition, styles, noise)
    for stage in (network.first, *network.down):  # the condition no longer passes the first layers
        stage.conv.weight.data.zero_()
    network.mix.weight.data[:, config.filters :] = 0
    after = network(condition, styles, noise)

    assert (before - after).abs().max() > 1e-3
    assert (network(condition.flip(-1), styles, noise) - after).abs().max() > 1e-3


def test_residual_block_with_zero_weights_is_the_identity():
    block = ResidualBlock(4, "reflect")
    for parameter in block.parameters():
        parameter.data.zero_()
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (64, 65)])
def test_encoder_accepts_any_size(size):
    features = with_large_weights(Encoder(make_config()))(torch.rand(2, 3, *size) * 2 - 1)

    assert features.shape == (2, 3, *size)
    assert features.abs().max() <= 1


def test_encoder_sees_a_stain_that_is_uniform_over_the_field():
    encoder = Encoder(make_config(style_channels=8, filters=16))
    initialise(encoder, torch.Generator().manual_seed(0))
    with torch.no_grad():
        pale, dark = (encoder(torch.full((1, 3, 32, 32), value)).mean((2, 3)) for value in (0.8, -0.2))

    assert (pale - dark).abs().max() > 0.1


def test_initial_weights_depend_on_the_random_generator_only():
    weights = []
    for seed in (3, 3, 4):
        network = Generator(make_config())
        state = torch.get_rng_state()
        initialise(network, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(network.state_dict())

    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not torch.equal(weights[0]["first.conv.weight"], weights[2]["first.conv.weight"])


def test_initial_weights_have_the_documented_distributions():
    generator, encoder = Generator(make_config(filters=16)), Encoder(make_config(filters=16))
    for network in (generator, encoder):
        initialise(network, torch.Generator().manual_seed(0))

    assert generator.blocks[0].body[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not generator.blocks[0].body[0].bias.any()
    layer = encoder.body[4]
    he_std = (2 / 1.04 / (layer.in_channels * 9)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(he_std, rel=0.05)
