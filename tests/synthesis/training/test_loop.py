"""Training loop: it learns, and interruptions do not change the result."""

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

from smears import random_smear
from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import ModelError, OptionError
from smearsynth.runs import StopRequest, hash_seed
from smearsynth.synthesis.config import Preset, TrainingConfig, preset
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, _update_average, learning_rate, train_networks
from smearsynth.synthesis.training.pipeline import encode_smears
from smearsynth.synthesis.training.state import TrainingState

SETTINGS = preset("tiny", steps=6, crop=(32, 32))


@pytest.fixture(scope="module")
def smears(smear_folder: Path) -> SmearFolder:
    return open_smears(smear_folder, split="train", cache_mb=10)


@pytest.fixture(scope="module")
def whole_run(smears, tmp_path_factory) -> tuple[Path, TrainingState]:
    """Six steps without interruption."""
    folder = tmp_path_factory.mktemp("whole_run")
    return folder, train_networks(smears, SETTINGS, TrainingRun(folder, log_every=1, save_every=3))


def contents(state: TrainingState) -> dict[str, torch.Tensor]:
    values = {}
    for name in ("translator", "discriminators", "average"):
        values |= {f"{name}.{key}": tensor for key, tensor in getattr(state, name).state_dict().items()}
    for name in ("optimiser_g", "optimiser_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            values |= {f"{name}.{index}.{key}": torch.as_tensor(entry[key]) for key in entry}
    return values


def assert_same(first: TrainingState, second: TrainingState) -> None:
    assert first.step == second.step
    a, b = contents(first), contents(second)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "training-log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds_per_step"} for row in csv.DictReader(file)]


class ProcessKilled(BaseException):
    """Replaces the end of the process."""


def kill_at(step: int):
    def on_step(done: int, row: dict[str, float] | None) -> None:
        if done == step:
            raise ProcessKilled

    return on_step


def signal_at(step: int, signal_number: int = signal.SIGINT):
    def on_step(done: int, row: dict[str, float] | None) -> None:
        if done == step:
            os.kill(os.getpid(), signal_number)

    return on_step


def test_files_of_a_run(whole_run):
    folder, state = whole_run
    assert state.step == 6
    assert [path.name for path in (folder / "state").iterdir()] == ["step-00000006"]
    assert [row["step"] for row in rows(folder)] == list("123456")
    assert list(rows(folder)[0]) == ["step", "lr", "discriminator", "adversarial", "feature_matching", "colour"]
    assert (folder / "samples" / "step-00000006.png").exists()


def test_killed_run_continues_with_the_same_result(smears, whole_run, tmp_path):
    with pytest.raises(ProcessKilled):
        train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, save_every=3, on_step=kill_at(5)))
    assert [row["step"] for row in rows(tmp_path)] == list("12345")
    torch.manual_seed(99)  # a new process has another global random state

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, save_every=3))

    assert_same(state, whole_run[1])
    assert rows(tmp_path) == rows(whole_run[0])


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_stop_request_saves_and_the_run_continues_with_the_same_result(smears, whole_run, tmp_path, signal_number):
    run = TrainingRun(tmp_path, log_every=1, save_every=100, on_step=signal_at(2, signal_number))

    state = train_networks(smears, SETTINGS, run)

    assert 2 <= state.step <= 3  # the current step is completed first
    assert [path.name for path in (tmp_path / "state").iterdir()] == [f"step-{state.step:08d}"]
    assert rows(tmp_path) == rows(whole_run[0])[: state.step]
    repeated = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1))
    assert_same(repeated, whole_run[1])
    assert rows(tmp_path) == rows(whole_run[0])


@pytest.mark.parametrize("reads", range(5))
def test_every_completed_step_is_saved_at_any_time_of_the_request(smears, tmp_path, monkeypatch, reads):
    class LateRequest(StopRequest):
        """Request that arrives after `reads` reads of `requested`: at every possible moment of a step."""

        remaining = reads

        def __getattribute__(self, name: str):
            if name == "requested":
                LateRequest.remaining -= 1
                return LateRequest.remaining < 0
            return super().__getattribute__(name)

    monkeypatch.setattr("smearsynth.synthesis.training.loop.StopRequest", LateRequest)

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, save_every=100))

    assert 0 < state.step < 6
    assert [path.name for path in (tmp_path / "state").iterdir()] == [f"step-{state.step:08d}"]


def test_time_limit_stops_the_run(smears, whole_run, tmp_path):
    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, time_limit=0))
    assert state.step == 1
    assert_same(train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1)), whole_run[1])


