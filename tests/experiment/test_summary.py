from __future__ import annotations

import numpy as np
import pytest

from smearsynth.errors import DataError
from smearsynth.experiment.arms import ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job, Settings
from smearsynth.experiment.records import Run
from smearsynth.experiment.running import remaining_work, run_all
from smearsynth.experiment.summary import differences, summarise
from smearsynth.metrics.intervals import BootstrapScore


def test_differences_use_the_seeds_that_both_arms_have(experiment: Experiment, settings: Settings) -> None:
    assert run_all(experiment, remaining_work(experiment))
    jobs = [Job("segmentation", arm, 6, 0) for arm in settings.arms]
    results = [result for job in jobs if (result := experiment.load_result(experiment.key(job))) is not None]
    pairs = {(item.arm, item.base): item for item in differences(results)}
    assert set(pairs) == {("RD+SD", "RD"), ("SD", "RD")}
    values = {run.arm: run.value for run, _ in results}
    assert pairs["SD", "RD"].mean == pytest.approx(values["SD"] - values["RD"])
    assert pairs["SD", "RD"].seeds == 1
    result = summarise(experiment, "mine", "smearsynth benefit mine")
    assert (result.facts.data_set, result.facts.command) == ("mine", "smearsynth benefit mine")
    assert (result.facts.train, result.facts.held_out, result.facts.test) == (6, 1, 3)
    assert (result.facts.synthetic, result.facts.stain, result.facts.subsets) == (4, "augmented", {})
    assert [run.arm for run in result.runs] == list(settings.arms)
    assert result.verdict[0].startswith("Segmentation, 6 real smears: no conclusion about adding synthetic smears")


def test_without_a_finished_run_there_is_nothing_to_summarise(experiment: Experiment) -> None:
    with pytest.raises(DataError, match="no run of the experiment is finished"):
        summarise(experiment, "mine", "")


def test_subsets_are_compared_with_all_real_smears() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.7, 0.9, 40)
    levels: dict[tuple[ArmName, int], float] = {("RD", 9): 0, ("RD", 3): -0.1, ("RD+SD", 3): -0.03}
    results = []
    for (arm, reals), level in levels.items():
        for seed in range(3):
            scores = true + level + rng.normal(0, 0.005, len(true))
            run = Run(
                task="segmentation", arm=arm, reals=reals, seed=seed, metric="dice", value=float(scores.mean()),
                ap50=None, smears=reals, steps=1, best_step=1, validation=None, seconds=1, key="k",
                synthesizer=None, images=(),
            )  # fmt: skip
            results.append((run, BootstrapScore.of_scores(scores.tolist())))
    pairs = {(item.arm, item.base, item.reals, item.all_reals): item for item in differences(results)}
    assert set(pairs) == {("RD+SD", "RD", 3, None), ("RD+SD", "RD", 3, 9), ("RD", "RD", 3, 9)}
    assert pairs["RD+SD", "RD", 3, None].low > 0.06
    real, mixed = pairs["RD", "RD", 3, 9], pairs["RD+SD", "RD", 3, 9]
    assert -0.11 < real.high < mixed.low < mixed.high < 0
