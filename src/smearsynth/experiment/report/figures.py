"""Figures of the benefit experiment: differences with their intervals, learning curves, the fate of each image.

Each is drawn in the ink it is given, for a light page or a dark one, and holds no text that users chose.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from smearsynth.experiment.arms import ARMS, COMPARED, ArmName
from smearsynth.experiment.records import METRICS, BenefitResult, Difference
from smearsynth.tasks.config import TaskName

TITLES: dict[TaskName, str] = {
    "segmentation": "Segmentation",
    "detection": "Detection",
    "contours": "Detection from segmentation",
}
NAMED = 3  # images of a task that are named, those that changed most


class Ink(NamedTuple):
    """Colours of a figure.

    Parameters
    ----------
    ground, text, soft, line : str
        Of the page.
    better, worse : str
        Of intervals above and below 0.
    real, synthetic, both, pasted : str
        Of arms, by the smears they learn from; the last is copy-paste.
    """

    ground: str
    text: str
    soft: str
    line: str
    better: str
    worse: str
    real: str
    synthetic: str
    both: str
    pasted: str


LIGHT = Ink(
    "#ffffff", "#1d1b20", "#625e68", "#dfdce0", "#1b7340", "#b3261e", "#2b5fa8", "#b36b00", "#b3125b", "#00796b"
)
DARK = Ink(
    "#1e1c21", "#ece9f0", "#a8a3b0", "#37343c", "#7ddba0", "#ff9d94", "#8ab4f8", "#f2b950", "#ff7fb2", "#5fd0bf"
)

Row = tuple[ArmName, ArmName, int]  # arm, its base, real smears


class Change(NamedTuple):
    """Score of one test image in two arms, each the mean over seeds."""

    image: str
    before: float
    after: float


def verdict_pair(result: BenefitResult, task: TaskName) -> tuple[ArmName, ArmName] | None:
    """The first pair of `COMPARED` that a task ran both of, with all real smears; None without one."""
    for arm, base in COMPARED:
        if changes(result, task, arm, base):
            return arm, base
    return None


def changes(result: BenefitResult, task: TaskName, arm: ArmName, base: ArmName) -> list[Change]:
    """Each test image's score from `base` to `arm`, with all real smears, what changed most first."""
    most = result.sizes[0]
    before, after = (_image_scores(result, task, one, most) for one in (base, arm))
    found = [Change(name, before[name], after[name]) for name in before if name in after]
    return sorted(found, key=lambda one: -abs(one.after - one.before))


