from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from image_folders import data_error
from smears import analytic_smear
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.errors import OptionError
from smearsynth.formats.base import AnnotationFiles
from smearsynth.formats.mark_files.yolo import YoloDetectWriter, YoloSegmentWriter, find, load
from smearsynth.geometry import Box, Outline, fill, transform
from smearsynth.smear import Smear

CLASSES = ("red", "white")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def read(root: Path) -> AnnotationFiles:
    return load(root, find(root))


def test_boxes_polygons_and_confidences(tmp_path: Path) -> None:
    square = "0.1 0.2 0.3 0.2 0.3 0.4 0.1 0.4"
    root = write(
        tmp_path,
        {"labels/a.txt": f"0 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.2 0.4 0.75\n\n1.0 {square}\n0 {square} 0.5\n"},
    )
    content = read(root)
    assert content.class_names == ("class 0", "class 1")
    field = content.fields[0]
    assert (field.image, field.relative, field.split) == ("images/a", True, None)
    box, sure, ring, less_sure = field.cells
    assert box.shape == pytest.approx(Box(0.4, 0.3, 0.6, 0.7))
    assert (box.confidence, sure.confidence, ring.confidence, less_sure.confidence) == (None, 0.75, None, 0.5)
    assert isinstance(ring.shape, Outline)
    assert ring.shape.rings[0].tolist() == [[0.1, 0.2], [0.3, 0.2], [0.3, 0.4], [0.1, 0.4]]
    assert ring.class_name == "class 1"


@pytest.mark.parametrize(
    ("label", "image", "split"),
    [
        ("labels/train/a.txt", "images/train/a", "train"),
        ("valid/labels/a.txt", "valid/images/a", "valid"),
        ("test/a.b.txt", "test/a.b", "test"),
        ("a.txt", "a", None),
    ],
)
def test_layouts_of_folders(tmp_path: Path, label: str, image: str, split: str | None) -> None:
    field = read(write(tmp_path, {label: "0 0.5 0.5 0.1 0.1"})).fields[0]
    assert (field.image, field.split) == (image, split)


def test_other_text_files_are_not_labels(tmp_path: Path) -> None:
    others = {
        "classes.txt": "red\n",
        "README.dataset.txt": "0 0.5 0.5 0.1 is a line\n",
        "train.txt": "images/a.png\n",
        "requirements.txt": "numpy\n",
        "points/a.txt": "594 95 0 1\n",
        "results.txt": " \tArea\tX\tY\n1\t20\t5\t6\n",
        "distances.txt": "3 594 95 12 7\n",
    }
    write(tmp_path, others)
    assert find(tmp_path) == []
    assert find(tmp_path / "classes.txt") == []
    # An image can have the name of a list.
    write(tmp_path, {"labels/a.txt": "", "labels/test.txt": "0 0.5 0.5 0.1 0.1"})
    assert [path.name for path in find(tmp_path)] == ["a.txt", "test.txt"]


def test_the_data_file_and_a_label_file_can_be_opened(tmp_path: Path) -> None:
    root = write(tmp_path, {"data.yaml": "names: [red]", "labels/a.txt": "0 0.5 0.5 0.1 0.1", "hyp.yaml": "lr: 1"})
    labels = root / "labels" / "a.txt"
    assert find(root / "data.yaml") == find(labels) == [labels]
    assert find(root / "hyp.yaml") == []
    assert load(root / "data.yaml", [labels]).fields[0].cells[0].class_name == "red"


def test_an_empty_file_is_an_unannotated_image(tmp_path: Path) -> None:
    root = write(tmp_path, {"labels/a.txt": "\n", "labels/b.txt": "0 0.5 0.5 0.1 0"})
    empty, flat = read(root).fields
    assert (empty.cells, empty.left_out) == ((), {"unannotated images": 1})
    assert (flat.cells, flat.left_out) == ((), {"boxes without area": 1})


def test_px_are_read_if_all_coordinates_are_px(tmp_path: Path) -> None:
    content = read(write(tmp_path, {"labels/a.txt": "0 50 40 20 10\n"}))
    assert content.fields[0].cells[0].shape == Box(40, 35, 60, 45)
    assert not content.fields[0].relative
    assert any("read as px" in note for note in content.notes)
    write(tmp_path, {"labels/b.txt": "0 0.5 0.5 0.1 0.1\n0 9 0.5 0.1 0.1\n"})
    message = data_error(lambda: read(tmp_path))
    assert "a.txt: line 1: 50 is not a fraction of the image size" in message


def test_regions_of_an_ignored_class(tmp_path: Path) -> None:
    root = write(tmp_path, {"data.yaml": "names: {0: ignore, 1: red}", "labels/a.txt": "0 0.5 0.5 0.2 0.2"})
    field = read(root).fields[0]
    assert (len(field.cells), len(field.ignored)) == (0, 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 0.5 0.5 nan 0.1", "line 2: 'nan' is not a finite number"),
        ("0 0.5 0.5 x 0.1", "line 2: 'x' is not a finite number"),
        ("red 0.5 0.5 0.1 0.1", "line 2: 'red 0.5 0.5 0.1 0.1' is neither"),
        ("0 0.5 0.5", "line 2: '0 0.5 0.5' is neither"),
        ("0 0.5 0.5 0.1 0.1 7", "line 2: the confidence 7 is not a fraction"),
        ("0 0.5 0.5 -0.1 0.1", "line 2: the box has a negative size"),
    ],
)
def test_damaged_lines(tmp_path: Path, line: str, problem: str) -> None:
    write(tmp_path, {"labels/a.txt": f"0 0.5 0.5 0.1 0.1\n{line}\n"})
    assert f"a.txt: {problem}" in data_error(lambda: read(tmp_path))


