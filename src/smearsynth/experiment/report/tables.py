"""Tables of the benefit report: scores in the form of the paper's Table 2, differences, and changes per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from smearsynth.experiment.arms import ARMS, COMPARISONS, PAPER_SCORES, ArmName
from smearsynth.experiment.facts import counted
from smearsynth.experiment.records import (
    METRIC_NAMES,
    TASK_TITLES,
    BenefitResult,
    Conclusion,
    Difference,
    Run,
    decimals,
)
from smearsynth.tasks.config import TaskName

_DASH = "–"
LABELLED_IMAGES = 3  # images of a task that are listed by name, those with the largest change
MARKS: dict[Conclusion, str] = {"better": "▲", "worse": "▼", "inconclusive": ""}

RunsByArm = Sequence[Sequence[Run]]


@dataclass(frozen=True)
class Line:
    """A row of the score table, with a cell per arm."""

    name: str
    kind: Literal["score", "paper", "count"]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """The rows of a task in the score table."""

    title: str
    lines: tuple[Line, ...]


class Cell(NamedTuple):
    """A difference as text, and its conclusion."""

    text: str
    conclusion: Conclusion


class Comparison(NamedTuple):
    """A row of a table: an arm or a pair of arms, the number of real smears, and a cell per task or metric."""

    pair: str
    reals: int
    cells: tuple[Cell, ...]


class Change(NamedTuple):
    """Score of a test image in the base and in the arm, each the mean over seeds."""

    image: str
    before: float
    after: float


def columns(result: BenefitResult) -> tuple[ArmName, ...]:
    """Return the arms of the score table: those that were run and those of the paper."""
    arms = {run.arm for run in result.runs}.union(*PAPER_SCORES.values())
    return tuple(arm for arm in ARMS if arm in arms)


def score_table(result: BenefitResult) -> tuple[Block, ...]:
    """Return the score table: a block per task, a column per arm of `columns`, with the paper's scores."""
    return tuple(_block(result, task, columns(result)) for task in result.tasks)


def _block(result: BenefitResult, task: TaskName, arms: Sequence[ArmName]) -> Block:
    metric = METRIC_NAMES[result.metric_of(task)]
    lines: list[Line] = []
    for size in result.sizes:
        runs = [result.runs_of(task, arm, size) for arm in arms]
        if not any(runs):
            continue
        draws = result.facts.draws_of(size)
        suffix = f", {counted(size, 'real smear')}" + (f", {draws} draws" if draws > 1 else "")
        seeds = result.facts.seeds * draws
        lines.append(_line(metric + suffix, "score", runs, partial(_score, seeds=seeds)))
        if len(lines) == 1:
            paper = PAPER_SCORES[task]
            cells = (f"{paper[arm]:.3f}" if arm in paper else _DASH for arm in arms)
            lines.append(Line("Paper (other smears)", "paper", tuple(cells)))
        if any(run.ap50 is not None for cell in runs for run in cell):
            lines.append(_line("AP50" + suffix, "count", runs, _ap50))
        if any(run.pq is not None for cell in runs for run in cell):
            lines.append(_line("PQ" + suffix, "count", runs, _pq))
        lines.append(_line("TP / FP / FN" + suffix, "count", runs, _counts))
    return Block(f"{TASK_TITLES[task]} ({metric})", tuple(lines))


def _line(
    name: str, kind: Literal["score", "count"], runs: RunsByArm, format_cell: Callable[[Sequence[Run]], str]
) -> Line:
    return Line(name, kind, tuple(format_cell(cell) for cell in runs))


def _score(runs: Sequence[Run], seeds: int) -> str:
    return score([run.value for run in runs], seeds)


def _ap50(runs: Sequence[Run]) -> str:
    return score([run.ap50 for run in runs if run.ap50 is not None])


def _pq(runs: Sequence[Run]) -> str:
    return score([run.pq for run in runs if run.pq is not None])


def score(values: Sequence[float], seeds: int | None = None) -> str:
    """Format mean ± standard deviation over seeds, with the number of seeds if it is not the expected number.

    Examples
    --------
    >>> score([0.91, 0.93]), score([0.91], seeds=2), score([])
    ('0.920 ± 0.014', '0.910 (1 seed)', '–')
    """
    if not values:
        return _DASH
    deviation = standard_deviation(values)
    digits = min(decimals(deviation or 0.0), 3)  # as in the paper, at most
    text = f"{fmean(values):.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")
    return text if seeds in (None, len(values)) else f"{text} ({counted(len(values), 'seed')})"


