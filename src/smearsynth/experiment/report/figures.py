"""Figures of the benefit report: differences with intervals, learning curves, and scores of single images.

Each figure is drawn in given colours, for a light or a dark page. None contains text that users entered.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from smearsynth.experiment.arms import ARMS, ArmName
from smearsynth.experiment.records import METRIC_NAMES, TASK_TITLES, BenefitResult, Difference
from smearsynth.experiment.report.tables import (
    LABELLED_IMAGES,
    difference_rows,
    image_changes,
    image_metric,
    standard_deviation,
    verdict_pair,
)
from smearsynth.tasks.config import TaskName


class Colours(NamedTuple):
    """Colours of a figure.

    Parameters
    ----------
    background, text, muted, line : str
        Colours of the page.
    better, worse : str
        Colours of intervals above and below 0.
    real, synthetic, mixed, copy_paste : str
        Colours of arms.
    """

    background: str
    text: str
    muted: str
    line: str
    better: str
    worse: str
    real: str
    synthetic: str
    mixed: str
    copy_paste: str


LIGHT = Colours(
    "#ffffff", "#1d1b20", "#625e68", "#dfdce0", "#1b7340", "#b3261e", "#2b5fa8", "#b36b00", "#b3125b", "#00796b"
)
DARK = Colours(
    "#1e1c21", "#ece9f0", "#a8a3b0", "#37343c", "#7ddba0", "#ff9d94", "#8ab4f8", "#f2b950", "#ff7fb2", "#5fd0bf"
)

_LEGEND_WIDTH = 1.5  # inches per entry


def differences_figure(result: BenefitResult, colours: Colours) -> Any:
    """Draw a forest plot: each difference with its 95 % interval, one panel per task.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows, several_sizes = difference_rows(result), len(result.sizes) > 1
    tasks = [task for task in result.tasks if any(item.task == task for item in result.differences)]
    heights, labels, height = [], [], 0.0
    for k, (arm, base, reals) in enumerate(rows):
        is_first = k == 0 or rows[k - 1][:2] != (arm, base)
        height += 0.5 if several_sizes and is_first and k else 0.0  # a gap between pairs
        heights.append(height)
        pair = f"{arm} − {base}" if is_first else ""
        labels.append(f"{pair}   n = {reals}" if several_sizes else pair)
        height += 1
    figure, panels = _make_panels(len(tasks), 0.27 * height + 1.0, colours, share_y=True)
    for panel, task in zip(panels, tasks, strict=True):
        panel.axvline(0, color=colours.muted, lw=1)
        for y, (arm, base, reals) in zip(heights, rows, strict=True):
            difference = result.difference(task, reals, arm, base)
            if difference is not None:
                _draw_interval(panel, difference, y, colours)
        _label(panel, task, f"difference in {METRIC_NAMES[result.metric_of(task)]}", None, colours)
        panel.grid(axis="x", color=colours.line, lw=0.6)
    panels[0].set_yticks(heights, labels, color=colours.text)
    panels[0].set_ylim(height - 0.4, -0.7)
    return figure


def curves_figure(result: BenefitResult, colours: Colours) -> Any:
    """Draw score against number of real smears: one panel per task, one line per arm, bars of ± one SD over seeds.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, panels = _make_panels(len(result.tasks), 3.6, colours)
    handles: dict[ArmName, Any] = {}
    sizes = result.sizes[::-1]
    for panel, task in zip(panels, result.tasks, strict=True):
        curves = {arm: _draw_curve(panel, result, task, arm, colours) for arm in ARMS}
        handles |= {arm: curve for arm, curve in curves.items() if curve is not None}
        panel.set_xscale("log")
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set_xticks([], minor=True)
        panel.set_xlim(sizes[0] / 1.15, sizes[-1] * 1.15)  # the same in every panel, also with a single size
        _label(panel, task, "real smears", METRIC_NAMES[result.metric_of(task)], colours)
        panel.grid(axis="y", color=colours.line, lw=0.6)
    arms = [arm for arm in ARMS if arm in handles]
    figure.legend(
        [handles[arm] for arm in arms], arms, loc="outside lower center", fontsize=9, frameon=False,
        ncols=int(figure.get_figwidth() / _LEGEND_WIDTH), labelcolor=colours.text,
    )  # fmt: skip
    return figure


def images_figure(result: BenefitResult, colours: Colours) -> Any:
    """Draw the score of each test image in an arm against its score in the base, one panel per task.

    Points above the line scored higher in the arm. The `LABELLED_IMAGES` largest changes are numbered.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pairs = {task: pair for task in result.tasks if (pair := verdict_pair(result, task))}
    figure, panels = _make_panels(len(pairs), 3.6, colours)
    for panel, (task, (arm, base)) in zip(panels, pairs.items(), strict=True):
        changes = image_changes(result, task, arm, base)
        scores = [score for change in changes for score in (change.before, change.after)]
        margin = 0.06 * (max(scores) - min(scores)) + 0.005
        limits = min(scores) - margin, max(scores) + margin
        panel.plot(limits, limits, color=colours.muted, lw=1)
        panel.scatter(
            [change.before for change in changes], [change.after for change in changes], s=22, alpha=0.75, lw=0,
            c=[colours.better if change.after > change.before else colours.worse for change in changes], zorder=3,
        )  # fmt: skip
        for number, change in enumerate(changes[:LABELLED_IMAGES], 1):
            panel.annotate(
                str(number), (change.before, change.after), xytext=(6, -3), textcoords="offset points", fontsize=9,
                color=colours.text,
            )  # fmt: skip
        panel.set_xlim(limits)
        panel.set_ylim(limits)
        panel.set_aspect("equal")
        metric = image_metric(task)
        _label(panel, task, f"{metric} of the image, {base}", f"{metric}, {arm}", colours)
        panel.grid(color=colours.line, lw=0.6)
    return figure


