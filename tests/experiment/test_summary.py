from __future__ import annotations

import numpy as np
import pytest

from smearsynth.errors import DataError
from smearsynth.experiment.arms import ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job, Settings
from smearsynth.experiment.records import ImageRow, Run
from smearsynth.experiment.running import remaining_work, run_all
from smearsynth.experiment.summary import differences, summarise
from smearsynth.metrics.intervals import BootstrapScore


def test_differences_use_the_seeds_that_both_arms_have(experiment: Experiment, settings: Settings) -> None:
    assert run_all(experiment, remaining_work(experiment))
    jobs = [Job("segmentation", arm, 6, 0) for arm in settings.arms]
    results = [result for job in jobs if (result := experiment.load_result(experiment.key(job))) is not None]
    pairs = {(item.arm, item.base): item for item in differences(results) if item.metric == "dice"}
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


def scored(arm: ArmName, seed: int, pq: float | None, tp: int) -> tuple[Run, BootstrapScore]:
    """Return a run on 30 images of 40 cells each, with a Dice of 0.9."""
    rows = tuple(
        ImageRow(image=str(k), score=0.9, tp=tp - k % 3, fp=2, fn=40 - tp + k % 3, pq=pq) for k in range(30)
    )
    run = Run(
        task="segmentation", arm=arm, reals=9, seed=seed, metric="dice", value=0.9, ap50=None, smears=9, steps=1,
        best_step=1, validation=None, seconds=1, key="k", synthesizer=None, images=rows,
    )  # fmt: skip
    return run, BootstrapScore.of_scores([row.score for row in rows])


def test_arms_are_also_compared_by_pq_and_numbers_of_cells() -> None:
    results = [scored("RD", seed, 0.8, 38) for seed in range(3)]
    results += [scored("RD+SD", seed, 0.7, 30 + seed) for seed in range(3)]
    items = {item.metric: item for item in differences(results)}
    assert list(items) == ["dice", "pq", "tp", "fp", "fn"]
    assert items["dice"].mean == 0
    assert items["pq"].mean == pytest.approx(-0.1)
    assert items["tp"].mean == -30 * 7
    assert items["fn"].mean == 30 * 7
    assert items["tp"].low < -210 < items["tp"].high < 0
    assert items["fn"].conclusion == items["tp"].conclusion == "worse"


def test_results_cached_without_pq_are_compared_by_their_scores_only() -> None:
    former = [scored(arm, 0, None, 30) for arm in ("RD", "RD+SD")]
    assert [item.metric for item in differences(former)] == ["dice"]
    mixture = [*former, *(scored(arm, seed, 0.8, 38) for arm in ("RD", "RD+SD") for seed in (1, 2))]
    seeds = {item.metric: item.seeds for item in differences(mixture)}
    assert seeds == {"dice": 3, "pq": 2, "tp": 2, "fp": 2, "fn": 2}


def drawn_runs(draws: int, seeds: int, spread: float) -> list[tuple[Run, BootstrapScore]]:
    """Return runs of 3 of 9 real smears whose difference of 0.02 varies with the choice of the smears."""
    rng = np.random.default_rng(4)
    true = rng.uniform(0.7, 0.9, 40)
    results = []
    for draw, shift in enumerate(spread * np.linspace(-1, 1, draws)):
        for arm, level in (("RD", 0.0), ("RD+SD", 0.02 + shift)):
            for seed in range(seeds):
                scores = true + level + rng.normal(0, 0.002, len(true))
                run = Run(
                    task="segmentation", arm=arm, reals=3, seed=seed, draw=draw, metric="dice",
                    value=float(scores.mean()), ap50=None, smears=3, steps=1, best_step=1, validation=None,
                    seconds=1, key="k", synthesizer=None, images=(),
                )  # type: ignore[arg-type]  # fmt: skip
                results.append((run, BootstrapScore.of_scores(scores.tolist())))
    return results


def test_the_interval_covers_the_choice_of_the_real_smears() -> None:
    (alike,), (varied,) = (differences(drawn_runs(3, 3, spread)) for spread in (0.0, 0.03))
    assert (alike.draws, alike.seeds, alike.repeats) == (3, 3, "3 draws × 3 seeds")
    assert alike.mean == pytest.approx(varied.mean, abs=1e-9) == pytest.approx(0.02, abs=0.002)
    assert alike.conclusion == "better"
    assert varied.conclusion == "inconclusive"
    assert varied.high - varied.low > 5 * (alike.high - alike.low)
    (single,) = differences(drawn_runs(3, 1, 0.0))  # the draws are repeats, too
    assert (single.seeds, single.conclusion) == (1, "better")


def test_a_base_of_all_smears_keeps_the_variation_of_its_seeds() -> None:
    results = drawn_runs(3, 3, 0.0)
    rng = np.random.default_rng(5)
    for seed, shift in enumerate((-0.05, 0.0, 0.05)):
        scores = rng.uniform(0.75, 0.85, 40) + shift
        run = results[0][0].model_copy(
            update={"arm": "RD", "reals": 9, "seed": seed, "value": float(scores.mean())}
        )
        results.append((run, BootstrapScore.of_scores(scores.tolist())))
    pairs = {(item.arm, item.base, item.all_reals): item for item in differences(results)}
    subset = pairs["RD+SD", "RD", 9]
    assert (subset.draws, subset.seeds) == (3, 3)
    assert subset.high - subset.low > 0.1
