from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from image_folders import IMAGE, LABELS_8, data_error, write_pair
from smearsynth.datasets import open_smears
from smearsynth.formats.listing import (
    IMAGE_SUFFIXES,
    check_file_stem,
    find_pairs,
    image_files,
    image_name,
    read_splits,
    remove_temporary_files,
)


def test_pairs_in_one_folder(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "x.1.JPG")
    Image.fromarray(LABELS_8).save(tmp_path / "x.1_mask.PNG")
    Image.fromarray(IMAGE).save(tmp_path / "y.png")
    Image.fromarray(LABELS_8).save(tmp_path / "y_cp_masks.png")
    folder = open_smears(tmp_path)
    assert folder.names == ("x.1", "y")
    assert folder[0].count == folder[1].count == 3


def test_an_error_names_images_without_labels_and_labels_without_image(tmp_path: Path) -> None:
    write_pair(tmp_path)
    image, labels = tmp_path / "images" / "a.png", tmp_path / "labels" / "a.png"
    image.rename(tmp_path / "images" / "b.png")
    message = data_error(lambda: open_smears(tmp_path))
    assert "1 image (b) without labels; add labels/b.png" in message
    (tmp_path / "labels" / "b.png").write_bytes(labels.read_bytes())
    assert "1 label image (a) without image" in data_error(lambda: open_smears(tmp_path))


def test_two_images_of_the_same_name_are_rejected(tmp_path: Path) -> None:
    write_pair(tmp_path)
    Image.fromarray(IMAGE).save(tmp_path / "images" / "a.jpg")
    assert "same name" in data_error(lambda: open_smears(tmp_path))


def test_images_are_listed_by_extension_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.tif", ".c.png", "d.txt", "e.WebP"):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ["a.tif", "b.PNG", "e.WebP"]
    assert "does not exist" in data_error(lambda: image_files(tmp_path / "missing"))


def test_only_the_extension_of_an_image_is_removed_from_a_name() -> None:
    names = [f"slide.7{suffix}" for suffix in IMAGE_SUFFIXES]
    assert {image_name(name) for name in names} == {"slide.7"}
    assert [image_name(name) for name in ("a.txt", ".png", "a")] == ["a.txt", ".png", "a"]


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


def test_notes_list_the_differences_between_splits_and_images(tmp_path: Path) -> None:
    for name in "abcde":
        write_pair(tmp_path, image_file=f"{name}.png", label_file=f"{name}.png")
    (tmp_path / "split.csv").write_text("image,split\na,train\nx,test\n")
    entries, notes = find_pairs(tmp_path)
    assert [entry.split for entry in entries] == ["train", None, None, None, None]
    assert [note.removeprefix(f"{tmp_path}/") for note in notes] == [
        "split.csv: 1 row (x) without an image",
        "split.csv: 4 images (b, c, d, …) in no split",
    ]
