"""Records of the experiment: runs, differences between arms, and the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from smearsynth.errors import DataError
from smearsynth.experiment.arms import ArmName
from smearsynth.experiment.facts import ExperimentRecord, Facts, counted
from smearsynth.files import read_text, write_text
from smearsynth.metrics.intervals import BootstrapScore
from smearsynth.metrics.panoptic import CellMetric, cell_figures, resampled
from smearsynth.migrations import to_current
from smearsynth.tasks.config import TaskName

Metric = Literal["dice", "ap"]
ComparedMetric = Literal[Metric, CellMetric]
Conclusion = Literal["better", "worse", "inconclusive"]
METRIC_NAMES: dict[ComparedMetric, str] = {
    "dice": "Dice", "ap": "AP", "pq": "PQ", "tp": "TP", "fp": "FP", "fn": "FN",
}  # fmt: skip
_SCORES: tuple[ComparedMetric, ...] = ("dice", "ap", "pq")  # in [0, 1]; the others are numbers of cells
_ERRORS: tuple[ComparedMetric, ...] = ("fp", "fn")  # metrics of which less is better
TASK_TITLES: dict[TaskName, str] = {
    "segmentation": "Segmentation",
    "detection": "Detection",
    "contours": "Detection from segmentation",
}
LABEL_TASKS: tuple[TaskName, ...] = ("segmentation", "contours")  # predict labels, so that they have PQ
_RUN_FIELDS = ("task", "arm", "reals", "seed", "draw")  # identify a run of an experiment


class ImageRow(ExperimentRecord):
    """Score and cell counts of one test image.

    Parameters
    ----------
    image : str
        Name of the test smear.
    score : float
        Dice for segmentation, else F1 at IoU 0.5.
    tp, fp, fn : int
        True positives, false positives and false negatives at IoU 0.5.
    pq : float, optional
        Panoptic quality. None for tasks that predict boxes, and in results of versions that did not measure it.
    """

    image: str
    score: float
    tp: int
    fp: int
    fn: int
    pq: float | None = None


class Run(ExperimentRecord):
    """One model, trained in one arm with one seed, and its scores on the test smears.

    Parameters
    ----------
    task : TaskName
    arm : ArmName
    reals : int
        Number of real training smears, including those held out for validation.
    seed : int
    draw : int
        Number of the random choice of the real training smears.
    metric : {"dice", "ap"}
    value : float
        Mean Dice of the images, or COCO AP over all images.
    ap50 : float, optional
        AP at IoU 0.5, if the metric is AP.
    smears : int
        Number of distinct real and synthetic smears that crops were drawn from.
    steps, best_step : int
        Training steps, and the step of the selected checkpoint.
    validation : float, optional
        Score of the selected checkpoint on the smears that selected it.
    seconds : float
        Computing time.
    key : str
        Cache key: a hash of everything that determines the result.
    synthesizer : str, optional
        Hash of the model that generated the synthetic smears.
    images : tuple of ImageRow
    """

    task: TaskName
    arm: ArmName
    reals: int
    seed: int
    draw: int = 0
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
        """TP, FP and FN summed over all images."""
        tp, fp, fn = (sum(getattr(row, name) for row in self.images) for name in ("tp", "fp", "fn"))
        return tp, fp, fn

    @property
    def pq(self) -> float | None:
        """Panoptic quality over all cells of all images; None if it was not measured."""
        score = self.resampled("pq")
        return None if score is None else score.value

    def resampled(self, metric: CellMetric) -> BootstrapScore | None:
        """Return PQ or the total of a count with those of bootstrap samples of the images; None if not measured."""
        return resampled(self.images, metric)


class Difference(ExperimentRecord):
    """Mean score of an arm minus the mean score of its base, with a 95 % interval.

    The difference is paired: both arms have the same seeds and test images.

    Parameters
    ----------
    task : TaskName
    reals : int
        Number of real training smears of the arm.
    metric : {"dice", "ap", "pq", "tp", "fp", "fn"}
        The counts are totals over the test images.
    arm, base : ArmName
    mean, low, high : float
        Difference and bounds of its interval.
    seeds : int
        Number of seeds of each draw. The interval of one seed and one draw does not include the variation between
        trainings.
    draws : int
        Number of random choices of the real training smears. The interval covers the choice if there are several.
    all_reals : int, optional
        Number of real training smears of the base, if it differs from `reals`.
    """

    task: TaskName
    reals: int
    metric: ComparedMetric
    arm: ArmName
    base: ArmName
    mean: float
    low: float
    high: float
    seeds: int
    draws: int = 1
    all_reals: int | None = None

    def __str__(self) -> str:
        return f"{self.format(self.mean)} [{self.format(self.low)}, {self.format(self.high)}]"

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval; one test image gives none."""
        return self.low < self.high

    @property
    def conclusion(self) -> Conclusion:
        """Whether the arm is shown to be better or worse than its base; fewer false positives are better.

        Examples
        --------
        >>> pair = dict(task="segmentation", reals=9, metric="dice", arm="RD+SD", base="RD", mean=0.3, high=0.4)
        >>> Difference(low=0.2, seeds=3, **pair).conclusion, Difference(low=0.2, seeds=1, **pair).conclusion
        ('better', 'inconclusive')
        """
        if not (self.is_repeated and self.has_interval):
            return "inconclusive"
        if self.low <= 0 <= self.high:
            return "inconclusive"
        return "better" if (self.low > 0) != (self.metric in _ERRORS) else "worse"

    @property
    def is_repeated(self) -> bool:
        """Whether both arms were trained several times, so that the interval covers the variation of trainings."""
        return self.seeds > 1 or (self.draws > 1 and self.all_reals is None)

    @property
    def repeats(self) -> str:
        """Number of trainings of each arm, such as "3 seeds" or "3 draws × 3 seeds"."""
        seeds = counted(self.seeds, "seed")
        return seeds if self.draws == 1 else f"{counted(self.draws, 'draw')} × {seeds}"

    @property
    def is_score(self) -> bool:
        """Whether the metric lies between 0 and 1, unlike a number of cells."""
        return self.metric in _SCORES

    @property
    def digits(self) -> int:
        """Number of decimals that the interval supports."""
        half_width = (self.high - self.low) / 2
        if not self.is_score:
            return int(half_width < 1)
        return decimals(half_width)

    def format(self, value: float) -> str:
        """Return a value with its sign and the decimals that the interval supports."""
        return f"{value:+.{self.digits}f}"