def differences_figure(result: BenefitResult, ink: Ink) -> Any:
    """Forest plot, a panel per task: each difference with its 95 % interval about the line of no difference.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows, several = difference_rows(result), len(result.sizes) > 1
    tasks = [task for task in result.tasks if any(one.task == task for one in result.differences)]
    heights, labels, at = [], [], 0.0
    for k, (arm, base, reals) in enumerate(rows):
        first = k == 0 or rows[k - 1][:2] != (arm, base)
        at += 0.5 if several and first and k else 0.0  # a gap between pairs
        heights.append(at)
        pair = f"{arm} − {base}" if first else ""
        labels.append(f"{pair}   n = {reals}" if several else pair)
        at += 1
    figure, panels = _panels(len(tasks), 0.27 * at + 1.0, ink, share_y=True)
    for panel, task in zip(panels, tasks, strict=True):
        panel.axvline(0, color=ink.soft, lw=1)
        for height, (arm, base, reals) in zip(heights, rows, strict=True):
            one = result.difference(task, reals, arm, base)
            if one is not None:
                _interval(panel, one, height, ink)
        metric = next(one.metric for one in result.differences if one.task == task)
        panel.set_title(TITLES[task], fontsize=11, loc="left", color=ink.text)
        panel.set_xlabel(f"difference in {METRICS[metric]}", fontsize=9, color=ink.soft)
        panel.grid(axis="x", color=ink.line, lw=0.6)
    panels[0].set_yticks(heights, labels, color=ink.text)
    panels[0].set_ylim(at - 0.4, -0.7)
    return figure


def curves_figure(result: BenefitResult, ink: Ink) -> Any:
    """Score against number of real smears, a panel per task, a line per arm; bars are the spread over seeds.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, panels = _panels(len(result.tasks), 3.6, ink)
    handles: dict[ArmName, Any] = {}
    sizes = result.sizes[::-1]
    for panel, task in zip(panels, result.tasks, strict=True):
        for k, arm in enumerate(ARMS):
            runs = {size: result.runs_of(task, arm, size) for size in sizes}
            # bars of several arms at one number of smears stand side by side
            x = [size * 1.018 ** (k - 3) for size in sizes if runs[size]]
            values = [[run.value for run in ran] for ran in runs.values() if ran]
            if not values:
                continue
            colour, style, mark = _look(arm, ink)
            handles[arm] = panel.errorbar(
                x, [fmean(one) for one in values], [spread(one) or 0.0 for one in values],
                color=colour, ls=style, marker=mark, ms=5, lw=1.7, elinewidth=1, capsize=0,
                mfc=ink.ground if ARMS[arm].augment == "none" else colour,
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set_xticks([], minor=True)
        panel.set_xlim(sizes[0] / 1.15, sizes[-1] * 1.15)  # also where a task has run with one of them alone
        metric = next(run.metric for run in result.runs if run.task == task)
        panel.set_title(TITLES[task], fontsize=11, loc="left", color=ink.text)
        panel.set_xlabel("real smears", fontsize=9, color=ink.soft)
        panel.set_ylabel(METRICS[metric], fontsize=9, color=ink.soft)
        panel.grid(axis="y", color=ink.line, lw=0.6)
    figure.legend(
        [handles[arm] for arm in ARMS if arm in handles], [arm for arm in ARMS if arm in handles],
        loc="outside lower center", ncols=len(ARMS), fontsize=9, frameon=False, labelcolor=ink.text,
    )  # fmt: skip
    return figure


def images_figure(result: BenefitResult, ink: Ink) -> Any:
    """Score of each test image in one arm against that in its base, a panel per task that has two such arms.

    Points above the line did better in the arm; the `NAMED` that changed most bear their number in `changes`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pairs = {task: pair for task in result.tasks if (pair := verdict_pair(result, task))}
    figure, panels = _panels(len(pairs), 3.6, ink)
    for panel, (task, (arm, base)) in zip(panels, pairs.items(), strict=True):
        found = changes(result, task, arm, base)
        scores = [score for one in found for score in one[1:]]
        margin = 0.06 * (max(scores) - min(scores)) + 0.005
        limits = min(scores) - margin, max(scores) + margin
        panel.plot(limits, limits, color=ink.soft, lw=1)
        colours = [ink.better if one.after > one.before else ink.worse for one in found]
        panel.scatter(
            [one.before for one in found], [one.after for one in found], s=22, c=colours, alpha=0.75, lw=0, zorder=3
        )
        for number, one in enumerate(found[:NAMED], 1):
            panel.annotate(
                str(number), one[1:], xytext=(6, -3), textcoords="offset points", fontsize=9, color=ink.text
            )
        panel.set_xlim(limits)
        panel.set_ylim(limits)
        panel.set_aspect("equal")
        panel.set_title(TITLES[task], fontsize=11, loc="left", color=ink.text)
        panel.set_xlabel(f"{image_metric(task)} of the image, {base}", fontsize=9, color=ink.soft)
        panel.set_ylabel(f"{image_metric(task)}, {arm}", fontsize=9, color=ink.soft)
        panel.grid(color=ink.line, lw=0.6)
    return figure


def png_of(figure: Any) -> bytes:
    """Render a figure by Agg as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": "smearsynth"})
    return buffer.getvalue()


def difference_rows(result: BenefitResult) -> list[Row]:
    """Pairs of arms compared in any task, in the order of `COMPARED`, each by falling number of real smears."""
    alike = [one for one in result.differences if one.all_reals is None]
    have = {(one.arm, one.base, one.reals) for one in alike}
    pairs = dict.fromkeys([*COMPARED, *((one.arm, one.base) for one in alike)])
    return [(arm, base, size) for arm, base in pairs for size in result.sizes if (arm, base, size) in have]


def image_metric(task: TaskName) -> str:
    """What a single image is scored by: AP is of many."""
    return "Dice" if task == "segmentation" else "F1"


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None of fewer than two.

    Examples
    --------
    >>> spread([0.25, 0.5, 0.75]), spread([0.9])
    (0.25, None)
    """
    return stdev(values) if len(values) > 1 else None


def _image_scores(result: BenefitResult, task: TaskName, arm: ArmName, reals: int) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for run in result.runs_of(task, arm, reals):
        for row in run.images:
            scores.setdefault(row.image, []).append(row.score)
    return {image: fmean(found) for image, found in scores.items()}


def _look(arm: ArmName, ink: Ink) -> tuple[str, str, str]:
    """Colour, line and mark: the smears give the colour, augmentation a whole line and a filled mark."""
    made = ARMS[arm]
    if made.augment == "copy-paste":
        return ink.pasted, ":", "s"
    colour = ink.both if made.real and made.synthetic else ink.real if made.real else ink.synthetic
    mark = "D" if made.real and made.synthetic else "o" if made.real else "^"
    return colour, "--" if made.augment == "none" else "-", mark


def _interval(panel: Any, one: Difference, height: float, ink: Ink) -> None:
    """Filled where the interval leaves out 0, hollow where it does not: no colour is needed to see it."""
    apart = one.reading != "open"
    colour = {"open": ink.soft, "better": ink.better, "worse": ink.worse}[one.reading]
    panel.plot([one.low, one.high], [height, height], color=colour, lw=2, solid_capstyle="butt")
    panel.plot([one.mean], [height], "o", ms=6, color=colour, mfc=colour if apart else ink.ground, mew=1.6)


def _panels(count: int, height: float, ink: Ink, *, share_y: bool = False) -> tuple[Any, list[Any]]:
    """An empty figure of so many panels side by side, none of which draws more ink than it needs."""
    from matplotlib.figure import Figure

    width = 3.6 * max(count, math.sqrt(2)) + (1.6 if share_y else 0)
    figure = Figure(figsize=(width, height), facecolor=ink.ground, layout="constrained")
    panels: list[Any] = figure.subplots(1, count, squeeze=False, sharey=share_y).ravel().tolist()
    for panel in panels:
        panel.set_facecolor(ink.ground)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=9, colors=ink.soft, length=0)
        panel.locator_params(axis="x", nbins=4)
        for side, spine in panel.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(ink.line)
    return figure, panels
