"""VGG Image Annotator (VIA): project or region files of versions 1 to 3, and CSV exports."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from smearsynth.annotation.record import FieldAnnotation
from smearsynth.files import read_text
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, load_json, split_of_path
from smearsynth.formats.mark_files.figures import Figure, Place, add_figures, annotation_of_marks, ellipse
from smearsynth.formats.mark_files.marks import MarkList, class_names_of
from smearsynth.geometry import Box, Outline, Point, Ring, Shape

Record = dict[str, Any]

_CSV_COLUMN = "region_shape_attributes"
_CLASS_ATTRIBUTES = ("class", "label", "type", "category", "name", "cell", "object")
_MAX_CLASSES = 20
_VIA_3_SHAPES = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline", 7: "polygon"}
# The ends of a line that was drawn around a cell may be this fraction of its length apart.
_MAX_GAP = 0.25


class _Region(NamedTuple):
    """One region: where it is in the file, its shape, and its attributes."""

    place: Place
    shape: Record
    attributes: Mapping[str, str]


class _Image(NamedTuple):
    """Regions of one image."""

    name: str
    source: Path
    regions: list[_Region]


def find(root: Path) -> list[Path]:
    """Return the VIA files below a folder, or the file itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "via.json"
    >>> _ = path.write_text('{"a.png1": {"filename": "a.png", "size": 1, "regions": []}}')
    >>> find(path.parent) == [path]
    True
    """
    files = files_below(root, {".json"})
    found = {*files_with_text(files_below(root, {".csv"}), _CSV_COLUMN)}
    for words in (('"regions"', '"filename"'), ('"_via_img_metadata"',), ('"metadata"', '"vid"', '"xy"')):
        found.update(files_with_text(files, *words))
    return sorted(found)


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read VIA files.

    Polygons, closed polylines, rectangles, circles, ellipses and points are read. The class is the region attribute
    with few different values; a note says which. The id of a cell is the number of its region.

    Raises
    ------
    DataError
        If a file is damaged; the message names the image and region.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "via.json"
    >>> region = '{"shape_attributes": {"name": "point", "cx": 3, "cy": 4}, "region_attributes": {}}'
    >>> _ = path.write_text('{"a.png1": {"filename": "a.png", "size": 1, "regions": [%s]}}' % region)
    >>> load(path.parent, [path]).fields[0].cells[0].shape
    Point(x=3.0, y=4.0)
    """
    images: list[_Image] = []
    notes: list[str] = []
    for path in files:
        if path.suffix.lower() == ".csv":
            images += _images_of_csv(path)
        elif (records := _images_of_json(load_json(path), path)) is None:
            notes.append(f"{path}: not a VIA file; not read")
        else:
            images += records
    key = _class_attribute([region.attributes for image in images for region in image.regions])
    if key is not None:
        notes.append(f"VIA: the class is the region attribute {key!r}")
    fields: list[FieldAnnotation] = []
    lists: list[MarkList] = []
    for image in images:
        marks = MarkList(image.name, image.source)
        figures: list[Figure] = []
        for number, region in enumerate(image.regions, 1):
            shape = _shape(region.shape, region.place, marks)
            if shape is not None:
                class_name = (region.attributes.get(key, "") if key else "").strip()
                figures.append(Figure(shape, class_name or "cell", str(number)))
        add_figures(marks, figures)
        lists.append(marks)
        fields.append(annotation_of_marks(marks, split=split_of_path(image.source, root)))
    return AnnotationFiles(fields, class_names_of(lists), tuple(notes))


def _images_of_json(content: Any, path: Path) -> list[_Image] | None:
    if not isinstance(content, dict):
        return None
    file = Place(path, "the file")
    if "_via_img_metadata" in content:
        content = file.mapping(content["_via_img_metadata"], "_via_img_metadata")
    elif isinstance(content.get("metadata"), dict) and isinstance(content.get("file"), dict):
        return _images_of_via_3(content, file)
    records = [record for record in content.values() if isinstance(record, dict) and "regions" in record]
    if content and not records:
        return None
    images = []
    for record in records:
        name = record.get("filename")
        if not isinstance(name, str) or not name:
            raise file.error("an image has no filename")
        regions = record["regions"]
        if isinstance(regions, dict):  # VIA 1
            regions = list(regions.values())
        place = Place(path, f"image {name}")
        items = enumerate(place.items(regions or [], "regions"), 1)
        images.append(
            _Image(name, path, [_region(item, Place(path, f"{place.name}, region {i}")) for i, item in items])
        )
    return images


def _region(item: Any, place: Place) -> _Region:
    record = place.mapping(item, "the region")
    shape = place.mapping(record.get("shape_attributes"), "shape_attributes")
    return _Region(place, shape, _attributes(place.mapping(record.get("region_attributes") or {}, "attributes")))


def _attributes(record: Record) -> dict[str, str]:
    """Return the attributes as text; of check boxes, the names of those that are checked."""
    texts = {}
    for key, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(str(name) for name, checked in value.items() if checked)
        texts[key] = "" if value is None or isinstance(value, list) else str(value)
    return texts


