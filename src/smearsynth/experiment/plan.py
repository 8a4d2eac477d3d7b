"""What is to be run: arms, seeds and numbers of smears, and the hash that a result is kept under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from smearsynth.errors import DataError, OptionError
from smearsynth.experiment.arms import ARMS, ArmName
from smearsynth.smear import Smear, digest
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.tasks.config import TaskName

_MORE = 15  # synthetic smears a real one: the paper has 900 beside 60
_MOST = 160  # of them in preset cpu, where some hundred crops are drawn from them


class Settings(BaseModel):
    """Of one experiment; what none of its runs differ in is here, too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[TaskName, ...] = Field(("segmentation", "detection", "contours"), min_length=1)
    arms: tuple[ArmName, ...] = Field(tuple(ARMS), min_length=1)
    preset: str = Field("cpu", description="of the tasks")
    seeds: int = Field(3, ge=1, le=1000)
    sizes: tuple[int, ...] = Field((), description="numbers of real smears; none: all there are")
    synthetic: int | None = Field(None, ge=1, description="synthetic smears of the mixed arms; None: as the preset")
    synthetic_fraction: float = Field(0.5, gt=0, lt=1, description="of the crops of mixed arms that are synthetic")
    stain: StainName = Field("augmented", description="of the synthetic smears of mixed arms")
    steps: int | None = Field(None, ge=1, description="of every arm; None: as the preset")
    select_by: Literal["validation", "test"] = "validation"

    def sizes_of(self, train: int) -> tuple[int, ...]:
        """Numbers of real smears of a train split of `train`, the largest first.

        Raises
        ------
        OptionError
            When there are not as many.

        Examples
        --------
        >>> Settings().sizes_of(54), Settings(sizes=(3, 10)).sizes_of(54)
        ((54,), (10, 3))
        """
        wanted = self.sizes or (train,)
        for size in wanted:
            if not 1 <= size <= train:
                raise OptionError(f"{size} real smears asked for; the train split has {train}")
        return tuple(sorted(set(wanted), reverse=True))

    def synthetic_of(self, reals: int) -> int:
        """Synthetic smears that mixed arms draw from beside `reals` real ones.

        Examples
        --------
        >>> Settings().synthetic_of(10), Settings().synthetic_of(60), Settings(preset="paper").synthetic_of(60)
        (150, 160, 900)
        """
        if self.synthetic is not None:
            return self.synthetic
        return _MORE * reals if self.preset == "paper" else min(_MORE * reals, _MOST)

    def stain_of(self, arm: ArmName) -> StainName:
        """Of the synthetic smears of an arm: alone they have to bring the stains of the real ones."""
        return self.stain if ARMS[arm].real else "original"

    def pool_of(self, reals: int, stain: StainName) -> int:
        """Synthetic smears to make with original or augmented stain: arms of them alone have as many as there are real ones.

        Examples
        --------
        >>> plain = Settings(stain="original")
        >>> Settings().pool_of(10, "original"), Settings().pool_of(10, "augmented"), plain.pool_of(10, "original")
        (10, 150, 150)
        """
        kinds = [ARMS[arm] for arm in self.arms if ARMS[arm].synthetic and self.stain_of(arm) == stain]
        return max([self.synthetic_of(reals) if kind.real else reals for kind in kinds] or [0])

    @property
    def draws(self) -> bool:
        """Whether any arm needs synthetic smears."""
        return any(ARMS[arm].synthetic for arm in self.arms)

    def jobs(self, train: int) -> list[Job]:
        """All runs: by seed first, so that what is done early covers all arms."""
        return [
            Job(task, arm, reals, seed)
            for seed in range(self.seeds)
            for reals in self.sizes_of(train)
            for task in self.tasks
            for arm in self.arms
        ]


class Job(NamedTuple):
    """One run: a task, an arm, the number of real smears at hand, and the seed of training."""

    task: TaskName
    arm: ArmName
    reals: int
    seed: int


def chosen(train: int, reals: int) -> list[int]:
    """Which smears of a train split of `train` are at hand when only `reals` are; few are among the many.

    Examples
    --------
    >>> set(chosen(50, 3)) <= set(chosen(50, 10)), chosen(4, 4)
    (True, [0, 1, 2, 3])
    """
    return sorted(np.random.default_rng(train).permutation(train)[:reals].tolist())


def digests(smears: Sequence[Smear], what: str) -> tuple[str, ...]:
    """Hash of each smear; also shows early that all can be read.

    Raises
    ------
    DataError
        When there is none.
    """
    if not len(smears):
        raise DataError(f"no {what} smears; the folder needs a split.csv with train and test")
    return tuple(digest(smear) for smear in smears)


def key_of(*facts: object) -> str:
    """Hash of all that decides a result, the version of smearsynth among it.

    Examples
    --------
    >>> key_of("RD", 1) == key_of("RD", 1), key_of("RD", 1) == key_of("RD", 2)
    (True, False)
    """
    text = json.dumps([version("smearsynth"), *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
