from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marked_cells import SIZE, Mask, cell_masks, damaged, pixels, read
from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.label_studio import LABEL_STUDIO
from smearsynth.geometry import Box, Outline, Point

HEIGHT, WIDTH = SIZE


def brush(mask: Mask) -> list[int]:
    """Encode a mask as the brush tool does, with a literal run for the first pixel."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    # The values of the first pixel one by one, then runs.
    bits += "0" + "00" + f"{3:03b}" + "".join(f"{value:08b}" for value in values[:4])
    rest = values[4:]
    ends = [*(np.flatnonzero(np.diff(rest)) + 1).tolist(), len(rest)]
    start = 0
    for end in ends:
        bits += "1" + "11" + f"{end - start - 1:016b}" + f"{rest[start]:08b}"
        start = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def result(kind: str, label: str | None = "red", id: str | None = None, **value: Any) -> dict[str, Any]:
    value = {**value, **({f"{kind}labels": [label]} if label else {})}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": id or kind, "type": f"{kind}labels", "value": value, **size}


RESULTS = (
    result("polygon", points=[[0, 0], [50, 0], [0, 50]], closed=True),
    result("rectangle", x=25, y=50, width=12.5, height=25, rotation=0),
    result("ellipse", "white", x=50, y=50, radiusX=12.5, radiusY=12.5, rotation=90),
    result("keypoint", x=25, y=50, width=0.3),
    result("brush", format="rle", rle=brush(cell_masks()[2])),
)


def task(*results: Any, image: str = "/data/upload/1/1a2b3c4d-a.png", **keys: Any) -> dict[str, Any]:
    return {"id": 5, "data": {"image": image}, "annotations": [{"id": 1, "result": list(results)}], **keys}


def load(folder: Path, *tasks: Any) -> Any:
    (folder / "project.json").write_text(json.dumps(list(tasks)))
    return read(LABEL_STUDIO, folder)


def load_one(folder: Path, *results: Any, **keys: Any) -> FieldAnnotation:
    return load(folder, task(*results, **keys)).fields[0]


def test_every_shape(tmp_path: Path) -> None:
    ignored = result("polygon", "ignore", points=[[0, 0], [50, 0], [0, 50]])
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    vector = {"type": "vectorlabels", "value": {"vertices": []}, "original_width": WIDTH, "original_height": HEIGHT}
    annotation = load_one(tmp_path, *RESULTS, ignored, choice, vector)
    polygon, box, ellipse, point, mask = (cell.shape for cell in annotation.cells)
    assert isinstance(polygon, Outline)
    assert polygon.rings[0].tolist() == [[0, 0], [32, 0], [0, 24]]
    assert (box, point) == (Box(16, 24, 24, 36), Point(16, 24))
    assert pixels(ellipse)[16:32, 26:38].sum() == pixels(ellipse).sum() == pytest.approx(math.pi * 48, rel=0.05)
    assert (pixels(mask) == cell_masks()[2]).all()
    assert annotation.left_out == {"choices results": 1, "vector shapes": 1}
    assert len(annotation.ignored) == 1
    assert [cell.id for cell in annotation.cells] == ["polygon", "rectangle", "ellipse", "keypoint", "brush"]
    assert annotation.size == SIZE
    assert not annotation.relative


def test_a_rectangle_is_turned_around_its_first_corner(tmp_path: Path) -> None:
    turned = result("rectangle", x=50, y=50, width=25, height=25, rotation=90)
    assert load_one(tmp_path, turned).cells[0].shape == pytest.approx(Box(32 - 12, 24, 32, 24 + 16))


def test_without_the_image_size_coordinates_are_fractions(tmp_path: Path) -> None:
    records = [{key: item[key] for key in ("id", "type", "value")} for item in RESULTS[:2]]
    annotation = load_one(tmp_path, *records)
    assert annotation.relative
    assert annotation.cells[1].shape == Box(0.25, 0.5, 0.375, 0.75)
    with pytest.raises(DataError, match="original_width"):
        load_one(tmp_path, {"type": "brushlabels", "value": {"rle": [1]}})


def test_separate_label_and_polygon_tags(tmp_path: Path) -> None:
    polygon = {**result("polygon", None, "x", points=[[0, 0], [50, 0], [0, 50]]), "type": "polygon"}
    label = {**result("polygon", None, "x", points=[[0, 0], [50, 0], [0, 50]], labels=["white"]), "type": "labels"}
    assert [cell.class_name for cell in load_one(tmp_path, polygon, label).cells] == ["white"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/upload/1/1a2b3c4d-a%20b.png", "/data/upload/1/a b.png"),
        ("/data/local-files/?d=slides/a.png", "slides/a.png"),
        ("s3://bucket/x/a.tif", "/x/a.tif"),
        ("https://host/a.jpg?token=1", "/a.jpg"),
    ],
)
def test_the_name_of_the_image(tmp_path: Path, image: str, name: str) -> None:
    assert load_one(tmp_path, RESULTS[0], image=image).image == name


def test_the_upload_prefix_stays_if_the_image_has_it(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "1a2b3c4d-a.png")
    assert load_one(tmp_path, RESULTS[0]).image.endswith("/1a2b3c4d-a.png")


def test_one_annotation_of_each_task_is_read(tmp_path: Path) -> None:
    annotations = [
        {"result": [RESULTS[1]], "ground_truth": True},
        {"result": [RESULTS[0], RESULTS[1]]},
        {"result": [RESULTS[0]], "was_cancelled": True},
    ]
    content = load(tmp_path, task(annotations=annotations), task(annotations=annotations[2:]), task(annotations=[]))
    assert [cell.id for cell in content.fields[0].cells] == ["rectangle"]
    assert content.fields[0].left_out == {"results of further annotations of the image": 2}
    assert content.notes == ("Label Studio: 2 tasks without annotation not read",)
    assert len(content.fields) == 1


def test_json_min(tmp_path: Path) -> None:
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    labels = [
        {"x": 25, "y": 50, "width": 12.5, "height": 25, "rotation": 0, "rectanglelabels": ["red"], **size},
        {"points": [[0, 0], [50, 0], [0, 50]], "polygonlabels": ["white"], **size},
    ]
    annotation = load(tmp_path, {"image": "/data/upload/1/1a2b3c4d-a.png", "id": 1, "label": labels}).fields[0]
    assert annotation.cells[0].shape == Box(16, 24, 24, 36)
    assert [cell.class_name for cell in annotation.cells] == ["red", "white"]


def test_other_json_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "results.json").write_text('{"result": 1}')
    assert LABEL_STUDIO.find(tmp_path) == []


def test_damaged_files_give_data_errors_that_name_the_result(tmp_path: Path) -> None:
    errors = []
    short = result("brush", format="rle", rle=brush(cell_masks()[2])[:12])
    for results in damaged([*RESULTS[:4], short]):
        try:
            load_one(tmp_path, *results)
        except DataError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert all("project.json: task 5" in error for error in errors)
    assert sum(", result " in error for error in errors) > 0.8 * len(errors)


def test_a_brush_of_another_image_size(tmp_path: Path) -> None:
    wrong = {**RESULTS[4], "original_width": WIDTH + 1}
    with pytest.raises(DataError, match=r"task 5, result 1: .* do not fill the image of 65×48 px; export COCO"):
        load_one(tmp_path, wrong)
