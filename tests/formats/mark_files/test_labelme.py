from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marked_cells import check_boxes_and_points, check_round_trip, damaged, field, pixels, read, write
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.labelme import LABELME, LabelMeWriter
from smearsynth.geometry import Box, Outline, PixelMask, Point

TRIANGLE = [[1, 1], [9, 1], [1, 9]]


def png(mask: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(mask).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def content(*shapes: dict[str, Any], **keys: Any) -> dict[str, Any]:
    size = {"imageHeight": 48, "imageWidth": 64}
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "a.png",
        "imageData": None,
        **size,
        **keys,
    }


def load_one(folder: Path, record: dict[str, Any]) -> FieldAnnotation:
    (folder / "a.json").write_text(json.dumps(record))
    return read(LABELME, folder).fields[0]


def test_every_shape(tmp_path: Path) -> None:
    mask = np.array([[True, False, True], [True, True, True]])
    annotation = load_one(
        tmp_path,
        content(
            {"label": "red", "points": TRIANGLE, "shape_type": "polygon"},
            {"label": "red", "points": [[9, 12], [3, 2]], "shape_type": "rectangle"},
            {"label": "white", "points": [[20, 20], [25, 20]], "shape_type": "circle"},
            {"label": "white", "points": [["30", 20], [40, 24]], "shape_type": "ellipse"},
            {"label": "red", "points": [[5, 6]], "shape_type": "point"},
            {"label": "red", "points": [[4, 7], [6, 8]], "shape_type": "mask", "mask": png(mask)},
            {"label": "red", "points": [[4, 7], [6, 8]], "shape_type": "line"},
            {"label": "Ignore region", "points": TRIANGLE, "shape_type": "polygon"},
        ),
    )
    polygon, box, circle, ellipse, point, drawn = (cell.shape for cell in annotation.cells)
    assert isinstance(polygon, Outline)
    assert polygon.rings[0].tolist() == TRIANGLE
    assert (box, point) == (Box(3, 2, 9, 12), Point(5, 6))
    assert pixels(circle).sum() == pytest.approx(math.pi * 25, rel=0.05)
    assert pixels(ellipse)[20:24, 30:40].sum() == pixels(ellipse).sum() == pytest.approx(math.pi * 10, rel=0.1)
    assert isinstance(drawn, PixelMask)
    assert (drawn.mask == mask).all()
    assert (drawn.x, drawn.y) == (4, 7)
    assert annotation.left_out == {"line shapes": 1}
    assert len(annotation.ignored) == 1
    assert [cell.id for cell in annotation.cells] == ["1", "2", "3", "4", "5", "6"]
    assert annotation.size == (48, 64)


def test_parts_with_one_group_id_and_label_are_one_cell(tmp_path: Path) -> None:
    part = {"points": TRIANGLE, "shape_type": "polygon", "group_id": 7}
    other = [[x + 20, y] for x, y in TRIANGLE]
    annotation = load_one(
        tmp_path,
        content({"label": "red", **part}, {"label": "white", **part}, {"label": "red", **part, "points": other}),
    )
    assert [(cell.class_name, cell.id) for cell in annotation.cells] == [("red", "1"), ("white", "2")]
    assert pixels(annotation.cells[0].shape).sum() == 2 * pixels(annotation.cells[1].shape).sum()


def test_an_image_with_a_windows_path_or_none(tmp_path: Path) -> None:
    assert load_one(tmp_path, content(imagePath="..\\slides\\b.png")).image == "..\\slides\\b.png"
    assert load_one(tmp_path, content(imagePath=None)).image == "a"


def test_other_json_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "classes.json").write_text('{"shapes": 1, "imagePath": 2}')
    assert LABELME.find(tmp_path) == []


def test_another_json_file_beside_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content()))
    (tmp_path / "b.json").write_text("{}")
    loaded = read(LABELME, tmp_path)
    assert len(loaded.fields) == 1
    assert "b.json: not a LabelMe file" in loaded.notes[0]


def test_a_polygon_of_two_points_is_counted(tmp_path: Path) -> None:
    shape = {"label": "red", "points": TRIANGLE[:2], "shape_type": "polygon"}
    assert load_one(tmp_path, content(shape)).left_out == {"polygons with fewer than 3 points": 1}


def test_damaged_files_give_data_errors_that_name_the_shape(tmp_path: Path) -> None:
    shapes = [
        {"label": "red", "points": TRIANGLE, "shape_type": "polygon", "group_id": None},
        {"label": "red", "points": [[4, 7], [6, 8]], "shape_type": "mask", "mask": png(np.eye(2, dtype=bool))},
        {"label": "red", "points": [[4, 7], [6, 8]], "shape_type": "circle"},
    ]
    errors = []
    for record in damaged(content(*shapes)):
        try:
            load_one(tmp_path, record)
        except DataError as error:
            errors.append(str(error))
        except IndexError:
            assert not isinstance(record["shapes"], list)
    assert len(errors) > 100
    assert all("a.json: shape " in error or "image size" in error for error in errors)
    assert not any("\n" in error for error in errors)


def test_round_trip(tmp_path: Path) -> None:
    check_round_trip(LABELME, LabelMeWriter, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.json",
        "a.png",
        "b.json",
        "b.png",
        "classes.json",
    }


def test_boxes_and_points(tmp_path: Path) -> None:
    check_boxes_and_points(LABELME, LabelMeWriter, tmp_path)


def test_confidences_are_counted_as_lost(tmp_path: Path) -> None:
    writer = LabelMeWriter(tmp_path, ("red",))
    write(writer, FieldAnnotation("a", Path("a"), (CellMark(Point(1, 2), "red", confidence=0.5),)))
    assert +writer.lost == {"confidences": 1}


def test_a_name_that_would_replace_the_class_table_is_refused(tmp_path: Path) -> None:
    writer = LabelMeWriter(tmp_path, ("red", "white cell", "plättchen"))
    with pytest.raises(DataError, match="rename the image"):
        write(writer, field("classes"))
