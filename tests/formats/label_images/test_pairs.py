from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_folders import IMAGE, LABELS_8, data_error, write_pair
from smearsynth.datasets import open_smears
from smearsynth.formats.label_images.pairs import IMAGE_FOLDERS, LABEL_FOLDERS, find_groups, find_pairs


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs_of(root: Path) -> list[tuple[str, str, str, str | None]]:
    return [
        (entry.name, str(entry.image.relative_to(root)), str(entry.annotation.relative_to(root)), entry.split)
        for entry in find_pairs(root).entries
    ]


def test_pairs_in_one_folder(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "x.1.JPG")
    Image.fromarray(LABELS_8).save(tmp_path / "x.1_mask.PNG")
    Image.fromarray(IMAGE).save(tmp_path / "y.png")
    Image.fromarray(LABELS_8).save(tmp_path / "y_cp_masks.png")
    folder = open_smears(tmp_path)
    assert folder.names == ("x.1", "y")
    assert folder[0].count == folder[1].count == 3


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("x.tif", "x_labels.tif"), ("x.png", "x_masks.png"), ("x.png", "x_instances.PNG"),
        ("x.jpg", "x_cp_masks.png"), ("x.png", "x_seg.npy"), ("x.png", "X_GT.png"), ("x.png", "x-mask.bmp"),
        ("x_img.png", "x_masks.png"),
        ("x_image.tif", "x_label.tif"), ("image_x.png", "mask_x.png"), ("x.ome.tif", "x_labels.ome.tif"),
    ],
)  # fmt: skip
def test_endings_of_pairs_in_one_folder(tmp_path: Path, image: str, label: str) -> None:
    assert pairs_of(touch(tmp_path, image, label)) == [("x", image, label, None)]


@pytest.mark.parametrize("images", IMAGE_FOLDERS)
@pytest.mark.parametrize("labels", ["Labels", "label", "MASKS", "ground_truth", "GroundTruth", "gt", "y", "target"])
def test_names_of_folders(tmp_path: Path, images: str, labels: str) -> None:
    root = touch(tmp_path, f"{images.capitalize()}/a.png", f"{labels}/a.png")
    assert [len(group.labels) for group in find_groups(root)] == [1]
    assert pairs_of(root) == [("a", f"{images.capitalize()}/a.png", f"{labels}/a.png", None)]


def test_the_preferred_folder_is_the_first_that_holds_label_images(tmp_path: Path) -> None:
    assert LABEL_FOLDERS.index("labels") < LABEL_FOLDERS.index("masks")
    root = touch(tmp_path, "images/a.png", "labels/a.txt", "masks/a.png")
    assert pairs_of(root)[0][2] == "masks/a.png"
    touch(tmp_path, "labels/a.png")
    assert pairs_of(root)[0][2] == "labels/a.png"


@pytest.mark.parametrize(
    "pattern",
    [
        "images/{split}/{name}.png labels/{split}/{name}.png",
        "{split}/images/{name}.tif {split}/masks/{name}.tif",
        "{split}/{name}_img.tif {split}/{name}_masks.tif",
        "{split}_images/{name}.png {split}_masks/{name}.png",
        "images-{split}/{name}.png masks-{split}/{name}.png",
    ],
)
def test_folders_of_splits(tmp_path: Path, pattern: str) -> None:
    for split, name in (("Train", "a"), ("Train", "b"), ("test", "b"), ("test", "c")):
        touch(tmp_path, *pattern.format(split=split, name=name).split())
    pairs = [(name, split) for name, _, _, split in pairs_of(tmp_path)]
    assert [split for _, split in pairs] == ["train", "train", "test", "test"] or sorted(pairs) == pairs
    assert {(name.lower(), split) for name, split in pairs} == {
        ("a", "train"), ("train_b", "train"), ("test_b", "test"), ("c", "test"),
    }  # fmt: skip