def standard_deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, or None for fewer than two values.

    Examples
    --------
    >>> standard_deviation([0.25, 0.5, 0.75]), standard_deviation([0.9])
    (0.25, None)
    """
    return stdev(values) if len(values) > 1 else None


def _counts(runs: Sequence[Run]) -> str:
    if not runs:
        return _DASH
    means = (fmean(kind) for kind in zip(*(run.counts for run in runs), strict=True))
    return " / ".join(f"{mean:.0f}" if mean >= 100 or mean == round(mean) else f"{mean:.1f}" for mean in means)


def difference_rows(result: BenefitResult) -> list[tuple[ArmName, ArmName, int]]:
    """Return (arm, base, number of real smears) of the compared pairs, by pair, the largest number first."""
    items = [item for item in result.differences if item.all_reals is None]
    available = {(item.arm, item.base, item.reals) for item in items}
    pairs = dict.fromkeys([*COMPARISONS, *((item.arm, item.base) for item in items)])
    return [(arm, base, size) for arm, base in pairs for size in result.sizes if (arm, base, size) in available]


def comparisons(result: BenefitResult) -> Iterator[Comparison]:
    """Yield the rows of the table of differences."""
    for arm, base, reals in difference_rows(result):
        differences = [result.difference(task, reals, arm, base) for task in result.tasks]
        yield _comparison(f"{arm} − {base}", reals, differences, result.facts.seeds)


def subset_comparisons(result: BenefitResult) -> Iterator[Comparison]:
    """Yield the rows of the table of differences between a subset of the real smears and all of them."""
    items = [item for item in result.differences if item.all_reals is not None]
    for arm, base in dict.fromkeys((item.arm, item.base) for item in items):
        for reals in result.sizes[1:]:
            differences = [result.difference(task, reals, arm, base, result.sizes[0]) for task in result.tasks]
            if any(differences):
                yield _comparison(f"{arm} − {base} of {result.sizes[0]}", reals, differences, result.facts.seeds)


def _comparison(pair: str, reals: int, differences: Iterable[Difference | None], seeds: int) -> Comparison:
    return Comparison(pair, reals, tuple(difference_cell(difference, seeds) for difference in differences))


def difference_cell(difference: Difference | None, seeds: int) -> Cell:
    """Format a difference with its interval; `seeds` is the expected number of seeds."""
    if difference is None:
        return Cell(_DASH, "inconclusive")
    note = "" if difference.seeds == seeds and difference.draws == 1 else f" ({difference.repeats})"
    mean, low, high = (_signed(value, difference) for value in (difference.mean, difference.low, difference.high))
    if not difference.has_interval:
        return Cell(f"{mean}, no interval{note}", "inconclusive")
    text = f"{mean} [{low}, {high}]{note} {MARKS[difference.conclusion]}"
    return Cell(text.strip(), difference.conclusion)


def _signed(value: float, difference: Difference) -> str:
    """Format a value with a minus sign. A bound just below 0 keeps its sign, because the conclusion depends on it.

    Examples
    --------
    >>> wide = Difference(task="detection", reals=9, metric="ap", arm="RD+SD", base="RD", mean=-0.0312, low=-0.2,
    ...     high=0.1, seeds=3)
    >>> _signed(wide.mean, wide)
    '−0.03'
    """
    return difference.format(value).replace("-", "−")


def verdict_pair(result: BenefitResult, task: TaskName) -> tuple[ArmName, ArmName] | None:
    """Return the first pair of `COMPARISONS` that a task ran with all real smears, or None."""
    for arm, base in COMPARISONS:
        if image_changes(result, task, arm, base):
            return arm, base
    return None


def image_changes(result: BenefitResult, task: TaskName, arm: ArmName, base: ArmName) -> list[Change]:
    """Return the score of each test image in two arms with all real smears, the largest change first."""
    before, after = (_image_scores(result, task, name, result.sizes[0]) for name in (base, arm))
    changes = [Change(name, before[name], after[name]) for name in before if name in after]
    return sorted(changes, key=lambda change: -abs(change.after - change.before))


def largest_changes(result: BenefitResult) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a heading for each task and a line for each of its images with the largest change."""
    for task in result.tasks:
        pair = verdict_pair(result, task)
        if pair:
            changes = image_changes(result, task, *pair)[:LABELLED_IMAGES]
            lines = tuple(f"{change.image}: {change.before:.2f} → {change.after:.2f}" for change in changes)
            yield f"{TASK_TITLES[task]}, {image_metric(task)} in {pair[1]} → {pair[0]}", lines


def image_metric(task: TaskName) -> str:
    """Return the metric of single images. AP is defined for a set of images only."""
    return "Dice" if task == "segmentation" else "F1"


def _image_scores(result: BenefitResult, task: TaskName, arm: ArmName, reals: int) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for run in result.runs_of(task, arm, reals):
        for row in run.images:
            scores.setdefault(row.image, []).append(row.score)
    return {image: fmean(values) for image, values in scores.items()}
