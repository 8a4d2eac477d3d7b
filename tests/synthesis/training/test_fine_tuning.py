"""A training that starts with a finished model: its weights at step 0, other classes, and the way on."""

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
from smearsynth.synthesis.networks.generator import Generator, draw_noise, initialise
from smearsynth.synthesis.training.fine_tuning import initialise_from, adapt_to_classes
from smearsynth.synthesis.training.loop import TrainingRun, train_networks
from smearsynth.synthesis.training.pipeline import train_synthesizer
from smearsynth.synthesis.training.state import TrainingState

SETTINGS = preset("tiny", steps=6, crop=(32, 32), warmup=3)


@pytest.fixture(scope="module")
def smears(smear_folder: Path) -> SmearFolder:
    return open_smears(smear_folder, split="train", cache_mb=10)


@pytest.fixture(scope="module")
def warm(smears: SmearFolder, tiny: Synthesizer, tmp_path_factory: pytest.TempPathFactory) -> TrainingState:
    """Six steps in one go, started with `tiny`."""
    return train_networks(smears, SETTINGS, TrainingRun(tmp_path_factory.mktemp("warm"), log_every=1), pretrained=tiny)


def begun(settings: Preset, start: Synthesizer) -> TrainingState:
    state = TrainingState.fresh(settings)
    initialise_from(state, start)
    return state


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {f"average.{key}": tensor for key, tensor in state.average.state_dict().items()}
    found |= {f"translator.{key}": tensor for key, tensor in state.translator.state_dict().items()}
    return found | {f"discriminators.{key}": tensor for key, tensor in state.discriminators.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in one.items())


# Before the first step.


def test_generator_encoder_and_average_are_the_models_and_discriminators_are_new(tiny: Synthesizer) -> None:
    state, fresh = begun(SETTINGS, tiny), TrainingState.fresh(SETTINGS)
    for translator in (state.translator, state.average):
        assert same(translator.generator.state_dict(), tiny.generator.state_dict())
        assert same(translator.encoder.state_dict(), tiny.encoder.state_dict())
    assert same(state.discriminators.state_dict(), fresh.discriminators.state_dict())
    assert state.pretrained == tiny.hash
    assert fresh.pretrained is None
    assert all(parameter.requires_grad for parameter in state.translator.parameters())
    assert not any(parameter.requires_grad for parameter in state.average.parameters())


def test_training_goes_on_from_there_and_leaves_the_model_itself_alone(
    tiny: Synthesizer, tiny_folder: Path, warm: TrainingState
) -> None:
    assert same(tiny.generator.state_dict(), Synthesizer.load(tiny_folder).generator.state_dict())
    for translator in (warm.translator, warm.average):
        assert 0 < (translator.generator.mix.weight - tiny.generator.mix.weight).abs().max() < 0.01


def test_the_networks_are_the_models_and_the_discriminators_the_presets() -> None:
    settings = preset("tiny", class_names=("a", "b"), steps=2, discriminator_filters=6, label_discriminator=True)
    its = NetworkConfig(
        downs=1, blocks=2, filters=8, style_channels=5, modulation=True, debris=True, padding="zeros",
        discriminator_norm="spectral",
    )  # fmt: skip
    taken = settings.initialised_from(its).network
    for name in ("downs", "blocks", "filters", "style_channels", "modulation", "debris", "padding"):
        assert getattr(taken, name) == getattr(its, name)
    assert taken.discriminator_norm == "instance"
    assert (taken.discriminator_filters, taken.label_discriminator) == (6, True)
    assert taken.class_names == ("a", "b")
    with pytest.raises(OptionError, match="crop: sides must be multiples of 64"):
        settings.initialised_from(NetworkConfig(downs=6))


def test_other_networks_are_refused(tiny: Synthesizer) -> None:
    with pytest.raises(OptionError, match="other networks than the model to start with"):
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
    made = Generator(config).requires_grad_(False)
    initialise(made, torch.Generator().manual_seed(5))
    for parameter in made.parameters():
        parameter.mul_(8)
    return made


