"""Training of a task model in one call, from annotated smears to a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smearsynth.datasets import SmearFolder, as_smear_folder, check_smears, choose_split, fingerprints_of
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.formats.listing import IMAGE_FOLDER
from smearsynth.formats.training_smears import TrainingSmears, TrainingSource, read_training_smears
from smearsynth.runs import Execution, Progress, select_device
from smearsynth.tasks.base import Task
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.fitting import FitRun, benchmark_steps, fit
from smearsynth.tasks.folder import FitReport
from smearsynth.tasks.registry import task_type


@dataclass(frozen=True)
class TaskTrainingEstimate:
    """Duration of a training that has not started.

    Parameters
    ----------
    smears : int
        Number of smears, all readable.
    class_names : tuple of str
    steps : int
    seconds_per_step : float
        Median of a few steps; validation is not included.
    device : str
    """

    smears: int
    class_names: tuple[str, ...]
    steps: int
    seconds_per_step: float
    device: str


def train_task(
    task: str,
    data: Path | str | SmearFolder,
    output: Path | str,
    *,
    preset: str = "cpu",
    settings: Mapping[str, object] | None = None,
    weights: Path | str | None = None,
    execution: Execution | None = None,
) -> FitReport:
    """Train a model that finds cells and write its folder; the same call continues an interrupted training.

    Parameters
    ----------
    task : {"segmentation", "detection", "contours"}
    data : Path, str or SmearFolder
        Annotated smears; of their splits "train" is used if there is one.
    output : Path or str
        Model folder.
    preset : {"cpu", "paper", "tiny"}
    settings : mapping, optional
        Settings of `FitConfig` that replace those of the preset, such as ``{"steps": 300}``.
    weights : Path or str, optional
        Weight file of torchvision's resnet101; for detection only.
    execution : Execution, optional

    Returns
    -------
    FitReport
        ``report.finished`` is False if the training was stopped early.

    Raises
    ------
    DataError
        If a smear cannot be read, no smear has a cell, or the output folder holds smears.
    OptionError
        If the task, the preset or a setting is unknown or out of range.
    ModelError
        If the folder holds a model of other smears or settings.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.formats import open_writer
    >>> from smearsynth.smear import Smear
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[10:30, 10:30] = 1
    >>> folder = Path(tempfile.mkdtemp())
    >>> with open_writer(folder / "smears") as writer:
    ...     writer.write(Smear(np.full((40, 40, 3), 200, np.uint8), labels, np.array([0]), name="field"))
    >>> train_task("segmentation", folder / "smears", folder / "model", preset="tiny", settings={"steps": 2}).steps
    2
    """
    execution = execution or Execution()
    folder = Path(output)
    kind = task_type(task)  # an unknown task is an error before anything is read
    if (folder / IMAGE_FOLDER).is_dir():
        raise DataError("contains smears; name another output folder", folder)
    smears = _training_smears(data, execution.progress)
    model = _configure(kind, smears, preset, settings, weights)
    model.training_smears = _record_smears(smears)
    progress, steps = execution.progress, model.config.fit.steps
    run = FitRun(
        folder,
        select_device(execution.device),
        time_limit=execution.time_limit,
        on_step=lambda step, row: progress.step(step, steps, row),
    )
    with error_location(smears.root):
        report = fit(model, smears, run)
    if not report.knows_content:
        progress.message(
            f"{folder} was started by an earlier version, which stored the names of its smears but not their "
            "content; if images or labels have changed since, name another folder"
        )
    return report


def estimate_task_training(
    task: str,
    data: Path | str | SmearFolder,
    *,
    preset: str = "cpu",
    settings: Mapping[str, object] | None = None,
    weights: Path | str | None = None,
    execution: Execution | None = None,
) -> TaskTrainingEstimate:
    """Read all smears and time a few training steps; parameters and errors as in `train_task`."""
    execution = execution or Execution()
    kind = task_type(task)
    smears = _training_smears(data, execution.progress)
    model = _configure(kind, smears, preset, settings, weights)
    check_smears(smears, execution.progress)
    device = select_device(execution.device)
    seconds = benchmark_steps(model, smears, device)
    return TaskTrainingEstimate(len(smears), model.config.class_names, model.config.fit.steps, seconds, device)


def _training_smears(data: Path | str | SmearFolder, progress: Progress) -> SmearFolder:
    smears, _ = choose_split(as_smear_folder(data, cache_mb=1000, progress=progress), None, default="train")
    return smears


def _record_smears(smears: SmearFolder) -> TrainingSmears:
    """Return the fingerprints of the smears; of synthetic ones also those that their synthesizer was trained on."""
    folder = smears.root if smears.root.is_dir() else smears.root.parent
    sources = [TrainingSource(data=smears.root.resolve().name, smears=fingerprints_of(smears))]
    generated = read_training_smears(folder)
    if generated is not None:
        sources += [source.model_copy(update={"role": "synthesizer"}) for source in generated.sources]
    return TrainingSmears(sources=tuple(sources))


def _configure(
    kind: type[Task],
    smears: SmearFolder,
    preset: str,
    settings: Mapping[str, object] | None,
    weights: Path | str | None,
) -> Task:
    """Build the model of a preset for the classes of the smears."""
    class_names = smears.class_names if kind is Detection else None
    if weights is None:
        model = kind.preset(preset, class_names=class_names, **(settings or {}))
    elif kind is Detection:
        model = Detection.pretrained(Path(weights), preset, class_names=class_names, **(settings or {}))
    else:
        raise OptionError(f"{kind.name} is trained from scratch; leave out --weights")
    if not any(smear.count for smear in smears):
        raise DataError("no training smear has a cell; nothing can be learned from them", smears.root)
    return model
