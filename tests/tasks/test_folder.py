"""Tests of the folder of a task model and of the state of an unfinished training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from smearsynth.errors import ModelError
from smearsynth.metrics.intervals import BootstrapScore
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.fitting import FitRun, fit
from smearsynth.tasks.folder import FitState, load_state, save_model, save_state, weights_hash
from smearsynth.tasks.registry import load_model
from smearsynth.tasks.segmentation import Segmentation
from task_models import SMEARS, same_weights, tiny_segmentation

# The model.


def test_a_model_is_loaded_from_its_folder(tmp_path: Path) -> None:
    model = tiny_segmentation()
    report = fit(model, SMEARS, FitRun(tmp_path))
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Segmentation)
    assert loaded.config == model.config
    loaded_labels, labels = (each.predict(SMEARS[0].image).labels for each in (loaded, model))
    assert (loaded_labels == labels).all()
    log = (tmp_path / "fit-log.csv").read_text().splitlines()
    assert log[0] == "step,loss,validation"
    assert len(log) == 1 + len(report.history) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "fit-log.csv",
        "weights.safetensors",
    ]


def test_the_weights_hash_is_that_of_the_folder(tmp_path: Path) -> None:
    model = tiny_segmentation()
    save_model(tmp_path, model)
    assert json.loads((tmp_path / "config.json").read_text())["weights_sha256"] == weights_hash(model)
    assert weights_hash(tiny_segmentation(seed=1)) != weights_hash(model)


def test_folders_without_a_model_are_errors_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder; train one with `smearsynth train-task`"):
        load_model(tmp_path / "none")
    with pytest.raises(ModelError, match=r"not a task model, config.json is missing; name a folder"):
        load_model(tmp_path)
    fit(tiny_segmentation(), SMEARS, FitRun(tmp_path / "unfinished", time_limit=0))
    with pytest.raises(ModelError, match="not finished; run the same `smearsynth train-task` again"):
        load_model(tmp_path / "unfinished")


def test_a_folder_without_checksums_loads_and_gets_them_when_saved_again(tmp_path: Path) -> None:
    model = tiny_segmentation()
    save_model(tmp_path, model)
    checksums = (tmp_path / "SHA256SUMS").read_text()
    assert [line.split("  ")[1] for line in checksums.splitlines()] == ["config.json", "weights.safetensors"]
    (tmp_path / "SHA256SUMS").unlink()
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Segmentation)
    assert same_weights(loaded, model)
    save_model(tmp_path, loaded)
    assert (tmp_path / "SHA256SUMS").read_text() == checksums


Damage = Callable[[Path], object]


def change_setting(folder: Path) -> None:
    """Change a number in config.json that stays valid."""
    content = (folder / "config.json").read_text()
    assert '"held_out": ' in content
    (folder / "config.json").write_text(content.replace('"held_out": ', '"held_out": 1'))


def replace_config(content: str) -> Damage:
    """Replace config.json and remove the checksums, which earlier versions did not write."""

    def change(folder: Path) -> None:
        (folder / "config.json").write_text(content)
        (folder / "SHA256SUMS").unlink()

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_setting, "config.json: altered or damaged, its hash is not the one in SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").write_text("x"), "config.json: altered or damaged"),
        (replace_config("{}"), "not the configuration of a task model"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), "altered or damaged"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "cannot be read"),
    ],
)
def test_a_damaged_model_is_an_error(tmp_path: Path, damage: Damage, message: str) -> None:
    save_model(tmp_path, tiny_segmentation())
    damage(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


def test_unknown_settings_of_another_version_are_an_error(tmp_path: Path) -> None:
    save_model(tmp_path, tiny_segmentation())
    record = json.loads((tmp_path / "config.json").read_text())
    record["config"]["fit"]["colour"] = 1
    replace_config(json.dumps(record))(tmp_path)
    with pytest.raises(ModelError, match=r"another version of smearsynth \(fit.colour"):
        load_model(tmp_path)


def test_settings_of_format_1_are_read_by_their_former_names(tmp_path: Path) -> None:
    save_model(tmp_path, Contours.preset("tiny"))
    record = json.loads((tmp_path / "config.json").read_text())
    del record["config"]["min_area"]
    record["config"]["least_area"] = 17
    replace_config(json.dumps(record))(tmp_path)
    model = load_model(tmp_path)
    assert isinstance(model, Contours)
    assert model.config.min_area == 17


# The state of an unfinished training.


def test_a_state_is_restored_completely(tmp_path: Path) -> None:
    state = FitState.fresh(tiny_segmentation(), "10 smears")
    loss = state.task.loss(SMEARS[:1])
    loss.backward()
    state.optimiser.param_groups[0]["lr"] = 1e-3
    state.optimiser.step()
    state.step, state.losses = 1, [loss.detach()]
    state.history.append({"step": 1, "loss": 0.5})
    state.keep_best(BootstrapScore.of_scores([0.3, 0.4]))
    save_state(tmp_path, state)
    restored = FitState.fresh(tiny_segmentation(), "10 smears")
    assert not same_weights(restored.task, state.task)
    assert load_state(tmp_path, restored)
    assert same_weights(restored.task, state.task)
    assert restored.report == state.report
    assert restored.top is not None
    assert (restored.top.value, restored.top.images) == (0.35, 2)
    tensors = restored.tensors()
    assert tensors.keys() == state.tensors().keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in state.tensors().items())


def test_a_folder_without_a_state_changes_nothing(tmp_path: Path) -> None:
    state = FitState.fresh(tiny_segmentation(), "10 smears")
    assert not load_state(tmp_path, state)
    assert state.step == 0


def test_a_damaged_state_is_an_error(tmp_path: Path) -> None:
    fit(tiny_segmentation(), SMEARS, FitRun(tmp_path, time_limit=0))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"state.safetensors: the training state is damaged .*; delete it"):
        fit(tiny_segmentation(), SMEARS, FitRun(tmp_path))


def test_saving_the_model_removes_the_state(tmp_path: Path) -> None:
    model = tiny_segmentation()
    save_state(tmp_path, FitState.fresh(model, "10 smears"))
    save_model(tmp_path, model)
    assert not (tmp_path / "state.safetensors").exists()


def test_the_report_names_the_weights_of_the_best_score() -> None:
    state = FitState.fresh(tiny_segmentation(), "10 smears")
    for step, scores in ((2, [0.3, 0.3]), (4, [0.9, 0.8]), (6, [0.2, 0.2])):
        state.step = step
        state.keep_best(BootstrapScore.of_scores(scores))
    report = state.report
    assert (report.steps, report.best_step, report.finished) == (6, 4, True)
    assert report.best_score == pytest.approx(0.85)