def test_text_among_labels_is_reported(tmp_path: Path) -> None:
    content = read(write(tmp_path, {"labels/a.txt": "0 0.5 0.5 0.1 0.1", "labels/remarks.txt": "stain is old\n"}))
    assert len(content.fields) == 1
    assert any("remarks.txt: not a YOLO label file" in note for note in content.notes)


def two_discs() -> Smear:
    y, x = np.mgrid[:37, :53]
    labels = np.zeros((37, 53), np.int32)
    labels[(y - 15) ** 2 + (x - 10) ** 2 < 144] = 1
    labels[(y - 20) ** 2 + (x - 35) ** 2 < 100] = 2
    return Smear(np.zeros((37, 53, 3), np.uint8), labels, np.array([1, 0]), CLASSES, name="a")


def test_written_boxes_are_read_again(tmp_path: Path) -> None:
    smear = two_discs()
    with YoloDetectWriter(tmp_path, CLASSES) as writer:
        writer.write(smear)
    assert writer.is_written("a")
    assert +writer.lost == Counter(outlines=2)
    content = read(tmp_path)
    assert content.class_names == CLASSES
    (field,) = content.fields
    assert [cell.class_name for cell in field.cells] == ["white", "red"]
    for cell, box in zip(field.cells, smear.boxes().tolist(), strict=True):
        assert transform(cell.shape, (53, 37)) == pytest.approx(Box(*box), abs=0.01)


def test_written_polygons_are_read_again(tmp_path: Path) -> None:
    smear = two_discs()
    with YoloSegmentWriter(tmp_path, CLASSES) as writer:
        writer.write(smear)
    assert +writer.lost == Counter()
    (field,) = read(tmp_path).fields
    for k, cell in enumerate(field.cells, 1):
        pixels = fill(transform(cell.shape, (53, 37)), smear.shape)
        mask = np.zeros(smear.shape, bool)
        height, width = pixels.mask.shape
        mask[pixels.y : pixels.y + height, pixels.x : pixels.x + width] = pixels.mask
        assert (mask == (smear.labels == k)).all()


def test_data_file_names_the_splits(tmp_path: Path) -> None:
    split_of = {"a": "train", "b": "valid", "c": "test"}.get
    with YoloDetectWriter(tmp_path, ("cell",), split_of) as writer:
        for name in "abc":
            writer.write(analytic_smear(name=name))
    content = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert content == {"train": "images/train", "val": "images/valid", "test": "images/test", "names": {0: "cell"}}
    assert (tmp_path / "images" / "valid" / "b.png").exists()
    assert (tmp_path / "labels" / "valid" / "b.txt").exists()
    assert {field.image: field.split for field in read(tmp_path).fields} == {
        "images/train/a": "train",
        "images/valid/b": "valid",
        "images/test/c": "test",
    }


def test_without_splits_the_images_are_for_training_and_validation(tmp_path: Path) -> None:
    with YoloSegmentWriter(tmp_path, ("cell",)) as writer:
        writer.write(analytic_smear(name="a"))
    content = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert content == {"train": "images", "val": "images", "names": {0: "cell"}}
    assert read(tmp_path).fields[0].split is None


def test_what_is_lost_is_counted(tmp_path: Path) -> None:
    ring = np.ones((9, 9), bool)
    ring[4, 4] = False
    outline, part = Outline.of_mask(ring), Outline.of_mask(ring[:5])
    cells = (
        CellMark(outline, confidence=0.5),
        CellMark(outline, visible=part),
        CellMark(transform(outline, offset=(50, 0))),
    )
    annotation = FieldAnnotation("a", Path("a"), cells, (Box(0, 0, 2, 2),))
    image = np.zeros((20, 30, 3), np.uint8)
    common = {
        "confidences": 1,
        "ignored regions": 1,
        "cells outside the image": 1,
        "visible parts of overlapping cells": 1,
    }
    detect, segment = YoloDetectWriter(tmp_path / "d", ("cell",)), YoloSegmentWriter(tmp_path / "s", ("cell",))
    for writer in (detect, segment):
        writer.write_marks("a", image, annotation)
        writer.write_marks("b", image, FieldAnnotation("b", Path("b")))
    common["annotations of images without cells"] = 1
    assert +detect.lost == Counter(common, outlines=3)
    assert +segment.lost == Counter(common) + Counter({"holes in cells": 2})
    assert "a box, which the format yolo-segment cannot hold" in data_error(
        lambda: segment.write_marks("c", image, FieldAnnotation("c", Path("c"), (CellMark(Box(0, 0, 2, 2)),)))
    )
    assert "unknown class 'red'" in data_error(
        lambda: detect.write_marks("c", image, FieldAnnotation("c", Path("c"), (CellMark(outline, "red"),)))
    )
    assert not detect.is_written("c")


def test_class_names_must_fit_a_text_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="printable"):
        YoloDetectWriter(tmp_path, ("red\ncell",))