def test_workers_do_not_change_the_result_and_ignore_ctrl_c(smears, whole_run, tmp_path):
    children = []

    def on_step(done: int, row: dict[str, float] | None) -> None:
        if done == 1:  # a terminal sends Ctrl-C to all processes of its group
            for child in multiprocessing.active_children():
                children.append(child)
                os.kill(child.pid, signal.SIGINT)
                os.kill(child.pid, signal.SIGTERM)

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, log_every=1, workers=1, on_step=on_step))

    assert children
    assert_same(state, whole_run[1])


def test_saving_logging_and_sampling_do_not_change_the_result(smears, whole_run, tmp_path):
    run = TrainingRun(tmp_path, save_every=1, log_every=4, sample_every=2)
    assert_same(train_networks(smears, SETTINGS, run), whole_run[1])
    assert [row["step"] for row in rows(tmp_path)] == ["4", "6"]
    assert len(list((tmp_path / "samples").glob("*.png"))) == 3


def test_finished_run_is_not_trained_further(smears, whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path, dirs_exist_ok=True)

    state = train_networks(smears, SETTINGS, TrainingRun(tmp_path, on_step=kill_at(7)))

    assert_same(state, whole_run[1])
    assert rows(tmp_path) == rows(whole_run[0])


def test_finished_run_can_be_extended(smears, whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path, dirs_exist_ok=True)
    state = train_networks(smears, preset("tiny", steps=8, crop=(32, 32)), TrainingRun(tmp_path, log_every=1))
    assert state.step == 8
    assert [row["step"] for row in rows(tmp_path)] == list("12345678")


def test_other_settings_are_an_error(smears, whole_run):
    second = preset("tiny", steps=6, crop=(32, 32), batch=2)
    with pytest.raises(ModelError, match="batch = 1, now it is 2"):
        train_networks(smears, second, TrainingRun(whole_run[0]))


