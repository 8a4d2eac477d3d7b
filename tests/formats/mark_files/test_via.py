from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marked_cells import damaged, pixels, read
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.via import VIA
from smearsynth.geometry import Box, Outline, Point

POLYGON = {"name": "polygon", "all_points_x": [1, 9, 1], "all_points_y": [1, 1, 9]}
SHAPES: tuple[dict[str, Any], ...] = (
    POLYGON,
    {"name": "polyline", "all_points_x": [1, 9, 9, 1, 1], "all_points_y": [1, 1, 9, 9, 3]},
    {"name": "polyline", "all_points_x": [1, 9, 20], "all_points_y": [1, 1, 1]},
    {"name": "rect", "x": 3, "y": 2, "width": 6, "height": 10},
    {"name": "circle", "cx": 20, "cy": 20, "r": 5},
    {"name": "ellipse", "cx": 40, "cy": 20, "rx": 8, "ry": 4, "theta": math.pi / 2},
    {"name": "point", "cx": 5, "cy": "6"},
    {"name": "cuboid"},
)


def regions(*shapes: dict[str, Any], **attributes: Any) -> list[dict[str, Any]]:
    return [{"shape_attributes": shape, "region_attributes": attributes} for shape in shapes]


def images(items: Any) -> dict[str, Any]:
    return {"a.png12": {"filename": "a.png", "size": 12, "regions": items, "file_attributes": {}}}


def load(folder: Path, content: Any) -> Any:
    (folder / "via.json").write_text(json.dumps(content))
    return read(VIA, folder)


def check_shapes(annotation: Any) -> None:
    polygon, polyline, box, circle, ellipse, point = (cell.shape for cell in annotation.cells)
    assert isinstance(polygon, Outline)
    assert polygon.rings[0].tolist() == [[1, 1], [9, 1], [1, 9]]
    assert pixels(polyline).sum() > 50
    assert (box, point) == (Box(3, 2, 9, 12), Point(5, 6))
    assert pixels(circle).sum() == pytest.approx(math.pi * 25, rel=0.05)
    assert pixels(ellipse)[12:28, 36:44].sum() == pixels(ellipse).sum() > 90
    assert annotation.left_out == {"open polylines": 1, "cuboid shapes": 1}
    assert annotation.image == "a.png"


@pytest.mark.parametrize("version", ["project", "regions", "1"])
def test_every_shape(tmp_path: Path, version: str) -> None:
    items = regions(*SHAPES)
    content = images(items if version != "1" else {str(i): item for i, item in enumerate(items)})
    if version == "project":
        content = {"_via_settings": {}, "_via_img_metadata": content, "_via_attributes": {}}
    check_shapes(load(tmp_path, content).fields[0])


@pytest.mark.parametrize("header", ["filename", "#filename"])
def test_csv(tmp_path: Path, header: str) -> None:
    with (tmp_path / "via.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([header, "file_size", "region_count", "region_shape_attributes", "region_attributes"])
        for shape in SHAPES:
            writer.writerow(["a.png", 12, len(SHAPES), json.dumps(shape), '{"type": "red"}'])
        writer.writerow(["b.png", 12, 0, "{}", "{}"])
    first, second = read(VIA, tmp_path).fields
    check_shapes(first)
    assert first.cells[0].class_name == "red"
    assert second.left_out == {"unannotated images": 1}
    (tmp_path / "via.csv").write_text("filename,region_shape_attributes\na.png,{\n")
    with pytest.raises(DataError, match=r"via\.csv: line 2: "):
        read(VIA, tmp_path)


def test_version_3(tmp_path: Path) -> None:
    content = {
        "project": {"pid": "x"},
        "attribute": {"1": {"aname": "type", "options": {"0": "red", "1": "white"}}},
        "file": {"1": {"fid": "1", "fname": "a.png", "src": "x/a.png"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            "q": {"vid": "1", "z": [], "xy": [7, 1, 1, 9, 1, 1, 9], "av": {"1": "1"}},
            "r": {"vid": "1", "z": [], "xy": [2, 3, 2, 6, 10], "av": {"1": "0"}},
            "s": {"vid": "1", "z": [], "xy": [1, 5, 6], "av": {}},
            "t": {"vid": "1", "z": [0.5], "xy": [], "av": {}},
        },
    }
    annotation = load(tmp_path, content).fields[0]
    assert [cell.class_name for cell in annotation.cells] == ["white", "red", "cell"]
    assert [cell.shape for cell in annotation.cells[1:]] == [Box(3, 2, 9, 12), Point(5, 6)]
    assert annotation.image == "a.png"


def test_the_class_is_the_attribute_with_few_values(tmp_path: Path) -> None:
    items = [
        {
            "shape_attributes": POLYGON,
            "region_attributes": {"id": str(i), "stage": ["ring", "void"][i % 2], "note": ""},
        }
        for i in range(8)
    ]
    content = load(tmp_path, images(items))
    assert content.class_names == ("ring",)
    assert len(content.fields[0].ignored) == 4
    assert "'stage'" in content.notes[0]
    boxes = load(tmp_path, images(regions(POLYGON, stage={"ring": True, "trophozoite": False})))
    assert boxes.class_names == ("ring",)


def test_other_json_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [{"file_name": "a"}], "annotations": [], "categories": []}')
    (tmp_path / "config.json").write_text('{"regions": 3}')
    (tmp_path / "a.csv").write_text("image,x,y\n")
    assert VIA.find(tmp_path) == []


def test_damaged_files_give_data_errors_that_name_the_region(tmp_path: Path) -> None:
    errors = []
    for content in damaged(images(regions(*SHAPES[::3], SHAPES[5], kind="red"))):
        try:
            load(tmp_path, content)
        except DataError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert sum("image a.png, region " in error for error in errors) > 0.9 * len(errors)


def test_a_folder_without_regions(tmp_path: Path) -> None:
    assert load(tmp_path, {"_via_img_metadata": {}}).fields == []
    assert np.isfinite(len(load(tmp_path, images([])).fields))