def repainted(network: Generator, labels: torch.Tensor, classes: list[int]) -> torch.Tensor:
    """A field with these classes of its cells, under styles, noise and debris that are always the same."""
    draw = torch.Generator().manual_seed(9)
    given = condition(
        labels, torch.tensor([[0, *(k + 1 for k in classes)]]), len(network.config.class_names), labels == 2
    )
    styles = torch.randn(1, 3, *labels.shape[1:], generator=draw)
    return network(given, styles, draw_noise(tuple(labels.shape), 1, draw))


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.from_numpy(random_smear(3, (32, 32)).labels).clamp(max=3)[None]


@pytest.mark.parametrize(
    ("before", "after", "classes_before", "classes_after"),
    [
        (("cell",), ("rbc", "wbc"), [0, 0, 0], [0, 1, 0]),  # all new: the one class there is
        (("rbc", "wbc"), ("wbc", "rbc"), [0, 1, 0], [1, 0, 1]),  # in another order
        (("rbc", "wbc"), ("wbc",), [1, 1, 1], [0, 0, 0]),  # one left out
        (("rbc", "wbc"), ("ring", "rbc", "wbc"), [0, 1, 1], [1, 2, 2]),  # one more
    ],
)
def test_a_class_is_painted_as_that_of_its_name_was(labels, before, after, classes_before, classes_after) -> None:
    old, new = generator(*before), generator(*after)
    assert not torch.allclose(
        repainted(old, labels, classes_before), repainted(new, labels, classes_after), atol=0.1
    )
    new.load_state_dict(adapt_to_classes(old.state_dict(), old.config, after))
    assert torch.allclose(repainted(old, labels, classes_before), repainted(new, labels, classes_after), atol=1e-5)


def test_a_new_class_takes_the_mean_of_all() -> None:
    old = generator("rbc", "wbc")
    found = adapt_to_classes(old.state_dict(), old.config, ("ring", "rbc"))
    for name, start in (("first.conv.weight", 0), ("mix.weight", 4), ("up.0.norm.modulate.weight", 0)):
        was, now = old.state_dict()[name], found[name]
        assert now.shape == was.shape
        assert torch.allclose(now[:, start + 1], was[:, start + 1 : start + 3].mean(1))
        assert torch.equal(now[:, start + 2], was[:, start + 1])
        assert torch.equal(now[:, start + 3 :], was[:, start + 3 :])  # boundaries, debris, styles
        assert torch.equal(now[:, : start + 1], was[:, : start + 1])


def test_a_model_of_one_class_teaches_one_of_two(tiny: Synthesizer, tmp_path: Path) -> None:
    names = ("red cell", "white cell")
    two = [random_smear(k, class_names=names) for k in range(3)]
    settings = preset("tiny", class_names=names, steps=2).initialised_from(tiny.config.network)
    state = train_networks(two, settings, TrainingRun(tmp_path), pretrained=tiny)
    assert state.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in weights(state).values())


# On the way.


def test_the_first_steps_of_g_are_small_and_those_of_d_are_not(
    smears: SmearFolder, tiny: Synthesizer, tmp_path: Path
) -> None:
    moves = {}
    for name, steps in (("none", 0), ("long", 1000)):
        settings = preset("tiny", steps=1, crop=(32, 32), warmup=steps)
        state = train_networks(smears, settings, TrainingRun(tmp_path / name), pretrained=tiny)
        fresh = begun(settings, tiny)
        moves[name] = [
            max(
                float((a - b).detach().abs().max())
                for a, b in zip(one.parameters(), other.parameters(), strict=True)
            )
            for one, other in ((state.translator, fresh.translator), (state.discriminators, fresh.discriminators))
        ]
    assert 0 < moves["long"][0] < 0.01 * moves["none"][0]
    assert moves["long"][1] == pytest.approx(moves["none"][1])


def test_the_rate_of_g_rises_in_a_run_with_a_start_alone(
    smears: SmearFolder, tiny: Synthesizer, tmp_path: Path
) -> None:
    rates = {}
    for name, start in (("cold", None), ("warm", tiny)):
        settings = preset("tiny", steps=4, crop=(32, 32), warmup=3, decay_from=1)
        train_networks(smears, settings, TrainingRun(tmp_path / name, log_every=1), pretrained=start)
        with (tmp_path / name / "training-log.csv").open(newline="") as file:
            rates[name] = [float(row["lr"]) for row in csv.DictReader(file)]
    usual = TrainingConfig().learning_rate
    assert rates["cold"] == pytest.approx([usual] * 4)
    assert rates["warm"] == pytest.approx([usual / 3, usual * 2 / 3, usual, usual], rel=1e-4)


