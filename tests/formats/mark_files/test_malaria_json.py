from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from image_folders import data_error
from smearsynth.formats.base import AnnotationFiles
from smearsynth.formats.mark_files.malaria_json import find, load
from smearsynth.geometry import Box

BBBC041 = {
    "image": {"checksum": "x", "pathname": "/images/a.png", "shape": {"r": 1200, "c": 1600, "channels": 3}},
    "objects": [
        {
            "bounding_box": {"minimum": {"r": 10, "c": 20}, "maximum": {"r": 110, "c": 130}},
            "category": "red blood cell",
        },
        {"bounding_box": {"minimum": {"r": 1, "c": 2}, "maximum": {"r": 3, "c": 4}}, "category": "difficult"},
    ],
}
IML = {
    "image_name": "PA1.JPG",
    "objects": [
        {"type": "ring", "bbox": {"x": "305", "y": "169", "h": "80", "w": "70"}},
        {"type": "red blood cell", "bbox": [1, 2, 3, 4]},
    ],
}
MAPPED = {"a": [{"cls": "red", "box": [1, 2, 9.5, 8]}], "b": []}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def read(root: Path) -> AnnotationFiles:
    return load(root, find(root))


def test_bbbc041(tmp_path: Path) -> None:
    content = read(write(tmp_path / "training.json", [BBBC041]))
    (field,) = content.fields
    assert (field.image, field.size, field.split) == ("/images/a.png", (1200, 1600), None)
    assert [cell.shape for cell in field.cells] == [Box(20, 10, 130, 110), Box(2, 1, 4, 3)]
    assert content.class_names == ("red blood cell", "difficult")


def test_iml_malaria_with_numbers_as_text(tmp_path: Path) -> None:
    (field,) = read(write(tmp_path / "annotations.json", [IML])).fields
    assert field.image == "PA1.JPG"
    assert [cell.shape for cell in field.cells] == [Box(305, 169, 375, 249), Box(1, 2, 4, 6)]
    assert field.cells[0].class_name == "ring"


def test_mapping_of_names_to_boxes(tmp_path: Path) -> None:
    first, second = read(write(tmp_path / "boxes.json", MAPPED)).fields
    assert (first.image, first.cells[0].shape) == ("a", Box(1, 2, 9.5, 8))
    assert (second.image, second.cells) == ("b", ())


def test_several_files_are_splits(tmp_path: Path) -> None:
    for name in ("training", "test", "more"):
        write(tmp_path / f"{name}.json", [BBBC041])
    assert [field.split for field in read(tmp_path).fields] == [None, "test", "training"]


def test_other_json_is_not_found(tmp_path: Path) -> None:
    write(tmp_path / "coco.json", {"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}], "categories": []})
    write(tmp_path / "labelme.json", {"shapes": [{"label": "a", "points": []}], "imagePath": "a.png"})
    write(tmp_path / "results.json", [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}])
    write(tmp_path / "empty.json", [])
    (tmp_path / "text.json").write_text("")
    assert find(tmp_path) == []
    for i in range(21):
        write(tmp_path / f"{i}.json", MAPPED)
    assert find(tmp_path) == []
    assert find(tmp_path / "3.json") == [tmp_path / "3.json"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([{**BBBC041, "objects": None}], "image '/images/a.png' has None instead of a list"),
        ([{**BBBC041, "objects": [{"bounding_box": {}}]}], "image '/images/a.png', object 1, minimum is None"),
        ([{**BBBC041, "image": {"pathname": 3}}], "image 1 has no file name"),
        ([7], "image 1 is 7, not an object"),
        ([{**IML, "objects": [{"type": "ring", "bbox": [1, 2, 3]}]}], "object 1: the box is not four numbers"),
        ([{**IML, "objects": [{"type": "ring", "bbox": [1, 2, -3, 4]}]}], "object 1: the box has a negative size"),
        ([{**IML, "objects": [{"type": [], "bbox": [1, 2, 3, 4]}]}], "object 1: the class is a list"),
        ({"a": [{"cls": "red", "box": [1, 2, None, 4]}]}, "image 'a', object 1: None is not a finite number"),
        ({"a": [{"cls": "red", "box": [1, 2, float("nan"), 4]}]}, "image 'a', object 1: nan is not a finite"),
        ({"a": [{"cls": "red", "box": [1, 2, 10**400, 4]}]}, "is not a finite number"),
        ({"a": ["box"]}, "image 'a', object 1 is 'box', not an object"),
    ],
)
def test_damaged_content(tmp_path: Path, content: Any, problem: str) -> None:
    path = write(tmp_path / "a.json", content)
    message = data_error(lambda: load(tmp_path, [path]))
    assert "a.json: " in message
    assert problem in message
