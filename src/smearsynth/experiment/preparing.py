"""Preparation of the experiment: smears are read and checked, and every training size gets a synthesizer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from smearsynth.datasets import SmearFolder
from smearsynth.errors import DataError
from smearsynth.experiment.experiment import Experiment, Source
from smearsynth.experiment.facts import SynthesizerFacts, counted
from smearsynth.experiment.plan import Choice, Settings, cache_key, smear_digests, subset_indices
from smearsynth.runs import Execution, select_device
from smearsynth.statistics.measuring import measure
from smearsynth.statistics.records import DataStatistics
from smearsynth.synthesis.config import Preset, preset
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for
from smearsynth.synthesis.training.pipeline import train_synthesizer

_MEASURED = 8  # smears are enough to measure the size of cells
_FINE_TUNING_STEPS = 3_000


def prepare(
    train: SmearFolder,
    test: SmearFolder,
    settings: Settings,
    folder: Path,
    models: Mapping[int, Path | str] | None = None,
    *,
    pretrained: Path | str | None = None,
    stand_in: Path | str | None = None,
    execution: Execution = Execution(),
    deadline: float = math.inf,
) -> Experiment | None:
    """Read all smears and provide a synthesizer for every number of real training smears.

    Parameters
    ----------
    train, test : SmearFolder
        No smear may be in both.
    settings : Settings
    folder : Path
        Output folder. Results of an earlier call are reused if their inputs are unchanged.
    models : mapping of int to Path or str, optional
        Trained synthesizers by number of real training smears, each for all draws. A missing one is trained on
        these smears only, in `synthesizer_folder`; this takes one to two hours on a CPU.
    pretrained : Path or str, optional
        Model to start the training of synthesizers from. It must not have been trained on the test smears.
        Training then takes about 15 minutes per synthesizer.
    stand_in : Path or str, optional
        Model that takes the place of synthesizers that are not trained yet, without their hash, so that nothing is
        trained. For estimates of time.
    execution : Execution, optional
    deadline : float
        Stop the training, as after Ctrl-C, when `time.monotonic` reaches this value.

    Returns
    -------
    Experiment or None
        None if the training of a synthesizer was interrupted. The next call continues it.

    Raises
    ------
    DataError
        If a smear cannot be read or is in both splits, or a split contains no cell.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file; choose a folder for the results", folder)
    sizes = settings.train_sizes(len(train))
    folders = {reals: Path(model) for reals, model in (models or {}).items()}
    loaded = {reals: Synthesizer.load(path) for reals, path in folders.items()}
    execution.progress.message(f"reading {len(train)} training smears and {len(test)} test smears")
    digests = check_smears(train, test)
    sources: dict[Choice, Source] = {}
    if settings.needs_synthetic:
        initial = Synthesizer.load(pretrained) if pretrained else None
        statistics = measure(train[k] for k in range(min(_MEASURED, len(train))))
        for choice in (*(Choice(reals, 0) for reals in sizes), *settings.further_choices(len(train))):
            path = folders.get(choice.reals)
            path = path or synthesizer_folder(folder, digests[0], choice.reals, initial, choice.draw)
            model = loaded.get(choice.reals)
            if model is None and stand_in is not None and not is_finished(path):
                sources[choice] = _source(Path(stand_in), Synthesizer.load(stand_in), statistics).without_hash()
                continue
            model = model or _load_or_train(train, choice, path, initial, execution, deadline)
            if model is None:
                return None
            sources[choice] = _source(path, model, statistics)
    return Experiment(
        train,
        test,
        digests,
        settings,
        {choice.reals: source for choice, source in sources.items() if choice.draw == 0},
        folder,
        select_device(execution.device),
        {choice: source for choice, source in sources.items() if choice.draw},
    )


