"""Results of benefit experiments with simulated scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from smearsynth.experiment.arms import ARMS, COMPARISONS, SUBSET_PAIRS, ArmName
from smearsynth.experiment.facts import Facts, SynthesizerFacts
from smearsynth.experiment.records import BenefitResult, Difference, ImageRow, Run
from smearsynth.tasks.config import TaskName

TASKS: tuple[TaskName, ...] = ("segmentation", "detection", "contours")


def make_synthesizer(name: str, smears: int) -> SynthesizerFacts:
    return SynthesizerFacts(hash="f00d" * 16, name=name, smears=smears)


def make_facts(**changes: Any) -> Facts:
    fields = {
        "data_set": "my smears", "command": "smearsynth benefit my-smears --seeds 3", "smearsynth": "0.1.0",
        "torch": "2.6", "machine": "2 cores", "preset": "cpu", "device": "cpu", "scale": 0.5, "seeds": 3,
        "select_by": "validation", "train": 60, "held_out": 8, "test": 12, "synthetic": 900,
        "synthetic_fraction": 0.5,
        "steps": {task: 400 for task in TASKS}, "synthesizers": {60: make_synthesizer("mine", 60)},
        "minutes": 83.0,
    }  # fmt: skip
    return Facts(**{**fields, **changes})


def make_difference(**changes: Any) -> Difference:
    fields = {
        "task": "segmentation", "reals": 9, "metric": "dice", "arm": "RD+SD", "base": "RD", "mean": 0.02,
        "low": 0.01, "high": 0.03, "seeds": 3,
    }  # fmt: skip
    return Difference(**{**fields, **changes})


def make_run(task: TaskName, arm: ArmName, reals: int, seed: int, images: int = 12) -> Run:
    """Return a run whose scores grow with the number of real smears and with the training data of the arm."""
    rng = np.random.default_rng([TASKS.index(task), list(ARMS).index(arm), reals, seed])
    level = 0.70 + 0.02 * arm.count("+") + 0.02 * ARMS[arm].real + 0.04 * np.log10(reals)
    scores = np.clip(level + rng.normal(0, 0.03, images), 0, 1)
    rows = tuple(
        ImageRow(
            image=f"field-{k:02d}",
            score=score,
            tp=40 + k,
            fp=int(rng.integers(0, 5)),
            fn=int(rng.integers(0, 9)),
            pq=None if task == "detection" else 0.8 * score,
        )
        for k, score in enumerate(scores.tolist())
    )
    return Run(
        task=task, arm=arm, reals=reals, seed=seed, metric="dice" if task == "segmentation" else "ap",
        value=float(scores.mean()), ap50=None if task == "segmentation" else float(scores.mean()) + 0.1,
        smears=reals, steps=400, best_step=350, validation=0.8, seconds=9, key="k",
        synthesizer="f00" if ARMS[arm].synthetic else None, images=rows,
    )  # fmt: skip


def make_result(
    tasks: Sequence[TaskName] = TASKS,
    arms: Sequence[ArmName] = tuple(ARMS),
    sizes: Sequence[int] = (60, 10, 3),
    seeds: int = 3,
    images: int = 12,
    half_width: float = 0.02,
    **facts: Any,
) -> BenefitResult:
    runs = [
        make_run(task, arm, size, seed, images)
        for task in tasks
        for arm in arms
        for size in sizes
        for seed in range(seeds)
    ]
    return BenefitResult(
        facts=make_facts(seeds=seeds, test=images, **facts),
        runs=tuple(runs),
        differences=tuple(_differences(runs, half_width)),
        verdict=("Segmentation, 60 real smears: adding synthetic smears increased Dice by 0.040.",),
    )


def _differences(runs: Sequence[Run], half_width: float) -> Iterable[Difference]:
    all_reals = max(run.reals for run in runs)
    for task, reals, metric in dict.fromkeys((run.task, run.reals, run.metric) for run in runs):
        pairs: list[tuple[ArmName, ArmName, int | None]] = [(arm, base, None) for arm, base in COMPARISONS]
        pairs += [(arm, base, all_reals) for arm, base in SUBSET_PAIRS if reals < all_reals]
        for arm, base, base_reals in pairs:
            first, second = (
                [run.value for run in runs if (run.task, run.reals, run.arm) == (task, size, name)]
                for name, size in ((arm, reals), (base, base_reals or reals))
            )
            if first and second:
                mean = fmean(first) - fmean(second)
                yield make_difference(
                    task=task, reals=reals, metric=metric, arm=arm, base=base, mean=mean, low=mean - half_width,
                    high=mean + half_width, seeds=len(first), all_reals=base_reals,
                )  # fmt: skip
