"""Layouts that cannot be as asked, through the command line: a stated fallback or one line, and true counts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command_line import error_of, left_behind
from conftest import Run
from smears import analytic_smear, random_smear, write_folder

LAYOUTS = ("contact", "ring", "uniform")
TWO = ("red cell", "white cell")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def cells_in(path: Path) -> int:
    """Number of cells in a label image, numbered without a gap."""
    labels = np.asarray(Image.open(path))
    found = np.unique(labels[labels > 0])
    assert found.tolist() == list(range(1, len(found) + 1))
    return len(found)


# More cells than fit, none, and fields smaller than a cell.


@pytest.mark.timeout(120)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_cells_than_can_fit_are_reported(run: Run, tmp_path: Path, tiny_folder: Path, layout: str) -> None:
    options = ("--layout", layout, "--density", 100, "--size", "96x80", "-n", 2, "--no-sheet")
    ran = run("generate", "-m", tiny_folder, "-o", tmp_path, *options)
    assert ran.code == 0
    manifest = lines_of(tmp_path / "manifest.jsonl")
    missing = sum(line["requested"] - line["placed"] for line in manifest)
    requested = sum(line["requested"] for line in manifest)
    assert missing > 0
    assert f"{missing} of {requested} cells could not be placed; see manifest.jsonl" in ran.err
    for line in manifest:
        assert cells_in(tmp_path / "labels" / f"{line['name']}.png") == line["placed"]
        assert line["classes"] == {"cell": line["placed"]}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_cells_on_request(run: Run, tmp_path: Path, tiny_folder: Path, layout: str) -> None:
    options = ("--layout", layout, "--density", 0, "--size", "40x32", "-n", 1)
    ran = run("generate", "-m", tiny_folder, "-o", tmp_path, *options)
    assert (ran.code, ran.err) == (0, "")
    (line,) = lines_of(tmp_path / "manifest.jsonl")
    assert (line["requested"], line["placed"], line["classes"]) == (0, 0, {"cell": 0})
    assert cells_in(tmp_path / "labels" / "smear-000000.png") == 0
    assert (tmp_path / "contact-sheet.html").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", ["1x1", "5x3", "70x2", "12x12"])
def test_a_field_smaller_than_a_cell_holds_what_is_seen_of_it(
    run: Run, tmp_path: Path, tiny_folder: Path, layout: str, size: str
) -> None:
    drawing = ("-m", tiny_folder, "--layout", layout, "--size", size, "-n", 4)
    assert run("masks", *drawing, "-o", tmp_path / "m").code == 0
    dense = ("--density", 30, "--no-sheet")
    assert run("generate", *drawing, *dense, "-o", tmp_path / "g").code == 0
    records = [("m", line) for line in lines_of(tmp_path / "m" / "masks.jsonl")]
    records += [("g", line) for line in lines_of(tmp_path / "g" / "manifest.jsonl")]
    assert len(records) == 8
    for folder, line in records:
        name = f"{Path(line['name']).stem}.png"
        assert cells_in(tmp_path / folder / "labels" / name) == line["placed"] <= line["requested"]


# Classes.


def test_masks_take_a_mix_as_generate_does(run: Run, tmp_path: Path, two_class_folder: Path) -> None:
    drawing = ("masks", "-m", two_class_folder, "--size", "96x96", "-n", 3)
    for mix, only in (("red cell=1", 0), ("white cell=1", 1)):
        for layout in LAYOUTS:
            out = tmp_path / f"{mix} {layout}"
            assert run(*drawing, "-o", out, "--mix", mix, "--layout", layout).code == 0
            table = list(csv.DictReader((out / "instances.csv").read_text().splitlines()))
            assert {row["class"] for row in table} == {TWO[only]}
            for line in lines_of(out / "masks.jsonl"):
                assert line["mix"] == {TWO[only]: 1.0}
                assert line["classes"] == {TWO[only]: line["placed"], TWO[1 - only]: 0}
                assert sum(row["image"] == Path(line["name"]).stem for row in table) == line["placed"]
    out = tmp_path / "as in the model"
    assert run(*drawing, "-o", out).code == 0
    assert [line["mix"] for line in lines_of(out / "masks.jsonl")] == [None] * 3
    assert {row["class"] for row in csv.DictReader((out / "instances.csv").read_text().splitlines())} == set(TWO)


@pytest.mark.parametrize("command", ["masks", "generate"])
@pytest.mark.parametrize(
    ("mix", "said"),
    [
        ("red cell", "give each class once with its fraction, such as"),
        ("red cell=most", "give each class once with its fraction"),
        ("=1", "give each class once with its fraction"),
        ("red cell=0.5,red cell=0.5", "give each class once with its fraction"),
        ("blue=1", "mix names blue; the classes are red cell, white cell"),
        ("red cell=0.4", "must be probabilities that sum to 1"),
        ("red cell=2,white cell=-1", "must be probabilities that sum to 1"),
        ("red cell=nan", "must be probabilities that sum to 1"),
        ("red cell=inf", "must be probabilities that sum to 1"),
    ],
)
def test_a_mix_that_cannot_be_leaves_nothing(
    run: Run, tmp_path: Path, two_class_folder: Path, command: str, mix: str, said: str
) -> None:
    ran = run(command, "-m", two_class_folder, "-o", tmp_path / "out", "--mix", mix)
    assert said in error_of(ran)
    assert left_behind(tmp_path / "out") == []


def test_a_class_without_shapes_cannot_be_asked_for(run: Run, tmp_path: Path) -> None:
    # The one white cell is cut by the border: it has a class, and no shape.
    discs = [(20, 20, 9), (34, 40, 9), (60, 63, 12)]
    smear = analytic_smear(discs=discs, classes=(0, 0, 1), class_names=TWO, name="a")
    data = write_folder(tmp_path / "data", [smear])
    drawing = ("masks", "--data", data, "-n", 2)
    line = error_of(run(*drawing, "-o", tmp_path / "out", "--mix", "white cell=1"))
    assert "mix includes white cell, which has no shape; classes with shapes: red cell" in line
    assert left_behind(tmp_path / "out") == []
    assert run(*drawing, "-o", tmp_path / "out", "--mix", "red cell=1,white cell=0").code == 0
    assert "the classes are cell" in error_of(run(*drawing, "-o", tmp_path, "--classes", "one", "--mix", "x=1"))


# Smears that say little or nothing of layouts.


def test_one_smear_is_enough_except_for_a_layout_check(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    data, model, out = write_folder(tmp_path / "data", [random_smear(3)]), tmp_path / "m", tmp_path / "k"
    ran = run("stats", data, "--layout")
    assert ran.code == 0
    assert "Contact layout parameters, fitted to 1 smear " in ran.out
    assert "do not determine the spread between smears" in " ".join(ran.out.split())
    assert run("train", data, "-o", model, "--preset", "tiny", "--steps", 1).code == 0
    for source in (("-m", model), ("--data", data)):
        ran = run("masks", *source, "--layout", "contact", "-o", out, "-n", 6)
        assert (ran.code, "fitting the layout" in ran.err) == (0, "--data" in source)
        counts = {line["requested"] for line in lines_of(out / "masks.jsonl")}
        assert len(counts) > 1  # not the same smear again and again
    line = error_of(run("check-layout", data, "-m", model))
    assert line == f"error: {data}: an envelope needs at least 4 smears, here: 1; add smears"


@pytest.mark.parametrize("kind", ["no cells", "all cut"])
def test_smears_without_a_whole_cell_have_no_law(run: Run, tmp_path: Path, kind: str) -> None:
    discs = [] if kind == "no cells" else [(0.0, 0.0, 12.0), (79.0, 63.0, 12.0)]
    data = write_folder(tmp_path / "data", [analytic_smear(discs=discs, name=name) for name in "abcd"])
    for arguments in (("stats", data, "--layout"), ("masks", "--data", data, "-o", tmp_path / "k")):
        for more in ((), ("--json",)) if arguments[0] == "stats" else (("--layout", "contact"),):
            ran = run(*arguments, *more)
            assert error_of(ran).startswith(f"error: {data}: no whole cell to extract a shape from")
            assert ran.out == ""
    assert not (tmp_path / "k").exists()


def test_empty_smears_among_others_stop_no_fit(run: Run, tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(3)] + [analytic_smear((96, 96), (), name="bare")]
    data = write_folder(tmp_path / "data", smears)
    ran = run("stats", data, "--layout", "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["smears"] == 4
    assert found["layout"]["density"]["mean"] > 0


def test_generate_takes_a_segmenter_only_to_verify(run: Run, tmp_path: Path) -> None:
    ran = run("generate", "-o", tmp_path / "out", "--segmenter", tmp_path)
    assert ran.code == 2
    assert "verify" in ran.err


def test_generate_takes_a_mix_of_classes(run: Run, two_class_folder: Path, tmp_path: Path) -> None:
    options = ("-m", two_class_folder, "-n", 2, "--size", "64x64", "--no-sheet")
    ran = run("generate", "-o", tmp_path / "a", *options, "--mix", "red cell=1")
    assert ran.code == 0
    recipes = [json.loads(line) for line in (tmp_path / "a" / "manifest.jsonl").read_text().splitlines()]
    assert all(recipe["classes"]["white cell"] == 0 for recipe in recipes)
    assert all(recipe["layout"] == "contact" and recipe["mix"] == {"red cell": 1.0} for recipe in recipes)
    for mix, message in (("red cell", "fraction"), ("blue=1", "blue"), ("red cell=0.4", "sum to 1")):
        ran = run("generate", "-o", tmp_path / "b", *options, "--mix", mix)
        assert ran.code == 2
        assert message in ran.err
