"""Training: it learns, and an interruption of any kind changes nothing of the result."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from smears import random_smear
from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import ModelError, OptionError
from smearsynth.runs import StopRequest, hash_seed
from smearsynth.synthesis.config import Preset, TrainingConfig, preset
from smearsynth.synthesis.networks.conditioning import condition
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.networks.generator import draw_noise
from smearsynth.synthesis.training.crops import draw_crops
from smearsynth.synthesis.training.loop import TrainingRun, _update_average, learning_rate, train_networks
from smearsynth.synthesis.training.pipeline import _train_stages, encode_smears
from smearsynth.synthesis.training.state import TrainingState, Translator

SETTINGS = preset("tiny", steps=6, crop=(32, 32))


@pytest.fixture(scope="module")
def smears(smear_folder: Path) -> SmearFolder:
    return open_smears(smear_folder, split="train", cache_mb=10)


@pytest.fixture(scope="module")
def unbroken(smears, tmp_path_factory) -> tuple[Path, TrainingState]:
    """Six steps in one go."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train_networks(smears, SETTINGS, TrainingRun(folder, log_every=1, save_every=3))


def contents(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("translator", "discriminators", "average"):
        found |= {f"{name}.{key}": tensor for key, tensor in getattr(state, name).state_dict().items()}
    for name in ("optimiser_g", "optimiser_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            found |= {f"{name}.{index}.{key}": torch.as_tensor(entry[key]) for key in entry}
    return found


def assert_same(one: TrainingState, other: TrainingState) -> None:
    assert one.step == other.step
    a, b = contents(one), contents(other)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "training-log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds_per_step"} for row in csv.DictReader(file)]


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at(step: int):
    def on_step(done: int, row: dict[str, float] | None) -> None:
        if done == step:
            raise Killed

    return on_step


def signal_at(step: int, number: int = signal.SIGINT):
    def on_step(done: int, row: dict[str, float] | None) -> None:
        if done == step:
            os.kill(os.getpid(), number)

    return on_step


def test_what_a_run_leaves_behind(unbroken):
    folder, state = unbroken
    assert state.step == 6
    assert [path.name for path in (folder / "state").iterdir()] == ["step-00000006"]
    assert [row["step"] for row in rows(folder)] == list("123456")
    assert list(rows(folder)[0]) == ["step", "lr", "discriminator", "adversarial", "feature_matching", "colour"]
    assert (folder / "samples" / "step-00000006.png").exists()


def test_a_run_killed_between_states_ends_as_if_unbroken(smears, unbroken, tmp_path):
    with pytest.raises(Killed):
        train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, save_every=3, on_step=kill_at(5)))
    assert [row["step"] for row in rows(tmp_path)] == list("12345")
    torch.manual_seed(99)  # another process has another global state

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, save_every=3))

    assert_same(state, unbroken[1])
    assert rows(tmp_path) == rows(unbroken[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_request_saves_and_the_next_call_ends_as_if_unbroken(smears, unbroken, tmp_path, number):
    run = TrainingRun(tmp_path, log_every=1, save_every=100, on_step=signal_at(2, number))

    state = train_networks(smears, SETTINGS, run)

    assert 2 <= state.step <= 3  # the step under way is finished first
    assert [path.name for path in (tmp_path / "state").iterdir()] == [f"step-{state.step:08d}"]
    assert rows(tmp_path) == rows(unbroken[0])[: state.step]
    again = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1))
    assert_same(again, unbroken[1])
    assert rows(tmp_path) == rows(unbroken[0])


@pytest.mark.parametrize("looks", range(5))
def test_every_step_done_is_saved_whenever_the_request_comes(smears, tmp_path, monkeypatch, looks):
    class Late(StopRequest):
        """Asked after so many looks at it: in the smallest gap between two of them."""

        left = looks

        def __getattribute__(self, name: str):
            if name == "asked":
                Late.left -= 1
                return Late.left < 0
            return super().__getattribute__(name)

    monkeypatch.setattr("smearsynth.synthesis.training.loop.StopRequest", Late)

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, save_every=100))

    assert 0 < state.step < 6
    assert [path.name for path in (tmp_path / "state").iterdir()] == [f"step-{state.step:08d}"]


