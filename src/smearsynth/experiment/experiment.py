"""The experiment itself: a run is a model trained in an arm and scored on the test smears, kept under its hash."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import overload

import numpy as np
from pydantic import ValidationError

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import OptionError
from smearsynth.experiment.arms import ARMS
from smearsynth.experiment.plan import Job, Settings, chosen, key_of
from smearsynth.experiment.records import ImageRow, Run, SynthesizerFacts
from smearsynth.files import atomic_write, read_text, write_text
from smearsynth.generation.recipe import LightName
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.metrics.intervals import Resampled
from smearsynth.migrations import to_format_1
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.tasks.base import Task
from smearsynth.tasks.config import TaskConfig
from smearsynth.tasks.fitting import FitRun, fit, hold_out
from smearsynth.tasks.registry import task_type

_CACHE_MB = 800.0
_PLACES = 1 << 20  # of a mixture: shares to within a millionth


@dataclass(frozen=True)
class Source:
    """A synthesizer to draw from.

    Parameters
    ----------
    folder : Path
    facts : SynthesizerFacts
        For the report.
    """

    folder: Path
    facts: SynthesizerFacts

    @property
    def hash(self) -> str:
        """Of the model."""
        return self.facts.hash


class Mixture(Sequence[Smear]):
    """Real and synthetic smears, of which one drawn at random is synthetic with probability `synthetic_fraction`.

    Parameters
    ----------
    real, synthetic : sequence of Smear
    synthetic_fraction : float

    Examples
    --------
    >>> red, blue = (Smear(np.full((2, 2, 3), c, "u1"), np.zeros((2, 2), "i4"), np.array([], int)) for c in (1, 2))
    >>> mixed = Mixture([red], [blue, blue], 0.25)
    >>> round(float(np.mean([mixed[k].image[0, 0, 0] == 2 for k in range(0, len(mixed), 1001)])), 2)
    0.25
    """

    def __init__(self, real: Sequence[Smear], synthetic: Sequence[Smear], synthetic_fraction: float) -> None:
        self._real, self._synthetic = real, synthetic
        self._turn = round(synthetic_fraction * _PLACES)

    def __len__(self) -> int:
        return _PLACES

    @overload
    def __getitem__(self, index: int) -> Smear: ...
    @overload
    def __getitem__(self, index: slice) -> list[Smear]: ...
    def __getitem__(self, index: int | slice) -> Smear | list[Smear]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if index < self._turn:
            return self._synthetic[index * len(self._synthetic) // self._turn]
        return self._real[(index - self._turn) * len(self._real) // (_PLACES - self._turn)]


@dataclass
class Experiment:
    """All that a run needs; every process that runs some has one.

    Parameters
    ----------
    train, test : SmearFolder
    digests : (tuple of str, tuple of str)
        Of the train and the test smears.
    settings : Settings
    sources : mapping of int to Source
        The synthesizer for each number of real smears, trained on no others.
    folder : Path
        Results, synthetic smears and unfinished models.
    device : str
    """

    train: SmearFolder
    test: SmearFolder
    digests: tuple[tuple[str, ...], tuple[str, ...]]
    settings: Settings
    sources: Mapping[int, Source]
    folder: Path
    device: str = "cpu"

    def key(self, job: Job) -> str:
        """Hash of all that decides the result of a run."""
        settings, arm = self.settings, ARMS[job.arm]
        train, test = self.digests
        facts: list[object] = [job.task, to_format_1("task", self.config(job).model_dump(mode="json")), arm.real]
        facts += [
            settings.select_by,
            self.device,
            version("torch"),
            [train[k] for k in chosen(len(train), job.reals)],
            test,
            self.test.names,
        ]
        if arm.synthetic:
            drawn = [settings.synthetic_of(job.reals), settings.synthetic_fraction] if arm.real else [job.reals]
            facts += [self._source(job.reals).hash, job.seed, *drawn]
            facts += [f"{_format_1_stain(settings.stain_of(job.arm))} stain, varied light"]
        return key_of(*facts)

    def config(self, job: Job) -> TaskConfig:
        """How the model of a run is built and trained."""
        settings = self.settings
        as_paper = settings.select_by == "test"
        return task_type(job.task).configured(
            settings.preset,
            steps=settings.steps,
            augment=ARMS[job.arm].augment,
            seed=job.seed,
            held_out=0 if as_paper else None,  # it learns from all train smears
            slack=0.0 if as_paper else None,  # and takes the very best on its test smears
        )

    def task(self, job: Job) -> Task:
        """A fresh model."""
        task = task_type(job.task)(self.config(job))
        task.scale = self.train.scale
        return task

    def stored(self, key: str) -> tuple[Run, Resampled] | None:
        """What a run found, where it is done."""
        record, draws = self._result(key)
        if not (record.exists() and draws.exists()):
            return None
        try:
            run = Run.model_validate_json(read_text(record))
            drawn = np.load(draws)
        except (ValidationError, ValueError, EOFError):
            return None  # of another version, or damaged: done again
        return (run, Resampled(run.value, drawn, len(run.images))) if run.key == key else None

    def run(self, job: Job, on_step: Callable[[int], None] = lambda step: None) -> bool:
        """Train and score; False when it was interrupted, the state of training being kept."""
        started = time.perf_counter()
        key, task = self.key(job), self.task(job)
        smears, validation = self._smears(job)
        if self.settings.select_by == "test":
            validation = self.test
        state = self.folder / "unfinished" / key
        run = FitRun(state, self.device, on_step=lambda step, row: on_step(step))
        report = fit(task, smears, run, validation=validation)
        if not report.finished:
            return False
        found = task.evaluate(self.test)
        rows = tuple(
            ImageRow(image=image.name, score=round(image.score, 5), tp=image.tp, fp=image.fp, fn=image.fn)
            for image in found.images
        )
        result = Run(
            task=job.task,
            arm=job.arm,
            reals=job.reals,
            seed=job.seed,
            metric="dice" if found.metric == "dice" else "ap",
            value=found.value,
            ap50=found.ap50,
            smears=self._at_hand(job),
            steps=report.steps,
            best_step=report.best_step,
            validation=report.best_score,
            seconds=round(time.perf_counter() - started, 1),
            key=key,
            synthesizer=self._source(job.reals).hash if ARMS[job.arm].synthetic else None,
            images=rows,
        )
        self._keep(job, result, found.resampled(), state)
        return True

    def make_pool(
        self, reals: int, seed: int, stain: StainName, on_smear: Callable[[int], object] = lambda done: None
    ) -> bool:
        """Write the missing synthetic smears of a seed, with original or augmented stain; False when interrupted."""
        wanted = self.settings.pool_of(reals, stain)
        if not wanted:
            return True
        model = Synthesizer.load(self._source(reals).folder, self.device)
        # light and haze that no train smear has, in every stain: what is dark on the ground is taken for cells else
        light: LightName = "original" if model.acquisition is None else "augmented"
        stream = SyntheticSmears(model, stain=stain, light=light, seed=seed, device=self.device)
        return len(stream.write(self._pool(reals, seed, stain), wanted, on_smear=on_smear)) == wanted

    def _smears(self, job: Job) -> tuple[Sequence[Smear], Sequence[Smear]]:
        """What to train on, and the real smears to choose the best weights by: the same in every arm."""
        arm, settings = ARMS[job.arm], self.settings
        at_hand = self.train.subset(chosen(len(self.train), job.reals))
        real, validation = hold_out(at_hand, self.config(job).fit)
        if not arm.synthetic:
            return real, validation
        pool = open_smears(
            self._pool(job.reals, job.seed, settings.stain_of(job.arm)), classes="one", cache_mb=_CACHE_MB
        )
        if arm.real:
            return Mixture(real, pool[: settings.synthetic_of(job.reals)], settings.synthetic_fraction), validation
        return pool[: len(real)], validation

    def held_out(self, job: Job) -> int:
        """Train smears that choose the best weights, and are not learned from."""
        return self.config(job).fit.held_out_of(job.reals)

    def chosen_by(self, job: Job) -> int:
        """Smears that choose the best weights."""
        return len(self.test) if self.settings.select_by == "test" else self.held_out(job)

    def _at_hand(self, job: Job) -> int:
        """Distinct smears that the crops come from."""
        arm = ARMS[job.arm]
        mixed = self.settings.synthetic_of(job.reals) if arm.real and arm.synthetic else 0
        return job.reals - self.held_out(job) + mixed

    def _keep(self, job: Job, run: Run, resampled: Resampled, state: Path) -> None:
        record, draws = self._result(run.key)
        with atomic_write(draws) as temporary, temporary.open("wb") as file:
            np.save(file, resampled.draws)
        if job.seed == 0:  # the report shows what it predicts
            shutil.copytree(state, self.model_folder(job), dirs_exist_ok=True)
        write_text(record, run.model_dump_json())
        shutil.rmtree(state)

    def model_folder(self, job: Job) -> Path:
        """Where the model of a run of the first seed is kept."""
        return self.folder / "models" / f"{job.task}-{job.arm}-{job.reals}-{self.key(job)[:8]}"

    def _result(self, key: str) -> tuple[Path, Path]:
        return self.folder / "runs" / f"{key}.json", self.folder / "runs" / f"{key}.npy"

    def _pool(self, reals: int, seed: int, stain: StainName) -> Path:
        return self.folder / "synthetic" / f"{self._source(reals).hash[:12]}-{seed}-{_format_1_stain(stain)}"

    def _source(self, reals: int) -> Source:
        if reals not in self.sources:
            raise OptionError(f"no synthesizer for {reals} real smears")
        return self.sources[reals]


def _format_1_stain(stain: StainName) -> str:
    """The name of a stain in hashes and folder names, which later versions must still find."""
    return str(to_format_1("benefit", {"stain": stain})["stain"])
