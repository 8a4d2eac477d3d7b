"""Fine-tuning: initial weights, other classes, warm-up, continued runs and records."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smears import random_smear
from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import ModelError, OptionError
from smearsynth.synthesis.config import NetworkConfig, Preset, TrainingConfig, preset
from smearsynth.synthesis.model.card import StyleFidelity, model_card
from smearsynth.synthesis.model.folder import ModelConfig
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.conditioning import condition
from smearsynth.synthesis.networks.generator import Generator, initialise
from smearsynth.synthesis.networks.noise import draw_noise
from smearsynth.synthesis.training.fine_tuning import adapt_to_classes, initialise_from
from smearsynth.synthesis.training.loop import TrainingRun, train_networks
from smearsynth.synthesis.training.pipeline import train_synthesizer
from smearsynth.synthesis.training.state import TrainingState

SETTINGS = preset("tiny", steps=6, crop=(32, 32), warmup=3)


@pytest.fixture(scope="module")
def smears(smear_folder: Path) -> SmearFolder:
    return open_smears(smear_folder, split="train", cache_mb=10)


@pytest.fixture(scope="module")
def fine_tuned(smears: SmearFolder, tiny: Synthesizer, tmp_path_factory: pytest.TempPathFactory) -> TrainingState:
    """Six steps of fine-tuning `tiny`."""
    return train_networks(
        smears, SETTINGS, TrainingRun(tmp_path_factory.mktemp("fine_tuned"), log_every=1), pretrained=tiny
    )


def initial_state(settings: Preset, pretrained: Synthesizer) -> TrainingState:
    state = TrainingState.fresh(settings)
    initialise_from(state, pretrained)
    return state


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    tensors = {f"average.{key}": tensor for key, tensor in state.average.state_dict().items()}
    tensors |= {f"translator.{key}": tensor for key, tensor in state.translator.state_dict().items()}
    return tensors | {f"discriminators.{key}": tensor for key, tensor in state.discriminators.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[key]) for key, tensor in a.items())


# Before the first step.


def test_initialise_from_copies_generator_and_encoder_only(tiny: Synthesizer) -> None:
    state, fresh = initial_state(SETTINGS, tiny), TrainingState.fresh(SETTINGS)
    for translator in (state.translator, state.average):
        assert same(translator.generator.state_dict(), tiny.generator.state_dict())
        assert same(translator.encoder.state_dict(), tiny.encoder.state_dict())
    assert same(state.discriminators.state_dict(), fresh.discriminators.state_dict())
    assert state.pretrained == tiny.hash
    assert fresh.pretrained is None
    assert all(parameter.requires_grad for parameter in state.translator.parameters())
    assert not any(parameter.requires_grad for parameter in state.average.parameters())


def test_training_starts_from_the_model_and_does_not_change_it(
    tiny: Synthesizer, tiny_folder: Path, fine_tuned: TrainingState
) -> None:
    assert same(tiny.generator.state_dict(), Synthesizer.load(tiny_folder).generator.state_dict())
    for translator in (fine_tuned.translator, fine_tuned.average):
        assert 0 < (translator.generator.mix.weight - tiny.generator.mix.weight).abs().max() < 0.01


def test_preset_gets_the_networks_of_the_model_but_its_discriminators() -> None:
    settings = preset("tiny", class_names=("a", "b"), steps=2, discriminator_filters=6, label_discriminator=True)
    network = NetworkConfig(
        downs=1, blocks=2, filters=8, style_channels=5, modulation=True, debris=True, padding="zeros",
        discriminator_norm="spectral",
    )  # fmt: skip
    adapted = settings.initialised_from(network).network
    for name in ("downs", "blocks", "filters", "style_channels", "modulation", "debris", "padding"):
        assert getattr(adapted, name) == getattr(network, name)
    assert adapted.discriminator_norm == "instance"
    assert (adapted.discriminator_filters, adapted.label_discriminator) == (6, True)
    assert adapted.class_names == ("a", "b")
    with pytest.raises(OptionError, match="crop: sides must be multiples of 64"):
        settings.initialised_from(NetworkConfig(downs=6))


def test_other_networks_are_an_error(tiny: Synthesizer) -> None:
    with pytest.raises(OptionError, match="networks of the preset differ from those of the pretrained model"):
        initialise_from(TrainingState.fresh(preset("tiny", blocks=2)), tiny)


# Other classes.


def generator(*class_names: str, **options: object) -> Generator:
    config = NetworkConfig(
        class_names=class_names,
        style_channels=3,
        filters=4,
        downs=1,
        blocks=1,
        debris=True,
        modulation=True,
        **options,
    )
    network = Generator(config).requires_grad_(False)
    initialise(network, torch.Generator().manual_seed(5))
    for parameter in network.parameters():
        parameter.mul_(8)
    return network


def repainted(network: Generator, labels: torch.Tensor, classes: list[int]) -> torch.Tensor:
    """Paint a field with these classes of its cells, always with the same styles, noise and debris."""
    draw = torch.Generator().manual_seed(9)
    conditions = condition(
        labels, torch.tensor([[0, *(k + 1 for k in classes)]]), len(network.config.class_names), labels == 2
    )
    styles = torch.randn(1, 3, *labels.shape[1:], generator=draw)
    return network(conditions, styles, draw_noise(tuple(labels.shape), 1, draw))


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.from_numpy(random_smear(3, (32, 32)).labels).clamp(max=3)[None]


@pytest.mark.parametrize(
    ("before", "after", "classes_before", "classes_after"),
    [
        (("cell",), ("rbc", "wbc"), [0, 0, 0], [0, 1, 0]),  # new classes, one former class
        (("rbc", "wbc"), ("wbc", "rbc"), [0, 1, 0], [1, 0, 1]),  # in another order
        (("rbc", "wbc"), ("wbc",), [1, 1, 1], [0, 0, 0]),  # one class removed
        (("rbc", "wbc"), ("ring", "rbc", "wbc"), [0, 1, 1], [1, 2, 2]),  # one class added
    ],
)
def test_class_is_painted_like_the_former_class_of_the_same_name(
    labels, before, after, classes_before, classes_after
) -> None:
    former_generator, new_generator = generator(*before), generator(*after)
    assert not torch.allclose(
        repainted(former_generator, labels, classes_before),
        repainted(new_generator, labels, classes_after),
        atol=0.1,
    )
    new_generator.load_state_dict(adapt_to_classes(former_generator.state_dict(), former_generator.config, after))
    assert torch.allclose(
        repainted(former_generator, labels, classes_before),
        repainted(new_generator, labels, classes_after),
        atol=1e-5,
    )


def test_new_class_gets_the_mean_of_all_classes() -> None:
    generator_of_two = generator("rbc", "wbc")
    tensors = adapt_to_classes(generator_of_two.state_dict(), generator_of_two.config, ("ring", "rbc"))
    for name, first in (("first.conv.weight", 0), ("mix.weight", 4), ("up.0.norm.modulate.weight", 0)):
        former, current = generator_of_two.state_dict()[name], tensors[name]
        assert current.shape == former.shape
        assert torch.allclose(current[:, first + 1], former[:, first + 1 : first + 3].mean(1))
        assert torch.equal(current[:, first + 2], former[:, first + 1])
        assert torch.equal(current[:, first + 3 :], former[:, first + 3 :])  # boundaries, debris, styles
        assert torch.equal(current[:, : first + 1], former[:, : first + 1])


def test_model_of_one_class_is_fine_tuned_to_two_classes(tiny: Synthesizer, tmp_path: Path) -> None:
    names = ("red cell", "white cell")
    two = [random_smear(k, class_names=names) for k in range(3)]
    settings = preset("tiny", class_names=names, steps=2).initialised_from(tiny.config.network)
    state = train_networks(two, settings, TrainingRun(tmp_path), pretrained=tiny)
    assert state.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in weights(state).values())


# Training.


def test_warmup_reduces_the_first_steps_of_g_only(smears: SmearFolder, tiny: Synthesizer, tmp_path: Path) -> None:
    changes = {}
    for name, steps in (("none", 0), ("long", 1000)):
        settings = preset("tiny", steps=1, crop=(32, 32), warmup=steps)
        state = train_networks(smears, settings, TrainingRun(tmp_path / name), pretrained=tiny)
        fresh = initial_state(settings, tiny)
        changes[name] = [
            max(
                float((a - b).detach().abs().max())
                for a, b in zip(trained.parameters(), untrained.parameters(), strict=True)
            )
            for trained, untrained in (
                (state.translator, fresh.translator),
                (state.discriminators, fresh.discriminators),
            )
        ]
    assert 0 < changes["long"][0] < 0.01 * changes["none"][0]
    assert changes["long"][1] == pytest.approx(changes["none"][1])


def test_warmup_applies_to_pretrained_models_only(smears: SmearFolder, tiny: Synthesizer, tmp_path: Path) -> None:
    rates = {}
    for name, pretrained in (("random", None), ("fine_tuned", tiny)):
        settings = preset("tiny", steps=4, crop=(32, 32), warmup=3, decay_from=1)
        train_networks(smears, settings, TrainingRun(tmp_path / name, log_every=1), pretrained=pretrained)
        with (tmp_path / name / "training-log.csv").open(newline="") as file:
            rates[name] = [float(row["lr"]) for row in csv.DictReader(file)]
    rate = TrainingConfig().learning_rate
    assert rates["random"] == pytest.approx([rate] * 4)
    assert rates["fine_tuned"] == pytest.approx([rate / 3, rate * 2 / 3, rate, rate], rel=1e-4)


def test_interrupted_run_has_the_same_result(
    smears: SmearFolder, tiny: Synthesizer, fine_tuned: TrainingState, tmp_path: Path
) -> None:
    for time_limit in (0, 0, None):
        state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, time_limit=time_limit), pretrained=tiny)
    assert state.step == fine_tuned.step == 6
    assert same(weights(state), weights(fine_tuned))
    assert state.pretrained == tiny.hash


def test_run_continues_only_with_the_same_pretrained_model(
    smears: SmearFolder, tiny: Synthesizer, two_class_folder: Path, tmp_path: Path
) -> None:
    other = Synthesizer.load(two_class_folder)
    train_networks(smears, SETTINGS, TrainingRun(tmp_path / "fine_tuned", time_limit=0), pretrained=tiny)
    train_networks(smears, SETTINGS, TrainingRun(tmp_path / "random", time_limit=0))
    for folder, pretrained, message in (
        (
            "fine_tuned",
            other,
            f"started with the pretrained model {tiny.hash[:12]}, now it is the pretrained model {other.hash[:12]}",
        ),
        ("fine_tuned", None, f"started with the pretrained model {tiny.hash[:12]}, now it is random weights"),
        ("random", tiny, f"started with random weights, now it is the pretrained model {tiny.hash[:12]}"),
    ):
        with pytest.raises(ModelError, match=f"{message}; use the same pretrained model"):
            train_networks(smears, SETTINGS, TrainingRun(tmp_path / folder), pretrained=pretrained)


def test_pretrained_model_has_a_smaller_loss_after_a_few_steps(
    smears: SmearFolder, tiny: Synthesizer, tmp_path: Path
) -> None:
    losses = {}
    for name, pretrained in (("random", None), ("fine_tuned", tiny)):
        settings = preset("tiny", steps=5, crop=(32, 32))
        train_networks(smears, settings, TrainingRun(tmp_path / name), pretrained=pretrained)
        with (tmp_path / name / "training-log.csv").open(newline="") as file:
            losses[name] = float(list(csv.DictReader(file))[-1]["colour"])
    assert losses["fine_tuned"] < 0.95 * losses["random"]


# Records.


def test_model_records_the_pretrained_model_and_both_licences(
    smears: SmearFolder, tiny: Synthesizer, tmp_path: Path
) -> None:
    source = DataSource(name="own", smears=6, licence="CC-BY-4.0", citation="Doe 2026")
    child = train_synthesizer(
        smears, preset("tiny", steps=1), TrainingRun(tmp_path / "child"), pretrained=tiny, source=source
    )
    assert child is not None
    loaded = Synthesizer.load(tmp_path / "child").config
    assert loaded.pretrained is not None
    assert (loaded.pretrained.hash, loaded.pretrained.data) == (tiny.hash, tiny.config.data)
    assert loaded.licence == "CC-BY-4.0 (own), CC0-1.0 (analytic)"
    card = (tmp_path / "child" / "model-card.md").read_text()
    assert "| data licence | CC-BY-4.0 |" in card
    row = f"| pretrained model | trained on analytic, 6 smears, split train, scale 1 (hash {tiny.hash[:12]}); "
    assert row + "data licence CC0-1.0; citation none |" in card
    assert "respect the licences of all data: CC-BY-4.0 (own), CC0-1.0 (analytic)." in card

    # A model that is fine-tuned from this one records both.
    third = DataSource(name="third", smears=6, licence="MIT")
    config = child.config.model_copy(update={"data": third, "pretrained": child.as_pretrained})
    assert [pretrained.data.name for pretrained in config.ancestors] == ["own", "analytic"]
    assert config.licence == "MIT (third), CC-BY-4.0 (own), CC0-1.0 (analytic)"
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    unknown = StyleFidelity.of_colours(np.zeros((1, 2, 3)), np.ones((1, 2, 3)))
    assert model_card(replace(child, config=config), unknown, "").count("| pretrained model |") == 2


def test_model_from_random_weights_records_no_pretrained_model(tiny: Synthesizer, tiny_folder: Path) -> None:
    assert tiny.config.ancestors == ()
    assert tiny.config.licence == "CC0-1.0"
    card = (tiny_folder / "model-card.md").read_text()
    assert "pretrained model" not in card
    assert "another model" not in card


def test_cells_of_another_size_are_reported(tiny: Synthesizer, tmp_path: Path) -> None:
    for scale, reported in ((1.0, False), (2.0, True)):
        messages: list[str] = []
        smears = [random_smear(k).resized(scale) for k in range(2)]
        stopped = TrainingRun(tmp_path / str(scale), time_limit=0)
        settings = preset("tiny", steps=2)
        assert train_synthesizer(smears, settings, stopped, pretrained=tiny, on_message=messages.append) is None
        expected = "px; reading the smears at 0.51 times the present scale makes fine-tuning easier"
        assert any(expected in line for line in messages) is reported, messages
