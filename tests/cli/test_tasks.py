"""train-task, predict and score, by the command line."""

from __future__ import annotations

import csv
import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Run
from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.tasks import load_model

TINY = ("--preset", "tiny", "--steps", 4, "--device", "cpu")


@pytest.mark.parametrize("task", ["segmentation", "detection", "contours"])
def test_from_annotated_smears_to_counts(run: Run, smear_folder: Path, tmp_path: Path, task: str) -> None:
    made = run("train-task", task, smear_folder, "-o", tmp_path / "m", *TINY)
    assert made.code == 0, made
    assert f"model: {tmp_path / 'm'}" in made.out
    assert "validation score: 0." in made.out
    assert load_model(tmp_path / "m").name == task
    found = run("predict", tmp_path / "m", smear_folder, "-o", tmp_path / "found", "--device", "cpu")
    assert found.code == 0, found
    assert "cells in 9 of 9 images" in found.out
    with (tmp_path / "found" / "counts.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [f"smear-{k:02d}" for k in range(9)]
    assert len(list((tmp_path / "found" / "overlays").iterdir())) == 9
    assert (tmp_path / "found" / "labels").exists() == (task != "detection")


@pytest.mark.parametrize(("task", "metric"), [("segmentation", "dice"), ("contours", "ap")])
def test_a_model_is_scored_on_the_test_split(
    run: Run, smear_folder: Path, tmp_path: Path, task: str, metric: str
) -> None:
    assert run("train-task", task, smear_folder, "-o", tmp_path / "m", *TINY).code == 0
    ran = run("score", tmp_path / "m", smear_folder, "--device", "cpu", "--json")
    assert ran.code == 0, ran
    found = json.loads(ran.out)
    test = open_smears(smear_folder, split="test")
    wanted = load_model(tmp_path / "m").evaluate(test)
    assert (found["metric"], found["split"], found["value"]) == (metric, "test", pytest.approx(wanted.value))
    assert [image["name"] for image in found["images"]] == list(test.names)
    assert found["tp"] + found["fn"] == sum(smear.count for smear in test)
    assert (found["pq"], found["fp"]) == (pytest.approx(wanted.pq), wanted.fp)
    for key in ("value", "pq", "tp", "fp", "fn"):
        low, high = found[f"{key}_interval"]
        assert low <= found[key] + 1e-6
        assert found[key] <= high + 1e-6
    told = run(
        "score", tmp_path / "m", smear_folder, "--device", "cpu", "--split", "train", "--limit", 2, "--allow-leak"
    )
    assert told.out.startswith("2 smears: ")
    rows = {line.split()[0]: line.split() for line in told.out.splitlines()[2:]}
    assert list(rows) == (["Dice"] if metric == "dice" else ["AP", "AP50"]) + ["PQ", "TP", "FP", "FN"]
    assert all("to" in row for name, row in rows.items() if name != "AP50")


def test_a_model_is_put_to_use_at_the_scale_it_learned_at(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    made = run("train-task", "detection", smear_folder, "-o", tmp_path / "m", *TINY, "--scale", 0.5)
    assert made.code == 0, made
    assert load_model(tmp_path / "m").scale == 0.5
    ran = run("score", tmp_path / "m", smear_folder, "--device", "cpu", "--json")
    assert "images are resized by 0.5, the training scale of the model" in ran.err
    wanted = load_model(tmp_path / "m").evaluate(open_smears(smear_folder, split="test", scale=0.5))
    figures = json.loads(ran.out)
    assert figures["value"] == pytest.approx(wanted.value)
    assert (figures["pq"], figures["pq_interval"], figures["tp"]) == (None, None, wanted.tp)  # boxes have no PQ
    other = run("score", tmp_path / "m", smear_folder, "--device", "cpu", "--scale", 1)
    assert "the model was trained at scale 0.5, images are read at scale 1" in other.err
    found = run("predict", tmp_path / "m", smear_folder, "-o", tmp_path / "out", "--device", "cpu")
    assert "images are resized by 0.5, the training scale of the model" in found.err
    wrong = run("predict", tmp_path / "m", smear_folder, "-o", tmp_path / "out", "--scale", 0)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)


def test_smears_without_a_cell_teach_nothing(run: Run, tmp_path: Path) -> None:
    blank = [
        replace(random_smear(k), labels=np.zeros_like(random_smear(k).labels), classes=np.array([], int))
        for k in range(2)
    ]
    folder = write_folder(tmp_path / "data", blank)
    ran = run("train-task", "segmentation", folder, "-o", tmp_path / "m", *TINY)
    assert ran.code == 2
    assert "no training smear has a cell" in ran.err
    assert not (tmp_path / "m").exists()


def test_the_train_split_alone_is_learned_from(run: Run, tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    folder = write_folder(tmp_path / "data", smears, splits=("train", "test", "test"))
    # were it read, the test split would stop the training
    for image in sorted((folder / "images").iterdir())[1:]:
        image.write_bytes(b"")
    ran = run("train-task", "segmentation", folder, "-o", tmp_path / "m", *TINY)
    assert ran.code == 0, ran
    assert "none, no smear with cells was held out" in ran.out


def test_a_detector_learns_the_classes_of_the_data(run: Run, tmp_path: Path) -> None:
    kinds = ("red cell", "white cell")
    folder = write_folder(tmp_path / "data", (random_smear(k, class_names=kinds) for k in range(3)))
    assert run("train-task", "detection", folder, "-o", tmp_path / "m", *TINY).code == 0
    assert load_model(tmp_path / "m").config.class_names == kinds
    assert run("predict", tmp_path / "m", folder, "-o", tmp_path / "out", "--device", "cpu").code == 0
    assert (tmp_path / "out" / "counts.csv").read_text().splitlines()[0] == "image,red cell,white cell,total"


def test_a_dry_run_says_how_long_it_takes_and_leaves_nothing(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    ran = run("train-task", "contours", smear_folder, "-o", tmp_path / "m", *TINY, "--dry-run")
    assert ran.code == 0
    assert "6 smears, all readable; classes cell" in ran.out
    assert "4 steps of 0." in ran.out
    assert not (tmp_path / "m").exists()


def test_a_dry_run_lists_bad_smears(run: Run, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", (random_smear(k) for k in range(3)))
    (folder / "images" / "smear-01.png").write_bytes(b"x")
    ran = run("train-task", "contours", folder, "-o", tmp_path / "m", *TINY, "--dry-run")
    assert ran.code == 2
    assert "smear-01.png" in ran.err
    assert "1 of 3 smears cannot be read" in ran.err


def test_a_run_cut_short_goes_on(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    line = ("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY)
    first = run(*line, "--time-limit", 0)
    assert first.code == 0
    assert "stopped at step 1; run the same command again" in first.out
    early = run("predict", tmp_path / "m", smear_folder, "-o", tmp_path / "found")
    assert early.code == 2
    assert "not finished; run the same `smearsynth train-task` again" in early.err
    assert run(*line).code == 0
    other = run(*line, "--seed", 3)
    assert other.code == 2
    assert "fit.seed = 0, now it is 3" in other.err
    # neither is a finished model passed off as one of other smears
    fewer = run(*line, "--limit", 3)
    assert fewer.code == 2
    assert "smears = 6 smears" in fewer.err


def test_a_model_of_unknown_content_is_not_passed_off_as_one_of_these_smears(
    run: Run, smear_folder: Path, tmp_path: Path
) -> None:
    line = ("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY)
    assert "their content" not in run(*line).err
    config = tmp_path / "m" / "config.json"
    config.write_text(re.sub(", content [0-9a-f]+", "", config.read_text()))
    (tmp_path / "m" / "SHA256SUMS").unlink()
    ran = run(*line)
    assert ran.code == 0
    assert "stored the names of its smears but not their content; if images or labels have changed" in ran.err


def test_ctrl_c_keeps_what_was_learned(
    run: Run, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smearsynth.tasks.segmentation import Segmentation

    original, calls = Segmentation.loss, []

    def interrupted(self: Segmentation, smears: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return original(self, smears)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmentation, "loss", interrupted)
    ran = run("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY)
    assert ran.code == 130
    assert "stopped at step 2" in ran.out
    assert (tmp_path / "m" / "state.safetensors").exists()


@pytest.mark.parametrize("command", ["train-task --dry-run", "realism"])
def test_ctrl_c_amid_an_estimate_or_the_training_of_a_judge_ends_the_command(
    run: Run, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from smearsynth.tasks.segmentation import Segmentation

    original = Segmentation.loss

    def interrupted(self: Segmentation, smears: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return original(self, smears)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmentation, "loss", interrupted)
    if command == "realism":
        ran = run("realism", smear_folder, smear_folder, "--split", "train", "--device", "cpu", "--json")
    else:
        ran = run("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY, "--dry-run")
    assert ran.code == 130
    assert ran.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("counting",), "'counting' is not one of 'segmentation', 'detection', 'contours'"),
        (("contours", "--preset", "gpu"), "'gpu' is not one of 'cpu', 'paper', 'tiny'"),
        (("contours", "--augment", "mixup"), "'mixup' is not one of 'none', 'classic', 'copy-paste', 'both'"),
        (("contours", "--weights", "x.pth"), "contours is trained from scratch; leave out --weights"),
        (("detection", "--weights", "none.pth"), "none.pth: no such weight file"),
        (("contours", "--split", "dev"), "has no split 'dev'"),
        (("contours", "--batch", "2000"), "batch: Input should be less than or equal to 1024"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    run: Run, smear_folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    task, *options = arguments
    ran = run("train-task", task, smear_folder, "-o", tmp_path / "m", "--device", "cpu", *options)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_second_prediction_takes_the_place_of_the_first(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    assert run("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY).code == 0
    line = ("predict", tmp_path / "m", "-o", tmp_path / "out", "--device", "cpu")
    assert run(*line, smear_folder).code == 0
    assert run(*line, smear_folder / "images" / "smear-03.png", "--no-overlays").code == 0
    assert [file.name for file in (tmp_path / "out" / "labels").iterdir()] == ["smear-03.png"]
    assert not list((tmp_path / "out" / "overlays").iterdir())
    assert len((tmp_path / "out" / "counts.csv").read_text().splitlines()) == 2


def test_a_damaged_image_is_named_and_the_others_are_finished(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    assert run("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY).code == 0
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for name in ("a", "c", "more/d"):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(photos / f"{name}.png")
    line = ("predict", tmp_path / "m", photos, "-o", photos / "out", "--device", "cpu")
    first = run(*line)
    assert "1 images in subfolders" in first.err
    assert "2 of 2 images" in first.out
    (photos / "b.png").write_bytes(b"")
    second = run(*line)
    assert second.code == 2
    assert "1 images in subfolders" in second.err  # what was written is not among them
    assert "1 of 3 images cannot be read (b.png)" in second.err
    for folder in ("labels", "overlays"):  # the others are finished
        assert sorted(file.name for file in (photos / "out" / folder).iterdir()) == ["a.png", "c.png"]


def test_ap_of_smears_without_a_cell_is_null_and_said_to_be_undefined(run: Run, tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)]
    data = write_folder(tmp_path / "data", smears)
    blank = replace(smears[0], labels=np.zeros_like(smears[0].labels), classes=np.array([], np.int64))
    bare = write_folder(tmp_path / "bare", [blank])
    assert run("train-task", "contours", data, "-o", tmp_path / "m", *TINY).code == 0
    line = ("score", tmp_path / "m", bare, "--device", "cpu", "--allow-leak")
    assert "1 smear: AP is not defined without annotated cells" in run(*line).out
    found = json.loads(run(*line, "--json").out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (found["value"], found["ap50"], found["tp"]) == (None, None, 0)
    assert (found["value_interval"], found["tp_interval"]) == (None, None)


def test_predict_names_what_is_wrong(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    none = run("predict", tmp_path / "none", smear_folder, "-o", tmp_path / "out")
    assert none.code == 2
    assert "no such model folder; train one with `smearsynth train-task`" in none.err
    assert run("train-task", "segmentation", smear_folder, "-o", tmp_path / "m", *TINY).code == 0
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(photo)
    one = run("predict", tmp_path / "m", photo, "-o", tmp_path / "out", "--no-overlays", "--device", "cpu")
    assert one.code == 0
    assert not (tmp_path / "out" / "overlays").exists()
    own = run("predict", tmp_path / "m", smear_folder, "-o", smear_folder)
    assert own.code == 2
    assert "was not written by `smearsynth predict`" in own.err