def test_folders_of_slides(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"slide{i}/{folder}/a.png" for i in (1, 2) for folder in ("images", "masks")))
    assert [name for name, *_ in pairs_of(root)] == ["slide1_a", "slide2_a"]


def test_a_folder_in_a_folder_of_data(tmp_path: Path) -> None:
    root = touch(tmp_path, "data/images/a.png", "data/labels/a.png")
    assert pairs_of(root) == [("a", "data/images/a.png", "data/labels/a.png", None)]


def test_masks_beside_the_images_of_a_folder_of_images(tmp_path: Path) -> None:
    root = touch(tmp_path, "images/a.png", "images/a_cp_masks.png")
    assert pairs_of(root) == [("a", "images/a.png", "images/a_cp_masks.png", None)]


def test_other_folders_and_files_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.png", "preview.png", "backup/images/b.png", ".images/c.png")
    assert [name for name, *_ in pairs_of(tmp_path)] == ["a"]


def test_names_are_compared_without_case_and_unicode_form(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Pr\u00e4parat") for form in ("NFC", "NFD"))
    root = touch(tmp_path, f"images/{composed}.png", f"labels/{decomposed.upper()}.png")
    assert [name for name, *_ in pairs_of(root)] == [composed]


def test_the_edited_masks_of_cellpose_are_preferred(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.png", "a_cp_masks.png", "a_seg.npy")
    assert pairs_of(root)[0][2] == "a_seg.npy"
    assert "a_seg.npy" in find_pairs(root).notes[0]


def test_a_split_without_labels_is_noted(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/a.png", "train/a_masks.png", "test/b.png")
    assert [name for name, *_ in pairs_of(root)] == ["a"]
    assert find_pairs(root).notes == (f"{root / 'test'}: 1 images without labels are not read",)


def test_images_of_ignored_pixels(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/images/a.png", "train/masks/a.png", "train/Ignored/a.png")
    assert find_pairs(root).ignored == {"a": root / "train/Ignored/a.png"}
    touch(tmp_path, "train/Ignored/b.png")
    assert "has no image of this name" in data_error(lambda: find_pairs(root))


def test_an_error_names_images_without_labels_and_labels_without_image(tmp_path: Path) -> None:
    write_pair(tmp_path)
    image, labels = tmp_path / "images" / "a.png", tmp_path / "labels" / "a.png"
    image.rename(tmp_path / "images" / "b.png")
    message = data_error(lambda: open_smears(tmp_path))
    assert "1 image (b) without labels; add labels/b.png" in message
    (tmp_path / "labels" / "b.png").write_bytes(labels.read_bytes())
    assert "1 label image (a) without image" in data_error(lambda: open_smears(tmp_path))


def test_an_error_names_images_without_any_labels(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "labels/a.txt")
    assert f"put label images in {tmp_path / 'labels'}" in data_error(lambda: find_pairs(tmp_path))
    assert [len(group.labels) for group in find_groups(tmp_path)] == [0]


def test_two_images_of_the_same_name_are_rejected(tmp_path: Path) -> None:
    write_pair(tmp_path)
    Image.fromarray(IMAGE).save(tmp_path / "images" / "a.jpg")
    assert "same name" in data_error(lambda: open_smears(tmp_path))


def test_two_label_images_of_one_image_are_rejected(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.png", "a_mask.png", "a_label.png")
    assert "same name" in data_error(lambda: find_pairs(root))


def test_notes_list_the_differences_between_splits_and_images(tmp_path: Path) -> None:
    for name in "abcde":
        write_pair(tmp_path, np.zeros((4, 4), np.uint8), image_file=f"{name}.png", label_file=f"{name}.png")
    (tmp_path / "split.csv").write_text("image,split\nA.png,train\nx,test\n")
    entries, notes, _ = find_pairs(tmp_path)
    assert [entry.split for entry in entries] == ["train", None, None, None, None]
    assert [note.removeprefix(f"{tmp_path}/") for note in notes] == [
        "split.csv: 1 row (x) without an image",
        "split.csv: 4 images (b, c, d, …) in no split",
    ]
