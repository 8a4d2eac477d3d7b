"""Tests of training in one call, from a folder of smears to a model folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.runs import Execution
from smearsynth.tasks import train_task as module
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.fitting import FitRun, fit
from smearsynth.tasks.registry import load_model
from smearsynth.tasks.train_task import estimate_task_training, train_task
from task_models import CLASS_NAMES, RecordedProgress, same_weights, tiny_segmentation

CPU = Execution("cpu")
TWO_STEPS = {"steps": 2}


def test_the_train_split_alone_is_used(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", (random_smear(k) for k in range(3)), splits=("train", "test", "test"))
    for image in sorted((folder / "images").iterdir())[1:]:
        image.write_bytes(b"")  # reading the test split would be an error
    report = train_task(
        "segmentation", folder, tmp_path / "model", preset="tiny", settings=TWO_STEPS, execution=CPU
    )
    assert report.finished
    assert report.smears.startswith("1 smears, ")


def test_the_model_is_that_of_fit_with_the_same_settings(smear_folder: Path, tmp_path: Path) -> None:
    settings = {"steps": 6, "validate_every": 2, "batch": 1}
    train_task("segmentation", smear_folder, tmp_path, preset="tiny", settings=settings, execution=CPU)
    model = tiny_segmentation()
    fit(model, open_smears(smear_folder, split="train"), FitRun())
    assert same_weights(load_model(tmp_path), model)


def test_every_step_is_reported(smear_folder: Path, tmp_path: Path) -> None:
    progress = RecordedProgress()
    train_task(
        "contours",
        smear_folder,
        tmp_path,
        preset="tiny",
        settings=TWO_STEPS,
        execution=Execution("cpu", progress=progress),
    )
    assert progress.steps == [(1, 2), (2, 2)]
    assert progress.messages == []


def test_an_interrupted_training_is_continued(smear_folder: Path, tmp_path: Path) -> None:
    arguments = ("segmentation", smear_folder, tmp_path)
    report = train_task(*arguments, preset="tiny", settings=TWO_STEPS, execution=Execution("cpu", time_limit=0))
    assert (report.finished, report.steps) == (False, 1)
    assert train_task(*arguments, preset="tiny", settings=TWO_STEPS, execution=CPU).finished
    with pytest.raises(ModelError, match=r"fit\.steps = 2, now it is 3"):
        train_task(*arguments, preset="tiny", settings={"steps": 3}, execution=CPU)


def test_a_detector_has_the_classes_of_the_smears(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", (random_smear(k, class_names=CLASS_NAMES) for k in range(3)))
    for task, class_names in (("detection", CLASS_NAMES), ("contours", ("cell",))):
        train_task(task, folder, tmp_path / task, preset="tiny", settings={"steps": 1}, execution=CPU)
        assert load_model(tmp_path / task).config.class_names == class_names


def test_the_scale_of_an_opened_folder_is_stored(smear_folder: Path, tmp_path: Path) -> None:
    smears = open_smears(smear_folder, scale=0.5)
    train_task("segmentation", smears, tmp_path, preset="tiny", settings={"steps": 1}, execution=CPU)
    assert load_model(tmp_path).scale == 0.5


def test_pretrained_weights_are_for_detection_only(smear_folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "resnet.pth"
    torch.save(ResNet(BasicBlock, [1, 1, 1, 1]).state_dict(), weights)
    train_task(
        "detection",
        smear_folder,
        tmp_path / "model",
        preset="tiny",
        settings={"steps": 1},
        weights=weights,
        execution=CPU,
    )
    model = load_model(tmp_path / "model")
    assert isinstance(model, Detection)
    assert model.config.network.norm == "frozen"
    message = "contours is trained from scratch; leave out --weights"
    with pytest.raises(OptionError, match=message):
        train_task("contours", smear_folder, tmp_path / "other", preset="tiny", weights=weights, execution=CPU)
    with pytest.raises(OptionError, match=message):
        estimate_task_training("contours", smear_folder, preset="tiny", weights=weights, execution=CPU)
    assert not (tmp_path / "other").exists()


def test_a_model_without_the_hash_of_its_smears_is_reported(smear_folder: Path, tmp_path: Path) -> None:
    """Earlier versions stored neither this hash nor checksums."""
    model, progress = tmp_path / "model", RecordedProgress()
    train_task("segmentation", smear_folder, model, preset="tiny", settings=TWO_STEPS, execution=CPU)
    config = model / "config.json"
    config.write_text(re.sub(", content [0-9a-f]+", "", config.read_text()))
    (model / "SHA256SUMS").unlink()
    execution = Execution("cpu", progress=progress)
    train_task("segmentation", smear_folder, model, preset="tiny", settings=TWO_STEPS, execution=execution)
    assert len(progress.messages) == 1
    assert "stored the names of its smears but not their content" in progress.messages[0]


# Errors; none of them writes a model folder.


def test_unknown_tasks_presets_and_settings_are_errors(smear_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown task 'counting'"):
        train_task("counting", tmp_path / "none", tmp_path / "model")
    with pytest.raises(OptionError, match="unknown preset 'gpu' of contours"):
        train_task("contours", smear_folder, tmp_path / "model", preset="gpu")
    with pytest.raises(OptionError, match="batch: Input should be less than or equal to 1024"):
        train_task("contours", smear_folder, tmp_path / "model", settings={"batch": 2000})
    assert not (tmp_path / "model").exists()


def test_an_output_folder_with_smears_is_refused(smear_folder: Path) -> None:
    files = sorted(smear_folder.rglob("*"))
    with pytest.raises(DataError, match="contains smears; name another output folder"):
        train_task("segmentation", smear_folder, smear_folder, preset="tiny", execution=CPU)
    assert sorted(smear_folder.rglob("*")) == files


def test_smears_without_cells_are_refused(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(2)]
    empty = [replace(s, labels=np.zeros_like(s.labels), classes=np.array([], int)) for s in smears]
    folder = write_folder(tmp_path / "data", empty)
    with pytest.raises(DataError, match="no training smear has a cell"):
        train_task("segmentation", folder, tmp_path / "model", preset="tiny", execution=CPU)
    with pytest.raises(DataError, match="no training smear has a cell"):
        estimate_task_training("segmentation", folder, preset="tiny", execution=CPU)
    assert not (tmp_path / "model").exists()


# The estimate.


def test_the_estimate_describes_the_training(smear_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "benchmark_steps", lambda model, smears, device: len(smears) / 4)
    estimate = estimate_task_training(
        "detection", smear_folder, preset="tiny", settings={"steps": 7}, execution=CPU
    )
    assert (estimate.smears, estimate.class_names) == (6, ("cell",))
    assert (estimate.steps, estimate.seconds_per_step, estimate.device) == (7, 1.5, "cpu")


def test_the_estimate_times_real_steps(smear_folder: Path) -> None:
    estimate = estimate_task_training("segmentation", smear_folder, preset="tiny", execution=CPU)
    assert 0 < estimate.seconds_per_step < 10
    assert estimate.steps == 20


def test_the_estimate_lists_smears_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, (random_smear(k) for k in range(3)))
    (folder / "images" / "smear-01.png").write_bytes(b"x")
    progress = RecordedProgress()
    with pytest.raises(DataError, match="1 of 3 smears cannot be read"):
        estimate_task_training("contours", folder, preset="tiny", execution=Execution("cpu", progress=progress))
    assert len(progress.messages) == 1
    assert "smear-01.png" in progress.messages[0]
