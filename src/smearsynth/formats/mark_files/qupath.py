"""QuPath GeoJSON: one file per image, named after the image; also GeoJSON of other programs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from smearsynth.annotation.record import CellMark, FieldAnnotation, LabelsFrom, is_ignored_class
from smearsynth.files import atomic_write
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, load_json, split_of_path
from smearsynth.formats.listing import check_file_stem
from smearsynth.formats.mark_files.figures import (
    IGNORED_CLASS,
    Figure,
    Place,
    add_figures,
    annotation_of_marks,
    contains,
    marks_to_write,
    outline_of,
    polygons_of,
)
from smearsynth.formats.mark_files.marks import MarkList, class_names_of, class_text
from smearsynth.formats.tables import CLASS_FILE
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Box, Outline, Point, Ring, Shape, bounds

Record = dict[str, Any]

ANNOTATION_FOLDER = "annotations"
# Colours of Okabe and Ito, which colour-blind people can tell apart.
_COLOURS = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
_IGNORED_COLOUR = (128, 128, 128)
_DETECTIONS = frozenset({"detection", "cell"})
_NO_CELLS = {"tile": "tiles", "tma_core": "tissue cores", "root": "root objects"}
_CLASS_KEYS = ("class", "class_name", "label", "category", "name")


def find(root: Path) -> list[Path]:
    """Return the GeoJSON files below a folder, or the file itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.geojson"
    >>> _ = path.write_text('{"type": "FeatureCollection", "features": []}')
    >>> find(path.parent) == [path]
    True
    """
    files = [path for path in files_below(root, {".geojson", ".json"}) if path.name != CLASS_FILE]
    collections = files_with_text(files, '"FeatureCollection"', '"features"')
    return sorted({*collections, *files_with_text(files, '"Feature"', '"geometry"', '"coordinates"')})


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read GeoJSON files; the image has the name of the file.

    Polygons, multipolygons and points are read. The class is `properties.classification`, else a property such as
    "class" or "label". In a file of rectangles alone these are boxes. If a file has cells or detections,
    annotations around several of them are regions, which are left out, as are classes such as "Region*".

    Raises
    ------
    DataError
        If a file is damaged; the message names the feature.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.geojson"
    >>> geometry = '{"type": "Point", "coordinates": [3, 4]}'
    >>> _ = path.write_text('[{"type": "Feature", "geometry": %s}]' % geometry)
    >>> load(path.parent, [path]).fields[0].cells[0].shape
    Point(x=3.0, y=4.0)
    """
    fields: list[FieldAnnotation] = []
    lists: list[MarkList] = []
    notes: list[str] = []
    for path in files:
        features = _features(load_json(path))
        if features is None:
            notes.append(f"{path}: not a GeoJSON file; not read")
            continue
        marks = MarkList(path.stem, path)
        add_figures(marks, _figures(features, marks))
        lists.append(marks)
        fields.append(annotation_of_marks(marks, split=split_of_path(path, root)))
    return AnnotationFiles(fields, class_names_of(lists), tuple(notes))


def _features(content: Any) -> list[Any] | None:
    if isinstance(content, dict):
        content = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(content, list):
        return None
    is_feature = (isinstance(feature, dict) and feature.get("type") == "Feature" for feature in content)
    return content if not content or any(is_feature) else None


def _figures(features: list[Any], marks: MarkList) -> list[Figure]:
    figures: list[tuple[Figure, str]] = []
    for number, feature in enumerate(features, 1):
        place = Place(marks.source, f"feature {number}")
        record = place.mapping(feature, "the feature")
        properties = place.mapping(record.get("properties") or {}, "properties")
        kind = str(properties.get("objectType") or properties.get("object_type") or "").lower()
        class_name = _class_name(properties, bool(kind), place)
        if kind in _NO_CELLS:
            marks.left_out[_NO_CELLS[kind]] += 1
        elif class_name.endswith("*") and not is_ignored_class(class_name):
            # QuPath excludes classes with an asterisk from measurements.
            marks.left_out[f"regions of class {class_name}"] += 1
        else:
            shapes = _shapes(place.mapping(record.get("geometry"), "the geometry"), place, marks)
            id = str(record.get("id") or number)
            drawn_as_outline = _is_outline(properties)
            for k, shape in enumerate(shapes, 1):
                if isinstance(shape, Box) and drawn_as_outline:
                    shape = outline_of(shape)
                figures.append((Figure(shape, class_name, id if len(shapes) == 1 else f"{id}-{k}"), kind))
    cells = [figure for figure, _ in figures if not is_ignored_class(figure.class_name)]
    if not all(isinstance(figure.shape, (Box, Point)) for figure in cells):
        figures = [(_without_box(figure), kind) for figure, kind in figures]
    return _without_regions(figures, marks)


def _is_outline(properties: Record) -> bool:
    """Whether a rectangle is the outline of a cell, as `QuPathWriter` notes it."""
    metadata = properties.get("metadata")
    return isinstance(metadata, dict) and metadata.get("shape") == "outline"


def _without_box(figure: Figure) -> Figure:
    shape = outline_of(figure.shape) if isinstance(figure.shape, Box) else figure.shape
    return Figure(shape, figure.class_name, figure.id)