def test_time_that_is_up_is_a_stop_request(smears, unbroken, tmp_path):
    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, time_limit=0))
    assert state.step == 1
    assert_same(train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1)), unbroken[1])


def test_readers_ahead_change_nothing_and_survive_ctrl_c(smears, unbroken, tmp_path):
    children = []

    def on_step(done: int, row: dict[str, float] | None) -> None:
        if done == 1:  # a terminal sends Ctrl-C to all processes of the group
            for child in multiprocessing.active_children():
                children.append(child)
                os.kill(child.pid, signal.SIGINT)
                os.kill(child.pid, signal.SIGTERM)

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, workers=1, on_step=on_step))

    assert children
    assert_same(state, unbroken[1])


def test_saving_logging_and_sampling_do_not_change_the_result(smears, unbroken, tmp_path):
    run = TrainingRun(tmp_path, save_every=1, log_every=4, sample_every=2)
    assert_same(train_networks(smears, SETTINGS, run), unbroken[1])
    assert [row["step"] for row in rows(tmp_path)] == ["4", "6"]
    assert len(list((tmp_path / "samples").glob("*.png"))) == 3


def test_a_finished_run_is_finished(smears, unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, on_step=kill_at(7)))

    assert_same(state, unbroken[1])
    assert rows(tmp_path) == rows(unbroken[0])


def test_a_finished_run_can_be_prolonged(smears, unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    state = train_networks(smears, preset("tiny", steps=8, crop=(32, 32)), TrainingRun(tmp_path, log_every=1))
    assert state.step == 8
    assert [row["step"] for row in rows(tmp_path)] == list("12345678")


def test_other_settings_are_refused(smears, unbroken):
    other = preset("tiny", steps=6, crop=(32, 32), batch=2)
    with pytest.raises(ModelError, match="batch = 1, now it is 2"):
        train_networks(smears, other, TrainingRun(unbroken[0]))


def test_a_damaged_state_is_named(smears, unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "state" / "step-00000006" / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged") as caught:
        train_networks(smears, SETTINGS, TrainingRun(tmp_path))
    assert str(tmp_path / "state" / "step-00000006") in str(caught.value)


def test_nothing_to_train_on_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="no smears"):
        train_networks([], SETTINGS, TrainingRun(tmp_path))


def test_the_seed_decides(smears, unbroken, tmp_path):
    state = train_networks(smears, preset("tiny", steps=6, crop=(32, 32), seed=1), TrainingRun(tmp_path))
    one, other = contents(state), contents(unbroken[1])
    assert not torch.equal(one["average.generator.first.conv.weight"], other["average.generator.first.conv.weight"])


def test_every_network_learns_at_every_layer(unbroken):
    before, after = contents(TrainingState.fresh(SETTINGS)), contents(unbroken[1])
    still = [key for key in before if torch.equal(before[key], after[key])]
    # a bias before an instance normalisation has no effect, and so no slope beyond rounding
    assert still == []
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


@pytest.mark.parametrize(
    ("form", "features"), [("lsgan", "none"), ("log", "none"), ("lsgan", "efficientnet_lite0")]
)
def test_a_few_steps_bring_the_image_nearer(smears, tmp_path, form, features):
    settings = preset(
        "tiny", steps=40, crop=(32, 32), batch=2, learning_rate=2e-3, adversarial=form, perceptual_features=features
    )
    train_networks(smears, settings, TrainingRun(tmp_path, log_every=10), load_features(features))

    found = rows(tmp_path)
    assert float(found[-1]["colour"]) < 0.5 * float(found[0]["colour"])
    if features != "none":
        assert float(found[-1]["perceptual"]) < float(found[0]["perceptual"])


@pytest.mark.parametrize("form", ["lsgan", "log"])
def test_the_discriminators_learn_to_tell_what_stands_still(smears, tmp_path, form):
    settings = preset("tiny", steps=40, crop=(32, 32), learning_rate=2e-5, discriminator_rate=100, adversarial=form)
    train_networks(smears, settings, TrainingRun(tmp_path, log_every=10))
    found = [float(row["discriminator"]) for row in rows(tmp_path)]
    assert found[-1] < 0.5 * found[0]


def test_bf16_trains(smears, tmp_path):
    settings = preset("tiny", steps=2, crop=(32, 32), precision="bf16")
    run = TrainingRun(tmp_path, Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), log_every=1)
    state = train_networks(smears, settings, run)
    assert all(torch.isfinite(tensor).all() for tensor in contents(state).values())
    assert state.translator.generator.mix.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("network", "training"),
    [
        ({"padding": "zeros", "modulation": True, "debris": True}, {}),
        ({"discriminator_norm": "spectral"}, {"discriminator_augmentation": 0.5}),
        ({"label_discriminator": True}, {"r1": 1.0}),
    ],
)
def test_every_option_trains_and_continues_bit_for_bit(smears, tmp_path, network, training):
    def settings(steps: int) -> Preset:
        base = preset("tiny", steps=steps, crop=(32, 32), batch=2, **training)
        return base.model_copy(update={"network": base.network.model_copy(update=network)})

    whole = train_networks(smears, settings(4), TrainingRun(tmp_path / "whole", log_every=1))
    for time_limit in (0, 0, None):
        state = train_networks(smears, settings(4), TrainingRun(tmp_path / "pieces", log_every=1, time_limit=time_limit))

    assert_same(state, whole)
    assert all(torch.isfinite(tensor).all() for tensor in contents(whole).values())
    assert ("labels" in rows(tmp_path / "whole")[0]) == ("label_discriminator" in network)
    before, after = contents(TrainingState.fresh(settings(4))), contents(whole)
    # the direction of a convolution of one output has no choice
    assert {key for key in before if torch.equal(before[key], after[key])} <= {
        key for key in before if key.endswith("layers.4.direction")
    }


