"""From runs to differences between arms, and to plain sentences."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version

from smearsynth.errors import DataError
from smearsynth.experiment.arms import ALONE, BESIDE, COMPARED, OF_FEW, ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import chosen
from smearsynth.experiment.records import METRICS, BenefitResult, Difference, Facts, Metric, Run
from smearsynth.metrics.intervals import Resampled, paired_interval
from smearsynth.tasks.config import TaskName

Scored = tuple[Run, Resampled]


def summarise(experiment: Experiment, data_set: str, command: str) -> BenefitResult:
    """All that the runs done so far have found.

    Parameters
    ----------
    experiment : Experiment
    data_set, command : str
        Name of the smears and what to type to run it again, for the report.

    Raises
    ------
    DataError
        When none is done.
    """
    jobs = experiment.settings.jobs(len(experiment.train))
    scored = [one for job in jobs if (one := experiment.stored(experiment.key(job))) is not None]
    if not scored:
        raise DataError("no run of the experiment is done; run it for longer", experiment.folder)
    found = differences(scored)
    runs = tuple(run for run, _ in scored)
    return BenefitResult(
        facts=_facts(experiment, runs, data_set, command), runs=runs, differences=found, verdict=verdict(found)
    )


def _facts(experiment: Experiment, runs: Sequence[Run], data_set: str, command: str) -> Facts:
    settings, train = experiment.settings, len(experiment.train)
    largest = settings.sizes_of(train)[0]
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
        train=train,
        held_out=min(experiment.held_out(job) for job in settings.jobs(train) if job.reals == largest),
        test=len(experiment.test),
        synthetic=settings.synthetic_of(largest),
        synthetic_fraction=settings.synthetic_fraction,
        stain=settings.stain_of("RD+SD"),
        steps={run.task: run.steps for run in runs},
        synthesizers={reals: source.facts for reals, source in experiment.sources.items()},
        at_hand={
            reals: tuple(experiment.train.names[k] for k in chosen(train, reals))
            for reals in settings.sizes_of(train)
            if reals < train
        },
        minutes=round(sum(run.seconds for run in runs) / 60, 1),
    )


def differences(scored: Sequence[Scored]) -> tuple[Difference, ...]:
    """Every pair of `COMPARED` arms, for each task and number of real smears, over the seeds that both have.

    Where there are several numbers of real smears, also every pair of `OF_FEW`, the base with the largest number.
    """
    cells: dict[tuple[TaskName, Metric, int, ArmName], dict[int, Resampled]] = {}
    for run, draws in scored:
        cells.setdefault((run.task, run.metric, run.reals, run.arm), {})[run.seed] = draws
    found = []
    for task, metric, reals in dict.fromkeys(cell[:3] for cell in cells):
        most = max(size for name, _, size, _ in cells if name == task)
        pairs: list[tuple[ArmName, ArmName, int | None]] = [(arm, base, None) for arm, base in COMPARED]
        pairs += [(arm, base, most) for arm, base in OF_FEW if reals < most]
        for arm, base, all_reals in pairs:
            ours = cells.get((task, metric, reals, arm), {})
            theirs = cells.get((task, metric, all_reals or reals, base), {})
            seeds = sorted(ours.keys() & theirs.keys())
            if not seeds:
                continue
            interval = paired_interval([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
            found.append(
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
                    all_reals=all_reals,
                )
            )
    return tuple(found)


def verdict(found: Sequence[Difference]) -> tuple[str, ...]:
    """What the differences say: of synthetic smears beside real ones, of few real smears, of synthetic ones alone.

    Where the augmented arms have not run, the plain ones are told of. One training of each arm shows nothing: of
    two equal ways the luckier wins.

    Examples
    --------
    >>> one = dict(task="detection", reals=10, metric="ap", seeds=3, arm="RD+SD+aug", base="RD+aug")
    >>> print(verdict([Difference(mean=0.031, low=0.012, high=0.049, **one)])[0])
    detection, 10 real smears: synthetic smears raised AP by 0.031 [0.012, 0.049] (RD+SD+aug over RD+aug, 3 seeds).
    >>> print(verdict([Difference(mean=0.001, low=-0.01, high=0.012, **one)])[0])
    detection, 10 real smears: no benefit shown, AP +0.001 [-0.010, +0.012] (RD+SD+aug over RD+aug, 3 seeds).
    >>> print(verdict([Difference(mean=0.031, low=0.031, high=0.031, **one)])[0].split(" (")[0])
    detection, 10 real smears: nothing shown without an interval, AP +0.031
    >>> print(verdict([Difference(mean=-0.001, low=-0.01, high=0.008, all_reals=99, **one)])[0].split(", ")[0])
    detection: 10 real smears with synthetic ones are not shown to be worse than 99
    """
    told = [one for one in found if one.low < one.high]
    beside = _first(found, BESIDE)
    few = _first(told, OF_FEW[:2], of_all=True)
    alone = _first(told, ALONE)
    said = (*map(_beside, beside), *map(_few, few), *map(_alone, alone))
    return said or ("no arm with synthetic smears has run with its base: whether they help was not asked.",)


def _first(
    found: Sequence[Difference], pairs: Sequence[tuple[ArmName, ArmName]], *, of_all: bool = False
) -> list[Difference]:
    """For each task and number of real smears the first of the pairs that has run."""
    known = {
        (one.task, one.reals, one.arm, one.base): one for one in found if (one.all_reals is not None) == of_all
    }
    cells = dict.fromkeys((one.task, one.reals) for one in found)
    ran = ([known[task, reals, *pair] for pair in pairs if (task, reals, *pair) in known] for task, reals in cells)
    return [ones[0] for ones in ran if ones]


def _beside(one: Difference) -> str:
    metric = METRICS[one.metric]
    if untold := _untold(one):
        what = f"nothing shown {untold}"
    elif one.reading == "open":
        what = f"no benefit shown, {metric} {one}"
    else:
        what = f"synthetic smears {'raised' if one.reading == 'better' else 'lowered'} {metric} by {_by(one)}"
    return f"{_place(one)}: {what} ({_arms(one)})."


def _few(one: Difference) -> str:
    metric = METRICS[one.metric]
    if one.reading == "worse":
        what = f"fall short of {one.all_reals}, {metric} lower by {_by(one)}"
    elif untold := _untold(one):
        what = f"against {one.all_reals}: nothing shown {untold}"
    else:
        more = "better" if one.reading == "better" else "not shown to be worse"
        what = f"are {more} than {one.all_reals}, {metric} {one}"
    return f"{one.task}: {_reals(one)} with synthetic ones {what} ({_arms(one)})."


def _alone(one: Difference) -> str:
    metric = METRICS[one.metric]
    if one.reading == "worse":
        what = f"synthetic smears alone fell short of real ones, {metric} lower by {_by(one)}"
    elif untold := _untold(one):
        what = f"synthetic smears alone: nothing shown {untold}"
    else:
        more = "better than" if one.reading == "better" else "not shown to be worse than"
        what = f"synthetic smears alone were {more} real ones, {metric} {one}"
    return f"{_place(one)}: {what} ({_arms(one)})."


def _untold(one: Difference) -> str | None:
    """Why a difference shows nothing either way, not even that there is little; None where it does."""
    metric = METRICS[one.metric]
    if one.low == one.high:
        return f"without an interval, {metric} {one.mean:+.{one.digits}f}"
    if one.seeds == 1:
        return f"by one training, {metric} {one}"
    if one.reading == "open" and one.high - one.low > 1:  # scores lie between 0 and 1
        return f"by so few test smears and seeds, {metric} {one}"
    return None


def _by(one: Difference) -> str:
    """Size of a difference and its interval, without signs."""
    low, high = sorted((abs(one.low), abs(one.high)))
    return f"{abs(one.mean):.{one.digits}f} [{low:.{one.digits}f}, {high:.{one.digits}f}]"


def _place(one: Difference) -> str:
    return f"{one.task}, {_reals(one)}"


def _reals(one: Difference) -> str:
    return f"{one.reals} real smear{'s' if one.reals > 1 else ''}"


def _arms(one: Difference) -> str:
    seeds = f"{one.seeds} seeds" if one.seeds > 1 else "one seed: the chance of training is not counted"
    return f"{one.arm} over {one.base}, {seeds}"