def render_png(figure: Any) -> bytes:
    """Render a figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": "smearsynth"})
    return buffer.getvalue()


def _draw_curve(panel: Any, result: BenefitResult, task: TaskName, arm: ArmName, colours: Colours) -> Any:
    """Draw the line of an arm and return its legend handle; None if the arm was not run."""
    runs = {size: result.runs_of(task, arm, size) for size in result.sizes[::-1]}
    values = {size: [run.value for run in runs[size]] for size in runs if runs[size]}
    if not values:
        return None
    shift = 1.018 ** (list(ARMS).index(arm) - 3)  # bars of several arms stand side by side
    colour, style, marker = _line_style(arm, colours)
    return panel.errorbar(
        [size * shift for size in values], [fmean(scores) for scores in values.values()],
        [standard_deviation(scores) or 0.0 for scores in values.values()],
        color=colour, ls=style, marker=marker, ms=5, lw=1.7, elinewidth=1, capsize=0,
        mfc=colours.background if ARMS[arm].augment == "none" else colour,
    )  # fmt: skip


def _line_style(arm: ArmName, colours: Colours) -> tuple[str, str, str]:
    """Return colour, line style and marker. Colour and marker show the smears, the line style the augmentation."""
    data = ARMS[arm]
    if data.augment == "copy-paste":
        return colours.copy_paste, ":", "s"
    line = "--" if data.augment == "none" else "-"
    if data.real and data.synthetic:
        return colours.mixed, line, "D"
    return (colours.real, line, "o") if data.real else (colours.synthetic, line, "^")


def _draw_interval(panel: Any, difference: Difference, height: float, colours: Colours) -> None:
    """Draw an interval. Its marker is filled if the interval excludes 0, so that it is readable without colour."""
    conclusion = difference.conclusion
    colour = {"inconclusive": colours.muted, "better": colours.better, "worse": colours.worse}[conclusion]
    fill = colours.background if conclusion == "inconclusive" else colour
    panel.plot([difference.low, difference.high], [height, height], color=colour, lw=2, solid_capstyle="butt")
    panel.plot([difference.mean], [height], "o", ms=6, color=colour, mfc=fill, mew=1.6)


def _label(panel: Any, task: TaskName, x: str, y: str | None, colours: Colours) -> None:
    panel.set_title(TASK_TITLES[task], fontsize=11, loc="left", color=colours.text)
    panel.set_xlabel(x, fontsize=9, color=colours.muted)
    if y is not None:
        panel.set_ylabel(y, fontsize=9, color=colours.muted)


def _make_panels(
    count: int, height: float, colours: Colours, *, share_y: bool = False
) -> tuple[Any, Sequence[Any]]:
    """Return a figure with panels side by side and without unnecessary lines."""
    from matplotlib.figure import Figure

    width = 3.6 * max(count, math.sqrt(2)) + (1.6 if share_y else 0)
    figure = Figure(figsize=(width, height), facecolor=colours.background, layout="constrained")
    panels: list[Any] = figure.subplots(1, count, squeeze=False, sharey=share_y).ravel().tolist()
    for panel in panels:
        panel.set_facecolor(colours.background)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=9, colors=colours.muted, length=0)
        panel.locator_params(axis="x", nbins=4)
        for side, spine in panel.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(colours.line)
    return figure, panels
