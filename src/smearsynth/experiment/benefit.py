"""The benefit experiment in one call: it measures whether synthetic smears improve a model."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job, Settings, smear_digests, task_config
from smearsynth.experiment.preparing import is_finished, prepare, synthesizer_folder, synthesizer_preset
from smearsynth.experiment.records import BenefitResult, counted, synthesizer_warnings
from smearsynth.experiment.report.examples import example_predictions
from smearsynth.experiment.report.page import write_report
from smearsynth.experiment.running import Pool, Work, estimate_seconds, remaining_work, run_all
from smearsynth.experiment.summary import summarise
from smearsynth.formats.listing import IMAGE_FOLDER
from smearsynth.runs import SILENT, Execution, Progress, select_device
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.pipeline import benchmark_steps

_CACHE_MB = 800.0
_MIN_SMEARS = 3  # of data without splits

Models = Mapping[int, Path | str] | Path | str


@dataclass(frozen=True)
class BenefitEstimate:
    """Estimated work of an experiment.

    Parameters
    ----------
    work_items : int
        Number of trainings and of sets of synthetic smears that are not finished.
    workers : int
        Number of processes.
    minutes : float
        Estimated time of the work items.
    synthesizer_minutes : float
        Estimated time of training the synthesizers that are missing, before the work items.
    """

    work_items: int
    workers: int
    minutes: float
    synthesizer_minutes: float

    def to_dict(self) -> dict[str, int | float]:
        """Return the fields as a dictionary.

        Examples
        --------
        >>> BenefitEstimate(10, 2, 35.0, 0.0).to_dict()
        {'work_items': 10, 'workers': 2, 'minutes': 35.0, 'synthesizer_minutes': 0.0}
        """
        return asdict(self)


def benefit(
    data: Path | str | SmearFolder,
    output: Path | str,
    settings: Settings = Settings(),
    *,
    models: Models | None = None,
    pretrained: Path | str | None = None,
    splits: tuple[str, str] = ("train", "test"),
    name: str | None = None,
    execution: Execution = Execution(),
) -> BenefitResult | None:
    """Measure whether synthetic smears improve a model: Table 2 of the paper on your smears, with 95 % intervals.

    Each task is trained on real smears, on synthetic smears and on both, with and without the paper's
    augmentations, at equal step counts and seeds, and scored on the same test smears.

    Parameters
    ----------
    data : Path or str or SmearFolder
        Annotated smears: a folder, a COCO file, or opened smears.
    output : Path or str
        Output folder. Gets ``report.html``, ``report.md``, ``figures/``, ``benefit.json`` and the cached results;
        these are reused if their inputs are unchanged.
    settings : Settings, optional
    models : mapping of int to Path or str, or Path or str, optional
        Synthesizers that were trained without the test smears: a model folder for all training smears, or model
        folders by number of real training smears. A missing one is trained on the training smears; this takes one
        to two hours on a CPU.
    pretrained : Path or str, optional
        Model, trained without the test smears, to start the training of missing synthesizers from.
    splits : (str, str)
        Names of the training split and the test split. Data without splits are divided: every third smear is a
        test smear.
    name : str, optional
        Name of the data in the report. Default: the name of its folder.
    execution : Execution, optional
        Default number of workers: one per core, one on a GPU.

    Returns
    -------
    BenefitResult or None
        None if it was interrupted. The next call continues it.

    Raises
    ------
    DataError
        If a smear cannot be used, a smear is in both splits, or the output folder contains smears.
    OptionError
        If a setting is out of range.
    ModelError
        If a model cannot be loaded.

    References
    ----------
    .. [1] O. Bailo, D. Ham, Y. M. Shin, "Red blood cell image generation for data augmentation using conditional
           generative adversarial networks", CVPR Workshops, 2019.

    Examples
    --------
    Two segmentation models trained on real smears, one of them with augmentation (a few steps, to show the call):

    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.formats.registry import open_writer
    >>> from smearsynth.smear import Smear
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> with open_writer(folder / "smears") as writer:
    ...     for k in range(6):
    ...         labels = np.zeros((64, 64), np.int32)
    ...         labels[16:40, 10 + k : 40] = 1
    ...         image = rng.integers(190, 220, (64, 64, 3)) - 90 * (labels[..., None] > 0)
    ...         writer.write(Smear(image.astype(np.uint8), labels, np.array([0]), name=f"smear-{k}"))
    >>> settings = Settings(tasks=("segmentation",), arms=("RD", "RD+aug"), preset="tiny", steps=2, seeds=2)
    >>> execution = Execution(device="cpu", workers=1)
    >>> result = benefit(folder / "smears", folder / "result", settings, execution=execution)
    >>> len(result.runs), (folder / "result" / "report.html").exists()
    (4, True)
    """
    started = time.monotonic()
    deadline = math.inf if execution.time_limit is None else started + 60 * execution.time_limit
    inputs = _inputs(data, output, settings, models, splits, execution)
    progress, workers = execution.progress, _worker_count(execution)
    with error_location(inputs.root):
        experiment = prepare(
            inputs.train,
            inputs.test,
            settings,
            inputs.output,
            inputs.models,
            pretrained=pretrained,
            execution=execution,
            deadline=deadline,
        )
    if experiment is None:
        return None
    _warn_of_sources(experiment, experiment.sources, progress)
    work = remaining_work(experiment)
    _announce(experiment, work, workers, progress)
    done: list[Work] = []

    def on_done(item: Work) -> None:
        done.append(item)
        progress.advance("experiment", len(done), len(work))

    if not run_all(experiment, work, workers=workers, deadline=deadline, on_done=on_done):
        return None
    result = summarise(experiment, name or inputs.root.resolve().name, execution.command)
    result.save(inputs.output / "benefit.json")
    write_report(result, inputs.output, example_predictions(result, experiment, progress.message))
    return result


def estimate_benefit(
    data: Path | str | SmearFolder,
    output: Path | str,
    settings: Settings = Settings(),
    *,
    models: Models | None = None,
    pretrained: Path | str | None = None,
    splits: tuple[str, str] = ("train", "test"),
    execution: Execution = Execution(),
) -> BenefitEstimate:
    """Check the inputs of `benefit` and estimate its time. Nothing is written.

    Parameters
    ----------
    data, output, settings, models, pretrained, splits, execution
        As for `benefit`.

    Returns
    -------
    BenefitEstimate

    Raises
    ------
    DataError, OptionError, ModelError
        As for `benefit`.
    """
    inputs = _inputs(data, output, settings, models, splits, execution)
    progress, workers = execution.progress, _worker_count(execution)
    sizes = settings.train_sizes(len(inputs.train)) if settings.needs_synthetic else ()
    available = _finished_models(inputs, sizes, pretrained) | inputs.models
    missing = [size for size in sizes if size not in available]
    with error_location(inputs.root):
        synthesizer_minutes = _estimate_synthesizers(inputs.train, missing, pretrained, execution)
        # The shipped model stands in for the missing ones: generation takes the same time.
        experiment = prepare(
            inputs.train,
            inputs.test,
            settings,
            inputs.output,
            available | dict.fromkeys(missing, "default"),
            execution=execution,
        )
    assert experiment is not None  # nothing is trained
    _warn_of_sources(experiment, [size for size in sizes if size in available], progress)
    work = remaining_work(experiment)
    minutes = _announce(experiment, work, workers, progress)
    if not work:
        progress.message(f"all runs are finished; only the report is left to write ({inputs.output})")
    return BenefitEstimate(len(work), workers, round(minutes, 1), round(synthesizer_minutes, 1))


def divide(
    smears: SmearFolder, splits: tuple[str, str] = ("train", "test"), progress: Progress = SILENT
) -> tuple[SmearFolder, SmearFolder]:
    """Divide smears into training smears and test smears.

    Parameters
    ----------
    smears : SmearFolder
    splits : (str, str)
        Names of the training split and the test split. Without splits every third smear is a test smear.
    progress : Progress, optional
        Receives a warning if there are no splits.

    Returns
    -------
    train, test : SmearFolder

    Raises
    ------
    DataError
        If there is no such split, or there are fewer than three smears without splits.
    OptionError
        If both splits are the same.
    """
    train, test = splits
    if smears.splits:
        if train == test:
            raise OptionError(f"split {train!r} cannot be both training and test split; choose two splits")
        return smears.split(train), smears.split(test)
    if len(smears) < _MIN_SMEARS:
        raise DataError(
            f"{counted(len(smears), 'smear')}; training and testing need at least {_MIN_SMEARS}", smears.root
        )
    progress.message(
        "no split.csv: every third smear becomes a test smear. If fields of the same slide are in both sets, the "
        "scores of all arms are too high"
    )
    return smears.subset([k for k in range(len(smears)) if k % 3 != 1]), smears[1::3]


@dataclass(frozen=True)
class _Inputs:
    root: Path
    train: SmearFolder
    test: SmearFolder
    output: Path
    models: dict[int, Path | str]


def _inputs(
    data: Path | str | SmearFolder,
    output: Path | str,
    settings: Settings,
    models: Models | None,
    splits: tuple[str, str],
    execution: Execution,
) -> _Inputs:
    """Open and divide the data and check all options, so that mistakes are reported before any long computation."""
    output = Path(output)
    if (output / IMAGE_FOLDER).is_dir():
        raise DataError("contains smears; choose another output folder", output)
    smears = data if isinstance(data, SmearFolder) else open_smears(data, classes="one", cache_mb=_CACHE_MB)
    train, test = divide(smears, splits, execution.progress)
    sizes = settings.train_sizes(len(train))
    for task in settings.tasks:
        task_config(settings, Job(task, settings.arms[0], sizes[0], 0))
    if models is None:
        folders: dict[int, Path | str] = {}
    elif isinstance(models, Mapping):
        folders = dict(models)
    else:
        folders = {len(train): models}
    for size, folder in folders.items():
        if size not in sizes:
            raise OptionError(
                f"model {folder} is for {counted(size, 'real smear')}, but the experiment uses "
                f"{', '.join(map(str, sizes))} (--sizes); name the model of a subset with its size (--model "
                f"N={folder})"
            )
    return _Inputs(smears.root if isinstance(data, SmearFolder) else Path(data), train, test, output, folders)


def _worker_count(execution: Execution) -> int:
    return execution.workers or (1 if select_device(execution.device) == "cuda" else os.cpu_count() or 1)


def _warn_of_sources(experiment: Experiment, sizes: Iterable[int], progress: Progress) -> None:
    for sentence in synthesizer_warnings({reals: experiment.sources[reals].facts for reals in sizes}):
        progress.message(sentence)


def _finished_models(inputs: _Inputs, sizes: Sequence[int], pretrained: Path | str | None) -> dict[int, Path | str]:
    """Return the synthesizers that an earlier call trained on these smears."""
    digests = smear_digests(inputs.train, "train")
    initial = Synthesizer.load(pretrained) if pretrained else None
    folders = {size: synthesizer_folder(inputs.output, digests, size, initial) for size in sizes}
    return {size: folder for size, folder in folders.items() if is_finished(folder)}


def _estimate_synthesizers(
    train: SmearFolder, sizes: Sequence[int], pretrained: Path | str | None, execution: Execution
) -> float:
    """Estimate the minutes to train the synthesizers of these sizes one after another."""
    if not sizes:
        return 0.0
    device = select_device(execution.device)
    preset = synthesizer_preset(device, fine_tuning=pretrained is not None)
    seconds = benchmark_steps(train, preset, device, load_features(preset.training.perceptual_features))
    minutes = seconds[preset.training.precision] * preset.steps / 60
    duration = f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.0f} min"
    execution.progress.message(
        f"no --model for {', '.join(map(str, sizes))} real smears: a synthesizer is trained first for each, "
        f"{preset.steps:,} steps, about {duration}"
    )
    return minutes * len(sizes)


def _announce(experiment: Experiment, work: Sequence[Work], workers: int, progress: Progress) -> float:
    """Report the number of work items and return the estimated minutes."""
    minutes = estimate_seconds(experiment, work, workers) / 60
    if work:
        pools = sum(isinstance(item, Pool) for item in work)
        progress.message(
            f"{counted(len(work), 'work item')} ({counted(pools, 'set')} of synthetic smears, "
            f"{counted(len(work) - pools, 'training')}), about {minutes:.0f} min with "
            f"{workers} {'process' if workers == 1 else 'processes'}"
        )
    return minutes
