"""Runs of an experiment: each trains a model in an arm, scores it on the test smears, and stores the result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import overload

import numpy as np
from pydantic import ValidationError

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import OptionError
from smearsynth.experiment.arms import ARMS
from smearsynth.experiment.facts import SynthesizerFacts
from smearsynth.experiment.plan import Choice, Job, Settings, cache_key, subset_indices, task_config
from smearsynth.experiment.records import ImageRow, Run
from smearsynth.files import atomic_write, read_text, write_text
from smearsynth.generation.recipe import LightName
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.metrics.intervals import BootstrapScore
from smearsynth.migrations import to_format_1
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.tasks.base import Evaluation, ImageScore, Task
from smearsynth.tasks.config import TaskConfig
from smearsynth.tasks.fitting import FitRun, fit, hold_out
from smearsynth.tasks.folder import FitReport
from smearsynth.tasks.registry import task_type

_CACHE_MB = 800.0
_MIXTURE_LENGTH = 1 << 20  # resolution of the synthetic fraction: one millionth


@dataclass(frozen=True)
class Source:
    """A synthesizer that synthetic smears are drawn from.

    Parameters
    ----------
    folder : Path
        Model folder.
    facts : SynthesizerFacts
        Description for the report.
    """

    folder: Path
    facts: SynthesizerFacts

    @property
    def hash(self) -> str:
        """Hash of the model."""
        return self.facts.hash

    def without_hash(self) -> Source:
        """Return the source as that of an unknown model, to which no stored result belongs."""
        return Source(self.folder, self.facts.model_copy(update={"hash": ""}))


class Mixture(Sequence[Smear]):
    """Sequence of real and synthetic smears; a random item is synthetic with probability `synthetic_fraction`.

    Parameters
    ----------
    real, synthetic : sequence of Smear
    synthetic_fraction : float

    Examples
    --------
    >>> red, blue = (Smear(np.full((2, 2, 3), c, "u1"), np.zeros((2, 2), "i4"), np.array([], int)) for c in (1, 2))
    >>> mixture = Mixture([red], [blue, blue], 0.25)
    >>> is_blue = [mixture[k].image[0, 0, 0] == 2 for k in range(0, len(mixture), 1001)]
    >>> round(float(np.mean(is_blue)), 2)
    0.25
    """

    def __init__(self, real: Sequence[Smear], synthetic: Sequence[Smear], synthetic_fraction: float) -> None:
        self._real, self._synthetic = real, synthetic
        self._first_real = round(synthetic_fraction * _MIXTURE_LENGTH)

    def __len__(self) -> int:
        return _MIXTURE_LENGTH

    @overload
    def __getitem__(self, index: int) -> Smear: ...
    @overload
    def __getitem__(self, index: slice) -> list[Smear]: ...
    def __getitem__(self, index: int | slice) -> Smear | list[Smear]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if index < self._first_real:
            return self._synthetic[index * len(self._synthetic) // self._first_real]
        return self._real[(index - self._first_real) * len(self._real) // (_MIXTURE_LENGTH - self._first_real)]


@dataclass
class Experiment:
    """The inputs of all runs. Every worker process has a copy.

    Parameters
    ----------
    train, test : SmearFolder
    digests : (tuple of str, tuple of str)
        Hashes of the training smears and of the test smears.
    settings : Settings
    sources : mapping of int to Source
        Synthesizer by number of real training smears.
    folder : Path
        Folder of results, synthetic smears and unfinished trainings.
    device : str
    further_sources : mapping of Choice to Source
        Synthesizers of the second and further draws.
    """

    train: SmearFolder
    test: SmearFolder
    digests: tuple[tuple[str, ...], tuple[str, ...]]
    settings: Settings
    sources: Mapping[int, Source]
    folder: Path
    device: str = "cpu"
    further_sources: Mapping[Choice, Source] = field(default_factory=dict)

    @property
    def choices(self) -> dict[Choice, Source]:
        """Synthesizer of each choice of real training smears."""
        return {Choice(reals, 0): source for reals, source in self.sources.items()} | dict(self.further_sources)

    def key(self, job: Job) -> str:
        """Return the cache key of a run: a hash of everything that determines its result."""
        settings, arm = self.settings, ARMS[job.arm]
        train, test = self.digests
        parts: list[object] = [job.task, to_format_1("task", self.config(job).model_dump(mode="json")), arm.real]
        parts += [
            settings.select_by,
            self.device,
            version("torch"),
            [train[k] for k in subset_indices(len(train), job.reals, job.draw)],
            test,
            self.test.names,
        ]
        if arm.synthetic:
            mixture = [settings.synthetic_count(job.reals), settings.synthetic_fraction]
            parts += [self.source(job.reals, job.draw).hash, job.seed, *(mixture if arm.real else [job.reals])]
            # Results made before this name changed stay valid.
            light = to_format_1("recipe", {"light": "augmented"})["light"]
            parts.append(f"{_format_1_stain(settings.stain_for(job.arm))} stain, {light} light")
        return cache_key(*parts)

    def config(self, job: Job) -> TaskConfig:
        """Return the configuration of a run's network and training."""
        return task_config(self.settings, job)

    def task(self, job: Job) -> Task:
        """Return an untrained model for a run."""
        task = task_type(job.task)(self.config(job))
        task.scale = self.train.scale
        return task

    def load_result(self, key: str) -> tuple[Run, BootstrapScore] | None:
        """Load the result of a run, or return None if it is missing, damaged or of another version."""
        record, draws = self._result_files(key)
        if not (record.exists() and draws.exists()):
            return None
        try:
            run = Run.model_validate_json(read_text(record))
            resampled = BootstrapScore(run.value, np.load(draws), len(run.images))
        except (ValidationError, ValueError, EOFError):
            return None
        return (run, resampled) if run.key == key else None

    def run(self, job: Job, on_step: Callable[[int], None] = lambda step: None) -> bool:
        """Train and score a model, and store the result.

        Parameters
        ----------
        job : Job
        on_step : callable
            Called with the number of training steps done.

        Returns
        -------
        bool
            False if the training was interrupted. Its state is kept, and the next call continues it.
        """
        started = time.perf_counter()
        key, task = self.key(job), self.task(job)
        smears, validation = self._training_data(job)
        if self.settings.select_by == "test":
            validation = self.test
        state = self.folder / "unfinished" / key
        report = fit(
            task,
            smears,
            FitRun(state, self.device, on_step=lambda step, row: on_step(step)),
            validation=validation,
        )
        if not report.finished:
            return False
        evaluation = task.evaluate(self.test)
        seconds = round(time.perf_counter() - started, 1)
        self._save(job, self._record(job, key, report, evaluation, seconds), evaluation.resampled(), state)
        return True

    def make_pool(
        self,
        reals: int,
        seed: int,
        stain: StainName,
        draw: int = 0,
        on_smear: Callable[[int], object] = lambda done: None,
    ) -> bool:
        """Write the missing synthetic smears of a seed and stain.

        Parameters
        ----------
        reals : int
            Number of real training smears.
        seed : int
        stain : {"original", "augmented"}
        draw : int
            Number of the choice of the real training smears.
        on_smear : callable
            Called with the number of smears done.

        Returns
        -------
        bool
            False if it was interrupted. The next call continues.
        """
        count = self.settings.pool_size(reals, stain)
        if not count:
            return True
        model = Synthesizer.load(self.source(reals, draw).folder, self.device)
        # Illumination and haze are augmented with every stain: otherwise models take dark background for cells.
        light: LightName = "original" if model.acquisition is None else "augmented"
        stream = SyntheticSmears(model, stain=stain, light=light, seed=seed, device=self.device)
        return len(stream.write(self._pool_folder(reals, seed, stain, draw), count, on_smear=on_smear)) == count

    def held_out_count(self, job: Job) -> int:
        """Return the number of real smears held out from the training of a run to select its checkpoint."""
        return self.config(job).fit.held_out_of(job.reals)

    def selection_count(self, job: Job) -> int:
        """Return the number of smears that the checkpoint of a run is selected on."""
        return len(self.test) if self.settings.select_by == "test" else self.held_out_count(job)

    def model_folder(self, job: Job) -> Path:
        """Return the folder of the trained model of a run with seed 0 and draw 0."""
        return self.folder / "models" / f"{job.task}-{job.arm}-{job.reals}-{self.key(job)[:8]}"

    def _training_data(self, job: Job) -> tuple[Sequence[Smear], Sequence[Smear]]:
        """Return the training smears and the real smears for validation, which are the same in every arm."""
        arm, settings = ARMS[job.arm], self.settings
        subset = self.train.subset(subset_indices(len(self.train), job.reals, job.draw))
        real, validation = hold_out(subset, self.config(job).fit)
        if not arm.synthetic:
            return real, validation
        folder = self._pool_folder(job.reals, job.seed, settings.stain_for(job.arm), job.draw)
        pool = open_smears(folder, classes="one", cache_mb=_CACHE_MB)
        if arm.real:
            synthetic = pool[: settings.synthetic_count(job.reals)]
            return Mixture(real, synthetic, settings.synthetic_fraction), validation
        return pool[: len(real)], validation

    def _record(self, job: Job, key: str, report: FitReport, evaluation: Evaluation, seconds: float) -> Run:
        arm = ARMS[job.arm]
        mixed_in = self.settings.synthetic_count(job.reals) if arm.real and arm.synthetic else 0
        return Run(
            task=job.task,
            arm=job.arm,
            reals=job.reals,
            seed=job.seed,
            draw=job.draw,
            metric="dice" if evaluation.metric == "dice" else "ap",
            value=evaluation.value,
            ap50=evaluation.ap50,
            smears=job.reals - self.held_out_count(job) + mixed_in,
            steps=report.steps,
            best_step=report.best_step,
            validation=report.best_score,
            seconds=seconds,
            key=key,
            synthesizer=self.source(job.reals, job.draw).hash if arm.synthetic else None,
            images=tuple(map(_image_row, evaluation.images)),
        )

    def _save(self, job: Job, run: Run, resampled: BootstrapScore, state: Path) -> None:
        record, draws = self._result_files(run.key)
        with atomic_write(draws) as temporary, temporary.open("wb") as file:
            np.save(file, resampled.draws)
        if job.seed == job.draw == 0:  # for the example predictions of the report
            shutil.copytree(state, self.model_folder(job), dirs_exist_ok=True)
        write_text(record, run.model_dump_json())
        shutil.rmtree(state)

    def _result_files(self, key: str) -> tuple[Path, Path]:
        return self.folder / "runs" / f"{key}.json", self.folder / "runs" / f"{key}.npy"

    def _pool_folder(self, reals: int, seed: int, stain: StainName, draw: int) -> Path:
        return self.folder / "synthetic" / f"{self.source(reals, draw).hash[:12]}-{seed}-{_format_1_stain(stain)}"

    def source(self, reals: int, draw: int = 0) -> Source:
        """Return the synthesizer of a number of real training smears and of a draw.

        Raises
        ------
        OptionError
            If there is none.
        """
        source = self.choices.get(Choice(reals, draw))
        if source is None:
            raise OptionError(f"no synthesizer for {reals} real smears; pass its model folder in `models`")
        return source


def _image_row(image: ImageScore) -> ImageRow:
    pq = None if image.pq is None else round(image.pq, 5)
    return ImageRow(image=image.name, score=round(image.score, 5), tp=image.tp, fp=image.fp, fn=image.fn, pq=pq)


def _format_1_stain(stain: StainName) -> str:
    """Return the name of a stain in cache keys and folder names; format 1 keeps existing results valid."""
    return str(to_format_1("benefit", {"stain": stain})["stain"])
