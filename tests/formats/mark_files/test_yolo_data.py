from __future__ import annotations

from pathlib import Path

import pytest

from image_folders import data_error
from smearsynth.formats.mark_files.yolo import find, load
from smearsynth.formats.mark_files.yolo_data import read_data_file

LABEL = "0 0.5 0.5 0.1 0.1"


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("data.yaml", "names: [red, white]", {0: "red", 1: "white"}),
        ("dataset.yml", "names:\n  1: white\n  '0': 5", {1: "white", 0: "5"}),
        ("classes.txt", "red\n white \n", {0: "red", 1: "white"}),
        ("obj.names", "red\n", {0: "red"}),
    ],
)
def test_class_names(tmp_path: Path, file: str, text: str, names: dict[int, str]) -> None:
    (tmp_path / file).write_text(text)
    assert read_data_file([tmp_path]).names == names


def test_ids_without_a_name_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("3 0.5 0.5 0.1 0.1")
    assert "no data.yaml" in load(tmp_path, find(tmp_path)).notes[0]
    (tmp_path / "data.yaml").write_text("names: [red]")
    content = load(tmp_path, find(tmp_path))
    assert content.class_names == ("red", "class 3")
    assert content.notes == ("class ids without a name: 3",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("names: [red", "is not valid YAML"),
        ("names: 3", "names is neither a list nor a mapping"),
        ("names: {red: 0}", "names: 'red': 0 is no id with a name"),
        ("names: [[red]]", "names: 0: a list is no id with a name"),
    ],
)
def test_damaged_data_files(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    assert f"data.yaml: {problem}" in data_error(lambda: read_data_file([tmp_path]))


def test_python_objects_in_yaml_are_not_made(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.getcwd []")
    assert "is not valid YAML" in data_error(lambda: read_data_file([tmp_path]))


def test_two_data_sets_in_one_folder(tmp_path: Path) -> None:
    for name, classes in (("x", "[red]"), ("y", "[white]")):
        (tmp_path / name / "labels").mkdir(parents=True)
        (tmp_path / name / "data.yaml").write_text(f"names: {classes}")
        (tmp_path / name / "labels" / "a.txt").write_text(LABEL)
    assert "has other class names than" in data_error(lambda: load(tmp_path, find(tmp_path)))
    assert load(tmp_path / "y", find(tmp_path / "y")).class_names == ("white",)
    (tmp_path / "x" / "data.yaml").write_text("names: [white]")
    assert load(tmp_path, find(tmp_path)).class_names == ("white",)


def test_splits_of_lists_and_folders(tmp_path: Path) -> None:
    for name in ("p/labels/a.txt", "p/labels/b.txt", "q/labels/c.txt", "r/labels/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(LABEL)
    (tmp_path / "fold.txt").write_text("./p/images/B.jpg\nC:\\data\\q\\images\\x.png\n")
    (tmp_path / "data.yaml").write_text(
        "path: ../elsewhere\ntrain: fold.txt\nval: ./q/images/\ntest: [r/images]\nnames: [red]"
    )
    fields = load(tmp_path, find(tmp_path)).fields
    splits = {field.image: field.split for field in fields}
    assert splits == {"p/images/a": None, "p/images/b": "train", "q/images/c": "val", "r/images/d": "test"}


def test_one_folder_for_training_and_validation_is_no_split(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(LABEL)
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [red]")
    assert load(tmp_path, find(tmp_path)).fields[0].split is None


def test_lists_without_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LABEL)
    (tmp_path / "test.txt").write_text("data/a.png\n")
    (field,) = load(tmp_path, find(tmp_path)).fields
    assert field.split == "test"