def check_smears(train: SmearFolder, test: SmearFolder) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read all smears and return the hashes of the training smears and of the test smears.

    Raises
    ------
    DataError
        If a smear cannot be read or is in both splits, or a split contains no cell.
    """
    digests = smear_digests(train, "train"), smear_digests(test, "test")
    if duplicates := len(set(digests[0]) & set(digests[1])):
        raise DataError(
            f"{counted(duplicates, 'smear')} in both the training and the test split; keep each in one split",
            train.root,
        )
    for smears, split in ((train, "training"), (test, "test")):
        if not any(smear.count for smear in smears):
            raise DataError(f"no cell in the {split} smears; check their annotation", smears.root)
    return digests


def synthesizer_preset(device: str, *, fine_tuning: bool = False) -> Preset:
    """Return the preset of synthesizers that the experiment trains, from random or from pretrained weights."""
    return preset("gpu" if device == "cuda" else "cpu", steps=_FINE_TUNING_STEPS if fine_tuning else None)


def synthesizer_folder(
    folder: Path, train: Sequence[str], reals: int, pretrained: Synthesizer | None, draw: int = 0
) -> Path:
    """Return the folder where a synthesizer is trained. It depends on the smears and on the pretrained model.

    Parameters
    ----------
    folder : Path
        Output folder of the experiment.
    train : sequence of str
        Hash of each training smear, from `smear_digests`.
    reals : int
        Number of real training smears.
    pretrained : Synthesizer, optional
    draw : int
        Number of the choice of the real training smears.
    """
    subset = [train[k] for k in subset_indices(len(train), reals, draw)]
    return folder / f"synthesizer-{reals}-{cache_key(subset, pretrained and pretrained.hash)[:8]}"


def is_finished(folder: Path) -> bool:
    """Test whether a folder contains a complete model."""
    return (folder / "SHA256SUMS").exists()  # written last


def _source(folder: Path, model: Synthesizer, statistics: DataStatistics) -> Source:
    data = model.config.data
    misfit = _describe_misfit(statistics, model.statistics)
    return Source(folder, SynthesizerFacts(hash=model.hash, name=data.name, smears=data.smears, misfit=misfit))


def _describe_misfit(statistics: DataStatistics, trained_on: DataStatistics) -> str | None:
    """Describe a mismatch between the cell size of the smears and of a synthesizer; None if the sizes match."""
    scale = statistics.scale_to(trained_on)
    if scale is None:
        return None
    return (
        f"generates cells of {trained_on.cell_size:.0f} px, but the cells of these smears measure "
        f"{statistics.cell_size:.0f} px. Read the smears at {scale:.2g} times the present scale (--scale), or "
        "train a synthesizer on them"
    )


def _load_or_train(
    train: SmearFolder,
    choice: Choice,
    folder: Path,
    pretrained: Synthesizer | None,
    execution: Execution,
    deadline: float,
) -> Synthesizer | None:
    """Return a synthesizer trained on a choice of the smears; None if the training was interrupted."""
    if is_finished(folder):
        return Synthesizer.load(folder)
    device, progress = select_device(execution.device), execution.progress
    settings = synthesizer_preset(device, fine_tuning=pretrained is not None)
    reals, name = choice.reals, f", draw {choice.draw + 1}" if choice.draw else ""
    progress.message(
        f"training a synthesizer on {counted(reals, 'real smear')}{name}, {settings.steps:,} steps; Ctrl-C stops "
        "it, and the same command continues"
    )
    return train_synthesizer(
        train.subset(subset_indices(len(train), *choice)),
        settings,
        TrainingRun(
            folder,
            fabric_for(device, settings.training.precision),
            time_limit=None if deadline == math.inf else (deadline - time.monotonic()) / 60,
            on_step=lambda step, losses: progress.step(step, settings.steps, losses),
        ),
        source=DataSource(name=train.root.name, smears=reals, split="train", scale=train.scale),
        pretrained=pretrained,
        features=load_features(settings.training.perceptual_features),
        on_message=progress.message,
    )
