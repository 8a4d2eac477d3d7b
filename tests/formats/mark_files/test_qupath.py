from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marked_cells import CLASSES, check_boxes_and_points, check_round_trip, damaged, field, pixels, read, write
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.qupath import QUPATH, QuPathWriter
from smearsynth.geometry import Box, Outline, Point

SQUARE = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]
HOLE = [[2, 2], [2, 5], [5, 5], [5, 2], [2, 2]]
TRIANGLE = [[1, 1], [9, 1], [1, 9], [1, 1]]


def moved(ring: list[list[int]], x: int) -> list[list[int]]:
    return [[a + x, b] for a, b in ring]


def feature(kind: str, coordinates: Any, name: str | None = None, **properties: Any) -> dict[str, Any]:
    if name:
        properties["classification"] = {"name": name, "color": [255, 0, 0]}
    geometry = {"type": kind, "coordinates": coordinates}
    return {
        "type": "Feature",
        "id": "f1",
        "geometry": geometry,
        "properties": {"objectType": "annotation", **properties},
    }


def load_one(folder: Path, *features: Any, collection: bool = True) -> FieldAnnotation:
    content = {"type": "FeatureCollection", "features": list(features)} if collection else list(features)
    (folder / "a.geojson").write_text(json.dumps(content))
    return read(QUPATH, folder).fields[0]


@pytest.mark.parametrize("collection", [True, False])
def test_every_geometry(tmp_path: Path, collection: bool) -> None:
    annotation = load_one(
        tmp_path,
        feature("Polygon", [SQUARE, HOLE], "red"),
        feature("MultiPolygon", [[moved(SQUARE, 10)], [moved(TRIANGLE, 30)]], "white", isLocked=True),
        feature("Point", [3.5, 4], "red"),
        feature("MultiPoint", [[3, 4], [5, 6]], "white"),
        feature("LineString", [[3, 4], [5, 6]], "red"),
        feature("Polygon", [TRIANGLE], "Ignore*"),
        feature("Polygon", [TRIANGLE], "Region*"),
        feature("Polygon", [TRIANGLE], name=None, name_of_object="x"),
        collection=collection,
    )
    assert annotation.image == "a"
    holed, parts, point, first, second, unnamed = annotation.cells
    assert pixels(holed.shape).sum() == 64 - 9
    assert pixels(parts.shape)[:, :20].sum() == 64
    assert pixels(parts.shape)[:, 20:].sum() == pixels(unnamed.shape).sum() > 20
    assert [mark.shape for mark in (point, first, second)] == [Point(3.5, 4), Point(3, 4), Point(5, 6)]
    assert [cell.class_name for cell in annotation.cells] == ["red", "white", "red", "white", "white", "cell"]
    assert [holed.id, first.id] == ["f1", "f1-1"]
    assert annotation.left_out == {"LineString geometries": 1, "regions of class Region*": 1}
    assert len(annotation.ignored) == 1


def test_a_file_of_rectangles_has_boxes(tmp_path: Path) -> None:
    rectangle = feature("Polygon", [[[3, 2], [9, 2], [9, 12], [3, 12], [3, 2]]])
    assert load_one(tmp_path, rectangle).cells[0].shape == Box(3, 2, 9, 12)
    assert load_one(tmp_path, rectangle, feature("Polygon", [TRIANGLE])).shows_cells
    assert isinstance(load_one(tmp_path, rectangle, feature("Polygon", [TRIANGLE])).cells[0].shape, Outline)


def test_the_region_around_detected_cells_is_no_cell(tmp_path: Path) -> None:
    around = [[0, 0], [60, 1], [60, 40], [0, 40], [0, 0]]
    cells = [feature("Polygon", [moved(TRIANGLE, x)], "red", objectType="cell") for x in (2, 20)]
    annotation = load_one(tmp_path, feature("Polygon", [around], "blood"), *cells)
    assert [cell.class_name for cell in annotation.cells] == ["red", "red"]
    assert annotation.left_out == {"regions around detected cells": 1}


def test_other_planes_are_left_out(tmp_path: Path) -> None:
    mark = feature("Polygon", [TRIANGLE])
    mark["geometry"]["plane"] = {"c": -1, "z": 2, "t": 0}
    assert load_one(tmp_path, mark).left_out == {"marks on other planes of a stack": 1}


def test_classes_of_plain_geojson(tmp_path: Path) -> None:
    plain = {
        "type": "Feature",
        "properties": {"label": "rbc"},
        "geometry": {"type": "Polygon", "coordinates": [TRIANGLE]},
    }
    assert load_one(tmp_path, plain).cells[0].class_name == "rbc"
    derived = feature("Polygon", [TRIANGLE], classification={"names": ["Tumour", "Positive"]})
    assert load_one(tmp_path, derived).cells[0].class_name == "Tumour: Positive"


def test_other_json_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "recipe.json").write_text('{"type": "recipe", "features": "Lite0"}')
    assert QUPATH.find(tmp_path) == []


def test_damaged_files_give_data_errors_that_name_the_feature(tmp_path: Path) -> None:
    marks = [feature("MultiPolygon", [[TRIANGLE, HOLE]], "red"), feature("Point", [3, 4], "red")]
    errors = []
    for content in damaged(marks):
        try:
            load_one(tmp_path, *content)
        except DataError as error:
            errors.append(str(error))
        except IndexError:
            assert not any(isinstance(mark, dict) and mark.get("type") == "Feature" for mark in content)
    assert len(errors) > 100
    assert all("a.geojson: feature " in error for error in errors)


def test_round_trip(tmp_path: Path) -> None:
    check_round_trip(QUPATH, QuPathWriter, tmp_path)


def test_boxes_and_points(tmp_path: Path) -> None:
    check_boxes_and_points(QUPATH, QuPathWriter, tmp_path)


def test_a_rectangular_outline_stays_an_outline(tmp_path: Path) -> None:
    outline = Outline.of_mask(pixels(Box(3, 2, 9, 12)))
    write(QuPathWriter(tmp_path, ("red",)), FieldAnnotation("a", Path("a"), (CellMark(outline, "red"),)))
    assert isinstance(read(QUPATH, tmp_path).fields[0].cells[0].shape, Outline)


def test_ids_are_the_same_for_the_same_smear(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write(QuPathWriter(tmp_path / name, CLASSES), field("a"), field("b"))
    contents = [(tmp_path / name / "annotations" / "a.geojson").read_bytes() for name in ("x", "y")]
    assert contents[0] == contents[1]
    ids = [cell.id for image in read(QUPATH, tmp_path / "x").fields for cell in image.cells]
    assert len(set(ids)) == len(ids) == 10
