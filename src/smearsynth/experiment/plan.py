"""Plan of the experiment: its settings, its runs, and the cache key of a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from smearsynth.errors import DataError, OptionError
from smearsynth.experiment.arms import ARMS, ArmName
from smearsynth.smear import Smear, digest
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.tasks.config import TaskConfig, TaskName
from smearsynth.tasks.registry import task_type

_SYNTHETIC_PER_REAL = 15  # as in the paper: 900 synthetic and 60 real smears
_MAX_SYNTHETIC = 160  # except in the preset paper: a run draws only a few hundred crops from them


class Settings(BaseModel):
    """Settings of an experiment. They are the same for all of its runs.

    Parameters
    ----------
    tasks : tuple of {"segmentation", "detection", "contours"}
        Tasks to train.
    arms : tuple of str
        Arms to train, from `ARMS`.
    preset : {"cpu", "paper", "tiny"}
        Network and training settings of the tasks.
    seeds : int
        Number of random seeds per arm, 1 to 1000.
    sizes : tuple of int
        Numbers of real training smears. Empty for all training smears.
    synthetic : int, optional
        Number of synthetic smears in mixed arms. Default: 15 per real smear, and no more than 160 except in the
        preset paper.
    synthetic_fraction : float
        Fraction of the crops in mixed arms that are synthetic, in (0, 1).
    stain : {"original", "augmented"}
        Stain of the synthetic smears in mixed arms. Arms with synthetic smears only use the original stain.
    steps : int, optional
        Training steps of every run. Default: those of the preset.
    select_by : {"validation", "test"}
        Select checkpoints on held-out training smears, or on the test smears as in the paper (optimistically
        biased).
    draws : int
        Number of random choices of the real training smears, for the sizes that leave some out, 1 to 100. Each
        choice has its own synthesizer and its own runs, and intervals cover the choice.

    Examples
    --------
    >>> Settings(tasks=("segmentation",), arms=("RD+aug", "RD+SD+aug"), seeds=5).seeds
    5
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[TaskName, ...] = Field(("segmentation", "detection", "contours"), min_length=1)
    arms: tuple[ArmName, ...] = Field(tuple(ARMS), min_length=1)
    preset: str = "cpu"
    seeds: int = Field(3, ge=1, le=1000)
    sizes: tuple[int, ...] = ()
    synthetic: int | None = Field(None, ge=1)
    synthetic_fraction: float = Field(0.5, gt=0, lt=1)
    stain: StainName = "augmented"
    steps: int | None = Field(None, ge=1)
    select_by: Literal["validation", "test"] = "validation"
    draws: int = Field(1, ge=1, le=100)

    def train_sizes(self, n_train: int) -> tuple[int, ...]:
        """Return the numbers of real training smears, the largest first.

        Parameters
        ----------
        n_train : int
            Number of training smears in the data.

        Raises
        ------
        OptionError
            If a size is larger than `n_train`.

        Examples
        --------
        >>> Settings().train_sizes(54), Settings(sizes=(3, 10)).train_sizes(54)
        ((54,), (10, 3))
        """
        sizes = self.sizes or (n_train,)
        for size in sizes:
            if not 1 <= size <= n_train:
                raise OptionError(f"size {size}: the data have {n_train} training smears; choose 1 to {n_train}")
        return tuple(sorted(set(sizes), reverse=True))

    def synthetic_count(self, reals: int) -> int:
        """Return the number of synthetic smears in mixed arms with `reals` real smears.

        Examples
        --------
        >>> paper = Settings(preset="paper")
        >>> Settings().synthetic_count(10), Settings().synthetic_count(60), paper.synthetic_count(60)
        (150, 160, 900)
        """
        if self.synthetic is not None:
            return self.synthetic
        count = _SYNTHETIC_PER_REAL * reals
        return count if self.preset == "paper" else min(count, _MAX_SYNTHETIC)

    def stain_for(self, arm: ArmName) -> StainName:
        """Return the stain of the synthetic smears of an arm.

        Arms with synthetic smears only use the original stain: nothing else shows them the stains of real smears.
        """
        return self.stain if ARMS[arm].real else "original"

    def pool_size(self, reals: int, stain: StainName) -> int:
        """Return the number of synthetic smears to generate with a stain, for `reals` real smears.

        Arms with synthetic smears only use as many synthetic smears as there are real ones.

        Examples
        --------
        >>> original = Settings(stain="original")
        >>> Settings().pool_size(10, "original"), Settings().pool_size(10, "augmented")
        (10, 150)
        >>> original.pool_size(10, "original")
        150
        """
        arms = [ARMS[name] for name in self.arms if ARMS[name].synthetic and self.stain_for(name) == stain]
        return max([self.synthetic_count(reals) if arm.real else reals for arm in arms] or [0])

    @property
    def needs_synthetic(self) -> bool:
        """Whether any arm uses synthetic smears."""
        return any(ARMS[arm].synthetic for arm in self.arms)

    def jobs(self, n_train: int) -> list[Job]:
        """Return all runs, ordered by draw and seed, so that an unfinished experiment covers all arms."""
        return [
            Job(task, arm, reals, seed, draw)
            for draw in range(self.draws)
            for seed in range(self.seeds)
            for reals in self.train_sizes(n_train)
            if draw == 0 or reals < n_train
            for task in self.tasks
            for arm in self.arms
        ]

    def further_choices(self, n_train: int) -> list[Choice]:
        """Return the choices of real training smears of the second and further draws.

        Examples
        --------
        >>> Settings(sizes=(10, 54), draws=3).further_choices(54)
        [Choice(reals=10, draw=1), Choice(reals=10, draw=2)]
        """
        return [
            Choice(reals, draw)
            for draw in range(1, self.draws)
            for reals in self.train_sizes(n_train)
            if reals < n_train
        ]


