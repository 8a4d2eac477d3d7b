"""Networks: sizes, an honest reach, no statistics over the field, and weights from their own generator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.networks.convolutions import FewOutputsConv, UpsamplingConv
from smearsynth.synthesis.networks.generator import Encoder, Generator, ResidualBlock, initialise
from smearsynth.synthesis.networks.noise import draw_noise, field_noise
from smearsynth.synthesis.networks.normalisation import PixelNorm, pixel_norm


def tiny(**options) -> NetworkConfig:
    return NetworkConfig(
        **{"style_channels": 3, "filters": 4, "discriminator_filters": 4, "downs": 2, "blocks": 1, **options}
    )


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights large enough that a change anywhere in the field of view shows."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=draw)
    return network.eval().requires_grad_(False)


def inputs(config: NetworkConfig, height: int, width: int, batch: int = 1, seed: int = 0) -> tuple:
    draw = torch.Generator().manual_seed(seed)
    given = torch.randn(batch, config.condition_channels, height, width, generator=draw)
    styles = torch.randn(batch, config.style_channels, height, width, generator=draw)
    return given, styles, draw_noise((batch, height, width), config.downs, draw)


@pytest.mark.parametrize("size", [(8, 8), (8, 20), (64, 48)])
@pytest.mark.parametrize("classes", [1, 3])
def test_generator_paints_any_multiple_of_the_grid(size, classes):
    config = tiny(class_names=tuple("abc"[:classes]))

    image = lively(Generator(config))(*inputs(config, *size, batch=2))

    assert image.shape == (2, 3, *size)
    assert image.abs().max() <= 1
    assert image.std() > 0.01


@pytest.mark.parametrize("options", [{}, {"modulation": True}, {"modulation": True, "padding": "zeros"}])
@pytest.mark.parametrize(("downs", "blocks"), [(1, 0), (1, 2), (2, 1), (3, 1)])
def test_reach_is_honest(downs, blocks, options):
    config = tiny(downs=downs, blocks=blocks, **options)
    network = lively(Generator(config))
    reach, grid = network.reach, 1 << downs
    assert reach % grid == 0
    side = 2 * reach + 8 * grid
    given, styles, noise = inputs(config, side, side)
    before = network(given, styles, noise)
    # the pixel of a coarse cell that lies farthest from it on each side
    for at in (side // 2, side // 2 + grid - 1):
        outside = torch.ones(side, side, dtype=torch.bool)
        outside[at - reach : at + reach + 1, at - reach : at + reach + 1] = False

        changed = network(given + 5 * outside, styles - 3 * outside, noise)

        torch.testing.assert_close(changed[..., at, at], before[..., at, at], atol=1e-5, rtol=0)
        assert (changed - before)[..., 0, 0].abs().max() > 1e-3


def test_reach_is_not_much_too_large():
    # the true radius, found by looking, lies within two cells of the coarse grid of the stated one
    config = tiny(downs=2, blocks=1)
    network = lively(Generator(config)).double()
    side = 4 * network.reach
    given, styles, noise = (
        [x.double() for x in part] if isinstance(part, list) else part.double()
        for part in inputs(config, side, side)
    )
    given.requires_grad_(True)
    network(given, styles, noise)[0, :, side // 2, side // 2].sum().backward()
    rows = given.grad.abs().sum((0, 1, 3)).nonzero().flatten() - side // 2
    assert network.reach - 8 <= max(-int(rows.min()), int(rows.max())) <= network.reach


@pytest.mark.parametrize("modulation", [False, True])
def test_a_crop_with_margin_is_painted_as_the_whole(modulation):
    config = tiny(modulation=modulation)
    network = lively(Generator(config))
    reach = network.reach
    side = 2 * reach + 24
    given, styles, noise = inputs(config, side, side + 40)
    # another stain to the right: statistics over the field would carry it everywhere
    styles[..., side:] += 30
    whole = network(given, styles, noise)
    cut = [noise[0][..., : side // 2], noise[1][..., :side]]
    part = network(given[..., :side], styles[..., :side], cut)

    torch.testing.assert_close(part[..., : side - reach], whole[..., : side - reach], atol=1e-5, rtol=0)


def test_items_of_a_batch_do_not_touch():
    config = tiny()
    network = lively(Generator(config))
    given, styles, noise = inputs(config, 32, 32, batch=2)

    alone = network(given[1:], styles[1:], [level[1:] for level in noise])

    torch.testing.assert_close(network(given, styles, noise)[1:], alone, atol=1e-5, rtol=0)


def test_styles_reach_the_image_past_all_normalisation():
    # a field of one style all over: instance normalisation at the input would leave nothing of it
    config = tiny()
    network = Generator(config)
    initialise(network, torch.Generator().manual_seed(0))
    given = torch.zeros(1, config.condition_channels, 32, 32)
    given[:, 0] = 1
    noise = draw_noise((1, 32, 32), config.downs, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dark, light = (network(given, torch.full((1, 3, 32, 32), value), noise) for value in (-0.8, 0.8))
        network.mix.weight[:, config.filters :] = 0
        blind_dark, blind_light = (
            network(given, torch.full((1, 3, 32, 32), value), noise) for value in (-0.8, 0.8)
        )

    assert (dark - light).abs().mean() > 2 * (blind_dark - blind_light).abs().mean()


def test_noise_enters_only_where_its_gain_lets_it():
    config = tiny()
    network = lively(Generator(config))
    given, styles, noise = inputs(config, 32, 32)
    other = draw_noise((1, 32, 32), config.downs, torch.Generator().manual_seed(9))
    assert (network(given, styles, noise) - network(given, styles, other)).abs().max() > 1e-3

    for stage in network.up:
        stage.noise_gain.data.zero_()
    assert torch.equal(network(given, styles, noise), network(given, styles, other))


def test_noise_levels_must_be_all_there():
    config = tiny()
    given, styles, noise = inputs(config, 32, 32)
    with pytest.raises(ValueError, match="zip"):
        Generator(config)(given, styles, noise[:1])


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (64, 65)])
def test_encoder_takes_any_size(size):
    features = lively(Encoder(tiny()))(torch.rand(2, 3, *size) * 2 - 1)

    assert features.shape == (2, 3, *size)
    assert features.abs().max() <= 1


def test_encoder_tells_a_stain_that_is_the_same_all_over():
    encoder = Encoder(tiny(style_channels=8, filters=16))
    initialise(encoder, torch.Generator().manual_seed(0))
    with torch.no_grad():
        pale, dark = (encoder(torch.full((1, 3, 32, 32), value)).mean((2, 3)) for value in (0.8, -0.2))

    assert (pale - dark).abs().max() > 0.1


def test_pixel_norm_is_the_root_mean_square_of_a_pixel():
    x = torch.randn(2, 6, 5, 5) * 40
    normed = PixelNorm(6)(x)

    torch.testing.assert_close((normed**2).mean(1), torch.ones(2, 5, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(PixelNorm(6)(7 * x), normed, atol=1e-4, rtol=0)
    assert torch.equal(PixelNorm(6)(torch.zeros(1, 6, 2, 2)), torch.zeros(1, 6, 2, 2))


def test_a_residual_block_keeps_its_input():
    block = ResidualBlock(4, "reflect")
    for parameter in block.parameters():
        parameter.data.zero_()
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), x)


def test_weights_come_from_the_generator_given_and_from_nothing_else():
    networks = []
    for seed in (3, 3, 4):
        network = Generator(tiny())
        before = torch.get_rng_state()
        initialise(network, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), before)
        networks.append(network.state_dict())

    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])
    assert not torch.equal(networks[0]["first.conv.weight"], networks[2]["first.conv.weight"])


def test_weights_follow_the_stated_laws():
    generator, encoder = Generator(tiny(filters=16)), Encoder(tiny(filters=16))
    for network in (generator, encoder):
        initialise(network, torch.Generator().manual_seed(0))

    assert generator.blocks[0].body[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not generator.blocks[0].body[0].bias.any()
    layer = encoder.body[4]
    he = (2 / 1.04 / (layer.in_channels * 9)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(he, rel=0.05)


def test_noise_is_drawn_from_its_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (draw_noise((2, 16, 24), 3, torch.Generator().manual_seed(k)) for k in (1, 1, 2))

    assert torch.equal(torch.get_rng_state(), before)
    assert [tuple(level.shape) for level in one] == [(2, 1, 4, 6), (2, 1, 8, 12), (2, 1, 16, 24)]
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[-1], other[-1])


def test_modulation_brings_the_condition_past_the_convolutions():
    config = tiny(modulation=True)
    network = lively(Generator(config))
    given, styles, noise = inputs(config, 32, 32)
    before = network(given, styles, noise)
    for stage in (network.first, *network.down):  # the way of the condition through the first layers is cut
        stage.conv.weight.data.zero_()
    network.mix.weight.data[:, config.filters :] = 0
    cut = network(given, styles, noise)

    assert (before - cut).abs().max() > 1e-3
    assert (network(given.flip(-1), styles, noise) - cut).abs().max() > 1e-3


def test_noise_of_a_field_depends_on_seed_and_place_alone():
    whole = field_noise(7, 3, slice(0, 128), slice(0, 160), torch.device("cpu"))
    part = field_noise(7, 3, slice(32, 96), slice(64, 160), torch.device("cpu"))

    assert [tuple(level.shape) for level in whole] == [(1, 1, 32, 40), (1, 1, 64, 80), (1, 1, 128, 160)]
    for k, (level, own) in enumerate(zip(whole, part, strict=True)):
        f = 4 >> k
        assert torch.equal(level[..., 32 // f : 96 // f, 64 // f : 160 // f], own)
    other = field_noise(8, 3, slice(0, 128), slice(0, 160), torch.device("cpu"))
    assert abs(torch.corrcoef(torch.stack([whole[2].flatten(), other[2].flatten()]))[0, 1]) < 0.03


def test_noise_of_a_field_is_white_and_normal():
    noise = field_noise(3, 1, slice(0, 512), slice(0, 512), torch.device("cpu"))[0][0, 0]

    assert abs(noise.mean()) < 0.01
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert (noise**4).mean().item() == pytest.approx(3, abs=0.1)
    for a, b in ((noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1]), (noise[1:, 1:], noise[:-1, :-1])):
        assert abs((a * b).mean()) < 0.01


def test_upsampling_and_convolution_in_one_are_the_two_of_them():
    layer, x = UpsamplingConv(5, 3), torch.rand(2, 5, 6, 7)
    apart = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), apart)


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_a_convolution_row_by_row_is_the_convolution(mode):
    layer, x = FewOutputsConv(5, 3, 7, padding=3, padding_mode=mode), torch.rand(2, 5, 9, 12)
    torch.testing.assert_close(layer(x), torch.nn.Conv2d.forward(layer, x))


def test_the_gradient_of_pixel_norm_is_that_of_its_definition():
    x = torch.randn(2, 5, 6, 7, requires_grad=True)
    scale, shift = torch.randn(5, 1, 1, requires_grad=True), torch.randn(5, 1, 1, requires_grad=True)
    plain = x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6) * scale + shift
    slope = torch.randn(x.shape)
    torch.testing.assert_close(pixel_norm(x, scale, shift), plain)
    for own, other in zip(
        torch.autograd.grad(pixel_norm(x, scale, shift), (x, scale, shift), slope),
        torch.autograd.grad(plain, (x, scale, shift), slope),
        strict=True,
    ):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)
