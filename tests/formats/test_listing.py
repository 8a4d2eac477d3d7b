from __future__ import annotations

import os
from pathlib import Path

import pytest

from image_folders import data_error
from smearsynth.formats.listing import (
    IMAGE_SUFFIXES,
    check_file_stem,
    image_files,
    image_name,
    read_splits,
    remove_temporary_files,
)


def test_images_are_listed_by_extension_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.tif", ".c.png", "d.txt", "e.WebP"):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ["a.tif", "b.PNG", "e.WebP"]
    assert "does not exist" in data_error(lambda: image_files(tmp_path / "missing"))


def test_only_the_extension_of_an_image_is_removed_from_a_name() -> None:
    names = [f"slide.7{suffix}" for suffix in IMAGE_SUFFIXES]
    assert {image_name(name) for name in names} == {"slide.7"}
    assert [image_name(name) for name in ("a.txt", ".png", "a")] == ["a.txt", ".png", "a"]
    assert [image_name(name) for name in ("x.1.ome.TIF", "x.ome.png", ".ome.tif")] == ["x.1", "x.ome", ".ome"]


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a\0"])
def test_names_that_are_no_file_names(name: str) -> None:
    assert "is not a file name" in data_error(lambda: check_file_stem(name))


def test_only_old_temporary_files_are_removed(tmp_path: Path) -> None:
    old, new, other = tmp_path / ".1.part", tmp_path / ".2.part", tmp_path / "3.part"
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    remove_temporary_files(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, other]


def test_splits_are_read_by_name(tmp_path: Path) -> None:
    assert read_splits(tmp_path) == {}
    (tmp_path / "split.csv").write_text("\ufeffsplit,image\ntrain,a.png\ntest,b.1\n,c\n", encoding="utf-8")
    assert read_splits(tmp_path) == {"a": "train", "b.1": "test"}
