"""Summary of the runs: differences between arms and the result of the experiment."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from smearsynth.errors import DataError
from smearsynth.experiment.arms import COMPARISONS, SUBSET_PAIRS, ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import subset_indices
from smearsynth.experiment.records import BenefitResult, Difference, Facts, Metric, Run
from smearsynth.experiment.verdict import verdict
from smearsynth.metrics.intervals import BootstrapScore, paired_interval
from smearsynth.tasks.config import TaskName

ScoredRun = tuple[Run, BootstrapScore]


def summarise(experiment: Experiment, data_set: str, command: str) -> BenefitResult:
    """Summarise all finished runs.

    Parameters
    ----------
    experiment : Experiment
    data_set, command : str
        Name of the data and command line, for the report.

    Raises
    ------
    DataError
        If no run is finished.
    """
    jobs = experiment.settings.jobs(len(experiment.train))
    results = [result for job in jobs if (result := experiment.load_result(experiment.key(job))) is not None]
    if not results:
        raise DataError("no run of the experiment is finished; run it for longer", experiment.folder)
    pairs = differences(results)
    runs = tuple(run for run, _ in results)
    return BenefitResult(
        facts=_facts(experiment, runs, data_set, command), runs=runs, differences=pairs, verdict=verdict(pairs)
    )


def _facts(experiment: Experiment, runs: Sequence[Run], data_set: str, command: str) -> Facts:
    settings, n_train = experiment.settings, len(experiment.train)
    sizes = settings.train_sizes(n_train)
    return Facts(
        data_set=data_set,
        command=command,
        smearsynth=version("smearsynth"),
        torch=version("torch"),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        preset=settings.preset,
        device=experiment.device,
        scale=experiment.train.scale,
        seeds=settings.seeds,
        select_by=settings.select_by,
        train=n_train,
        held_out=min(experiment.held_out_count(job) for job in settings.jobs(n_train) if job.reals == sizes[0]),
        test=len(experiment.test),
        synthetic=settings.synthetic_count(sizes[0]),
        synthetic_fraction=settings.synthetic_fraction,
        stain=settings.stain_for("RD+SD"),
        steps={run.task: run.steps for run in runs},
        synthesizers={reals: source.facts for reals, source in experiment.sources.items()},
        subsets={
            reals: tuple(experiment.train.names[k] for k in subset_indices(n_train, reals))
            for reals in sizes
            if reals < n_train
        },
        minutes=round(sum(run.seconds for run in runs) / 60, 1),
    )


def differences(results: Sequence[ScoredRun]) -> tuple[Difference, ...]:
    """Compute the difference of every pair of arms, for each task and number of real smears.

    Parameters
    ----------
    results : sequence of (Run, BootstrapScore)
        Runs with their bootstrapped scores.

    Returns
    -------
    tuple of Difference
        The pairs of `COMPARISONS`, over the seeds that both arms have. With several numbers of real smears also
        the pairs of `SUBSET_PAIRS`, with the base of the largest number.
    """
    cells: dict[tuple[TaskName, Metric, int, ArmName], dict[int, BootstrapScore]] = {}
    for run, scores in results:
        cells.setdefault((run.task, run.metric, run.reals, run.arm), {})[run.seed] = scores
    pairs = []
    for task, metric, reals in dict.fromkeys(cell[:3] for cell in cells):
        all_reals = max(size for name, _, size, _ in cells if name == task)
        for arm, base, base_reals in _pairs(reals, all_reals):
            first = cells.get((task, metric, reals, arm), {})
            second = cells.get((task, metric, base_reals, base), {})
            seeds = sorted(first.keys() & second.keys())
            if not seeds:
                continue
            interval = paired_interval([first[seed] for seed in seeds], [second[seed] for seed in seeds])
            pairs.append(
                Difference(
                    task=task,
                    reals=reals,
                    metric=metric,
                    arm=arm,
                    base=base,
                    mean=interval.mean,
                    low=interval.low,
                    high=interval.high,
                    seeds=len(seeds),
                    all_reals=None if base_reals == reals else base_reals,
                )
            )
    return tuple(pairs)


def _pairs(reals: int, all_reals: int) -> Iterator[tuple[ArmName, ArmName, int]]:
    """Yield an arm with `reals` real smears, its base, and the number of real smears of the base."""
    for arm, base in COMPARISONS:
        yield arm, base, reals
    if reals < all_reals:
        for arm, base in SUBSET_PAIRS:
            yield arm, base, all_reals