def test_damaged_state_is_reported(smears, whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "state" / "step-00000006" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged") as caught:
        train_networks(smears, SETTINGS, TrainingRun(tmp_path))
    assert str(tmp_path / "state" / "step-00000006") in str(caught.value)


def test_no_smears_are_an_error(tmp_path):
    with pytest.raises(OptionError, match="no smears"):
        train_networks([], SETTINGS, TrainingRun(tmp_path))


def test_result_depends_on_the_seed(smears, whole_run, tmp_path):
    state = train_networks(smears, preset("tiny", steps=6, crop=(32, 32), seed=1), TrainingRun(tmp_path))
    first, second = contents(state), contents(whole_run[1])
    assert not torch.equal(
        first["average.generator.first.conv.weight"], second["average.generator.first.conv.weight"]
    )


def test_all_parameters_change(whole_run):
    before, after = contents(TrainingState.fresh(SETTINGS)), contents(whole_run[1])
    unchanged = [key for key in before if torch.equal(before[key], after[key])]
    # Even a bias before an instance normalisation, which has no effect, changes by rounding errors.
    assert unchanged == []
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


@pytest.mark.parametrize(
    ("form", "features"), [("lsgan", "none"), ("log", "none"), ("lsgan", "efficientnet_lite0")]
)
def test_losses_decrease(smears, tmp_path, form, features):
    settings = preset(
        "tiny", steps=40, crop=(32, 32), batch=2, learning_rate=2e-3, adversarial=form, perceptual_features=features
    )
    train_networks(smears, settings, TrainingRun(tmp_path, log_every=10), load_features(features))

    values = rows(tmp_path)
    assert float(values[-1]["colour"]) < 0.5 * float(values[0]["colour"])
    if features != "none":
        assert float(values[-1]["perceptual"]) < float(values[0]["perceptual"])


@pytest.mark.parametrize("form", ["lsgan", "log"])
def test_discriminators_learn_against_a_fixed_generator(smears, tmp_path, form):
    settings = preset("tiny", steps=40, crop=(32, 32), learning_rate=2e-5, discriminator_rate=100, adversarial=form)
    train_networks(smears, settings, TrainingRun(tmp_path, log_every=10))
    values = [float(row["discriminator"]) for row in rows(tmp_path)]
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize(
    ("network", "training"),
    [
        ({"padding": "zeros", "modulation": True, "debris": True}, {}),
        ({"discriminator_norm": "spectral"}, {"discriminator_augmentation": 0.5}),
        ({"label_discriminator": True}, {"r1": 1.0}),
    ],
)
def test_every_option_trains_and_continues_bit_identically(smears, tmp_path, network, training):
    def settings(steps: int) -> Preset:
        base = preset("tiny", steps=steps, crop=(32, 32), batch=2, **training)
        return base.model_copy(update={"network": base.network.model_copy(update=network)})

    uninterrupted = train_networks(smears, settings(4), TrainingRun(tmp_path / "uninterrupted", log_every=1))
    for time_limit in (0, 0, None):
        state = train_networks(
            smears, settings(4), TrainingRun(tmp_path / "pieces", log_every=1, time_limit=time_limit)
        )

    assert_same(state, uninterrupted)
    assert all(torch.isfinite(tensor).all() for tensor in contents(uninterrupted).values())
    assert ("labels" in rows(tmp_path / "uninterrupted")[0]) == ("label_discriminator" in network)
    before, after = contents(TrainingState.fresh(settings(4))), contents(uninterrupted)
    # The direction of a convolution with one output channel is constant.
    assert {key for key in before if torch.equal(before[key], after[key])} <= {
        key for key in before if key.endswith("layers.4.direction")
    }


def test_state_without_later_options_continues(smears, whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "state" / "step-00000006" / "state.json"
    record = json.loads(file.read_text())
    for key in ("modulation", "debris", "padding"):
        del record["preset"]["network"][key]
    file.write_text(json.dumps(record))
    assert_same(train_networks(smears, SETTINGS, TrainingRun(tmp_path)), whole_run[1])


def test_stage_two_trains_g_and_d_with_precomputed_styles(smears, whole_run, tmp_path):
    first = whole_run[1]
    styles = encode_smears(first, smears)
    settings = preset("tiny", steps=3, crop=(48, 48))
    state = train_networks(smears, settings, TrainingRun(tmp_path), first_stage=first, styles=styles)

    for key, tensor in first.average.encoder.state_dict().items():
        assert torch.equal(state.average.encoder.state_dict()[key], tensor)
        assert torch.equal(state.translator.encoder.state_dict()[key], tensor)
    for name in ("translator", "average"):
        former, current = (getattr(run, name).generator.mix.weight for run in (first, state))
        assert 0 < (former - current).abs().max() < 0.01  # training started from stage one
    repeated = train_networks(smears, settings, TrainingRun(tmp_path), first_stage=first, styles=styles)
    assert_same(repeated, state)


def test_two_classes_and_a_smear_without_cells(tmp_path):
    smears = [random_smear(k, (40, 40), class_names=("a", "b")) for k in range(2)]
    empty = np.zeros((40, 40), np.int32)
    smears.append(type(smears[0])(smears[0].image, empty, np.zeros(0, np.int64), ("a", "b")))
    settings = preset("tiny", class_names=("a", "b"), steps=4, crop=(32, 32), batch=2)
    assert train_networks(smears, settings, TrainingRun(tmp_path)).step == 4


def test_learning_rate_is_constant_and_then_decays_to_zero():
    config = TrainingConfig(steps=100, learning_rate=0.1, decay_from=0.6)
    rates = [learning_rate(config, step) for step in range(100)]

    assert rates[:61] == [0.1] * 61
    np.testing.assert_allclose(np.diff(rates[60:]), -0.1 / 40)
    assert rates[-1] == pytest.approx(0.1 / 40)
    assert learning_rate(config.model_copy(update={"decay_from": 1.0}), 99) == 0.1
    assert learning_rate(config.model_copy(update={"decay_from": 0.0}), 50) == pytest.approx(0.05)


def test_discriminators_have_their_learning_rate(smears, tmp_path):
    settings = preset("tiny", steps=4, crop=(32, 32), discriminator_rate=3)
    state = train_networks(smears, settings, TrainingRun(tmp_path, log_every=1))
    g, d = (o.param_groups[0]["lr"] for o in (state.optimiser_g, state.optimiser_d))
    assert d == pytest.approx(3 * g)
    assert g == pytest.approx(float(rows(tmp_path)[-1]["lr"])) == pytest.approx(1e-4)


def test_average_follows_faster_in_early_steps():
    state = TrainingState.fresh(SETTINGS)
    for parameter, average in zip(state.translator.parameters(), state.average.parameters(), strict=True):
        parameter.data.fill_(1.0)
        average.data.fill_(0.0)
    _update_average(state, 0.999)
    weight = next(state.average.parameters())
    assert weight.flatten()[0].item() == pytest.approx(0.9)  # decay 1 / 10 at the first step

    state.step = 1_000_000
    _update_average(state, 0.999)
    assert weight.flatten()[0].item() == pytest.approx(0.999 * 0.9 + 0.001 * 1)


def test_seeds_of_steps_are_distinct():
    seeds = {hash_seed(seed, step) for seed in range(30) for step in range(1000)}
    assert len(seeds) == 30_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
