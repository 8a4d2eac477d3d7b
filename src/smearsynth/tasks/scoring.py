"""Scoring of a task model on annotated smears."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smearsynth.datasets import SmearFolder, choose_split, exclude_overlays, fingerprints_of, open_smears
from smearsynth.errors import error_location
from smearsynth.formats.training_smears import check_unseen
from smearsynth.runs import SILENT, Execution, Progress, select_device
from smearsynth.smear import Smear
from smearsynth.tasks.base import Evaluation, Task
from smearsynth.tasks.prediction import choose_scale
from smearsynth.tasks.registry import load_model


def score(
    model: Task | Path | str,
    data: Path | str | SmearFolder,
    *,
    scale: float | None = None,
    split: str | None = None,
    limit: int | None = None,
    allow_leak: bool = False,
    execution: Execution | None = None,
) -> Evaluation:
    """Score a model on annotated smears: Dice or AP, panoptic quality, true and false positives, false negatives.

    Parameters
    ----------
    model : Task, Path or str
        A model, or a folder written by `train_task`.
    data : Path, str or SmearFolder
        Annotated smears. A path is opened at the scale of the model.
    scale : float, optional
        Scale for opening a path. Default: the training scale of the model.
    split : str, optional
        Default: "test" if the folder has it, else all smears.
    limit : int, optional
        Use only the first smears.
    allow_leak : bool
        Score also smears that the model was trained on, with a message.
    execution : Execution, optional

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        If a smear cannot be read, has a class that the model does not know, or was a training smear of the model
        or of the synthesizer that generated its training smears.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.formats import open_writer
    >>> from smearsynth.tasks.segmentation import Segmentation
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[10:30, 10:30] = 1
    >>> smear = Smear(np.full((40, 40, 3), 200, np.uint8), labels, np.array([0]), name="field")
    >>> folder = tempfile.mkdtemp()
    >>> with open_writer(folder) as writer:
    ...     writer.write(smear)
    >>> score(Segmentation.preset("tiny"), folder).metric
    'dice'
    """
    execution = execution or Execution()
    device = select_device(execution.device)
    task = model.to(device) if isinstance(model, Task) else load_model(model, device)
    if isinstance(data, SmearFolder):
        smears = data
        choose_scale(task, data.scale, execution.progress)
    else:
        smears = open_smears(data, scale=choose_scale(task, scale, execution.progress))
    smears = everything = exclude_overlays(smears, execution.progress)
    smears, _ = choose_split(smears, split, default="test", limit=limit)
    if task.training_smears is not None or not isinstance(model, Task):
        name = "the model" if isinstance(model, Task) else f"the model {model}"
        for warning in check_scored_smears(task, smears, everything, name, allow_leak=allow_leak):
            execution.progress.message(warning)
    return score_smears(task, smears, execution.progress)


def check_scored_smears(
    task: Task, smears: SmearFolder, everything: SmearFolder, name: str, *, allow_leak: bool = False
) -> tuple[str, ...]:
    """Check that a model was not trained on the smears that it is scored on, and return warnings.

    Parameters
    ----------
    task : Task
    smears, everything : SmearFolder
        The smears to score, and all smears of the same data.
    name : str
        The model in messages.
    allow_leak : bool
        Return a warning in place of an error.

    Raises
    ------
    DataError
        If a smear was a training smear of the model or of the synthesizer that generated its training smears.
    """
    if task.training_smears is None:
        return check_unseen(None, (), name)
    scored = set(smears.names)
    others = everything.subset([k for k, item in enumerate(everything.names) if item not in scored])
    with error_location(smears.root):
        return check_unseen(
            task.training_smears,
            fingerprints_of(smears),
            name,
            others=fingerprints_of(others) if smears.splits else (),
            remedy="name another split (--split), ",
            allow_leak=allow_leak,
        )


def score_smears(task: Task, smears: SmearFolder, progress: Progress = SILENT) -> Evaluation:
    """Score a loaded model on all smears of a folder, as read; see `score`."""
    with error_location(smears.root):
        return task.evaluate(_counted(smears, progress))


def _counted(smears: SmearFolder, progress: Progress) -> Iterator[Smear]:
    """Yield the smears and report how many were read."""
    for done, smear in enumerate(smears, 1):
        yield smear
        progress.advance("scoring", done, len(smears))
