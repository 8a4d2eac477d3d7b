"""The commands realism, audit and check-layout: what they print and write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from conftest import Run
from evaluation_smears import DarkSegmenter, noisy, shifted, textured_smear
from smears import random_smear, write_folder
from smearsynth.evaluation.audit.record import Audit
from smearsynth.evaluation.realism import realism as realism_module
from smearsynth.evaluation.realism.record import Realism
from smearsynth.evaluation.realism.task_features import perceptual_features
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.folder import save_model
from smearsynth.tasks.segmentation import Segmentation


def test_realism_compares_two_folders(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    options = ("--split", "train", "--no-labels", "--no-tell", "--quiz", tmp_path / "s.html")
    ran = run("realism", smear_folder, smear_folder, *options)
    assert ran.code == 0, ran.err
    assert "KID on efficientnet_lite2" in ran.out
    assert "KID on efficientnet_lite0, which training uses" in ran.out
    assert (tmp_path / "s-key.csv").exists()
    ran = run("realism", smear_folder, smear_folder, "--features", "none")
    assert ran.code == 2
    assert "features 'none' cannot be compared; choose efficientnet_lite2" in ran.err
    ran = run("realism", smear_folder, smear_folder, "--no-labels")  # its test split has three smears
    assert ran.code == 2
    assert "too few" in ran.err


def test_realism_lists_wrong_labels(
    run: Run, smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realism_module, "load_or_train_segmenter", lambda *_, **__: DarkSegmenter())
    folder = write_folder(tmp_path / "shifted", [shifted(random_smear(k), 12) for k in range(9, 14)])
    ran = run("realism", smear_folder, folder, "--split", "train", "--no-tell", "--figure", tmp_path / "labels.png")
    assert ran.code == 0, ran.err
    lines = re.findall(r"^smear-\d\d: label \d+ at x \d+, y \d+ px, IoU 0\.\d\d$", ran.out, re.MULTILINE)
    assert len(lines) == 4
    assert (tmp_path / "labels.png").exists()


def test_realism_uses_the_features_of_a_model_folder(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    model = Segmentation.preset("tiny", seed=3)
    save_model(tmp_path / "segmentation", model)
    save_model(tmp_path / "contours", Contours.preset("tiny"))
    skipped = ("--no-labels", "--no-tell")
    command = ("realism", smear_folder, smear_folder, "--split", "train", *skipped, "--json", "--features")
    ran = run(*command, tmp_path / "segmentation")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["features"] == perceptual_features(model).name
    ran = run(*command, tmp_path / "contours")
    assert ran.code == 2
    assert "contours" in ran.err
    ran = run(*command, smear_folder)
    assert ran.code == 2
    assert "not a task model" in ran.err


def test_realism_tells_synthetic_from_real_and_controls(run: Run, tmp_path: Path) -> None:
    real = write_folder(tmp_path / "real", [random_smear(k) for k in range(8)], splits=("train", "test"))
    synthetic = write_folder(tmp_path / "synthetic", [noisy(random_smear(k), 25) for k in range(8, 12)])
    figure = tmp_path / "tell.png"
    command = ("realism", real, synthetic, "--no-labels")
    ran = run(*command, "--json", "--control", "--tell-figure", figure)
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert result["features"] == "efficientnet_lite2"
    assert result["trained_features"]["features"] == "efficientnet_lite0"
    tell, control = result["tell_auc"], result["control"]
    assert tell["middle"]["value"] > 0.95 > control["tell_auc"]["middle"]["value"]
    assert tell["middle"]["interval"][0] <= tell["middle"]["value"] <= tell["middle"]["interval"][1]
    assert tell["control"]["train"] == control["tell_auc"]["middle"]
    assert set(tell["by_part"]) == {"background", "rim", "interior"}
    assert control["smears"] == 4
    assert control["kid"]["value"] < result["kid"]["value"]
    assert figure.stat().st_size > 10_000
    printed = Realism.model_validate_json(ran.out)
    console = Console(width=160, record=True)
    console.print(printed.table(), printed.tell_auc.table() if printed.tell_auc else "")
    text = console.export_text()
    for words in ("real to training smears", "patches of rims", "radial spectra", "control: real training smears"):
        assert words in text
    assert any("Control: 4 real training smears" in line for line in printed.verdict())
    assert any("fewer than 24 smears" in line for line in printed.verdict())


def test_realism_refuses_contradicting_options(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    command = ("realism", smear_folder, smear_folder, "--no-labels", "--no-tell")
    ran = run(*command, "--tell-figure", tmp_path / "tell.png")
    assert ran.code == 2
    assert "leave out --no-tell" in ran.err
    ran = run(*command, "--split", "train", "--control")
    assert ran.code == 2
    assert "leave out --control" in ran.err


def test_audit_prints_json_and_writes_card_and_figure(run: Run, tmp_path: Path) -> None:
    training = [textured_smear(k) for k in range(6)]
    smears = [*training, *(textured_smear(100 + k) for k in range(6))]
    real = write_folder(tmp_path / "real", smears)
    rows = [f"{smear.name},{'train' if k < 6 else 'test'}" for k, smear in enumerate(smears)]
    (real / "split.csv").write_text("\n".join(["image,split", *rows]) + "\n")
    copies = write_folder(tmp_path / "copies", training[2:4])
    files = ("--card", tmp_path / "card.md", "--figure", tmp_path / "pairs.png")
    ran = run("audit", real, copies, "--json", *files)
    assert ran.code == 0, ran.err
    result = Audit.model_validate_json(ran.out)
    assert [copy.training for copy in result.copied_smears] == ["s2", "s3"]
    assert (tmp_path / "card.md").read_text().startswith("## Memorisation")
    assert (tmp_path / "pairs.png").exists()
    ran = run("audit", real, copies)
    assert "flagged as a copy of" in ran.out
    assert "Signs of memorisation" in ran.out


def test_audit_names_what_is_missing(run: Run, smear_folder: Path, tmp_path: Path) -> None:
    ran = run("audit", smear_folder, smear_folder, "--train-split", "test", "--held-out", "train", "--json")
    assert ran.code == 2
    assert "too few" in ran.err
    ran = run("audit", smear_folder, tmp_path / "none", "--json")
    assert ran.code == 2
    assert "none" in ran.err


def test_check_layout_prints_and_draws(run: Run, tiny_folder: Path, smear_folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "c.png"
    command = ("check-layout", smear_folder, "--model", tiny_folder, "--draws", 6)
    ran = run(*command, "--json", "--figure", picture)
    assert ran.code == 0, ran.err
    assert set(json.loads(ran.out)["touching_fraction"]) == {"contact", "ring", "uniform"}
    assert picture.stat().st_size > 10_000
    ran = run(*command, "--format", "labels")
    assert ran.code == 0
    assert all(f"{layout}: " in ran.out for layout in ("contact", "ring", "uniform"))
    ran = run(*command, "--format", "coco")
    assert ran.code == 2


def test_check_layout_puts_real_training_smears_under_the_same_test(
    run: Run, tiny_folder: Path, tmp_path: Path
) -> None:
    smears = [random_smear(k) for k in range(10)]
    data = write_folder(tmp_path / "data", smears, splits=("train", "test"))
    command = ("check-layout", data, "--model", tiny_folder, "--draws", 4, "--control")
    ran = run(*command, "--figure", tmp_path / "c.png", "--json")
    assert ran.code == 0, ran.err
    verdicts = json.loads(ran.out)["touching_fraction"]
    assert set(verdicts) == {"contact", "ring", "uniform", "real train"}
    ran = run(*command)
    assert "real train: " in ran.out
    assert "5 real smears" in ran.out  # the split test
    assert "of 5 smears are training smears of the model" in ran.err
    ran = run(*command, "--split", "train")
    assert "--control compares the split train with another split" in ran.err
