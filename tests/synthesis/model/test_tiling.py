"""Synthesis and encoding in tiles: any size, no seams, bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smears import partly_annotated, random_smear
from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.model.tiling import encode_field, encode_smear, paint_field, tiles
from smearsynth.synthesis.networks.conditioning import condition, paint_styles
from smearsynth.synthesis.networks.generator import Encoder, Generator

CONFIG = NetworkConfig(
    class_names=("red", "white"), style_channels=3, filters=4, discriminator_filters=4, downs=2, blocks=1
)
SMALLEST = (4 + 2 * 24) ** 2  # pixels of the smallest window: a grid cell and its margins


def randomised(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.25, generator=draw)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return randomised(Generator(CONFIG))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return randomised(Encoder(CONFIG))


def field(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, classes and styles of a random field."""
    labels = random_smear(seed, (height, width)).labels
    rng = np.random.default_rng(seed)
    n = int(labels.max())
    styles = rng.uniform(-1, 1, (n + 1, 3)).astype(np.float32)
    return labels, rng.integers(0, 2, n), styles


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (7, 13), (8, 8), (65, 129)])
def test_image_has_the_size_of_the_labels(generator, size):
    image = paint_field(generator, *field(*size), rng=0)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("size", [(64, 64), (65, 129), (71, 90), (7, 300)])
@pytest.mark.parametrize("bound", [SMALLEST, 4000, 9000])
def test_tiled_image_equals_the_untiled_image(generator, size, bound):
    inputs = field(*size)
    untiled = paint_field(generator, *inputs, rng=3, max_tile_pixels=10**9)
    tiled = paint_field(generator, *inputs, rng=3, max_tile_pixels=bound)

    assert untiled.std() > 20  # the image has contrast
    assert np.abs(untiled.astype(int) - tiled).max() <= 1
    assert (untiled != tiled).mean() < 5e-4


def test_image_equals_the_output_of_the_generator(generator):
    # Compares padding, order of channels and conversion to bytes with the network itself.
    labels, classes, styles = field(64, 96)
    image = paint_field(generator, labels, classes, styles, rng=3)
    noise = [torch.zeros(1, 1, 32, 48), torch.zeros(1, 1, 64, 96)]
    noiseless = Generator(CONFIG)
    noiseless.load_state_dict(generator.state_dict())
    for stage in noiseless.up:
        stage.noise_gain.data.zero_()
    ids = torch.from_numpy(labels)[None]
    channels_of = torch.from_numpy(np.concatenate([[0], classes + 1]))[None]
    painted = noiseless.eval()(
        condition(ids, channels_of, 2), paint_styles(torch.from_numpy(styles)[None], ids), noise
    )
    expected = ((painted[0].detach().permute(1, 2, 0) + 1) * 127.5).round().numpy()

    quiet_image = paint_field(noiseless, labels, classes, styles, rng=3)
    assert np.abs(quiet_image - expected).max() <= 1
    assert (quiet_image != expected).mean() < 1e-3
    assert np.abs(image - expected).max() > 1  # the noise is visible in the other image


def test_other_sizes_are_extended_by_reflection(generator):
    labels, classes, styles = field(61, 93)
    continued = np.pad(labels, [(0, 3), (0, 3)], mode="symmetric")

    image = paint_field(generator, labels, classes, styles, rng=3)

    assert (image == paint_field(generator, continued, classes, styles, rng=3)[:61, :93]).all()


def test_image_depends_on_the_seed_only(generator):
    inputs = field(65, 50)
    before = torch.get_rng_state()
    image = paint_field(generator, *inputs, rng=1)

    assert (paint_field(generator, *inputs, rng=1) == image).all()
    assert (paint_field(generator, *inputs, rng=np.random.default_rng(1)) == image).all()
    assert (paint_field(generator, *inputs, rng=2) != image).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_image_depends_on_styles_and_classes(generator):
    labels, classes, styles = field(64, 64)
    image = paint_field(generator, labels, classes, styles, rng=1)
    assert (paint_field(generator, labels, classes, -styles, rng=1) != image).any()
    assert (paint_field(generator, labels, 1 - classes, styles, rng=1) != image).any()


def test_windows_are_bounded(generator):
    windows = []
    hook = generator.register_forward_pre_hook(lambda module, inputs: windows.append(tuple(inputs[0].shape[2:])))
    try:
        for bound in (SMALLEST, 4000, 6000):
            windows.clear()
            paint_field(generator, *field(90, 75), rng=0, max_tile_pixels=bound)
            assert len(windows) > 1
            assert all(height * width <= bound for height, width in windows)
        windows.clear()
        paint_field(generator, *field(90, 75), rng=0)
        assert windows == [(92, 76)]
    finally:
        hook.remove()


@pytest.mark.parametrize("shape", [(8, 8), (1200, 1920), (64, 4096), (1200, 1200)])
@pytest.mark.parametrize(("grid", "reach"), [(8, 128), (4, 24), (2, 16)])
@pytest.mark.parametrize("bound", [90_000, 2_400_000])
def test_tiles_cover_each_pixel_once_with_margins(shape, grid, reach, bound):
    covered = np.zeros(shape, int)
    for pair in tiles(shape, grid, reach, bound):
        covered[pair[0].core, pair[1].core] += 1
        windows = [tile.window.stop - tile.window.start for tile in pair]
        assert windows[0] * windows[1] <= bound
        for tile, side in zip(pair, shape, strict=True):
            assert tile.window.start % grid == 0
            assert tile.window.start == 0 or tile.core.start - tile.window.start >= reach
            assert tile.window.stop == side or tile.window.stop - tile.core.stop >= reach
            assert list(range(side))[tile.window][tile.inner] == list(range(side))[tile.core]
    assert (covered == 1).all()


