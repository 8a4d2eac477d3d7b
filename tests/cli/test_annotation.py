"""Commands that make and convert annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import published_files as published
from command_line import error_of, left_behind
from conftest import Run
from smears import analytic_smear, write_folder


def test_annotate_prints_the_score_and_the_page(run: Run, tmp_path: Path) -> None:
    published.coco_boxes(tmp_path / "data")
    published.qupath_outlines(tmp_path / "truth")
    command = ["annotate", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--score", str(tmp_path / "truth")]
    ran = run(*command)
    assert ran.code == 0, ran
    assert "18 cells in 1 images" in ran.out
    assert "F1 at IoU 0.5: 1.000" in ran.out
    assert "cells-by-doubt.html" in ran.out
    record = json.loads(run(*command, "--json").out)
    assert record["f1_50"] == 1.0
    assert 0.8 < record["matched_iou"] <= 1
    assert record["labels_from"] == {"box": 18}


def test_annotate_ends_with_code_2_if_an_image_is_damaged(run: Run, tmp_path: Path) -> None:
    published.coco_boxes(tmp_path / "data")
    (tmp_path / "data" / "_annotations.coco.json").unlink()
    (tmp_path / "data" / "b.png").write_bytes(b"no image")
    ran = run("annotate", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--no-page")
    assert ran.code == 2
    assert "b.png" in ran.err
    assert "1 of 2 images" in ran.out


@pytest.mark.parametrize(
    "options",
    [("--boxes", "none.csv"), ("--corrections", "none.csv"), ("--segmenter", "none"), ("--diameter", "1")],
)
def test_annotate_rejects_options_that_are_wrong(run: Run, tmp_path: Path, options: tuple[str, str]) -> None:
    published.coco_boxes(tmp_path / "data")
    name, value = options
    ran = run(
        "annotate",
        str(tmp_path / "data"),
        "-o",
        str(tmp_path / "out"),
        name,
        str(tmp_path / value) if value[0] == "n" else value,
    )
    error_of(ran)
    assert left_behind(tmp_path / "out") == []


def test_convert_reports_what_is_lost(run: Run, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", [analytic_smear(name=f"s{k}") for k in range(4)])
    command = ["convert", str(source), str(tmp_path / "out"), "--to", "voc", "--split", "train=0.5,val=0.5"]
    ran = run(*command)
    assert ran.code == 0, ran
    assert "lost in voc: outlines (12)" in ran.out
    assert "12 cells in 4 smears, 2 val, 2 train" in ran.out
    record = json.loads(run("convert", str(source), str(tmp_path / "coco"), "--to", "coco", "--json").out)
    assert (record["cells"], record["lost"], record["left_out"]) == (12, {}, {})


@pytest.mark.parametrize(
    "options", [("--to", "jpeg"), ("--to", "coco", "--split", "train"), ("--to", "coco", "--split", "a=2")]
)
def test_convert_rejects_options_that_are_wrong(run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    source = write_folder(tmp_path / "source", [analytic_smear()])
    error_of(run("convert", str(source), str(tmp_path / "out"), *options))
    assert left_behind(tmp_path / "out") == []