class BenefitResult(ExperimentRecord):
    """Result of an experiment: its setup, its runs, and what follows from them.

    Parameters
    ----------
    facts : Facts
    runs : tuple of Run
    differences : tuple of Difference
    verdict : tuple of str
        Sentences for people; those about the benefit of synthetic smears come first.
    """

    facts: Facts
    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    verdict: tuple[str, ...]

    def runs_of(self, task: TaskName, arm: ArmName, reals: int) -> tuple[Run, ...]:
        """Return the runs of a task and arm with `reals` real smears, by draw and seed."""
        return tuple(run for run in self.runs if (run.task, run.arm, run.reals) == (task, arm, reals))

    def difference(
        self,
        task: TaskName,
        reals: int,
        arm: ArmName,
        base: ArmName,
        all_reals: int | None = None,
        metric: ComparedMetric | None = None,
    ) -> Difference | None:
        """Return the difference of two arms in a metric, by default Dice or AP; None if it was not measured."""
        metric = metric or self.metric_of(task)
        for item in self.differences:
            key = (item.task, item.reals, item.arm, item.base, item.all_reals, item.metric)
            if key == (task, reals, arm, base, all_reals, metric):
                return item
        return None

    def metric_of(self, task: TaskName) -> Metric:
        """Return the metric of a task that was run."""
        return next(run.metric for run in self.runs if run.task == task)

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks that were run, in order."""
        return tuple(dict.fromkeys(run.task for run in self.runs))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of real training smears that were run, the largest first."""
        return tuple(sorted({run.reals for run in self.runs}, reverse=True))

    def to_json(self) -> str:
        """Return the result as JSON of flat records, one per line.

        The keys are ``facts``, ``verdict``, ``runs``, ``intervals`` (the differences) and ``rows``: one row per
        task, arm, number of real smears, draw, seed and image. Runs have ``pq``, ``tp``, ``fp`` and ``fn`` over all
        images with their intervals over images, such as ``pq_interval``.
        """
        common = {"data_set": self.facts.data_set}
        lists: dict[str, list[Any]] = {
            "verdict": list(self.verdict),
            "runs": [common | run.model_dump(exclude={"images"}) | cell_figures(run.images) for run in self.runs],
            "intervals": [common | item.model_dump() for item in self.differences],
            "rows": [
                common | run.model_dump(include=set(_RUN_FIELDS)) | row.model_dump()
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
        """Write the result to a JSON file."""
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> BenefitResult:
        """Read a JSON file written by `save`.

        Raises
        ------
        DataError
            If the file is not the result of an experiment.
        """
        try:
            record = to_current("benefit", json.loads(read_text(Path(path))))
            images: dict[tuple[object, ...], list[dict[str, object]]] = {}
            for row in record["rows"]:
                del row["data_set"]
                row.setdefault("draw", 0)  # former versions had one draw
                images.setdefault(tuple(row.pop(name) for name in _RUN_FIELDS), []).append(row)
            for item in (*record["runs"], *record["intervals"]):
                del item["data_set"]
            for run in record["runs"]:
                for name in cell_figures(()):  # computed from the rows; missing in results of former versions
                    run.pop(name, None)
                run.setdefault("draw", 0)
                run["images"] = images[tuple(run[name] for name in _RUN_FIELDS)]
            fields = {name: record[name] for name in ("facts", "verdict", "runs")}
            return cls.model_validate(fields | {"differences": record["intervals"]})
        except (json.JSONDecodeError, LookupError, TypeError, ValidationError):
            raise DataError("not a result of `smearsynth benefit`; run the command again", path) from None


def decimals(half_width: float) -> int:
    """Return the number of decimals of a value with this uncertainty.

    Two for an uncertainty of 0.1 or more, four below 0.005, else three as in the paper.
    """
    return 2 if half_width >= 0.1 else 4 if 0 < half_width < 0.005 else 3