def test_a_state_from_before_an_option_goes_on(smears, unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "state" / "step-00000006" / "state.json"
    record = json.loads(file.read_text())
    for key in ("modulation", "debris", "padding"):
        del record["preset"]["network"][key]
    file.write_text(json.dumps(record))
    assert_same(train_networks(smears, SETTINGS, TrainingRun(tmp_path)), unbroken[1])


def test_stage_two_trains_g_and_d_at_given_styles_and_keeps_the_encoder(smears, unbroken, tmp_path):
    first = unbroken[1]
    styles = encode_smears(first, smears)
    settings = preset("tiny", steps=3, crop=(48, 48))
    state = train_networks(smears, settings, TrainingRun(tmp_path), first_stage=first, styles=styles)

    for key, tensor in first.average.encoder.state_dict().items():
        assert torch.equal(state.average.encoder.state_dict()[key], tensor)
        assert torch.equal(state.translator.encoder.state_dict()[key], tensor)
    for name in ("translator", "average"):
        was, now = (getattr(run, name).generator.mix.weight for run in (first, state))
        assert 0 < (was - now).abs().max() < 0.01  # it went on from there
    again = train_networks(smears, settings, TrainingRun(tmp_path), first_stage=first, styles=styles)
    assert_same(again, state)


def test_both_stages_run_in_turn_and_go_on_where_they_stopped(smears, tmp_path):
    base = preset("tiny", steps=3, crop=(48, 48))
    settings = Preset(
        network=base.network,
        training=base.training.model_copy(update={"scale": 0.5}),
        second=base.training.model_copy(update={"steps": 2}),
    )
    told = []
    run = TrainingRun(tmp_path, time_limit=0, on_step=lambda step, row: told.append(step))
    stops = [_train_stages(smears, settings, run, None, lambda line: None) for _ in range(3)]
    assert stops == [None] * 3

    found = _train_stages(smears, settings, run, None, lambda line: None)
    assert found is not None
    state, styles = found
    assert state.step == 2
    assert told == [1, 2, 3, 4, 5]
    wanted = encode_smears(train_networks(smears, settings.stages[0], TrainingRun(tmp_path)), smears, 0.5)
    assert all((a == b).all() for a, b in zip(styles, wanted, strict=True))


def test_two_classes_and_fields_without_cells(tmp_path):
    smears = [random_smear(k, (40, 40), class_names=("a", "b")) for k in range(2)]
    empty = np.zeros((40, 40), np.int32)
    smears.append(type(smears[0])(smears[0].image, empty, np.zeros(0, np.int64), ("a", "b")))
    settings = preset("tiny", class_names=("a", "b"), steps=4, crop=(32, 32), batch=2)
    assert train_networks(smears, settings, TrainingRun(tmp_path)).step == 4


def test_the_translator_paints_each_instance_with_its_own_mean_style(smears):
    settings = SETTINGS
    network = TrainingState.fresh(settings).translator
    for parameter in network.parameters():
        parameter.data.mul_(8)
    batch = draw_crops(smears, settings.training, 1)
    given = condition(batch.labels, batch.channels_of, 1)
    noise = draw_noise((1, 32, 32), 2, torch.Generator().manual_seed(0))
    n = batch.channels_of.shape[1] - 1

    with torch.no_grad():
        whole = network(batch.image, batch.labels, given, noise, n)
        features = network.encoder(batch.image)
        for k in range(n + 1):
            inside = batch.labels[0] == k
            features[0][:, inside] = features[0][:, inside].mean(1, keepdim=True)
        by_hand = network.generator(given, features, noise)

    torch.testing.assert_close(whole, by_hand, atol=1e-5, rtol=1e-5)


def test_fresh_weights_follow_the_seed_and_touch_no_seed():
    torch.manual_seed(1)
    one = TrainingState.fresh(SETTINGS)
    torch.manual_seed(2)
    before = torch.initial_seed()
    other = TrainingState.fresh(SETTINGS)
    assert torch.initial_seed() == before
    assert_same(one, other)
    another = TrainingState.fresh(preset("tiny", seed=1))
    assert not torch.equal(one.translator.generator.mix.weight, another.translator.generator.mix.weight)
    assert torch.equal(one.average.generator.mix.weight, one.translator.generator.mix.weight)
    assert not any(parameter.requires_grad for parameter in one.average.parameters())


def test_learning_rate_is_constant_and_then_falls_to_nothing():
    config = TrainingConfig(steps=100, learning_rate=0.1, decay_from=0.6)
    rates = [learning_rate(config, step) for step in range(100)]

    assert rates[:61] == [0.1] * 61
    np.testing.assert_allclose(np.diff(rates[60:]), -0.1 / 40)
    assert rates[-1] == pytest.approx(0.1 / 40)
    assert learning_rate(config.model_copy(update={"decay_from": 1.0}), 99) == 0.1
    assert learning_rate(config.model_copy(update={"decay_from": 0.0}), 50) == pytest.approx(0.05)


def test_the_rate_of_the_discriminators_is_set_apart(smears, tmp_path):
    settings = preset("tiny", steps=4, crop=(32, 32), discriminator_rate=3)
    state = train_networks(smears, settings, TrainingRun(tmp_path, log_every=1))
    g, d = (o.param_groups[0]["lr"] for o in (state.optimiser_g, state.optimiser_d))
    assert d == pytest.approx(3 * g)
    assert g == pytest.approx(float(rows(tmp_path)[-1]["lr"])) == pytest.approx(1e-4)


def test_the_average_follows_fast_at_first_and_slowly_later():
    state = TrainingState.fresh(SETTINGS)
    for parameter, kept in zip(state.translator.parameters(), state.average.parameters(), strict=True):
        parameter.data.fill_(1.0)
        kept.data.fill_(0.0)
    _update_average(state, 0.999)
    weight = next(state.average.parameters())
    assert weight.flatten()[0].item() == pytest.approx(0.9)  # decay 1 / 10 at the first step

    state.step = 1_000_000
    _update_average(state, 0.999)
    assert weight.flatten()[0].item() == pytest.approx(0.999 * 0.9 + 0.001 * 1)


def test_seeds_of_steps_do_not_meet():
    seeds = {hash_seed(seed, step) for seed in range(30) for step in range(1000)}
    assert len(seeds) == 30_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


def test_parts_keep_their_names():
    # the files of running and shipped models depend on them
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