class Choice(NamedTuple):
    """Number of real training smears, and number of the random choice of these smears."""

    reals: int
    draw: int


class Job(NamedTuple):
    """A run: a task, an arm, the number of real training smears, their draw, and the seed of the training."""

    task: TaskName
    arm: ArmName
    reals: int
    seed: int
    draw: int = 0


@cache
def task_config(settings: Settings, job: Job) -> TaskConfig:
    """Return the configuration of a run's network and training.

    Raises
    ------
    OptionError
        If the preset is unknown or a value is out of range.
    """
    on_test = settings.select_by == "test"  # as in the paper: no smear held out, the best score without slack
    return task_type(job.task).configured(
        settings.preset,
        steps=settings.steps,
        augment=ARMS[job.arm].augment,
        seed=job.seed,
        held_out=0 if on_test else None,
        slack=0.0 if on_test else None,
    )


def subset_indices(n_train: int, reals: int, draw: int = 0) -> list[int]:
    """Return the indices of a random subset of the training smears. Smaller subsets are part of larger ones.

    Parameters
    ----------
    n_train, reals : int
        Numbers of training smears in the data and in the subset.
    draw : int
        Number of the random choice.

    Examples
    --------
    >>> set(subset_indices(50, 3)) <= set(subset_indices(50, 10)), subset_indices(4, 4)
    (True, [0, 1, 2, 3])
    >>> subset_indices(50, 3) == subset_indices(50, 3, draw=1)
    False
    """
    seed = [n_train, draw] if draw else n_train  # the first draw is that of versions with one draw
    return sorted(np.random.default_rng(seed).permutation(n_train)[:reals].tolist())


def seed_warning(seeds: int, draws: int = 1) -> str | None:
    """Return a warning about few trainings per arm, or None for three or more seeds or draws.

    Examples
    --------
    >>> seed_warning(3) is None, seed_warning(1)[:15]
    (True, 'One seed only. ')
    """
    if draws == 2:
        return (
            "Two draws only. They estimate the variation between choices of the real smears poorly, so intervals "
            "are very wide. Use three or more draws."
        )
    if draws > 2:
        return None
    if seeds == 1:
        return (
            "One seed only. Each model was trained once, so the intervals do not include the variation between "
            "trainings. Another seed may give a difference outside the interval."
        )
    if seeds == 2:
        return (
            "Two seeds only. They estimate the variation between trainings poorly. Where this variation is large, "
            "up to one 95 % interval in eight, instead of one in twenty, excludes the true difference. Use three "
            "or more seeds."
        )
    return None


def smear_digests(smears: Sequence[Smear], split: str) -> tuple[str, ...]:
    """Return the hash of each smear. Reading all smears here reports unreadable files before the first run.

    Raises
    ------
    DataError
        If there is no smear.
    """
    if not len(smears):
        raise DataError(f"no {split} smears; add a split.csv that names train and test smears")
    return tuple(digest(smear) for smear in smears)


def cache_key(*parts: object) -> str:
    """Return a hash of everything that determines a result, including the version of smearsynth.

    Examples
    --------
    >>> cache_key("RD", 1) == cache_key("RD", 1), cache_key("RD", 1) == cache_key("RD", 2)
    (True, False)
    """
    text = json.dumps([version("smearsynth"), *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
