"""Summary of the runs: differences between arms and the result of the experiment."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

from smearsynth.errors import DataError
from smearsynth.experiment.arms import COMPARISONS, SUBSET_PAIRS, ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.facts import Facts
from smearsynth.experiment.plan import subset_indices
from smearsynth.experiment.records import LABEL_TASKS, BenefitResult, ComparedMetric, Difference, Run
from smearsynth.experiment.verdict import verdict
from smearsynth.metrics.intervals import BootstrapScore, Interval, average, paired_interval
from smearsynth.metrics.panoptic import CELL_METRICS
from smearsynth.tasks.config import TaskName

ScoredRun = tuple[Run, BootstrapScore]
Repeat = tuple[int, int]  # draw and seed


def summarise(experiment: Experiment, data_set: str, command: str, leaks: tuple[str, ...] = ()) -> BenefitResult:
    """Summarise all finished runs.

    Parameters
    ----------
    experiment : Experiment
    data_set, command : str
        Name of the data and command line, for the report.
    leaks : tuple of str
        Warnings about test smears that a synthesizer was trained on.

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
    facts = _facts(experiment, runs, data_set, command).model_copy(update={"leaks": leaks})
    return BenefitResult(facts=facts, runs=runs, differences=pairs, verdict=verdict(pairs))


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
        subsets={reals: _subset_names(experiment, reals, 0) for reals in sizes if reals < n_train},
        draws=settings.draws,
        further_synthesizers={
            reals: tuple(source.facts for (size, _), source in experiment.further_sources.items() if size == reals)
            for reals in dict.fromkeys(size for size, _ in experiment.further_sources)
        },
        further_subsets={
            reals: tuple(_subset_names(experiment, reals, draw) for draw in range(1, settings.draws))
            for reals in sizes
            if reals < n_train and settings.draws > 1
        },
        minutes=round(sum(run.seconds for run in runs) / 60, 1),
    )


def _subset_names(experiment: Experiment, reals: int, draw: int) -> tuple[str, ...]:
    names = experiment.train.names
    return tuple(names[k] for k in subset_indices(len(names), reals, draw))


def differences(results: Sequence[ScoredRun]) -> tuple[Difference, ...]:
    """Compute the difference of every pair of arms, for each task, number of real smears and metric.

    Parameters
    ----------
    results : sequence of (Run, BootstrapScore)
        Runs with their bootstrapped scores.

    Returns
    -------
    tuple of Difference
        The pairs of `COMPARISONS`, over the draws and seeds that both arms have. With several numbers of real
        smears also the pairs of `SUBSET_PAIRS`, with the base of the largest number. The metrics are Dice or AP,
        then PQ and the counts over all test images.
    """
    cells: dict[tuple[TaskName, ComparedMetric, int, ArmName], dict[Repeat, BootstrapScore]] = {}
    for run, scores in results:
        for metric, resampled in _metrics(run, scores):
            cells.setdefault((run.task, metric, run.reals, run.arm), {})[run.draw, run.seed] = resampled
    pairs = []
    for task, metric, reals in dict.fromkeys(cell[:3] for cell in cells):
        all_reals = max(size for name, _, size, _ in cells if name == task)
        for arm, base, base_reals in _pairs(reals, all_reals):
            first = cells.get((task, metric, reals, arm), {})
            second = cells.get((task, metric, base_reals, base), {})
            if base_reals == reals:
                repeats = sorted(first.keys() & second.keys())
                interval = _interval(first, second, repeats)
            else:
                repeats = sorted(repeat for repeat in first if (0, repeat[1]) in second)
                interval = _subset_interval(first, second, repeats)
            if interval is None:
                continue
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
                    seeds=min(Counter(draw for draw, _ in repeats).values()),
                    draws=len({draw for draw, _ in repeats}),
                    all_reals=None if base_reals == reals else base_reals,
                )
            )
    return tuple(pairs)


def _interval(
    first: Mapping[Repeat, BootstrapScore], second: Mapping[Repeat, BootstrapScore], repeats: Sequence[Repeat]
) -> Interval | None:
    """Return the difference of two arms with the same draws and seeds; None without repeats.

    With several draws the mean over the seeds of each draw is one observation: the draws vary by the choice of the
    smears and by the seeds.
    """
    if not repeats:
        return None
    draws = _grouped(repeats)
    if len(draws) == 1:
        return paired_interval([first[repeat] for repeat in repeats], [second[repeat] for repeat in repeats])
    return paired_interval(
        *([average([arm[repeat] for repeat in draw]) for draw in draws] for arm in (first, second))
    )


def _subset_interval(
    first: Mapping[Repeat, BootstrapScore], second: Mapping[Repeat, BootstrapScore], repeats: Sequence[Repeat]
) -> Interval | None:
    """Return the difference of an arm with draws and a base of all real smears, which has one draw.

    Draws of the arm and seeds of the base are divided into as many independent pairs as both allow: a seed of the
    base that was subtracted from several draws would hide its own variation.
    """
    draws, seeds = _grouped(repeats), sorted({seed for _, seed in repeats})
    if len(draws) < 2:
        bases = {repeat: second[0, repeat[1]] for repeat in repeats}
        return _interval(first, bases, repeats)
    pairs = min(len(draws), len(seeds))
    means = [average([first[repeat] for repeat in draw]) for draw in draws]
    return paired_interval(
        [average(means[k::pairs]) for k in range(pairs)],
        [average([second[0, seed] for seed in seeds[k::pairs]]) for k in range(pairs)],
    )


def _grouped(repeats: Sequence[Repeat]) -> list[list[Repeat]]:
    """Return the repeats of each draw."""
    groups: dict[int, list[Repeat]] = {}
    for repeat in repeats:
        groups.setdefault(repeat[0], []).append(repeat)
    return list(groups.values())


def _metrics(run: Run, scores: BootstrapScore) -> Iterator[tuple[ComparedMetric, BootstrapScore]]:
    """Yield the metrics of a run with their bootstrap samples.

    A run of labels that was cached before PQ existed has Dice or AP only: its cells were matched by another rule.
    """
    yield run.metric, scores
    if run.task in LABEL_TASKS and run.pq is None:
        return
    for metric in CELL_METRICS:
        if (resampled := run.resampled(metric)) is not None:
            yield metric, resampled


def _pairs(reals: int, all_reals: int) -> Iterator[tuple[ArmName, ArmName, int]]:
    """Yield an arm with `reals` real smears, its base, and the number of real smears of the base."""
    for arm, base in COMPARISONS:
        yield arm, base, reals
    if reals < all_reals:
        for arm, base in SUBSET_PAIRS:
            yield arm, base, all_reals
