"""Tests of the names of tasks and of loading any model."""

from __future__ import annotations

from pathlib import Path

import pytest

from smearsynth.errors import ModelError, OptionError
from smearsynth.tasks.base import Task
from smearsynth.tasks.config import TaskName
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.folder import save_model
from smearsynth.tasks.registry import TASKS, load_model, load_segmentation, task_type
from task_models import same_weights, tiny_segmentation


@pytest.mark.parametrize(("name", "kind"), TASKS.items())
def test_a_model_of_any_task_is_loaded(tmp_path: Path, name: TaskName, kind: type[Task]) -> None:
    assert task_type(name) is kind
    model = kind.preset("tiny", seed=3)
    model.scale = 0.5
    save_model(tmp_path, model)
    loaded = load_model(str(tmp_path))
    assert type(loaded) is kind
    assert (loaded.name, loaded.config, loaded.scale) == (name, model.config, 0.5)
    assert same_weights(loaded, model)


def test_an_unknown_task_is_an_error() -> None:
    with pytest.raises(
        OptionError, match="unknown task 'counting'; choose one of segmentation, detection, contours"
    ):
        task_type("counting")


def test_only_a_segmentation_model_is_loaded_as_one(tmp_path: Path) -> None:
    model = tiny_segmentation()
    save_model(tmp_path / "segmentation", model)
    assert same_weights(load_segmentation(tmp_path / "segmentation"), model)
    save_model(tmp_path / "contours", Contours.preset("tiny"))
    with pytest.raises(ModelError, match="is a model of contours; name one of `smearsynth train-task"):
        load_segmentation(tmp_path / "contours")