def _class_name(properties: Record, qupath: bool, place: Place) -> str:
    value = properties.get("classification")
    if isinstance(value, dict):
        names = value.get("names")
        value = ": ".join(map(str, names)) if isinstance(names, list) else value.get("name")
    if value is None and not qupath:
        # In files of QuPath, "name" is the name of the object.
        texts = (properties.get(key) for key in _CLASS_KEYS)
        value = next((text for text in texts if isinstance(text, str)), None)
    return class_text(value, place.path, place.name)


def _shapes(geometry: Record, place: Place, marks: MarkList) -> list[Shape]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    plane = geometry.get("plane")
    if isinstance(plane, dict) and any(place.number(plane.get(axis, 0)) > 0 for axis in ("z", "t")):
        marks.left_out["marks on other planes of a stack"] += 1
        return []
    if kind == "Point":
        return [Point(*place.point(coordinates))]
    if kind == "MultiPoint":
        return [Point(*place.point(point)) for point in place.items(coordinates, "the list of points")]
    if kind in ("Polygon", "MultiPolygon"):
        polygons = [coordinates] if kind == "Polygon" else place.items(coordinates, "the list of polygons")
        parts = [[place.ring(ring) for ring in place.items(rings, "the polygon")] for rings in polygons]
        outer = tuple(rings[0] for rings in parts if rings)
        holes = tuple(hole for rings in parts for hole in rings[1:])
        outline = Outline(outer, holes)
        return [bounds(outline) if len(outer) == 1 and not holes and _is_rectangle(outer[0]) else outline]
    marks.left_out[f"{kind} geometries" if isinstance(kind, str) else "geometries of unknown type"] += 1
    return []


def _is_rectangle(ring: Ring) -> bool:
    """Test whether a ring is an upright rectangle, which is how QuPath exports its boxes."""
    steps = np.roll(ring, -1, axis=0) - ring
    return len(ring) == 4 and bool(((steps != 0).sum(1) == 1).all()) and not steps.sum(0).any()


def _without_regions(figures: Iterable[tuple[Figure, str]], marks: MarkList) -> list[Figure]:
    """Leave out annotations around several detections, such as the field that cells were detected in."""
    figures = list(figures)
    centres = [
        ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        for box in (bounds(figure.shape) for figure, kind in figures if kind in _DETECTIONS)
    ]
    kept = []
    for figure, kind in figures:
        is_region = False
        if centres and kind not in _DETECTIONS and not isinstance(figure.shape, Point):
            rings = outline_of(figure.shape).rings
            inside = (any(contains(ring, x, y) for ring in rings if len(ring) > 2) for x, y in centres)
            is_region = sum(inside) > 1 and not is_ignored_class(figure.class_name)
        if is_region:
            marks.left_out["regions around detected cells"] += 1
        else:
            kept.append(figure)
    return kept


class QuPathWriter(MarkWriter):
    """Writer of `images/NAME.png` and `annotations/NAME.geojson`.

    The marks are QuPath annotations with a class; holes and several parts are kept. Ignored regions have the class
    "Ignore*". Confidences are counted in `lost`.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
    split_of : callable, optional
        Not used: QuPath has no splits.
    """

    format = "qupath"
    kinds: ClassVar[frozenset[LabelsFrom]] = frozenset({"mask", "outline", "box", "point"})

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        features = []
        for k, mark in enumerate(marks_to_write(annotation), 1):
            self.lost["confidences"] += mark.confidence is not None
            features.append(self._feature(mark, str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}/{k}"))))
        path = files.enter_context(atomic_write(self._geojson_path(name)))
        lines = (json.dumps(feature, ensure_ascii=False, separators=(",", ":")) for feature in features)
        text = '{"type":"FeatureCollection","features":[\n' + ",\n".join(lines) + "\n]}\n"
        path.write_text(text, encoding="utf-8")

    def _feature(self, mark: CellMark, id: str) -> Record:
        name, colour = mark.class_name, _COLOURS[0]
        if name == IGNORED_CLASS:
            name, colour = "Ignore*", _IGNORED_COLOUR
        elif name in self.class_names:
            colour = _COLOURS[self.class_names.index(name) % len(_COLOURS)]
        properties: Record = {"objectType": "annotation", "classification": {"name": name, "color": list(colour)}}
        if not isinstance(mark.shape, (Box, Point)):
            properties["metadata"] = {"shape": "outline"}
        return {"type": "Feature", "id": id, "geometry": _geometry(mark.shape), "properties": properties}

    def _geojson_path(self, name: str) -> Path:
        return self.folder / ANNOTATION_FOLDER / f"{check_file_stem(name)}.geojson"

    def is_written(self, name: str) -> bool:
        """Test whether image and annotations of this name exist."""
        return self.image_path(name).exists() and self._geojson_path(name).exists()

    def finish(self) -> None:
        """Do nothing: all files are complete."""


def _geometry(shape: Shape) -> Record:
    if isinstance(shape, Point):
        return {"type": "Point", "coordinates": [_number(shape.x), _number(shape.y)]}
    polygons = [
        [list(_closed(ring)) for ring in (outer, *holes)] for outer, holes in polygons_of(outline_of(shape))
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: Ring) -> Iterator[list[float]]:
    """Yield the corners of a ring, with the first one again at the end, as GeoJSON requires."""
    points = [[_number(x), _number(y)] for x, y in ring.tolist()]
    yield from points
    yield points[0]


def _number(value: float) -> float:
    """Return whole numbers as int, which are shorter in the file."""
    return int(value) if float(value).is_integer() else float(value)


QUPATH = MarkFormat("qupath", "QuPath GeoJSON", find, load)
