from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from smearsynth.errors import DataError
from smearsynth.formats.finding import ImageIndex, files_below, files_with_text, load_json, split_of_path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_are_found_by_any_spelling_of_their_name(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "präparat.png"), "sub/Field.JPG")
    index = ImageIndex(tmp_path)
    source = tmp_path / "a.json"
    composed = unicodedata.normalize("NFC", "präparat.png")
    found = index.find(composed, source)
    assert found is not None
    assert unicodedata.normalize("NFC", found.name) == composed
    for name in ("field.jpg", r"C:\data\field.jpg", "/home/x/Field.JPG", "./field.png", "field"):
        assert index.find(name, source) == tmp_path / "sub" / "Field.JPG"
    assert index.find("other.jpg", source) is None
    assert index.find("", source) is None


def test_folders_decide_between_images_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "images/test/a.png", "x/train/a.json", "b/1/c.png", "b/2/c.png")
    index = ImageIndex(tmp_path)
    assert index.find("train/a.png", tmp_path / "a.json") == tmp_path / "images/train/a.png"
    assert index.find("a.png", tmp_path / "a.json", "test") == tmp_path / "images/test/a.png"
    assert index.find("c.png", tmp_path / "b" / "2" / "a.json") == tmp_path / "b/2/c.png"
    with pytest.raises(DataError, match="there twice"):
        index.find("c.png", tmp_path / "a.json")


def test_a_label_image_is_not_taken_for_the_photograph(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.jpg", "instances/1.png", "points/1.txt")
    assert ImageIndex(tmp_path).find("1", tmp_path / "points" / "1.txt") == tmp_path / "images" / "1.jpg"


def test_files_of_a_format_are_told_by_samples_of_their_text(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden/a.json", "deep/deep/deep/deep/deep/deep/a.json")
    for k in range(5):
        (tmp_path / f"{k}.json").write_text('{"shapes": []}')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.JSON").write_bytes(b"\xff\xfe")
    files = files_below(tmp_path, [".json"])
    assert len(files) == 6
    assert files_with_text(files, '"shapes"') == [tmp_path / f"{k}.json" for k in range(5)]
    assert files_with_text(files, '"images"') == []


def test_damaged_json_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"a\.json: is not valid JSON"):
        load_json(tmp_path / "a.json")


def test_the_innermost_folder_names_the_split(tmp_path: Path) -> None:
    assert split_of_path(tmp_path / "Train" / "images" / "a.png", tmp_path) == "train"
    assert split_of_path(tmp_path / "images" / "VALID" / "a.png", tmp_path) == "valid"
    assert split_of_path(tmp_path / "images" / "a.png", tmp_path) is None
    assert split_of_path(tmp_path / "test" / "a.png", tmp_path / "test") is None
