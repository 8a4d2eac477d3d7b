"""What the experiment found: a run for each task, arm and seed, differences between arms, and the verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from smearsynth.errors import DataError
from smearsynth.experiment.arms import ArmName
from smearsynth.files import read_text, write_text
from smearsynth.migrations import to_current
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.tasks.config import TaskName

Metric = Literal["dice", "ap"]
Reading = Literal["better", "worse", "open"]
METRICS = {"dice": "Dice", "ap": "AP"}
_CELL = ("task", "arm", "reals", "seed")  # what a run is told from others by


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRow(_Record):
    """Score of one test image: Dice, or F1 at IoU 0.5 where the metric is AP; cells found, made up, missed."""

    image: str
    score: float
    tp: int
    fp: int
    fn: int


class Run(_Record):
    """One model, trained in one arm with one seed, scored on the test smears.

    Parameters
    ----------
    task : TaskName
    arm : ArmName
    reals : int
        Real smears at hand, those held out for validation counted.
    seed : int
    metric : {"dice", "ap"}
    value : float
        Mean Dice of the images, or COCO AP over all of them.
    ap50 : float, optional
    smears : int
        Real and synthetic smears that crops were drawn from.
    steps, best_step : int
        Trained, and that whose weights were kept.
    validation : float, optional
        Score at `best_step` of the smears held out of the real ones.
    seconds : float
    key : str
        Hash of all that decides the result.
    synthesizer : str, optional
        Hash of the model that made the synthetic smears.
    images : tuple of ImageRow
    """

    task: TaskName
    arm: ArmName
    reals: int
    seed: int
    metric: Metric
    value: float
    ap50: float | None
    smears: int
    steps: int
    best_step: int
    validation: float | None
    seconds: float
    key: str
    synthesizer: str | None
    images: tuple[ImageRow, ...]

    @property
    def counts(self) -> tuple[int, int, int]:
        """TP, FP, FN over all images."""
        tp, fp, fn = (sum(getattr(row, name) for row in self.images) for name in ("tp", "fp", "fn"))
        return tp, fp, fn


class Difference(_Record):
    """Mean score of an arm minus that of its base, over the same seeds and images, with a 95 % interval.

    The base learns from as many real smears as the arm, or from all there are.

    Parameters
    ----------
    task : TaskName
    reals : int
    metric : {"dice", "ap"}
    arm, base : ArmName
    mean, low, high : float
    seeds : int
        With one seed the interval knows nothing of the chance of training, and nothing is shown.
    all_reals : int, optional
        Real smears of the base where it had all of them and the arm had few.
    """

    task: TaskName
    reals: int
    metric: Metric
    arm: ArmName
    base: ArmName
    mean: float
    low: float
    high: float
    seeds: int
    all_reals: int | None = None

    def __str__(self) -> str:
        return f"{self.mean:+.{self.digits}f} [{self.low:+.{self.digits}f}, {self.high:+.{self.digits}f}]"

    @property
    def reading(self) -> Reading:
        """What is shown: that the arm is better or worse than its base, or neither.

        Examples
        --------
        >>> of = dict(task="segmentation", reals=9, metric="dice", arm="RD+SD", base="RD", mean=0.3, high=0.4)
        >>> Difference(low=0.2, seeds=3, **of).reading, Difference(low=0.2, seeds=1, **of).reading
        ('better', 'open')
        """
        if self.seeds == 1 or self.low == self.high:
            return "open"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "open"

    @property
    def digits(self) -> int:
        """Decimals that the interval carries."""
        return decimals((self.high - self.low) / 2)


class SynthesizerFacts(_Record):
    """A synthesizer, by its hash, and the data it learned from: their name and how many smears.

    Examples
    --------
    >>> print(SynthesizerFacts(hash="f00d" * 16, name="mine", smears=54))
    mine, 54 smears, hash f00df00df00d
    """

    hash: str
    name: str
    smears: int
    misfit: str | None = None  # what is to be known before it is trusted

    def __str__(self) -> str:
        return f"{self.name}, {self.smears} smear{'s' if self.smears != 1 else ''}, hash {self.hash[:12]}"


class Facts(_Record):
    """What the experiment was made of, to read its figures by and to run it again.

    Parameters
    ----------
    data_set, command, smearsynth, torch, machine : str
    preset : str
    device : str
    scale : float
    seeds : int
    select_by : {"validation", "test"}
        What chose the best weights; "test" as the paper did.
    train, held_out, test : int
        Real smears: all of the train split, those of them held out for validation, and test smears.
    synthetic : int
        Synthetic smears that RD+SD draws from beside all real ones.
    synthetic_fraction : float
        Of the crops of RD+SD that are synthetic.
    stain : {"original", "augmented"}
        Of the synthetic smears of RD+SD; those of SD have their own.
    steps : dict of str to int
        Of every arm, by task.
    synthesizers : dict of int to SynthesizerFacts
        By the number of real smears at hand.
    at_hand : dict of int to tuple of str
        Names of the real smears at hand, where these are not all of the train split.
    minutes : float
        Computing time of all runs.
    """

    data_set: str
    command: str
    smearsynth: str
    torch: str
    machine: str
    preset: str
    device: str
    scale: float
    seeds: int
    select_by: Literal["validation", "test"]
    train: int
    held_out: int
    test: int
    synthetic: int
    synthetic_fraction: float
    stain: StainName = "original"
    steps: dict[TaskName, int]
    synthesizers: dict[int, SynthesizerFacts] = {}
    at_hand: dict[int, tuple[str, ...]] = {}
    minutes: float


class BenefitResult(_Record):
    """All runs of an experiment and what follows from them.

    Parameters
    ----------
    facts : Facts
    runs : tuple of Run
    differences : tuple of Difference
    verdict : tuple of str
        Plain sentences, the first ones about the benefit.
    """

    facts: Facts
    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    verdict: tuple[str, ...]

    def runs_of(self, task: TaskName, arm: ArmName, reals: int) -> tuple[Run, ...]:
        """The runs of one cell of the table, by seed."""
        return tuple(run for run in self.runs if (run.task, run.arm, run.reals) == (task, arm, reals))

    def difference(
        self, task: TaskName, reals: int, arm: ArmName, base: ArmName, all_reals: int | None = None
    ) -> Difference | None:
        """The comparison of two arms, None when one of them has not run."""
        for one in self.differences:
            if (one.task, one.reals, one.arm, one.base, one.all_reals) == (task, reals, arm, base, all_reals):
                return one
        return None

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks that have run, in order."""
        return tuple(dict.fromkeys(run.task for run in self.runs))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of real smears that have run, the largest first."""
        return tuple(sorted({run.reals for run in self.runs}, reverse=True))

    def to_json(self) -> str:
        """As JSON, flat and to be read by any program, a record a line.

        Keys: ``facts``, ``verdict``, ``runs``, ``intervals`` (the differences) and ``rows``, one a task, arm,
        number of real smears, seed and image.
        """
        named = {"data_set": self.facts.data_set}
        lists: dict[str, list[Any]] = {
            "verdict": list(self.verdict),
            "runs": [named | run.model_dump(exclude={"images"}) for run in self.runs],
            "intervals": [named | one.model_dump() for one in self.differences],
            "rows": [
                named | run.model_dump(include=set(_CELL)) | row.model_dump()
                for run in self.runs
                for row in run.images
            ],
        }
        parts = [f'"facts": {self.facts.model_dump_json(indent=1)}']
        for name, records in lists.items():
            lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
            parts.append(f'"{name}": [\n{lines}\n]')
        return "{\n" + ",\n".join(parts) + "\n}\n"

    def save(self, path: Path | str) -> None:
        """Write as `to_json` gives it."""
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> BenefitResult:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            When it is not such a file.
        """
        try:
            given = to_current("benefit", json.loads(read_text(Path(path))))
            images: dict[tuple[object, ...], list[dict[str, object]]] = {}
            for row in given["rows"]:
                del row["data_set"]
                images.setdefault(tuple(row.pop(name) for name in _CELL), []).append(row)
            for record in (*given["runs"], *given["intervals"]):
                del record["data_set"]
            for run in given["runs"]:
                run["images"] = images[tuple(run[name] for name in _CELL)]
            parts = {name: given[name] for name in ("facts", "verdict", "runs")}
            return cls.model_validate(parts | {"differences": given["intervals"]})
        except (json.JSONDecodeError, LookupError, TypeError, ValidationError):
            raise DataError("not the result of `smearsynth benefit`; run it again", path) from None


def decimals(apart: float) -> int:
    """Two of what is uncertain by 0.1 or more, four below 0.005, else three as in the paper."""
    return 2 if apart >= 0.1 else 4 if 0 < apart < 0.005 else 3
