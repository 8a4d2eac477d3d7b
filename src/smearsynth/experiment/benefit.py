"""The benefit experiment in one call: it measures whether synthetic smears improve a model."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smearsynth.datasets import SmearFolder, exclude_overlays, open_smears
from smearsynth.errors import DataError, OptionError, error_location
from smearsynth.experiment.division import check_synthesizers, divide
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.facts import counted, synthesizer_warnings
from smearsynth.experiment.plan import Choice, Job, Settings, seed_warning, task_config
from smearsynth.experiment.preparing import prepare, synthesizer_folder, synthesizer_preset
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.report.examples import example_predictions
from smearsynth.experiment.report.page import write_report
from smearsynth.experiment.running import Pool, Work, estimate_seconds, remaining_work, run_all
from smearsynth.experiment.summary import summarise
from smearsynth.formats.listing import IMAGE_FOLDER
from smearsynth.runs import Execution, Progress, select_device
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.checkpoint import completed_steps
from smearsynth.synthesis.training.pipeline import benchmark_steps

_CACHE_MB = 800.0

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
    allow_leak: bool = False,
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
        folders by number of real training smears, each for all draws. A missing one is trained on the training
        smears; this takes one to two hours on a CPU.
    pretrained : Path or str, optional
        Model, trained without the test smears, to start the training of missing synthesizers from.
    splits : (str, str)
        Names of the training split and the test split. Data without splits are divided: the smears that a
        synthesizer of `models` held out are the test smears, else every third smear.
    name : str, optional
        Name of the data in the report. Default: the name of its folder.
    allow_leak : bool
        Continue with a warning in the report if a synthesizer was trained on test smears.
    execution : Execution, optional
        Default number of workers: one per core, one on a GPU.

    Returns
    -------
    BenefitResult or None
        None if it was interrupted. The next call continues it.

    Raises
    ------
    DataError
        If a smear cannot be used, a smear is in both splits, a synthesizer was trained on a test smear, or the
        output folder contains smears.
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
    leaks = _check_leaks(inputs, settings, pretrained, allow_leak, progress)
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
    _warn_of_sources(experiment, progress)
    work = remaining_work(experiment)
    _announce(experiment, work, workers, progress)
    done: list[Work] = []

    def on_done(item: Work) -> None:
        done.append(item)
        progress.advance("experiment", len(done), len(work))

    if not run_all(experiment, work, workers=workers, deadline=deadline, on_done=on_done):
        return None
    result = summarise(experiment, name or inputs.root.resolve().name, execution.command, leaks)
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
    allow_leak: bool = False,
    execution: Execution = Execution(),
) -> BenefitEstimate:
    """Check the inputs of `benefit` and estimate its time. Nothing is written.

    Parameters
    ----------
    data, output, settings, models, pretrained, splits, allow_leak, execution
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
    _check_leaks(inputs, settings, pretrained, allow_leak, progress)
    with error_location(inputs.root):
        experiment = prepare(
            inputs.train,
            inputs.test,
            settings,
            inputs.output,
            inputs.models,
            pretrained=pretrained,
            stand_in="default",  # generation with the shipped model takes the same time
            execution=execution,
        )
        assert experiment is not None  # nothing is trained
        missing = [choice for choice, source in experiment.choices.items() if not source.hash]
        synthesizer_minutes = _estimate_synthesizers(experiment, missing, pretrained, execution)
    _warn_of_sources(experiment, progress)
    work = remaining_work(experiment)
    minutes = _announce(experiment, work, workers, progress)
    if not work:
        progress.message(f"all runs are finished; only the report is left to write ({inputs.output})")
    return BenefitEstimate(len(work), workers, round(minutes, 1), round(synthesizer_minutes, 1))


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
    smears = exclude_overlays(smears, execution.progress)
    train, test = divide(smears, splits, _folders_of(models), execution.progress)
    sizes = settings.train_sizes(len(train))
    if settings.draws > 1 and not settings.further_choices(len(train)):
        raise OptionError(
            f"{settings.draws} draws of all {len(train)} training smears are the same; name numbers of real smears "
            f"below {len(train)} (--sizes 10)"
        )
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
        if settings.draws > 1 and size < len(train):
            execution.progress.message(
                f"{folder} is used for all draws of {counted(size, 'real smear')}; the intervals do not cover the "
                "choice of its training smears"
            )
    return _Inputs(smears.root if isinstance(data, SmearFolder) else Path(data), train, test, output, folders)


def _folders_of(models: Models | None) -> tuple[Path | str, ...]:
    if models is None:
        return ()
    return tuple(models.values()) if isinstance(models, Mapping) else (models,)


def _check_leaks(
    inputs: _Inputs, settings: Settings, pretrained: Path | str | None, allow_leak: bool, progress: Progress
) -> tuple[str, ...]:
    """Report what weakens the conclusions, before the work; return the warnings about test smears."""
    if warning := seed_warning(settings.seeds, settings.draws):
        progress.message(warning)
    models: dict[str, Path | str] = {}
    if settings.needs_synthetic:
        models = {f"the synthesizer {folder}": folder for folder in inputs.models.values()}
        models |= {} if pretrained is None else {f"the pretrained model {pretrained}": pretrained}
    leaks = check_synthesizers(inputs.train, inputs.test, models, allow_leak=allow_leak)
    for sentence in leaks:
        progress.message(sentence)
    return leaks


def _worker_count(execution: Execution) -> int:
    return execution.workers or (1 if select_device(execution.device) == "cuda" else os.cpu_count() or 1)


def _warn_of_sources(experiment: Experiment, progress: Progress) -> None:
    trained = {reals: source.facts for reals, source in experiment.sources.items() if source.hash}
    for sentence in synthesizer_warnings(trained):
        progress.message(sentence)


def _estimate_synthesizers(
    experiment: Experiment, choices: Sequence[Choice], pretrained: Path | str | None, execution: Execution
) -> float:
    """Estimate the minutes to train the synthesizers of these choices one after another."""
    if not choices:
        return 0.0
    device = select_device(execution.device)
    preset = synthesizer_preset(device, fine_tuning=pretrained is not None)
    initial = Synthesizer.load(pretrained) if pretrained else None
    if initial is not None:
        preset = preset.initialised_from(initial.config.network)
    features = load_features(preset.training.perceptual_features)
    seconds = benchmark_steps(experiment.train, preset, device, features)[preset.training.precision]
    duration = _duration(seconds * preset.steps / 60)
    start = "" if pretrained is None else f" from {pretrained}"
    names = [f"{reals} (draw {draw + 1})" if draw else str(reals) for reals, draw in choices]
    execution.progress.message(
        f"no --model for {', '.join(names)} real smears: a synthesizer is trained first for each{start}, "
        f"{preset.steps:,} steps, about {duration}"
    )
    train = experiment.digests[0]
    folders = [synthesizer_folder(experiment.folder, train, reals, initial, draw) for reals, draw in choices]
    completed = sum(min(completed_steps(folder / "state"), preset.steps) for folder in folders)
    if completed:
        execution.progress.message(f"{completed:,} of these steps were completed by an interrupted call")
    return seconds * (preset.steps * len(choices) - completed) / 60


def _duration(minutes: float) -> str:
    return f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.0f} min"


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
