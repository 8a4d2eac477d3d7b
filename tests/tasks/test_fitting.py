"""Tests of the training loop: resuming, seeds, held-out smears and the selection of the weights."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from smears import analytic_smear, random_smear, unannotated, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError
from smearsynth.smear import Smear
from smearsynth.tasks import fitting
from smearsynth.tasks.config import FitConfig
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.fitting import FitRun, benchmark_steps, fit, hold_out, learning_rate
from smearsynth.tasks.registry import load_model
from smearsynth.tasks.segmentation import Segmentation
from task_models import SMEARS, same_weights, tiny_segmentation


def endless_stream() -> Iterator[Smear]:
    return (random_smear(k, (64, 64)) for k in count())


# Resuming.


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_an_interrupted_run_continues_bit_identically(tmp_path: Path, stop_after: int) -> None:
    uninterrupted = tiny_segmentation(steps=5)
    expected_report = fit(uninterrupted, SMEARS, FitRun(tmp_path / "uninterrupted"))
    folder = tmp_path / "resumed"

    def stop(step: int, row: object) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tiny_segmentation(steps=5), SMEARS, FitRun(folder, save_every=1, on_step=stop))
    report = fit(tiny_segmentation(steps=5), SMEARS, FitRun(folder, time_limit=0))
    assert not report.finished
    assert report.steps == stop_after
    resumed = tiny_segmentation(steps=5)
    assert fit(resumed, SMEARS, FitRun(folder)) == expected_report
    assert same_weights(resumed, uninterrupted)
    assert not (folder / "state.safetensors").exists()


def test_ctrl_c_ends_the_run_after_the_current_step(tmp_path: Path) -> None:
    def interrupt(step: int, row: object) -> None:
        if step == 2:  # between steps 2 and 3
            signal.raise_signal(signal.SIGINT)

    report = fit(tiny_segmentation(), SMEARS[:2], FitRun(tmp_path, on_step=interrupt))
    assert not report.finished
    assert report.steps == 3
    assert fit(tiny_segmentation(), SMEARS[:2], FitRun(tmp_path)).finished


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    model, loaded = tiny_segmentation(), tiny_segmentation()
    report = fit(model, SMEARS, FitRun(tmp_path))
    steps: list[int] = []
    assert fit(loaded, SMEARS, FitRun(tmp_path, on_step=lambda step, row: steps.append(step))) == report
    assert steps == []
    assert same_weights(model, loaded)


def test_a_folder_of_other_settings_or_smears_is_an_error(tmp_path: Path) -> None:
    fit(tiny_segmentation(), SMEARS, FitRun(tmp_path / "finished"))
    fit(tiny_segmentation(), SMEARS, FitRun(tmp_path / "unfinished", time_limit=0))
    for folder in (tmp_path / "finished", tmp_path / "unfinished"):
        run = FitRun(folder)
        with pytest.raises(ModelError, match=r"contains a model with fit.seed = 0, now it is 7; use the same"):
            fit(tiny_segmentation(seed=7), SMEARS, run)
        with pytest.raises(ModelError, match=r"smears = 10 smears, .* now it is 9 smears, .*; use the same"):
            fit(tiny_segmentation(), SMEARS[1:], run)
        with pytest.raises(ModelError, match=r"smears = 10 smears, content .*, now it is 10 smears, content .*;"):
            fit(tiny_segmentation(), [*SMEARS[:9], random_smear(10)], run)
        with pytest.raises(ModelError, match="contains a model of segmentation, not contours"):
            fit(Contours.preset("tiny"), SMEARS, run)


@pytest.mark.parametrize("time_limit", [0, None], ids=["unfinished", "finished"])
def test_other_smears_of_the_same_names_are_an_error(tmp_path: Path, time_limit: float | None) -> None:
    data, folder = write_folder(tmp_path / "data", SMEARS[:3]), tmp_path / "model"
    fit(tiny_segmentation(), open_smears(data), FitRun(folder, time_limit=time_limit))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    relabelled = replace(SMEARS[1], labels=np.ascontiguousarray(SMEARS[1].labels[::-1]))
    write_folder(data, [SMEARS[0], relabelled, SMEARS[2]])
    with pytest.raises(ModelError, match=r"smears = 3 smears, names and scale (\w+), content .* \1, content .*;"):
        fit(tiny_segmentation(), open_smears(data), FitRun(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    write_folder(data, SMEARS[:3])
    assert fit(tiny_segmentation(), open_smears(data), FitRun(folder)).finished


@pytest.mark.parametrize("finished", [False, True])
def test_a_folder_without_the_hash_of_the_content_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    """Earlier versions stored the hash of the names, but not that of images and labels."""
    data, run = open_smears(write_folder(tmp_path / "data", SMEARS[:3])), FitRun(tmp_path / "model")
    describe = fitting._describe
    with monkeypatch.context() as earlier_version:
        earlier_version.setattr(fitting, "_describe", lambda smears, content: describe(smears, content=False))
        fit(tiny_segmentation(), data, run if finished else FitRun(run.folder, time_limit=0))
    with pytest.raises(ModelError, match="smears = 3 smears, names and scale"):
        fit(tiny_segmentation(), data[:2], run)
    report = fit(tiny_segmentation(), data, run)
    assert report.finished
    assert not report.knows_content
    assert fit(tiny_segmentation(), data, FitRun(tmp_path / "new")).knows_content


def test_smears_are_not_hashed_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "digest", lambda smear: pytest.fail("a smear was hashed"))
    assert fit(tiny_segmentation(), SMEARS[:2]).smears == "2 smears"


# Errors before and during the training.


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("x")
    with pytest.raises(ModelError, match="is a file; name a model folder"):
        fit(tiny_segmentation(), SMEARS, FitRun(tmp_path / "model"))


def test_a_folder_that_cannot_be_written_is_an_error_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = FitRun(tmp_path / "file" / "model", on_step=lambda step, row: pytest.fail("a step was done"))
    with pytest.raises(DataError, match="file"):
        fit(tiny_segmentation(), SMEARS, run)


def test_no_smears_and_streams_that_end_are_errors() -> None:
    with pytest.raises(DataError, match="no smears to train on"):
        fit(tiny_segmentation(), [])
    with pytest.raises(DataError, match="ended after 3; give an endless stream"):
        fit(tiny_segmentation(), iter(SMEARS[:3]))


def test_divergence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    nan_loss = lambda self, smears: next(self.network.parameters()).sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(Segmentation, "loss", nan_loss)
    with pytest.raises(ModelError, match="diverged at step 2; lower the learning rate"):
        fit(tiny_segmentation(), SMEARS)


# Training.


def test_the_result_depends_on_the_seed_and_not_on_the_global_generator() -> None:
    first, same_seed, other_seed = tiny_segmentation(), tiny_segmentation(), tiny_segmentation(seed=1)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    fit(first, SMEARS)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    fit(same_seed, SMEARS)
    fit(other_seed, SMEARS)
    assert same_weights(first, same_seed)
    assert not same_weights(first, other_seed)


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    config = FitConfig(steps=100, warm_up=4, learning_rate=0.8)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert rates[52] == pytest.approx(0.4)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert learning_rate(config.model_copy(update={"warm_up": 0}), 0) == 0.8


def test_a_stream_is_trained_on_without_validation(tmp_path: Path) -> None:
    report = fit(tiny_segmentation(steps=2), endless_stream(), FitRun(tmp_path))
    assert report.finished
    assert report.smears == "a stream"
    assert report.best_score is None


def test_the_scale_of_the_smears_is_stored(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", SMEARS[:2])
    fit(tiny_segmentation(steps=1), open_smears(data, scale=0.5), FitRun(tmp_path / "model"))
    assert load_model(tmp_path / "model").scale == 0.5


def test_the_benchmark_does_not_change_the_model() -> None:
    model, unchanged = tiny_segmentation(), tiny_segmentation()
    assert 0 < benchmark_steps(model, SMEARS[:2], "cpu", steps=3) < 10
    assert same_weights(model, unchanged)


# Held-out smears and selection of the weights.


def test_held_out_smears_are_not_trained_on() -> None:
    train, held_out = hold_out(SMEARS, FitConfig(seed=3))
    assert sorted(smear.name for smear in (*train, *held_out)) == [smear.name for smear in SMEARS]
    assert len(held_out) == 2
    assert [len(hold_out(SMEARS[:n], FitConfig())[1]) for n in (1, 4, 5)] == [0, 0, 1]
    assert len(hold_out(SMEARS * 30, FitConfig())[1]) == FitConfig().held_out


@pytest.mark.parametrize(
    ("scores", "slack", "best_step"),
    [
        ([[0.3, 0.3], [0.9, 0.9], [0.5, 0.5]], 1, 4),
        ([[0.3, 0.3], [0.90, 0.80], [0.82, 0.86]], 1, 6),  # one smear better, one worse: within one standard error
        ([[0.3, 0.3], [0.90, 0.80], [0.82, 0.86]], 0, 4),
        ([[0.3, 0.3], [0.90, 0.80], [0.86, 0.77]], 1, 4),  # both smears worse
        ([[0.3], [0.9], [0.89]], 1, 4),  # one smear gives no standard error
    ],
)
def test_the_last_weights_within_one_standard_error_of_the_best_are_selected(
    monkeypatch: pytest.MonkeyPatch, scores: list[list[float]], slack: float, best_step: int
) -> None:
    remaining_scores = iter(scores)
    model = tiny_segmentation(slack=slack)
    validated_weights: list[dict[str, torch.Tensor]] = []
    evaluate = type(model).evaluate

    def evaluate_with_scores(self: Segmentation, smears: object) -> object:
        validated_weights.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        evaluation, values = evaluate(self, smears), next(remaining_scores)  # type: ignore[arg-type]
        images = tuple(replace(image, score=s) for image, s in zip(evaluation.images, values, strict=True))
        return type(evaluation)(evaluation.metric, sum(values) / len(values), images)

    monkeypatch.setattr(Segmentation, "evaluate", evaluate_with_scores)
    report = fit(model, SMEARS, validation=SMEARS[: len(scores[0])])
    index = best_step // 2 - 1  # one validation every two steps
    assert report.best_step == best_step
    assert report.best_score == pytest.approx(sum(scores[index]) / len(scores[0]))
    weights = validated_weights[index]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.network.state_dict().items())


def test_the_last_weights_are_kept_if_no_smear_is_held_out() -> None:
    report = fit(tiny_segmentation(), SMEARS[:2])
    assert report.best_score is None
    assert report.best_step == report.steps == 6


def test_the_last_weights_are_kept_if_no_validation_smear_has_a_cell(tmp_path: Path) -> None:
    report = fit(
        Contours.preset("tiny", steps=2), SMEARS[:3], FitRun(tmp_path), validation=[analytic_smear(discs=[])]
    )
    assert report.best_score is None
    assert load_model(tmp_path).name == "contours"


def test_unannotated_validation_smears_are_not_scored() -> None:
    smear = random_smear(0)
    model = Segmentation.preset("tiny", steps=2, validate_every=1)
    report = fit(model, [smear], validation=[unannotated(smear)])
    assert report.finished
    assert all("validation" not in row for row in report.history)
