from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.experiment import benefit as module
from smearsynth.experiment import preparing
from smearsynth.experiment.benefit import BenefitEstimate, benefit, estimate_benefit
from smearsynth.experiment.plan import Settings
from smearsynth.experiment.records import BenefitResult
from smearsynth.runs import Execution, Progress
from smearsynth.synthesis import config
from smearsynth.synthesis.model.synthesizer import Synthesizer


class Recorder(Progress):
    """Keeps messages and the last count of each stage."""

    def __init__(self) -> None:
        self.text = ""
        self.counts: dict[str, tuple[int, int | None]] = {}

    def message(self, text: str) -> None:
        self.text += f"{text}\n"

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        self.counts[stage] = done, total


def execution(progress: Progress | None = None, **options: object) -> Execution:
    return Execution(device="cpu", workers=1, progress=progress or Progress(), **options)  # type: ignore[arg-type]


def make_settings(**changes: object) -> Settings:
    fields = {"preset": "tiny", "steps": 2, "seeds": 1, "synthetic": 2, "tasks": ("segmentation",)}
    return Settings.model_validate(fields | changes)


def test_an_experiment_runs_continues_and_reports(smear_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    out, recorder = tmp_path / "out", Recorder()
    settings = make_settings(seeds=2, synthetic=3, tasks=("segmentation", "contours"), arms=("RD+aug", "RD+SD+aug"))
    estimate = estimate_benefit(smear_folder, out, settings, models=tiny_folder, execution=execution(recorder))
    assert "10 work items (2 sets of synthetic smears, 8 trainings)" in recorder.text
    assert (estimate.work_items, estimate.workers, estimate.synthesizer_minutes) == (10, 1, 0)
    assert not out.exists()
    recorder = Recorder()
    result = benefit(
        smear_folder, out, settings, models={6: tiny_folder}, execution=execution(recorder, command="x")
    )
    assert result is not None
    assert recorder.counts["experiment"] == (10, 10)
    assert "6 real smears" in result.verdict[0]
    assert (out / "report.html").exists()
    assert "![" in (out / "report.md").read_text()
    assert BenefitResult.load(out / "benefit.json") == result
    assert len(result.runs) == 8
    assert [len(run.images) for run in result.runs] == [3] * 8
    assert (result.facts.data_set, result.facts.command) == ("analytic", "x")
    assert result.facts.synthesizers[6].smears == Synthesizer.load(tiny_folder).config.data.smears
    shutil.rmtree(out / "models")  # only the example predictions need them
    smears = open_smears(smear_folder, classes="one")
    again = benefit(smears, out, settings, models=tiny_folder, name="mine", execution=execution())
    assert again is not None
    assert [run.key for run in again.runs] == [run.key for run in result.runs]
    assert again.facts.data_set == "mine"


def test_synthesizers_are_trained_on_the_training_smears_only(
    smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.PRESETS, "cpu", config.preset("tiny", steps=2))
    out, settings = tmp_path / "out", make_settings(arms=("RD", "RD+SD"), sizes=(4, 6))

    def estimate(data: Path) -> tuple[BenefitEstimate, str]:
        recorder = Recorder()
        return estimate_benefit(data, out, settings, execution=execution(recorder)), recorder.text

    before, text = estimate(smear_folder)
    assert "no --model for 6, 4 real smears: a synthesizer is trained first for each, 2 steps" in text
    assert before.work_items > 0
    assert not out.exists()
    result = benefit(smear_folder, out, settings, execution=execution())
    assert result is not None
    (four,) = out.glob("synthesizer-4-*")
    assert Synthesizer.load(four).config.data.smears == 4
    after, text = estimate(smear_folder)
    assert after == BenefitEstimate(0, 1, 0.0, 0.0)
    assert "trained first" not in text
    assert "all runs are finished" in text
    # Other training smears need other synthesizers: these were trained on smears that are now test smears.
    shifted = shutil.copytree(smear_folder, tmp_path / "shifted")
    table = (shifted / "split.csv").read_text().splitlines()
    names, splits = ([line.split(",")[k] for line in table[1:]] for k in (0, 1))
    rows = [f"{name},{split}" for name, split in zip(names, splits[1:] + splits[:1], strict=True)]
    (shifted / "split.csv").write_text("\n".join([table[0], *rows]))
    assert "no --model for 6, 4 real smears" in estimate(shifted)[1]
    assert result.sizes == (6, 4)
    assert {(item.arm, item.base, item.all_reals) for item in result.differences if item.all_reals} == {
        ("RD+SD", "RD", 6),
        ("RD", "RD", 6),
    }


def stain_and_count(folder: Path) -> tuple[str, int]:
    recipes = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return recipes[0]["stain"], len(recipes)


def test_synthesizers_start_from_a_pretrained_model(
    smear_folder: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.PRESETS, "cpu", config.preset("tiny", steps=9))
    monkeypatch.setattr(preparing, "_FINE_TUNING_STEPS", 2)
    out, settings = tmp_path / "out", make_settings(arms=("SD", "RD+SD"))
    recorder = Recorder()
    estimate_benefit(smear_folder, out, settings, pretrained=tiny_folder, execution=execution(recorder))
    assert f"trained first for each from {tiny_folder}, 2 steps" in recorder.text
    assert benefit(smear_folder, out, settings, pretrained=tiny_folder, execution=execution()) is not None
    (folder,) = out.glob("synthesizer-6-*")
    model = Synthesizer.load(folder).config
    assert model.steps_done == 2
    assert model.pretrained is not None
    assert model.pretrained.hash == Synthesizer.load(tiny_folder).hash
    assert BenefitResult.load(out / "benefit.json").facts.stain == "augmented"
    assert "stain augmented beyond the training smears" in (out / "report.md").read_text()
    # synthetic smears that are used alone have the original stain
    pools = [stain_and_count(path) for path in (out / "synthetic").iterdir()]
    assert sorted(pools) == [("own", 6), ("varied", 2)]  # names of format 1
    original = settings.model_copy(update={"stain": "original"})
    result = benefit(smear_folder, out, original, pretrained=tiny_folder, execution=execution())
    assert result is not None
    assert result.facts.stain == "original"
    recorder = Recorder()
    estimate_benefit(smear_folder, out, settings, execution=execution(recorder))
    assert "no --model for 6 real smears: a synthesizer is trained first for each, 9 steps" in recorder.text


def test_a_time_limit_stops_and_the_next_call_continues(smear_folder: Path, tmp_path: Path) -> None:
    settings = make_settings(arms=("RD", "RD+aug"))
    out = tmp_path / "out"
    assert benefit(smear_folder, out, settings, execution=execution(time_limit=0)) is None
    assert not (out / "report.html").exists()
    assert benefit(smear_folder, out, settings, execution=execution()) is not None


def test_the_report_leaves_out_damaged_models_and_models_of_other_settings(
    smear_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for steps in (2, 3):
        assert (
            benefit(smear_folder, out, make_settings(arms=("RD",), steps=steps), execution=execution()) is not None
        )
    models = sorted((out / "models").iterdir())
    assert len(models) == 2
    for folder in models:
        (folder / "config.json").unlink()
    recorder = Recorder()
    assert benefit(smear_folder, out, make_settings(arms=("RD",)), execution=execution(recorder)) is not None
    assert "no example predictions of segmentation: " in recorder.text
    assert "Delete this folder" in recorder.text


Call = Callable[..., object]


@pytest.mark.parametrize("call", [benefit, estimate_benefit])
def test_wrong_options_are_reported_before_any_computation(
    call: Call, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "prepare", None)  # a computation would fail

    def problem(settings: Settings, **options: object) -> str:
        with pytest.raises((OptionError, DataError)) as caught:
            call(smear_folder, tmp_path / "out", settings, execution=execution(), **options)
        return str(caught.value)

    assert "size 7: the data have 6 training smears" in problem(make_settings(sizes=(7,)))
    assert "cannot be both training and test split" in problem(make_settings(), splits=("train", "train"))
    assert "has no split 'holdout'" in problem(make_settings(), splits=("train", "holdout"))
    assert "unknown preset 'huge' of segmentation" in problem(make_settings(preset="huge"))
    assert "steps: Input should be less than or equal to 10000000" in problem(make_settings(steps=10**20))
    text = problem(make_settings(sizes=(3,)), models="default")
    assert "model default is for 6 real smears, but the experiment uses 3 (--sizes)" in text
    text = problem(make_settings(sizes=(3, 6)), models={5: "default"})
    assert "model default is for 5 real smears, but the experiment uses 6, 3 (--sizes)" in text


def test_a_missing_model_is_reported(smear_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        benefit(smear_folder, tmp_path / "out", make_settings(), models="nowhere", execution=execution())


def test_an_output_folder_with_smears_is_refused(smear_folder: Path) -> None:
    with pytest.raises(DataError, match="analytic: contains smears; choose another output folder"):
        benefit(smear_folder, smear_folder, make_settings(), execution=execution())
    assert not (smear_folder / "runs").exists()


def test_draws_repeat_the_experiment_with_other_choices(
    smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.PRESETS, "cpu", config.preset("tiny", steps=2))
    out = tmp_path / "out"
    once = make_settings(arms=("RD", "RD+SD"), sizes=(3,))
    first = benefit(smear_folder, out, once, execution=execution())
    settings = make_settings(arms=("RD", "RD+SD"), sizes=(3,), draws=2)
    recorder = Recorder()
    estimate = estimate_benefit(smear_folder, out, settings, execution=execution(recorder))
    assert "no --model for 3 (draw 2) real smears: a synthesizer is trained first for each, 2 " in recorder.text
    assert "Two draws only." in recorder.text
    assert estimate.work_items == 3  # a set of synthetic smears and two trainings
    result = benefit(smear_folder, out, settings, execution=execution())
    assert first is not None
    assert result is not None
    assert len(list(out.glob("synthesizer-3-*"))) == 2
    assert {run.key for run in first.runs} == {run.key for run in result.runs if run.draw == 0}
    assert [run.draw for run in result.runs] == [0, 0, 1, 1]
    assert {run.images[0].image for run in result.runs} == {first.runs[0].images[0].image}
    assert result.facts.further_subsets[3][0] != result.facts.subsets[3]
    assert len({run.synthesizer for run in result.runs if run.synthesizer}) == 2
    assert BenefitResult.load(out / "benefit.json") == result
    assert "2 draws × 1 seed" in result.verdict[0]
    report = (out / "report.md").read_text()
    assert "3 real smears, 2 draws" in report
    assert "Draws: the experiment was repeated with 2 random choices" in report
    with pytest.raises(OptionError, match=r"2 draws of all 6 training smears are the same; name numbers.*--sizes"):
        benefit(smear_folder, out, make_settings(draws=2), execution=execution())


def test_a_synthesizer_that_has_seen_the_test_smears_is_refused_or_reported(
    smear_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    settings, splits = make_settings(arms=("RD", "RD+SD")), ("test", "train")
    arguments = {"models": tiny_folder, "splits": splits, "execution": execution()}
    for call in (benefit, estimate_benefit):
        with pytest.raises(DataError, match="6 of 6 test smears were training smears of the synthesizer"):
            call(smear_folder, tmp_path / "out", settings, **arguments)  # type: ignore[operator]
    assert not (tmp_path / "out").exists()
    result = benefit(smear_folder, tmp_path / "out", settings, allow_leak=True, **arguments)  # type: ignore[arg-type]
    assert result is not None
    (leak,) = result.facts.leaks
    assert "6 of 6 test smears were training smears" in leak
    for name in ("benefit.json", "report.md", "report.html"):
        assert "6 of 6 test smears were training smears" in (tmp_path / "out" / name).read_text()


def test_few_seeds_are_reported_before_the_work(smear_folder: Path, tmp_path: Path) -> None:
    for call in (estimate_benefit, benefit):
        recorder = Recorder()
        call(smear_folder, tmp_path / "out", make_settings(arms=("RD",)), execution=execution(recorder))
        assert recorder.text.index("One seed only.") < recorder.text.index("reading 6 training smears")
