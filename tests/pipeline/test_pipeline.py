"""The main commands in the order in which a user runs them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from torch import Tensor

from conftest import Run
from smearsynth.datasets import open_smears
from smearsynth.formats.pixels.images import read_png_text
from smearsynth.generation.recipe import Recipe
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.smear import Smear
from smearsynth.statistics import DataStatistics, measure
from smearsynth.synthesis.model import synthesizer as model_module
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.log import TrainingLog


def manifest(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_stats_as_table_and_as_json(run: Run, smear_folder: Path) -> None:
    table = run("stats", smear_folder)
    assert table.code == 0
    assert "Statistics of 9 smears" in table.out
    assert "cells per smear" in table.out
    assert table.err == ""
    printed = run("stats", smear_folder, "--split", "test", "--json")
    assert printed.code == 0
    assert printed.err == ""
    record = json.loads(printed.out)
    assert (record.pop("read_from"), record.pop("left_out")) == ("label images of 9 smears", {})
    test = open_smears(smear_folder, split="test")
    assert record.pop("cells") == sum(smear.count for smear in test)
    assert record == json.loads(measure(test).to_json())
    assert DataStatistics.from_json(printed.out).smears == 3


def test_interrupted_training_has_the_same_result(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    complete, interrupted = tmp_path / "folder", tmp_path / "interrupted"
    options = ("--preset", "tiny", "--steps", 8, "--licence", "CC0-1.0", "--citation", "none | at all")
    result = run("train", smear_folder, "-o", complete, *options)
    assert result.code == 0
    assert str(complete / "model-card.md") in result.out
    for _ in range(2):
        stopped = run("train", smear_folder, "-o", interrupted, *options, "--time-limit", 0)
        assert stopped.code == 0
        assert "run the same command again to continue" in stopped.out
    unfinished = run("info", interrupted)
    assert unfinished.code == 2
    assert "its training is not finished: run the same `smearsynth train` again" in unfinished.err
    assert run("train", smear_folder, "-o", interrupted, *options).code == 0
    first, second = (load_file(folder / "weights.safetensors") for folder in (complete, interrupted))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    assert Synthesizer.load(complete).hash == Synthesizer.load(interrupted).hash
    log = (interrupted / "training-log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in log] == ["step", "1", "2", "8"]
    assert (interrupted / "samples" / "step-00000008.png").exists()

    card = (complete / "model-card.md").read_text()
    assert "smearsynth train" in card
    assert "--preset tiny --steps 8" in card
    assert "| data licence | CC0-1.0 |" in card
    assert "| citation | none \\| at all |" in card
    assert "6 smears, split train" in card  # the default split
    info = run("info", complete)
    assert info.code == 0
    assert "Model card" in info.out
    assert f"model hash {Synthesizer.load(complete).hash}" in info.out


def test_dry_run_estimates_the_time_and_writes_nothing(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    result = run("train", smear_folder, "-o", tmp_path / "m", "--preset", "tiny", "--dry-run")
    assert result.code == 0
    assert "6 smears, all readable; classes cell" in result.out
    assert "50 steps of" in result.out
    assert list(tmp_path.iterdir()) == []


def test_masks_from_a_model_and_from_smears(
    run: Run, tiny_folder: Path, smear_folder: Path, tmp_path: Path
) -> None:
    for folder, origin in (("a", ("-m", tiny_folder)), ("b", ("--data", smear_folder))):
        out = tmp_path / folder
        assert run("masks", "-o", out, *origin, "-n", 3, "--size", "64x48", "--seed", 5).code == 0
        lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
        assert len(lines) == 3
        for line in lines:
            labels = np.asarray(Image.open(out / "labels" / line["name"]))
            colours = np.asarray(Image.open(out / "palette" / line["name"]))
            assert labels.shape == (48, 64)
            assert np.unique(labels[labels > 0]).tolist() == list(range(1, line["placed"] + 1))
            assert ((labels > 0) == colours.any(-1)).all()
    # A mask is the layout of the smear with the same seed and index.
    run("generate", "-m", tiny_folder, "-o", tmp_path / "g", "-n", 1, "--size", "64x48", "--seed", 5, "--no-sheet")
    mask_labels, smear_labels = (
        np.asarray(Image.open(tmp_path / name))
        for name in ("a/labels/mask-000000.png", "g/labels/smear-000000.png")
    )
    assert mask_labels.max() > 0
    assert (mask_labels == smear_labels).all()


def test_explain_writes_a_figure(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    figure = tmp_path / "new folder" / "figure.png"
    result = run("masks", "-o", figure, "-m", tiny_folder, "--explain", "--size", "96x64")
    assert result.code == 0
    assert np.asarray(Image.open(figure)).std() > 10
    assert [path.name for path in figure.parent.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("format", ["labels", "palette", "coco"])
def test_generated_smears_match_the_manifest(run: Run, tiny_folder: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    result = run("generate", "-m", tiny_folder, "-o", out, "-n", 4, "--size", "64x64", "--format", format)
    assert result.code == 0
    assert f"4 smears in {out}" in result.out
    smears, recipes = open_smears(out), manifest(out)
    assert smears.format == format
    assert smears.names == tuple(recipe["name"] for recipe in recipes)
    for smear, recipe in zip(smears, recipes, strict=True):
        assert smear.shape == (64, 64)
        assert smear.count == recipe["placed"] == recipe["classes"]["cell"]  # type: ignore[index]
        assert recipe["placed"] <= recipe["requested"]  # type: ignore[operator]
        assert read_png_text(out / "images" / f"{smear.name}.png")["synthetic"] == "true"
    assert sum(smear.count for smear in smears) > 4
    sheet = (out / "contact-sheet.html").read_text()
    assert "smear-000003" in sheet
    assert "CC0-1.0" in sheet
    # Generated folders are valid input.
    assert run("stats", out, "--json").code == 0


def test_generated_smears_of_two_classes(run: Run, two_class_folder: Path, tmp_path: Path) -> None:
    assert run("generate", "-m", two_class_folder, "-o", tmp_path, "-n", 4, "--no-sheet").code == 0
    smears, recipes = open_smears(tmp_path), manifest(tmp_path)
    assert smears.class_names == ("red cell", "white cell")
    for smear, recipe in zip(smears, recipes, strict=True):
        counts = np.bincount(smear.classes, minlength=2).tolist()
        assert recipe["classes"] == dict(zip(smears.class_names, counts, strict=True))
    assert {int(class_id) for smear in smears for class_id in smear.classes} == {0, 1}


def test_generate_with_the_style_of_a_smear(
    run: Run, tiny_folder: Path, smear_folder: Path, tmp_path: Path
) -> None:
    options = ("-m", tiny_folder, "-n", 1, "--no-sheet", "--size", "64x64")
    assert run("generate", "-o", tmp_path / "a", *options, "--style-of", f"{smear_folder}:smear-04").code == 0
    assert run("generate", "-o", tmp_path / "b", *options).code == 0
    styled, plain = (open_smears(tmp_path / name)[0] for name in ("a", "b"))
    assert str(manifest(tmp_path / "a")[0]["style"]).startswith("of smear-04 ")
    assert (styled.labels == plain.labels).all()
    assert (styled.image != plain.image).any()


def test_demo_writes_smears_and_a_contact_sheet(
    run: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "default_folder", lambda: tiny_folder)
    result = run("demo", "-o", tmp_path / "demo", "-n", 2)
    assert result.code == 0
    assert len(open_smears(tmp_path / "demo")) == 2
    assert (tmp_path / "demo" / "contact-sheet.html").resolve().as_uri() in result.out


def test_ctrl_c_during_training_saves_the_state(
    run: Run, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("train", smear_folder, "-o", tmp_path / "m", "--preset", "tiny", "--steps", 3)
    add = TrainingLog.add

    def interrupted(self: TrainingLog, terms: dict[str, Tensor]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        add(self, terms)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "add", interrupted)
        result = run(*arguments)
    assert result.code == 130
    assert result.out == f"stopped; run the same command again to continue ({tmp_path / 'm'})\n"
    assert [path.name for path in (tmp_path / "m" / "state").glob("step-*")] == ["step-00000001"]
    assert run(*arguments).code == 0
    assert Synthesizer.load(tmp_path / "m").config.steps_done == 3


def test_ctrl_c_during_generation_keeps_finished_smears(
    run: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("generate", "-m", tiny_folder, "-o", tmp_path, "-n", 3, "--size", "48x48")
    make = SyntheticSmears.make

    def interrupted(self: SyntheticSmears, index: int, timer: object = None) -> tuple[Smear, Recipe]:
        if index == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return make(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(SyntheticSmears, "make", interrupted)
        result = run(*arguments)
    assert result.code == 130
    assert result.out == f"2 of 3 smears in {tmp_path}\n"
    assert len(manifest(tmp_path)) == len(open_smears(tmp_path)) == 2
    assert run(*arguments).code == 0
    assert len(manifest(tmp_path)) == 3
