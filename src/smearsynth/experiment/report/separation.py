"""Tables of the benefit report on the separation of cells: panoptic quality and counts, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smearsynth.experiment.arms import ARMS
from smearsynth.experiment.facts import counted
from smearsynth.experiment.records import LABEL_TASKS, METRIC_NAMES, TASK_TITLES, BenefitResult, Run, decimals
from smearsynth.experiment.report.tables import Cell, Comparison, difference_cell, difference_rows
from smearsynth.metrics.intervals import BootstrapScore, average, mean_interval
from smearsynth.metrics.panoptic import CELL_METRICS, CellMetric
from smearsynth.tasks.config import TaskName


@dataclass(frozen=True)
class SeparationTables:
    """The tables of a task.

    Parameters
    ----------
    title : str
        Name of the task.
    head : tuple of str
        Names of the metrics.
    arms, differences : tuple of Comparison
        A row per arm, and a row per pair of arms; a cell per metric.
    """

    title: str
    head: tuple[str, ...]
    arms: tuple[Comparison, ...]
    differences: tuple[Comparison, ...]


def separation_tables(result: BenefitResult) -> tuple[SeparationTables, ...]:
    """Return the tables of the tasks that predict labels; none for tasks whose PQ was not measured."""
    measured = [
        task for task in result.tasks if any(run.task == task and run.pq is not None for run in result.runs)
    ]
    return tuple(_tables(result, task) for task in measured if task in LABEL_TASKS)


def unmeasured_runs(result: BenefitResult) -> int:
    """Return the number of runs that predict labels and were cached by a version that did not measure PQ."""
    return sum(run.task in LABEL_TASKS and run.pq is None for run in result.runs)


def _tables(result: BenefitResult, task: TaskName) -> SeparationTables:
    return SeparationTables(
        TASK_TITLES[task],
        tuple(METRIC_NAMES[metric] for metric in CELL_METRICS),
        tuple(_arm_rows(result, task)),
        tuple(_difference_rows(result, task)),
    )


def _arm_rows(result: BenefitResult, task: TaskName) -> Iterator[Comparison]:
    for arm in ARMS:
        for reals in result.sizes:
            runs = [run for run in result.runs_of(task, arm, reals) if run.pq is not None]
            if runs:
                expected = result.facts.seeds * result.facts.draws_of(reals)
                note = "" if len(runs) == expected else f" ({counted(len(runs), 'training')})"
                cells = (Cell(arm_cell(runs, metric) + note, "inconclusive") for metric in CELL_METRICS)
                yield Comparison(arm, reals, tuple(cells))


def _difference_rows(result: BenefitResult, task: TaskName) -> Iterator[Comparison]:
    for arm, base, reals in difference_rows(result):
        differences = [result.difference(task, reals, arm, base, metric=metric) for metric in CELL_METRICS]
        if any(differences):
            cells = tuple(difference_cell(item, result.facts.seeds) for item in differences)
            yield Comparison(f"{arm} − {base}", reals, cells)


def arm_cell(runs: Sequence[Run], metric: CellMetric) -> str:
    """Format the mean of a metric over the runs of an arm with its 95 % interval.

    Examples
    --------
    >>> from smearsynth.experiment.records import ImageRow
    >>> rows = tuple(ImageRow(image=str(k), score=0.9, tp=40 + k, fp=1, fn=2, pq=0.7 + k / 50)
    ...     for k in range(9))
    >>> run = Run(task="segmentation", arm="RD", reals=9, seed=0, metric="dice", value=0.9, ap50=None, smears=9,
    ...     steps=1, best_step=1, validation=None, seconds=1, key="k", synthesizer=None, images=rows)
    >>> arm_cell([run], "pq"), arm_cell([run], "tp")
    ('0.783 [0.744, 0.819]', '396 [379, 413]')
    """
    draws: dict[int, list[BootstrapScore]] = {}
    for run in runs:
        if (resampled := run.resampled(metric)) is not None:
            draws.setdefault(run.draw, []).append(resampled)
    first, *further = draws.values()
    interval = mean_interval([average(draw) for draw in draws.values()] if further else first)
    low, high = max(interval.low, 0.0), interval.high
    if metric == "pq":
        high = min(high, 1.0)
        digits = min(decimals((high - low) / 2), 3)
    else:
        digits = 0
    mean = f"{interval.mean:,.{digits}f}"
    return f"{mean} [{low:,.{digits}f}, {high:,.{digits}f}]" if low < high else f"{mean}, no interval"
