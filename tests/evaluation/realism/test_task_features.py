"""Features of a segmentation model: named, frozen, and sensitive to blur and noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from smears import random_smear
from smearsynth.errors import ModelError, OptionError
from smearsynth.evaluation.realism.crops import embed
from smearsynth.evaluation.realism.distances import kid
from smearsynth.evaluation.realism.realism import realism
from smearsynth.evaluation.realism.task_features import perceptual_features, resolve_features
from smearsynth.runs import Execution
from smearsynth.smear import Smear
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import PerceptualFeatures, load_features
from smearsynth.synthesis.training.loop import TrainingRun
from smearsynth.synthesis.training.losses import perceptual_loss
from smearsynth.synthesis.training.pipeline import train_synthesizer
from smearsynth.tasks import Contours, Segmentation, fit, save_model


@pytest.fixture(scope="module")
def model() -> Segmentation:
    """A small model trained on smears 0 to 7."""
    model = Segmentation.preset("tiny", steps=60, seed=2)
    fit(model, [random_smear(k) for k in range(8)])
    return model


@pytest.fixture(scope="module")
def net(model: Segmentation) -> PerceptualFeatures:
    return perceptual_features(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Segmentation) -> Path:
    folder = tmp_path_factory.mktemp("models") / "segmentation"
    save_model(folder, model)
    return folder


def degraded(smear: Smear, *, blur: float = 0, noise: float = 0) -> Smear:
    image = ndimage.gaussian_filter(smear.image.astype(float), (blur, blur, 0))
    image += np.random.default_rng(0).normal(0, noise, image.shape)
    return Smear(np.clip(image, 0, 255).astype(np.uint8), smear.labels, smear.classes, name=smear.name)


def test_kid_is_zero_for_the_same_kind_and_grows_with_blur_and_noise(net: PerceptualFeatures) -> None:
    rng = np.random.default_rng(0)
    real = embed((random_smear(k) for k in range(20, 32)), 32, net, rng=0)
    others = [random_smear(k) for k in range(32, 44)]
    same = kid(real, embed(others, 32, net, rng=1), rng)
    assert same.interval[0] < 0 < same.interval[1]
    for kind in ("blur", "noise"):
        values = [
            kid(real, embed([degraded(s, **{kind: k}) for s in others], 32, net, rng=1), rng) for k in (2, 5, 12)
        ]
        assert same.value < values[0].value < values[1].value < values[2].value
        assert values[2].interval[0] > same.interval[1]


def test_the_perceptual_loss_grows_with_blur_and_noise(net: PerceptualFeatures) -> None:
    smear = random_smear(50)

    def loss(other: Smear) -> float:
        pair = [torch.from_numpy(s.image).permute(2, 0, 1)[None].float() / 127.5 - 1 for s in (smear, other)]
        return float(perceptual_loss(net, *pair))

    for kind in ("blur", "noise"):
        losses = [loss(degraded(smear, **{kind: k})) for k in (0, 1, 2, 5)]
        assert losses[0] == 0
        assert losses == sorted(set(losses))


def test_the_maps_are_those_of_the_model(model: Segmentation, net: PerceptualFeatures) -> None:
    image = torch.rand(2, 3, 64, 96) * 2 - 1
    maps = net(image)
    assert [tuple(x.shape) for x in maps] == [(2, 4 << k, 64 >> k, 96 >> k) for k in range(4)]
    assert len(net.weights) == 4
    pool3 = model.network.to_pool3(image)
    torch.testing.assert_close(torch.nn.functional.max_pool2d(maps[2], 2), pool3)
    torch.testing.assert_close(torch.nn.functional.max_pool2d(maps[3], 2), model.network.to_pool4(pool3))
    # the weights of the loss assume similar standard deviations
    assert all(0.25 < float(x.std()) < 1 for x in maps)


def test_they_are_frozen_and_the_model_stays_trainable(model: Segmentation, net: PerceptualFeatures) -> None:
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not any(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in model.network.parameters())
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    net(image)[-1].square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_the_name_is_the_hash_of_the_weights(model: Segmentation, net: PerceptualFeatures, folder: Path) -> None:
    written = json.loads((folder / "config.json").read_text())["weights_sha256"]
    assert net.name == f"segmentation model {written[:12]}"
    other = perceptual_features(Segmentation.preset("tiny", seed=3))
    assert other.name != net.name
    assert perceptual_features(Segmentation.preset("tiny", seed=3)).name == other.name
    with pytest.raises(OptionError, match="segmentation model"):  # the name does not give the weights
        load_features(net.name)


def test_a_model_records_the_features_that_were_used(net: PerceptualFeatures, tmp_path: Path) -> None:
    settings = preset("tiny", steps=1, perceptual_features="efficientnet_lite0")
    train_synthesizer([random_smear(k) for k in range(4)], settings, TrainingRun(tmp_path), features=net)
    assert Synthesizer.load(tmp_path).config.training.perceptual_features == net.name
    assert f"| perceptual features | {net.name} |" in (tmp_path / "model-card.md").read_text()


def test_realism_uses_the_features_of_a_model_folder(
    net: PerceptualFeatures, folder: Path, smear_folder: Path
) -> None:
    execution = Execution(device="cpu")
    for features in (folder, str(folder), net):
        result = realism(
            smear_folder,
            smear_folder,
            split="train",
            labels=False,
            tell=False,
            features=features,
            execution=execution,
        )
        assert result.features == net.name


def test_only_a_segmentation_model_has_features(smear_folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "contours", Contours.preset("tiny"))
    with pytest.raises(ModelError, match="contours"):
        resolve_features(tmp_path / "contours")
    with pytest.raises(ModelError, match="not a task model"):
        resolve_features(str(smear_folder))
    with pytest.raises(OptionError, match="features 'none' cannot be compared"):
        resolve_features("none")
    with pytest.raises(OptionError, match="'lite9'"):
        resolve_features("lite9")


def test_training_continues_with_the_same_features_only(net: PerceptualFeatures, tmp_path: Path) -> None:
    smears, settings = [random_smear(k) for k in range(4)], preset("tiny", steps=5)

    def one_step(features: PerceptualFeatures | None) -> None:
        train_synthesizer(smears, settings, TrainingRun(tmp_path, time_limit=0), features=features)

    one_step(net)
    message = f"was started with perceptual_features = {net.name}, now it is "
    with pytest.raises(ModelError, match=message + "none"):
        one_step(None)
    with pytest.raises(ModelError, match=message + "segmentation model"):
        one_step(perceptual_features(Segmentation.preset("tiny", seed=3)))
    one_step(net)
    first, second = (tmp_path / "training-log.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in (first, second)] == ["1", "2"]
