from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from marked_cells import damaged, pixels, read
from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.supervisely import SUPERVISELY
from smearsynth.geometry import Box, PixelMask, Point

MASK = np.array([[True, False, True], [True, True, True]])


def bitmap(mask: np.ndarray) -> str:
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    data = io.BytesIO()
    image.save(data, "PNG", transparency=0)
    return base64.b64encode(zlib.compress(data.getvalue())).decode()


def cell(kind: str, exterior: Any, interior: Any = (), name: str = "red") -> dict[str, Any]:
    points = {"exterior": exterior, "interior": list(interior)}
    return {"id": 17, "classTitle": name, "geometryType": kind, "points": points, "tags": []}


OBJECTS = (
    cell("polygon", [[1, 1], [9, 1], [9, 9], [1, 9]], [[[3, 3], [6, 3], [6, 6], [3, 6]]]),
    cell("rectangle", [[3, 2], [8, 11]]),
    cell("point", [[5, 6]], name="white"),
    {"classTitle": "red", "geometryType": "bitmap", "bitmap": {"data": bitmap(MASK), "origin": [4, 7]}},
    cell("line", [[1, 1], [9, 1]]),
    cell("polygon", [[1, 1], [9, 1], [9, 9]], name="unannotated"),
)


def load_one(folder: Path, objects: Any, **keys: Any) -> FieldAnnotation:
    content = {"description": "", "tags": [], "size": {"height": 48, "width": 64}, "objects": objects, **keys}
    (folder / "ann").mkdir(exist_ok=True)
    (folder / "ann" / "a.png.json").write_text(json.dumps(content))
    return read(SUPERVISELY, folder).fields[0]


def test_every_shape(tmp_path: Path) -> None:
    annotation = load_one(tmp_path, list(OBJECTS))
    holed, box, point, mask = (mark.shape for mark in annotation.cells)
    # Corners are in the centres of pixels 1 to 9 and 3 to 6: 8 x 8 minus 3 x 3 px.
    assert pixels(holed).sum() == 55
    assert (box, point) == (Box(3, 2, 9, 12), Point(5.5, 6.5))
    assert isinstance(mask, PixelMask)
    assert (mask.mask == MASK).all()
    assert (mask.x, mask.y) == (4, 7)
    assert [mark.id for mark in annotation.cells] == ["17", "17", "17", "4"]
    assert annotation.left_out == {"line shapes": 1}
    assert len(annotation.ignored) == 1
    assert (annotation.image, annotation.size) == ("a.png", (48, 64))


def test_coordinates_with_fractions_are_not_moved(tmp_path: Path) -> None:
    shapes = [mark.shape for mark in load_one(tmp_path, [cell("rectangle", [[3.5, 2], [8, 11]])]).cells]
    assert shapes == [Box(3.5, 2, 8, 11)]


def test_classes_are_those_of_the_project(tmp_path: Path) -> None:
    titles = ("white", "red", "void")
    (tmp_path / "meta.json").write_text(json.dumps({"classes": [{"title": title} for title in titles], "tags": []}))
    load_one(tmp_path, list(OBJECTS))
    assert read(SUPERVISELY, tmp_path).class_names == ("white", "red")


def test_other_json_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "meta.json").write_text('{"classes": [], "tags": [], "objects": 1, "size": 2, "height": 3}')
    assert SUPERVISELY.find(tmp_path) == []


def test_damaged_files_give_data_errors_that_name_the_object(tmp_path: Path) -> None:
    errors = []
    for objects in damaged(list(OBJECTS[:4])):
        try:
            load_one(tmp_path, objects)
        except DataError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert all("a.png.json: object " in error for error in errors)
