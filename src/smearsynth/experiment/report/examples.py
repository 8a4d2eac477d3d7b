"""Example predictions of the report: the best and the worst test image of each task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smearsynth.errors import ModelError
from smearsynth.experiment.arms import ARMS, ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job
from smearsynth.experiment.records import BenefitResult, ImageRow, Run
from smearsynth.smear import ImageArray
from smearsynth.tasks.config import TaskName
from smearsynth.tasks.pictures import prediction_example
from smearsynth.tasks.registry import load_model

Rank = Literal["best", "worst"]


@dataclass(frozen=True, eq=False)
class Example:
    """Picture of a prediction.

    Parameters
    ----------
    task : TaskName
    arm : ArmName
    smear : str
        Name of the test smear.
    score : float
        Score of this image: Dice for segmentation, else F1 at IoU 0.5.
    rank : {"best", "worst"}
        Rank among the test images.
    picture : (H, W, 3) uint8 array
        Picture from `smearsynth.tasks.pictures.prediction_example`.
    """

    task: TaskName
    arm: ArmName
    smear: str
    score: float
    rank: Rank
    picture: ImageArray


def example_predictions(
    result: BenefitResult, experiment: Experiment, on_message: Callable[[str], object] = lambda text: None
) -> list[Example]:
    """Predict the best and the worst test image of each task with a stored model of seed 0.

    Parameters
    ----------
    result : BenefitResult
    experiment : Experiment
    on_message : callable
        Called with a warning for each task whose model cannot be loaded.
    """
    examples = []
    for task, (run, folder) in _stored_models(result, experiment).items():
        try:
            model = load_model(folder, experiment.device)
        except ModelError as error:
            on_message(f"no example predictions of {task}: {error}. Delete this folder")
            continue
        for rank, row in _best_and_worst(run).items():
            smear = experiment.test[experiment.test.names.index(row.image)]
            picture = prediction_example(smear, model.predict(smear.image), task)
            examples.append(Example(task, run.arm, row.image, row.score, rank, picture))
    return examples


def _stored_models(result: BenefitResult, experiment: Experiment) -> dict[TaskName, tuple[Run, Path]]:
    """Return a run and its model folder for each task: most real smears first, then the last arm of `ARMS`."""
    models = {}
    for run in sorted(result.runs, key=lambda run: (run.reals, list(ARMS).index(run.arm))):
        if run.seed == run.draw == 0:
            folder = experiment.model_folder(Job(run.task, run.arm, run.reals, 0))
            if folder.exists():
                models[run.task] = run, folder
    return models


def _best_and_worst(run: Run) -> dict[Rank, ImageRow]:
    rows = [row for row in run.images if row.tp + row.fn] or run.images  # images with cells, if there are any
    ranked = sorted(rows, key=lambda row: row.score)
    return {"best": ranked[-1], "worst": ranked[0]}