def test_a_run_in_pieces_ends_as_an_unbroken_one(
    smears: SmearFolder, tiny: Synthesizer, warm: TrainingState, tmp_path: Path
) -> None:
    for time_limit in (0, 0, None):
        state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, time_limit=time_limit), pretrained=tiny)
    assert state.step == warm.step == 6
    assert same(weights(state), weights(warm))
    assert state.pretrained == tiny.hash


def test_a_run_goes_on_with_its_own_start_alone(
    smears: SmearFolder, tiny: Synthesizer, two_class_folder: Path, tmp_path: Path
) -> None:
    other = Synthesizer.load(two_class_folder)
    train_networks(smears, SETTINGS, TrainingRun(tmp_path / "warm", time_limit=0), pretrained=tiny)
    train_networks(smears, SETTINGS, TrainingRun(tmp_path / "cold", time_limit=0))
    for folder, start, said in (
        (
            "warm",
            other,
            f"started with the model of hash {tiny.hash[:12]}, now it is the model of hash {other.hash[:12]}",
        ),
        ("warm", None, f"started with the model of hash {tiny.hash[:12]}, now it is random weights"),
        ("cold", tiny, f"started with random weights, now it is the model of hash {tiny.hash[:12]}"),
    ):
        with pytest.raises(ModelError, match=f"{said}; start with the same, use another output folder"):
            train_networks(smears, SETTINGS, TrainingRun(tmp_path / folder), pretrained=start)


def test_a_few_steps_from_a_model_are_nearer_than_from_nothing(
    smears: SmearFolder, tiny: Synthesizer, tmp_path: Path
) -> None:
    ends = {}
    for name, start in (("cold", None), ("warm", tiny)):
        settings = preset("tiny", steps=5, crop=(32, 32))
        train_networks(smears, settings, TrainingRun(tmp_path / name), pretrained=start)
        with (tmp_path / name / "training-log.csv").open(newline="") as file:
            ends[name] = float(list(csv.DictReader(file))[-1]["colour"])
    assert ends["warm"] < 0.95 * ends["cold"]


# What the new model says of it.


def test_the_new_model_names_the_start_and_both_licences(
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
    row = f"| started with | a model trained on analytic, 6 smears, split train, scale 1 (hash {tiny.hash[:12]}); "
    assert row + "data licence CC0-1.0; citation none |" in card
    assert "the licences of all data to respect: CC-BY-4.0 (own), CC0-1.0 (analytic)." in card

    # and so does the model that starts with that one
    third = DataSource(name="third", smears=6, licence="MIT")
    config = child.config.model_copy(update={"data": third, "pretrained": child.as_pretrained})
    assert [start.data.name for start in config.starts] == ["own", "analytic"]
    assert config.licence == "MIT (third), CC-BY-4.0 (own), CC0-1.0 (analytic)"
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    unknown = StyleFidelity.of_colours(np.zeros((1, 2, 3)), np.ones((1, 2, 3)))
    assert model_card(replace(child, config=config), unknown, "").count("| started with |") == 2


def test_a_model_from_random_weights_has_no_such_row(tiny: Synthesizer, tiny_folder: Path) -> None:
    assert tiny.config.starts == ()
    assert tiny.config.licence == "CC0-1.0"
    card = (tiny_folder / "model-card.md").read_text()
    assert "started with" not in card
    assert "another model" not in card


def test_cells_of_another_size_are_remarked_on(tiny: Synthesizer, tmp_path: Path) -> None:
    for scale, remarked in ((1.0, False), (2.0, True)):
        said: list[str] = []
        smears = [random_smear(k).resized(scale) for k in range(2)]
        stopped = TrainingRun(tmp_path / str(scale), time_limit=0)
        assert train_synthesizer(smears, preset("tiny", steps=2), stopped, pretrained=tiny, on_message=said.append) is None
        assert any("px in the model to start with; at 0.5" in line for line in said) is remarked, said
