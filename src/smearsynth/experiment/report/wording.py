"""What the report of the benefit experiment says: its tables, warnings, facts and how to read them, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from smearsynth.experiment.arms import ARMS, PAPER, ArmName
from smearsynth.experiment.records import METRICS, BenefitResult, Difference, Facts, Reading, Run, decimals
from smearsynth.experiment.report.figures import (
    NAMED,
    TITLES,
    changes,
    difference_rows,
    image_metric,
    spread,
    verdict_pair,
)
from smearsynth.tasks.config import TaskName

_DASH = "–"
_FEW_IMAGES = 10  # fewer test smears give bootstrap intervals that are clearly too narrow

SCORES_NOTE = "Mean over seeds ± standard deviation. The paper's scores are of other smears."
EXAMPLES_NOTE = (
    "True cells on the left, what was found on the right. Black: right; red: missed; orange: found but not there. "
    "Segmentation is judged by pixels, which are tinted on the right."
)
CAPTIONS = {
    "differences": "Differences with 95 % intervals: filled where the interval leaves out 0, hollow where not.",
    "curves": "Score against the number of real smears at hand; bars: ± one standard deviation over seeds.",
    "images": "A point per test image, mean over seeds. Above the line it did better, below it worse.",
}
MARKS = {"better": "▲", "worse": "▼", "open": ""}
DIFFERENCES_NOTE = (
    "Difference [95 % interval]. ▲ the interval lies above 0, ▼ below 0; else no difference is shown."
)

AGAINST_ALL_NOTE = "Few real smears against all of them: what the few lack, with synthetic smears and without."

RunsOfArms = Sequence[Sequence[Run]]


@dataclass(frozen=True)
class Line:
    """A row of the table: what it says of the arms, a cell for each."""

    name: str
    kind: Literal["score", "paper", "count"]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """The rows of one task."""

    title: str
    lines: tuple[Line, ...]


class Cell(NamedTuple):
    """A difference in words, and how it reads."""

    text: str
    reading: Reading


class Comparison(NamedTuple):
    """A row of the table of differences: arms, number of real smears, a cell for each task."""

    pair: str
    reals: int
    cells: tuple[Cell, ...]


def columns(result: BenefitResult) -> tuple[ArmName, ...]:
    """Arms that have run, or that the paper has, in the order of `ARMS`."""
    known = {run.arm for run in result.runs}.union(*PAPER.values())
    return tuple(arm for arm in ARMS if arm in known)


def table(result: BenefitResult) -> tuple[Block, ...]:
    """The paper's form, a block per task and a column per arm of `columns`, the paper's own scores beneath ours."""
    return tuple(_block(result, task, columns(result)) for task in result.tasks)


def _block(result: BenefitResult, task: TaskName, arms: Sequence[ArmName]) -> Block:
    metric = next(METRICS[run.metric] for run in result.runs if run.task == task)
    seeds = result.facts.seeds
    lines: list[Line] = []
    for size in result.sizes:
        runs = [result.runs_of(task, arm, size) for arm in arms]
        if not any(runs):
            continue
        with_size = f", {_counted(size, 'real smear')}"
        lines.append(_line(metric + with_size, "score", runs, lambda ran: score([one.value for one in ran], seeds)))
        if len(lines) == 1:
            cells = (f"{PAPER[task][arm]:.3f}" if arm in PAPER[task] else _DASH for arm in arms)
            lines.append(Line("the paper, on other smears", "paper", tuple(cells)))
        if any(one.ap50 is not None for ran in runs for one in ran):
            lines.append(_line("AP50" + with_size, "count", runs, _ap50))
        lines.append(_line("TP / FP / FN" + with_size, "count", runs, _counts))
    return Block(f"{TITLES[task]} ({metric})", tuple(lines))


def _line(name: str, kind: Literal["score", "count"], runs: RunsOfArms, of: Callable[[Sequence[Run]], str]) -> Line:
    return Line(name, kind, tuple(of(ran) for ran in runs))


def _ap50(runs: Sequence[Run]) -> str:
    return score([run.ap50 for run in runs if run.ap50 is not None])


def score(values: Sequence[float], seeds: int | None = None) -> str:
    """Mean ± standard deviation over seeds, and how many there are where it is not the number expected.

    Examples
    --------
    >>> score([0.91, 0.93]), score([0.91], seeds=2), score([])
    ('0.920 ± 0.014', '0.910 (1 seed)', '–')
    """
    if not values:
        return _DASH
    apart = spread(values)
    digits = min(decimals(apart or 0.0), 3)  # no more than the paper gives
    text = f"{fmean(values):.{digits}f}" + (f" ± {apart:.{digits}f}" if apart is not None else "")
    return text if seeds in (None, len(values)) else f"{text} ({_counted(len(values), 'seed')})"


def _counts(runs: Sequence[Run]) -> str:
    if not runs:
        return _DASH
    means = (fmean(kind) for kind in zip(*(run.counts for run in runs), strict=True))
    return " / ".join(f"{mean:.0f}" if mean >= 100 or mean == round(mean) else f"{mean:.1f}" for mean in means)


def comparisons(result: BenefitResult) -> Iterable[Comparison]:
    """Rows of the table of differences, their cells in the order of the tasks."""
    for arm, base, reals in difference_rows(result):
        found = [result.difference(task, reals, arm, base) for task in result.tasks]
        yield Comparison(f"{arm} − {base}", reals, tuple(_compared(one, result.facts.seeds) for one in found))


def against_all(result: BenefitResult) -> Iterable[Comparison]:
    """Rows of the table of few real smears against all of them, as `comparisons`."""
    few = [one for one in result.differences if one.all_reals is not None]
    for arm, base in dict.fromkeys((one.arm, one.base) for one in few):
        for reals in result.sizes[1:]:
            found = [result.difference(task, reals, arm, base, result.sizes[0]) for task in result.tasks]
            if any(found):
                cells = tuple(_compared(one, result.facts.seeds) for one in found)
                yield Comparison(f"{arm} − {base} of {result.sizes[0]}", reals, cells)


def _compared(one: Difference | None, seeds: int) -> Cell:
    if one is None:
        return Cell(_DASH, "open")
    few = "" if one.seeds == seeds else f" ({_counted(one.seeds, 'seed')})"
    if one.low == one.high:
        return Cell(f"{_signed(one.mean, one)}, no interval{few}", "open")
    text = f"{_signed(one.mean, one)} [{_signed(one.low, one)}, {_signed(one.high, one)}]{few}"
    return Cell(f"{text} {MARKS[one.reading]}".strip(), one.reading)


def _signed(value: float, one: Difference) -> str:
    """With the digits that the interval carries; a bound just below 0 keeps its sign: the reading hangs on it.

    Examples
    --------
    >>> wide = Difference(task="detection", reals=9, metric="ap", arm="RD+SD", base="RD", mean=-0.0312, low=-0.2,
    ...     high=0.1, seeds=3)
    >>> _signed(wide.mean, wide)
    '−0.03'
    """
    return f"{value:+.{one.digits}f}".replace("-", "−")


def changed(result: BenefitResult) -> Iterable[tuple[str, tuple[str, ...]]]:
    """The test images that changed most, by task: a heading and a line for each."""
    for task in result.tasks:
        pair = verdict_pair(result, task)
        if pair:
            found = changes(result, task, *pair)[:NAMED]
            lines = tuple(f"{one.image}: {one.before:.2f} → {one.after:.2f}" for one in found)
            yield f"{TITLES[task]}, {image_metric(task)} in {pair[1]} → {pair[0]}", lines


def warnings(made: Facts) -> Iterable[str]:
    """What must not be overlooked before a figure is believed."""
    if made.select_by == "test":
        yield (
            "Weights chosen on the test smears. As in the paper, the best weights of every run were picked by "
            "their score on the very smears they are tested on. That flatters all arms: do not quote these scores "
            "as those of unseen smears."
        )
    if made.seeds == 1:
        yield (
            "One seed. Each model was trained once, so the intervals know nothing of the chance of training: "
            "the same experiment with another seed may well land outside of them."
        )
    if made.seeds == 2:
        yield (
            "Two seeds tell little of the chance of training: where it is large, up to one interval in eight "
            "leaves out the true difference, not one in twenty. Three seeds or more keep what they say."
        )
    if made.test < _FEW_IMAGES:
        yield (
            f"Only {_counted(made.test, 'test smear')}. Intervals come from drawing test smears anew; "
            + ("of one smear there is none." if made.test == 1 else "of so few they are too narrow.")
        )
    for reals, synthesizer in made.synthesizers.items():
        if synthesizer.misfit:
            yield f"The synthesizer beside {_counted(reals, 'real smear')} {synthesizer.misfit}."
        if synthesizer.smears > reals:
            yield (
                f"The synthesizer beside {_counted(reals, 'real smear')} has learned from {synthesizer.smears:,} "
                f"({synthesizer.name}). If these are more smears like yours, its arms know more than "
                f"{_counted(reals, 'real smear')} can tell, and those without it do not."
            )


def facts(result: BenefitResult) -> Iterable[tuple[str, str]]:
    """What the experiment was made of, by name."""
    made = result.facts
    yield "Data set", made.data_set
    held = f" ({made.held_out} of them held out)" if made.held_out else ""
    yield "Real smears", f"{made.train} to train on{held}, {made.test} to test on"
    for reals, names in made.at_hand.items():
        yield f"The {_counted(reals, 'real smear')}", ", ".join(names)
    if any(run.synthesizer for run in result.runs):
        stains = ", there in stains that no train smear has" if made.stain == "augmented" else ""
        yield (
            "Synthetic smears",
            f"{made.synthetic}, and {made.synthetic_fraction:.0%} of the crops of RD+SD{stains}; in light that falls off as in "
            "no train smear, with haze",
        )
        for reals, synthesizer in made.synthesizers.items():
            yield f"Synthesizer beside {_counted(reals, 'real smear')}", str(synthesizer)
    select_by = "the smears held out, the last within a standard error of the best"
    if made.select_by == "test":
        select_by = "the test smears, as in the paper"
    elif not made.held_out:
        select_by = "none, the last are kept: there are too few train smears to hold any out"
    yield "Best weights by", select_by
    yield (
        "Steps of every arm",
        ", ".join(f"{TITLES[task]} {steps:,}" for task, steps in made.steps.items()) or _DASH,
    )
    yield "Preset, scale", f"{made.preset}, {made.scale:g}"
    yield "Seeds", str(made.seeds)
    yield "Models trained", f"{len(result.runs)} in {_duration(made.minutes)} of computing"
    yield "Device, machine", f"{made.device}, {made.machine}"
    yield "Versions", f"smearsynth {made.smearsynth}, torch {made.torch}"


def _duration(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def reading(result: BenefitResult) -> Iterable[str]:
    """How to read the report, as far as it concerns this one."""
    metrics = {run.metric for run in result.runs}
    yield (
        "Arms: RD learns from real smears, SD from synthetic ones, RD+SD from both; aug adds the paper's ten "
        "augmentations, copy-paste pastes cells from smear to smear. Every arm of a task takes equally many steps."
    )
    if "dice" in metrics:
        yield (
            "Dice is the mean over test images of the overlap of found and true cell area. Its counts are of "
            "connected pieces, so a clump of touching cells that was found whole still counts as missed cells."
        )
    if "ap" in metrics:
        yield (
            "AP is COCO's, the mean over IoU 0.50 to 0.95 of all test images together; AP50 is that at IoU 0.5. "
            "The paper does not say at which IoU its AP is. Single images are scored by F1 at IoU 0.5 instead."
        )
    yield (
        "TP / FP / FN: cells found, found but not there, missed, by one-to-one matches at IoU 0.5, summed over the "
        "test images, mean over seeds."
    )
    yield (
        "The paper's numbers are of its own 100 smears, by weights chosen on its test smears. Compare the pattern "
        "over arms, not the values."
    )
    if any(run.seed != result.runs[0].seed for run in result.runs):
        yield "± is the standard deviation over seeds: the chance of training alone, not that of the test smears."
    n = sum(one.low < one.high for one in result.differences)
    if n:
        missed = f"; of the {n} here about {n / 20:.0f} do so by chance alone" if n >= 20 else ""
        yield (
            "Differences are paired, over the same seeds and test images. Their 95 % intervals leave out the true "
            f"difference once in twenty times{missed}. The first comparison of each task is the verdict, the "
            "others are clues. An interval that holds 0 shows no difference; it does not show that there is none."
        )


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"
