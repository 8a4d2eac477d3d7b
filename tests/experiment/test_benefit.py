"""The benefit experiment: what each arm sees, what a result is kept under, what is said of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Run as Command
from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.experiment.arms import ARMS, COMPARED, PAPER, ArmName
from smearsynth.experiment.experiment import Experiment, Mixture, Source
from smearsynth.experiment.plan import Job, Settings, chosen, digests
from smearsynth.experiment.preparing import prepare
from smearsynth.experiment.records import BenefitResult, Difference, Run, SynthesizerFacts
from smearsynth.experiment.running import Pool, expected_seconds, run_all, work_of
from smearsynth.experiment.verdict import differences, verdict
from smearsynth.metrics.intervals import Resampled
from smearsynth.smear import Smear
from smearsynth.statistics import measure
from smearsynth.synthesis.model.synthesizer import Synthesizer

SETTINGS = Settings(
    preset="tiny", seeds=1, steps=2, synthetic=4, arms=("RD", "SD", "RD+SD"), tasks=("segmentation",)
)


@pytest.fixture
def experiment(smear_folder: Path, tiny_folder: Path, tmp_path: Path) -> Experiment:
    train, test = (open_smears(smear_folder, split=split) for split in ("train", "test"))
    source = Source(
        tiny_folder, SynthesizerFacts(hash=Synthesizer.load(tiny_folder).hash, name="analytic", smears=6)
    )
    known = digests(train, "train"), digests(test, "test")
    return Experiment(train, test, known, SETTINGS, {6: source}, tmp_path / "out")


def flat(value: int) -> Smear:
    return Smear(np.full((4, 4, 3), value, np.uint8), np.zeros((4, 4), np.int32), np.array([], int))


# What is to be run.


def test_every_arm_is_compared_and_the_papers_table_is_whole() -> None:
    assert {name for pair in COMPARED for name in pair} == set(ARMS)
    assert {len(row) for row in PAPER.values()} == {5}
    assert PAPER["segmentation"]["RD+SD+aug"] == 0.964
    assert PAPER["detection"]["RD"] == 0.781


def test_few_smears_are_among_the_many() -> None:
    for few, many in ((3, 10), (10, 30), (30, 50)):
        assert set(chosen(50, few)) < set(chosen(50, many))
    assert len(set(chosen(50, 10))) == 10
    with pytest.raises(OptionError, match="60 real smears asked for; the train split has 54"):
        Settings(sizes=(60,)).sizes_of(54)


def test_jobs_cover_all_and_begin_with_the_first_seed() -> None:
    settings = Settings(seeds=2, sizes=(3, 10))
    jobs = settings.jobs(10)
    assert len(jobs) == len(set(jobs)) == 2 * 2 * 3 * 7
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
    assert (settings.pool_of(10, "original"), settings.pool_of(10, "augmented")) == (10, 150)
    assert Settings(stain="original").pool_of(10, "original") == 150
    assert Settings(arms=("RD", "SD")).pool_of(10, "original") == 10
    assert Settings(arms=("RD", "RD+aug")).pool_of(10, "augmented") == 0


def test_crops_of_a_mixture_are_synthetic_as_often_as_asked() -> None:
    mixed = Mixture([flat(1), flat(2)], [flat(9), flat(8), flat(7)], 0.25)
    rng = np.random.default_rng(0)
    seen = Counter(int(mixed[int(rng.integers(len(mixed)))].image[0, 0, 0]) for _ in range(4000))
    assert (seen[7] + seen[8] + seen[9]) / 4000 == pytest.approx(0.25, abs=0.03)
    assert min(seen[1], seen[2]) / 4000 == pytest.approx(0.375, abs=0.03)
    assert mixed[len(mixed) - 1].image[0, 0, 0] == 2
    assert mixed[0].image[0, 0, 0] == 9


def test_the_papers_way_learns_from_all_train_smears_and_chooses_by_all_test_smears(
    experiment: Experiment,
) -> None:
    job = Job("segmentation", "RD", 6, 0)
    as_paper = replace(experiment, settings=SETTINGS.model_copy(update={"select_by": "test"}))
    assert (experiment.held_out(job), experiment.chosen_by(job)) == (1, 1)
    assert (as_paper.held_out(job), as_paper.chosen_by(job)) == (0, len(experiment.test))
    assert as_paper.config(job).fit.slack == 0


# Results and what they are kept under.


def test_a_result_is_kept_under_all_that_decides_it(experiment: Experiment, tiny: Synthesizer) -> None:
    job = Job("segmentation", "RD+SD", 6, 0)
    keys = {experiment.key(job)}
    keys |= {experiment.key(other) for other in (job._replace(seed=1), job._replace(arm="RD"))}
    changed = [
        replace(experiment, settings=SETTINGS.model_copy(update=update))
        for update in (
            {"synthetic_fraction": 0.4},
            {"synthetic": 5},
            {"steps": 3},
            {"stain": "original"},
            {"select_by": "test"},
        )
    ]
    changed.append(
        replace(experiment, sources={6: Source(Path("x"), SynthesizerFacts(hash="other", name="other", smears=6))})
    )
    train, test = experiment.digests
    changed.append(replace(experiment, digests=(train, ("0", *test[1:]))))
    changed.append(replace(experiment, digests=((*train[1:], "0"), test)))
    keys |= {other.key(job) for other in changed}
    assert len(keys) == 3 + len(changed)
    # a run without synthetic smears does not depend on where they come from
    real = job._replace(arm="RD")
    assert (
        changed[0].key(real)
        == changed[1].key(real)
        == changed[3].key(real)
        == changed[5].key(real)
        == experiment.key(real)
    )


def test_runs_are_done_once_and_a_damaged_result_again(experiment: Experiment) -> None:
    work = work_of(experiment)
    pools = [Pool(6, 0, "original"), Pool(6, 0, "augmented")]
    assert work == [*pools, *(Job("segmentation", arm, 6, 0) for arm in SETTINGS.arms)]
    assert expected_seconds(experiment, work, 1) > 0
    done: list[object] = []
    assert run_all(experiment, work, on_done=done.append)
    assert done == work
    assert work_of(experiment) == []
    stored = {job.arm: experiment.stored(experiment.key(job)) for job in work if isinstance(job, Job)}
    runs = {arm: one[0] for arm, one in stored.items() if one is not None}
    assert [runs[arm].smears for arm in SETTINGS.arms] == [5, 5, 9]
    assert runs["RD"].synthesizer is None
    assert runs["SD"].synthesizer == experiment.sources[6].hash
    for run in runs.values():
        assert [row.image for row in run.images] == list(experiment.test.names)
        assert run.value == pytest.approx(np.mean([row.score for row in run.images]), abs=1e-5)
        assert (experiment.model_folder(Job(run.task, run.arm, 6, 0)) / "weights.safetensors").exists()
    assert not any((experiment.folder / "unfinished").iterdir())
    (experiment.folder / "runs" / f"{runs['SD'].key}.json").write_text("{")
    (experiment.folder / "runs" / f"{runs['RD'].key}.npy").write_bytes(b"")  # of a full disk
    redone = [Job("segmentation", arm, 6, 0) for arm in ("RD", "SD")]
    assert work_of(experiment) == [Pool(6, 0, "original"), *redone]  # type: ignore[comparison-overlap]
    assert run_all(experiment, work_of(experiment))
    again = experiment.stored(runs["SD"].key)
    assert again is not None
    assert again[0].images == runs["SD"].images


def test_differences_are_of_the_seeds_that_both_arms_have(experiment: Experiment) -> None:
    assert run_all(experiment, work_of(experiment))
    jobs = [Job("segmentation", arm, 6, 0) for arm in SETTINGS.arms]
    scored = [one for job in jobs if (one := experiment.stored(experiment.key(job))) is not None]
    found = {(one.arm, one.base): one for one in differences(scored)}
    assert set(found) == {("RD+SD", "RD"), ("SD", "RD")}
    values = {run.arm: run.value for run, _ in scored}
    assert found["SD", "RD"].mean == pytest.approx(values["SD"] - values["RD"])
    assert found["SD", "RD"].seeds == 1


def test_few_real_smears_are_compared_with_all_of_them() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.7, 0.9, 40)
    levels: dict[tuple[ArmName, int], float] = {("RD", 9): 0, ("RD", 3): -0.1, ("RD+SD", 3): -0.03}
    scored = []
    for (arm, reals), level in levels.items():
        for seed in range(3):
            scores = true + level + rng.normal(0, 0.005, len(true))
            run = Run(
                task="segmentation", arm=arm, reals=reals, seed=seed, metric="dice", value=float(scores.mean()),
                ap50=None, smears=reals, steps=1, best_step=1, validation=None, seconds=1, key="k",
                synthesizer=None, images=(),
            )  # fmt: skip
            scored.append((run, Resampled.of_scores(scores.tolist())))
    found = {(one.arm, one.base, one.reals, one.all_reals): one for one in differences(scored)}
    assert set(found) == {("RD+SD", "RD", 3, None), ("RD+SD", "RD", 3, 9), ("RD", "RD", 3, 9)}
    assert found["RD+SD", "RD", 3, None].low > 0.06
    assert (
        -0.11 < found["RD", "RD", 3, 9].high < found["RD+SD", "RD", 3, 9].low < found["RD+SD", "RD", 3, 9].high < 0
    )


def test_the_verdict_tells_of_plain_arms_where_augmented_ones_have_not_run() -> None:
    def one(arm: ArmName, base: ArmName, reals: int = 9, all_reals: int | None = None) -> Difference:
        return Difference(
            task="segmentation", reals=reals, metric="dice", arm=arm, base=base, mean=0.02, low=0.01, high=0.03,
            seeds=3, all_reals=all_reals,
        )  # fmt: skip

    plain = [one("RD+SD", "RD"), one("RD+SD", "RD+aug"), one("SD", "RD"), one("RD+aug", "RD")]
    said = verdict(plain)
    assert [line.split(" (")[1] for line in said] == ["RD+SD over RD, 3 seeds).", "SD over RD, 3 seeds)."]
    both = verdict([*plain, one("RD+SD+aug", "RD+aug"), one("SD+aug", "RD+aug")])
    assert [line.split(" (")[1] for line in both] == [
        "RD+SD+aug over RD+aug, 3 seeds).",
        "SD+aug over RD+aug, 3 seeds).",
    ]
    (unasked,) = verdict([one("RD+aug", "RD")])
    assert "whether they help was not asked" in unasked
    single = verdict([part.model_copy(update={"seeds": 1}) for part in (plain[0], plain[2])])
    assert all("nothing shown by one training, Dice +0.020 [+0.010, +0.030]" in line for line in single)
    wide = verdict([part.model_copy(update={"low": -3.0}) for part in (plain[0], plain[2])])
    assert all("nothing shown by so few test smears and seeds" in line for line in wide)
    (few,) = verdict([one("RD+SD", "RD", 3, 9), one("RD", "RD", 3, 9)])
    assert "3 real smears with synthetic ones are better than 9" in few


# The command.


def test_the_command_runs_resumes_and_reports(
    run: Command, smear_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ["benefit", smear_folder, "-o", out, "-m", tiny_folder, "--preset", "tiny", "--steps", 2]
    asked += ["--seeds", 2, "--synthetic", 3, "--tasks", "segmentation,contours", "--arms", "RD+aug,RD+SD+aug"]
    asked += ["--workers", 1]
    dry = run(*asked, "--dry-run")
    assert dry.code == 0
    assert "10 pieces of work to do" in dry.err
    planned = json.loads(run(*asked, "--dry-run", "--json").out)
    assert planned["pieces"] == 10
    assert planned["synthesizer_minutes"] == 0
    assert not (out / "runs").exists()
    first = run(*asked)
    assert first.code == 0, first.err
    assert "6 real smears" in first.out
    assert (out / "report.html").exists()
    assert (out / "report.md").exists()
    result = BenefitResult.load(out / "benefit.json")
    assert len(result.runs) == 8
    assert [len(one.images) for one in result.runs] == [3] * 8
    assert result.facts.synthesizers[6].smears == Synthesizer.load(tiny_folder).config.data.smears
    shutil.rmtree(out / "models")  # they are large; results do not need them
    again = json.loads(run(*asked, "--json").out)
    assert [one["key"] for one in again["runs"]] == [one.key for one in result.runs]
    assert len(again["rows"]) == 8 * 3
    assert {"data_set", "task", "arm", "reals", "seed", "image", "score", "tp", "fp", "fn"} == set(again["rows"][0])
    assert {"arm", "base", "mean", "low", "high", "data_set"} <= set(again["intervals"][0])
    result.save(tmp_path / "copy.json")
    assert BenefitResult.load(tmp_path / "copy.json") == result
    (tmp_path / "copy.json").write_text('{"rows": []}')
    with pytest.raises(DataError, match="not the result"):
        BenefitResult.load(tmp_path / "copy.json")


def test_the_command_trains_a_synthesizer_on_the_train_split_alone(
    run: Command, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smearsynth.synthesis import config

    monkeypatch.setitem(config.PRESETS, "cpu", config.preset("tiny", steps=2))
    out = tmp_path / "out"
    asked = ["benefit", smear_folder, "-o", out, "--preset", "tiny", "--steps", 2, "--seeds", 1, "--synthetic", 2]
    asked += ["--tasks", "segmentation", "--arms", "RD,RD+SD", "--workers", 1, "--sizes", "4,all"]
    dry = run(*asked, "--dry-run")
    assert "no --model for 6, 4 real smears: each is trained first, 2 steps" in dry.err
    assert "pieces of work to do" in dry.err
    assert not out.exists()
    found = run(*asked)
    assert found.code == 0, found.err
    (four,) = out.glob("synthesizer-4-*")
    assert Synthesizer.load(four).config.data.smears == 4
    again = run(*asked, "--dry-run")
    assert "trained first" not in again.err
    assert "all is done" in again.err
    # for other smears another one is trained: these have seen what is now tested on
    shifted = shutil.copytree(smear_folder, tmp_path / "shifted")
    table = (shifted / "split.csv").read_text().splitlines()
    names, splits = ([line.split(",")[k] for line in table[1:]] for k in (0, 1))
    rows = [f"{name},{split}" for name, split in zip(names, splits[1:] + splits[:1], strict=True)]
    (shifted / "split.csv").write_text("\n".join([table[0], *rows]))
    assert "no --model for 6, 4 real smears" in run(asked[0], shifted, *asked[2:], "--dry-run").err
    result = BenefitResult.load(out / "benefit.json")
    assert result.sizes == (6, 4)
    assert {(one.arm, one.base, one.all_reals) for one in result.differences if one.all_reals} == {
        ("RD+SD", "RD", 6),
        ("RD", "RD", 6),
    }


def _stains_in(folder: Path) -> tuple[str, int]:
    recipes = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return recipes[0]["stain"], len(recipes)


def test_synthesizers_go_on_from_a_finished_one(
    run: Command, smear_folder: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smearsynth.experiment import preparing
    from smearsynth.synthesis import config

    monkeypatch.setitem(config.PRESETS, "cpu", config.preset("tiny", steps=9))
    monkeypatch.setattr(preparing, "_STEPS_ON", 2)
    out = tmp_path / "out"
    asked = ["benefit", smear_folder, "-o", out, "--preset", "tiny", "--steps", 2, "--seeds", 1, "--synthetic", 2]
    asked += ["--tasks", "segmentation", "--arms", "SD,RD+SD", "--workers", 1]
    dry = run(*asked, "--pretrained", tiny_folder, "--dry-run")
    assert "each is trained first, 2 steps" in dry.err
    assert dry.code == 0
    found = run(*asked, "--pretrained", tiny_folder)
    assert found.code == 0, found.err
    (folder,) = out.glob("synthesizer-6-*")
    made = Synthesizer.load(folder).config
    assert made.steps_done == 2
    assert made.pretrained is not None
    assert made.pretrained.hash == Synthesizer.load(tiny_folder).hash
    assert BenefitResult.load(out / "benefit.json").facts.stain == "augmented"
    assert "in stains that no train smear has" in (out / "report.md").read_text()
    # smears that stand alone have the stains of the real ones
    stains = {path.name: _stains_in(path) for path in (out / "synthetic").iterdir()}
    assert sorted(stains.values()) == [("original", 6), ("augmented", 2)]
    assert run(*asked, "--pretrained", tiny_folder, "--stain", "original").code == 0
    assert BenefitResult.load(out / "benefit.json").facts.stain == "original"
    other = run(*asked, "--dry-run")
    assert "no --model for 6 real smears: each is trained first, 9 steps" in other.err  # and from nothing


def test_work_in_processes_gives_the_same_results(experiment: Experiment, tmp_path: Path) -> None:
    work = work_of(experiment)
    assert run_all(experiment, work, workers=2)
    other = replace(experiment, folder=tmp_path / "alone")
    assert run_all(other, work)
    for job in work:
        if not isinstance(job, Job):
            continue
        pair = [one.stored(one.key(job)) for one in (experiment, other)]
        assert pair[0] is not None
        assert pair[1] is not None
        assert pair[0][0].images == pair[1][0].images


def test_ctrl_c_while_processes_start_ends_cleanly(
    experiment: Experiment, capfd: pytest.CaptureFixture[str]
) -> None:
    def as_a_terminal_does() -> None:
        while not multiprocessing.active_children():
            time.sleep(0.005)
        time.sleep(0.2)  # they import
        for one in (*(child.pid for child in multiprocessing.active_children()), os.getpid()):
            os.kill(one or 0, signal.SIGINT)

    asking = threading.Thread(target=as_a_terminal_does)
    asking.start()
    assert not run_all(experiment, work_of(experiment), workers=2)
    asking.join()
    assert "Traceback" not in capfd.readouterr().err
    assert not list((experiment.folder / "runs").glob("*"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tasks", "counting"], "tasks 'counting': choose of segmentation"),
        (["--arms", "RD,XD"], "arms 'XD': choose of RD"),
        (["--sizes", "3,many"], "sizes '3,many'"),
        (["--sizes", "7"], "7 real smears asked for; the train split has 6"),
        (["--best-by", "luck"], "choose validation or test"),
        (["--stain", "blue"], "choose original or augmented"),
        (["--test-split", "train"], "cannot be both"),
        (["--preset", "huge"], "unknown preset 'huge' of segmentation"),
        (["--share", "1.5"], "less than or equal to 0.99"),
        (["--test-split", "holdout"], "has no split 'holdout'"),
        (["-m", "nowhere"], "nowhere"),
        (["-m", "default", "--sizes", "3"], "--model default is of 6 real smears, --sizes asks for 3"),
        (["-m", "5=default", "--sizes", "3,all"], "--model 5=default is of 5 real smears, --sizes asks for 6, 3"),
        (["--steps", "1" + 20 * "0"], "steps: Input should be less than or equal to 10000000"),
    ],
)
def test_bad_options_are_one_line(
    run: Command, smear_folder: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    found = run("benefit", smear_folder, "-o", tmp_path / "out", "--preset", "tiny", *options)
    assert found.code == 2
    assert problem in found.err
    assert found.err.count("\n") == 1


def test_a_report_does_without_a_model_that_is_damaged_and_shows_none_of_another_run(
    run: Command, smear_folder: Path, tmp_path: Path
) -> None:
    asked = ["benefit", smear_folder, "-o", tmp_path / "out", "--preset", "tiny", "--seeds", 1, "--workers", 1]
    asked += ["--tasks", "segmentation", "--arms", "RD"]
    for steps in (2, 3):
        assert run(*asked, "--steps", steps).code == 0
    models = sorted((tmp_path / "out" / "models").iterdir())
    assert len(models) == 2
    for folder in models:
        (folder / "config.json").unlink()
    found = run(*asked, "--steps", 2)
    assert found.code == 0
    assert "the report shows no prediction of segmentation" in found.err
    assert "delete this folder" in found.err


def test_test_smears_without_a_cell_and_an_output_among_smears_are_refused(run: Command, tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(6)]
    blank = np.zeros_like(smears[0].labels)
    smears = [
        replace(smear, labels=blank, classes=np.array([], np.int64)) if k % 3 == 2 else smear
        for k, smear in enumerate(smears)
    ]
    data = write_folder(tmp_path / "data", smears, splits=("train", "train", "test"))
    found = run("benefit", data, "-o", tmp_path / "out", "--preset", "tiny", "--arms", "RD")
    assert found.code == 2
    assert "data: no test smear has a cell" in found.err
    other = run("benefit", data, "-o", tmp_path / "out", "--train-split", "test", "--test-split", "train")
    assert "data: no train smear has a cell" in other.err
    for command in (("benefit", data), ("fit-task", "segmentation", data), ("train", data)):
        among = run(*command, "-o", data)
        assert among.code == 2
        assert "data: holds smears; name another folder to write to" in among.err
    assert not (data / "runs").exists()


def test_a_synthesizer_of_other_cell_sizes_is_told_of(
    smear_folder: Path, tiny: Synthesizer, tmp_path: Path
) -> None:
    train, test = (open_smears(smear_folder, split=split) for split in ("train", "test"))
    own = measure(train)
    side = own.cell_width.model_copy(update={"mean": 99.0})
    larger = own.model_copy(update={"cell_width": side, "cell_height": side})
    for name, statistics in (("same", own), ("other", larger)):
        replace(tiny, statistics=statistics).save(tmp_path / name)
        told: list[str] = []
        made = prepare(train, test, SETTINGS, tmp_path / "out", {6: tmp_path / name}, say=told.append)
        assert any("paints cells of 99 px" in line for line in told) == (name == "other")
        assert made is not None
        assert bool(made.sources[6].facts.misfit) == (name == "other")


def test_smears_in_both_splits_are_refused(run: Command, tmp_path: Path) -> None:
    smears = [random_smear(k % 3) for k in range(6)]
    data = write_folder(tmp_path / "data", smears, splits=("train", "train", "test"))
    shutil.copy(data / "images" / "smear-00.png", data / "images" / "smear-02.png")
    shutil.copy(data / "labels" / "smear-00.png", data / "labels" / "smear-02.png")
    found = run("benefit", data, "-o", tmp_path / "out", "--preset", "tiny")
    assert found.code == 2
    assert "in the train and the test split" in found.err
    with pytest.raises(DataError, match="no test smears"):
        digests([], "test")