def test_small_fields_are_one_tile():
    ((down, across),) = tiles((48, 64), 8, 128, 48 * 64)
    assert (down.core, across.core) == (down.window, across.window) == (slice(0, 48), slice(0, 64))


def test_style_is_the_mean_over_the_instance(encoder):
    smear = random_smear(3, (61, 75))
    styles = encode_field(encoder, smear.image, smear.labels, smear.count + 2)

    pixels = torch.from_numpy(smear.image).permute(2, 0, 1)[None] / 127.5 - 1
    features = encoder(pixels)[0].numpy()
    for k in range(smear.count + 1):
        np.testing.assert_allclose(styles[k], features[:, smear.labels == k].mean(1), atol=1e-5)
    assert not styles[smear.count + 1 :].any()
    assert styles.dtype == np.float32


@pytest.mark.parametrize("size", [(64, 64), (65, 129), (101, 60), (7, 300)])
@pytest.mark.parametrize("bound", [40**2, 2500, 5000])
def test_tiled_encoding_equals_the_untiled_encoding(encoder, size, bound):
    smear = random_smear(1, size)
    untiled = encode_field(encoder, smear.image, smear.labels, smear.count)
    tiled = encode_field(encoder, smear.image, smear.labels, smear.count, max_tile_pixels=bound)

    assert untiled.std() > 0.01
    np.testing.assert_allclose(tiled, untiled, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 50)])
def test_tiny_fields(encoder, size):
    labels = np.zeros(size, np.int32)
    styles = encode_field(encoder, np.full((*size, 3), 90, np.uint8), labels, 0)
    assert styles.shape == (1, 3)
    assert np.isfinite(styles).all()


def test_more_than_255_cells(generator, encoder):
    labels = np.zeros((80, 84), np.int32)
    labels[::4, ::4] = np.arange(1, 421).reshape(20, 21)
    styles = np.zeros((421, 3), np.float32)
    classes = np.zeros(420, np.int64)
    plain = paint_field(generator, labels, classes, styles, rng=0)
    styles[400] = 1  # cell in row 19, column 0
    changed = (paint_field(generator, labels, classes, styles, rng=0) != plain).any(-1)

    assert changed[76, 0]
    assert not changed[: 76 - generator.reach].any()
    assert not changed[:, generator.reach + 1 :].any()
    assert encode_field(encoder, plain, labels, 420).shape == (421, 3)


def test_bf16_is_similar_to_fp32(generator):
    inputs = field(64, 64)
    single = paint_field(generator, *inputs, rng=0).astype(int)
    half = paint_field(generator, *inputs, rng=0, precision=torch.bfloat16)
    assert np.abs(half - single).mean() < 6
    assert (half != single).any()


def test_styles_at_another_scale_equal_those_of_the_resized_smear(encoder):
    smear = random_smear(4, (96, 128))
    small = smear.resized(0.5)
    assert small.count == smear.count
    direct = encode_field(encoder, small.image, small.labels, small.count)
    np.testing.assert_allclose(
        encode_field(encoder, smear.image, smear.labels, smear.count, scale=0.5), direct, atol=1e-5
    )


def test_instances_that_vanish_by_resizing_get_the_mean_of_the_others(encoder):
    smear = random_smear(4, (96, 128))
    labels = smear.labels.copy()
    labels[1, 1] = smear.count + 1  # a single pixel that is lost by resizing
    styles = encode_field(encoder, smear.image, labels, smear.count + 1, scale=0.25)
    np.testing.assert_allclose(styles[-1], styles[1:-1].mean(0), atol=1e-5)


def test_debris_changes_the_image_locally():
    config = CONFIG.model_copy(update={"debris": True})
    network = randomised(Generator(config))
    inputs = field(128, 128)
    spot = np.zeros((128, 128), bool)
    spot[10:14, 10:14] = True
    clean, dirty = (paint_field(network, *inputs, rng=1, debris=mask).astype(int) for mask in (None, spot))

    changed = np.abs(clean - dirty).max(2) > 0
    assert changed[8:16, 8:16].any()
    assert not changed[14 + network.reach :, 14 + network.reach :].any()
    tiled = paint_field(network, *inputs, rng=1, debris=spot, max_tile_pixels=9000)
    assert np.abs(tiled.astype(int) - dirty).max() <= 1


def test_ignored_pixels_are_not_part_of_the_background_style(encoder):
    smear = partly_annotated(random_smear(0, (60, 120)), 70)
    dark = smear.image.copy()
    dark[:, 78:] = 0  # farther from the annotated pixels than the reach of the encoder
    styles = encode_smear(encoder, smear)
    assert styles.shape == (smear.count + 1, 3)
    np.testing.assert_allclose(encode_smear(encoder, replace(smear, image=dark)), styles, atol=1e-5)
    plain = encode_smear(encoder, replace(smear, image=dark, ignored=None))
    assert np.abs(plain - styles).max() > 0.05
    np.testing.assert_allclose(plain[1:], styles[1:], atol=1e-5)


def test_a_smear_with_unknown_background_has_the_style_of_its_ignored_pixels(encoder):
    smear = random_smear(0)
    unknown = replace(smear, ignored=smear.labels == 0)
    np.testing.assert_allclose(encode_smear(encoder, unknown), encode_smear(encoder, smear), atol=1e-6)