def _images_of_csv(path: Path) -> Iterator[_Image]:
    # VIA 1 writes "#filename".
    rows = csv.DictReader(io.StringIO(read_text(path).removeprefix("#")))
    regions: dict[str, list[_Region]] = {}
    file = Place(path, "line 1")
    if not {"filename", _CSV_COLUMN} <= set(rows.fieldnames or ()):
        raise file.error(f"the columns filename and {_CSV_COLUMN} are missing")
    try:
        for row in rows:
            place = Place(path, f"line {rows.line_num}")
            of_image = regions.setdefault(row["filename"] or "", [])
            shape = _json_cell(row[_CSV_COLUMN], place)
            if shape:
                attributes = _attributes(_json_cell(row.get("region_attributes"), place))
                of_image.append(_Region(place, shape, attributes))
    except csv.Error as error:
        raise file.error(f"the file is not valid CSV ({error})") from error
    yield from (_Image(name, path, of_image) for name, of_image in regions.items())


def _json_cell(text: str | None, place: Place) -> Record:
    try:
        return place.mapping(json.loads(text or "{}"), "the cell of the table")
    except (json.JSONDecodeError, RecursionError) as error:
        raise place.error("a cell of the table is not valid JSON") from error


def _images_of_via_3(content: Record, file: Place) -> list[_Image]:
    files = {str(key): file.mapping(value, "a file") for key, value in content["file"].items()}
    views = file.mapping(content.get("view") or {}, "view")
    attributes = file.mapping(content.get("attribute") or {}, "attribute")
    names = {}
    for view, record in views.items():
        ids = file.items(file.mapping(record, "a view").get("fid_list"), "fid_list")
        if len(ids) == 1 and str(ids[0]) in files:
            names[str(view)] = str(files[str(ids[0])].get("fname") or files[str(ids[0])].get("src"))
    regions: dict[str, list[_Region]] = {view: [] for view in names}
    for number, (key, item) in enumerate(content["metadata"].items(), 1):
        place = Place(file.path, f"region {number} ({key})")
        record = place.mapping(item, "the region")
        numbers = place.items(record.get("xy") or [], "xy")
        # Without coordinates it is a note on the image; with a time it belongs to a video.
        if str(record.get("vid")) in regions and numbers and not record.get("z"):
            values = _values_of_via_3(place.mapping(record.get("av") or {}, "av"), attributes)
            region = _Region(place, _shape_of_via_3([place.number(v) for v in numbers]), values)
            regions[str(record["vid"])].append(region)
    return [_Image(names[view], file.path, items) for view, items in regions.items()]


def _shape_of_via_3(numbers: Sequence[float]) -> Record:
    """Return the shape attributes of VIA 2 for a list of numbers of VIA 3."""
    name = _VIA_3_SHAPES.get(int(numbers[0]), f"type {numbers[0]:g}")
    values = list(numbers[1:])
    if name in ("polygon", "polyline"):
        return {"name": name, "all_points_x": values[::2], "all_points_y": values[1::2]}
    keys = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
    return {"name": name, **dict(zip(keys.get(name, ("cx", "cy")), values, strict=False))}


def _values_of_via_3(values: Record, attributes: Record) -> dict[str, str]:
    named = {}
    for key, value in values.items():
        attribute = attributes.get(key)
        if isinstance(attribute, dict):
            options = attribute.get("options")
            text = options.get(str(value), value) if isinstance(options, dict) else value
            named[str(attribute.get("aname", key))] = str(text)
    return named


def _class_attribute(regions: Sequence[Mapping[str, str]]) -> str | None:
    """Return the attribute that is the class: most regions have it, and it has few different values."""
    values: dict[str, Counter[str]] = {}
    for attributes in regions:
        for key, value in attributes.items():
            if value.strip():
                values.setdefault(key, Counter())[value.strip()] += 1
    limit = min(_MAX_CLASSES, max(3, len(regions) // 2))
    usual = {name: -i for i, name in enumerate(_CLASS_ATTRIBUTES)}
    ranked = [
        (counts.total(), usual.get(key.strip().lower(), -len(usual)), -len(counts), key)
        for key, counts in values.items()
        if len(counts) <= limit
    ]
    return max(ranked)[3] if ranked else None


def _shape(shape: Record, place: Place, marks: MarkList) -> Shape | None:
    name = shape.get("name")
    if name in ("polygon", "polyline"):
        x, y = (place.items(shape.get(key), key) for key in ("all_points_x", "all_points_y"))
        if len(x) != len(y):
            raise place.error(f"it has {len(x)} x but {len(y)} y coordinates")
        ring = place.ring([list(point) for point in zip(x, y, strict=True)])
        if name == "polygon" or _is_closed(ring):
            return Outline((ring,))
        marks.left_out["open polylines"] += 1
        return None
    if name == "rect":
        x0, y0, width, height = (place.number(shape.get(key)) for key in ("x", "y", "width", "height"))
        return Box(x0, y0, x0 + width, y0 + height)
    if name not in ("circle", "ellipse", "point"):
        marks.left_out[f"{name} shapes" if isinstance(name, str) else "shapes of unknown type"] += 1
        return None
    cx, cy = place.number(shape.get("cx")), place.number(shape.get("cy"))
    if name == "point":
        return Point(cx, cy)
    if name == "circle":
        return ellipse(cx, cy, place.number(shape.get("r")), place.number(shape.get("r")))
    rx, ry, theta = (
        place.number(shape.get("rx")),
        place.number(shape.get("ry")),
        place.number(shape.get("theta", 0)),
    )
    return ellipse(cx, cy, rx, ry, math.degrees(theta))


def _is_closed(line: Ring) -> bool:
    """Test whether a line goes around a cell; a repeated first point has already been removed from `line`."""
    if len(line) < 3:
        return False
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    return float(np.hypot(*(line[0] - line[-1]))) <= _MAX_GAP * length


VIA = MarkFormat("via", "VGG Image Annotator", find, load)
