"""Tests of the scoring of a task model on annotated smears."""

from __future__ import annotations

from pathlib import Path

import pytest

from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.generation.generate import generate
from smearsynth.runs import Execution
from smearsynth.smear import ImageArray
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.tasks.base import Prediction
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.folder import save_model
from smearsynth.tasks.scoring import score, score_smears
from smearsynth.tasks.train_task import train_task
from task_models import CLASS_NAMES, AnalyticModel, RecordedProgress, analytic_model, tiny_segmentation


def test_the_test_split_is_used_by_default(smear_folder: Path) -> None:
    model, smears = tiny_segmentation(), open_smears(smear_folder)
    evaluation = score(model, smear_folder)
    assert evaluation == model.evaluate(smears.split("test"))
    assert [image.name for image in evaluation.images] == list(smears.split("test").names)
    train = score(model, smear_folder, split="train", limit=2)
    assert [image.name for image in train.images] == list(smears.split("train").names)[:2]
    with pytest.raises(DataError, match="has no split 'validation'"):
        score(model, smear_folder, split="validation")


def test_all_smears_are_used_without_a_test_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, (random_smear(k) for k in range(3)))
    assert len(score(tiny_segmentation(), folder).images) == 3


def test_true_and_false_positives_and_false_negatives_are_counted(tmp_path: Path) -> None:
    class OneCellMissing(AnalyticModel):
        def predict(self, image: ImageArray) -> Prediction:
            labels = super().predict(image).labels
            assert labels is not None
            labels[labels == 3] = 0
            labels[2:6, 60:64] = 3
            return Prediction.of_labels(labels, super().predict(image).scores, ("cell",))

    folder = write_folder(tmp_path, [analytic_smear()])
    evaluation = score(OneCellMissing(OneCellMissing.presets["tiny"]), folder)
    assert evaluation.counts == (2, 1, 1)
    perfect = score(analytic_model(), folder)
    assert (perfect.value, perfect.counts) == (1.0, (3, 0, 0))


def test_a_path_is_opened_at_the_training_scale(smear_folder: Path, tmp_path: Path) -> None:
    model, progress = tiny_segmentation(), RecordedProgress()
    model.scale = 0.5
    save_model(tmp_path, model)
    execution = Execution("cpu", progress=progress)
    evaluation = score(tmp_path, str(smear_folder), execution=execution)
    assert evaluation == model.evaluate(open_smears(smear_folder, split="test", scale=0.5))
    assert progress.messages == [
        "images are resized by 0.5, the training scale of the model",
        f"The model {tmp_path} does not record its training smears. It may have seen the test smears.",
    ]
    assert progress.items == [("scoring", done, 3) for done in (1, 2, 3)]
    progress.messages.clear()
    other_scale = "the model was trained at scale 0.5, images are read at scale 1"
    score(model, smear_folder, scale=1, execution=execution)
    assert progress.messages == [other_scale]
    score(model, open_smears(smear_folder, limit=1), execution=execution)
    assert progress.messages == [other_scale, other_scale]
    score(model, open_smears(smear_folder, limit=1, scale=0.5), execution=execution)
    assert progress.messages == [other_scale, other_scale]


def test_score_smears_uses_all_smears_as_read(smear_folder: Path) -> None:
    model, smears, progress = tiny_segmentation(), open_smears(smear_folder, scale=0.5), RecordedProgress()
    assert score_smears(model, smears, progress) == model.evaluate(smears)
    assert progress.items[-1] == ("scoring", 9, 9)
    assert progress.messages == []


def test_an_unknown_class_is_an_error_that_names_the_smear(smear_folder: Path) -> None:
    message = "smear-02: has cells of the classes cell; the model knows red cell, white cell but not cell"
    with pytest.raises(DataError, match=message):
        score(Detection.preset("tiny", class_names=CLASS_NAMES), smear_folder)


def test_training_smears_are_not_scored_without_consent(smear_folder: Path, tmp_path: Path) -> None:
    settings = {"steps": 1}
    train_task("segmentation", smear_folder, tmp_path, preset="tiny", settings=settings, execution=Execution("cpu"))
    assert len(score(tmp_path, smear_folder, execution=Execution("cpu")).images) == 3
    with pytest.raises(DataError) as caught:
        score(tmp_path, smear_folder, split="train", execution=Execution("cpu"))
    assert f"6 of 6 test smears were training smears of the model {tmp_path}: smear-00, " in str(caught.value)
    assert "name another split (--split)" in str(caught.value)
    progress = RecordedProgress()
    score(tmp_path, smear_folder, split="train", allow_leak=True, execution=Execution("cpu", progress=progress))
    assert any("6 of 6 test smears were training smears" in text for text in progress.messages)


def test_smears_that_the_synthesizer_of_the_training_smears_has_seen_are_refused(
    smear_folder: Path, tiny: Synthesizer, tmp_path: Path
) -> None:
    generate(tmp_path / "out", 2, model=tiny, size=(64, 64), sheet=False)
    train_task("segmentation", tmp_path / "out", tmp_path / "task", preset="tiny", settings={"steps": 1})
    score(tmp_path / "task", smear_folder)
    with pytest.raises(DataError, match="training smears of the synthesizer that generated training smears of the"):
        score(tmp_path / "task", smear_folder, split="train")
