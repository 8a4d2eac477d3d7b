"""Training state: initial weights, copying between stages, and the names of its parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.synthesis.config import Preset, preset
from smearsynth.synthesis.networks.conditioning import condition
from smearsynth.synthesis.networks.noise import draw_noise
from smearsynth.synthesis.training.crops import draw_crops
from smearsynth.synthesis.training.state import TrainingState, Translator

SETTINGS = preset("tiny", steps=6, crop=(32, 32))


@pytest.fixture(scope="module")
def smears(smear_folder: Path) -> SmearFolder:
    return open_smears(smear_folder, split="train", cache_mb=10)


def contents(state: TrainingState) -> dict[str, torch.Tensor]:
    tensors = {}
    for name in ("translator", "discriminators", "average"):
        tensors |= {f"{name}.{key}": tensor for key, tensor in getattr(state, name).state_dict().items()}
    for name in ("optimiser_g", "optimiser_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": torch.as_tensor(entry[key]) for key in entry}
    return tensors


def assert_same(first: TrainingState, second: TrainingState) -> None:
    assert first.step == second.step
    a, b = contents(first), contents(second)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_translator_paints_each_instance_with_its_mean_style(smears):
    settings = SETTINGS
    network = TrainingState.fresh(settings).translator
    for parameter in network.parameters():
        parameter.data.mul_(8)
    batch = draw_crops(smears, settings.training, 1)
    conditions = condition(batch.labels, batch.channels_of, 1)
    noise = draw_noise((1, 32, 32), 2, torch.Generator().manual_seed(0))
    n = batch.channels_of.shape[1] - 1

    with torch.no_grad():
        output = network(batch.image, batch.labels, conditions, noise, n)
        features = network.encoder(batch.image)
        for k in range(n + 1):
            inside = batch.labels[0] == k
            features[0][:, inside] = features[0][:, inside].mean(1, keepdim=True)
        expected = network.generator(conditions, features, noise)

    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_initial_weights_depend_on_the_seed_only():
    torch.manual_seed(1)
    first = TrainingState.fresh(SETTINGS)
    torch.manual_seed(2)
    before = torch.initial_seed()
    second = TrainingState.fresh(SETTINGS)
    assert torch.initial_seed() == before
    assert_same(first, second)
    other_seed = TrainingState.fresh(preset("tiny", seed=1))
    assert not torch.equal(first.translator.generator.mix.weight, other_seed.translator.generator.mix.weight)
    assert torch.equal(first.average.generator.mix.weight, first.translator.generator.mix.weight)
    assert not any(parameter.requires_grad for parameter in first.average.parameters())


def test_parameter_names():
    # Saved states and models depend on these names.
    names = set(Translator(Preset()).state_dict())
    for name in (
        "generator.first.conv.weight",
        "generator.down.2.norm.scale",
        "generator.blocks.5.body.3.bias",
        "generator.up.0.noise_gain",
        "generator.mix.weight",
        "generator.last.weight",
        "encoder.body.4.weight",
        "encoder.last.bias",
    ):
        assert name in names
    assert len(names) == 91


def test_continue_from_copies_the_networks_and_the_averaged_encoder():
    first, second = TrainingState.fresh(SETTINGS), TrainingState.fresh(preset("tiny", seed=1))
    for parameter in first.average.parameters():
        parameter.data.add_(0.5)
    second.continue_from(first)
    for name, source in (("translator", first.translator), ("average", first.average)):
        assert torch.equal(getattr(second, name).generator.mix.weight, source.generator.mix.weight)
        for key, tensor in first.average.encoder.state_dict().items():
            assert torch.equal(getattr(second, name).encoder.state_dict()[key], tensor)
    for key, tensor in first.discriminators.state_dict().items():
        assert torch.equal(second.discriminators.state_dict()[key], tensor)
