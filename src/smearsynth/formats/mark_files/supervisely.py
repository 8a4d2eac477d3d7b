"""Supervisely: `ann/NAME.png.json` beside `img/NAME.png`, and `meta.json` with the classes of the project."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from smearsynth.annotation.record import FieldAnnotation, is_ignored_class
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, load_json, split_of_path
from smearsynth.formats.mark_files.figures import (
    Figure,
    Place,
    add_figures,
    annotation_of_marks,
    base64_bytes,
    mask_of_png,
)
from smearsynth.formats.mark_files.marks import MarkList, class_names_of, class_text
from smearsynth.geometry import Box, Outline, PixelMask, Point, Ring, Shape

Record = dict[str, Any]

META_FILE = "meta.json"
_MAX_BITMAP_BYTES = 1 << 28


def find(root: Path) -> list[Path]:
    """Return the Supervisely files below a folder, or the file itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png.json"
    >>> _ = path.write_text('{"size": {"height": 9, "width": 9}, "tags": [], "objects": []}')
    >>> find(path.parent) == [path]
    True
    """
    files = [path for path in files_below(root, {".json"}) if path.name != META_FILE]
    return files_with_text(files, '"objects"', '"size"', '"height"', '"tags"')


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read Supervisely files; the image has the name of the file without ".json".

    Polygons with holes, rectangles, points and bitmaps are read. Exported coordinates are whole pixels: a corner is
    in the centre of its pixel, and a rectangle includes its last row and column.

    Raises
    ------
    DataError
        If a file is damaged; the message names the object.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png.json"
    >>> points = '{"exterior": [[1, 2], [4, 6]], "interior": []}'
    >>> cell = '{"classTitle": "red", "geometryType": "rectangle", "points": %s}' % points
    >>> _ = path.write_text('{"size": {"height": 9, "width": 9}, "tags": [], "objects": [%s]}' % cell)
    >>> field = load(path.parent, [path]).fields[0]
    >>> field.image, field.cells[0].shape
    ('a.png', Box(x0=1.0, y0=2.0, x1=5.0, y1=7.0))
    """
    fields: list[FieldAnnotation] = []
    lists: list[MarkList] = []
    notes: list[str] = []
    for path in files:
        content = load_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
            notes.append(f"{path}: not a Supervisely file; not read")
            continue
        marks = MarkList(path.stem, path)
        figures = []
        for number, item in enumerate(content["objects"], 1):
            place = Place(path, f"object {number}")
            record = place.mapping(item, "the object")
            shape = _shape(record, place)
            if shape is None:
                kind = record.get("geometryType")
                marks.left_out[f"{kind} shapes" if isinstance(kind, str) else "shapes of unknown type"] += 1
            else:
                class_name = class_text(record.get("classTitle"), path, place.name)
                figures.append(Figure(shape, class_name, str(record.get("id") or number)))
        add_figures(marks, figures)
        lists.append(marks)
        file = Place(path, "image size")
        size = file.mapping(content.get("size") or {}, "size")
        shape_of_image = file.size(size.get("width"), size.get("height"))
        fields.append(annotation_of_marks(marks, size=shape_of_image, split=split_of_path(path, root)))
    names = dict.fromkeys(_meta_classes(root if root.is_dir() else root.parent))
    return AnnotationFiles(fields, tuple(names | dict.fromkeys(class_names_of(lists))), tuple(notes))


def _meta_classes(folder: Path) -> list[str]:
    """Return the classes of the project in its order; an empty list without `meta.json`."""
    path = next((parent / META_FILE for parent in (folder, folder.parent) if (parent / META_FILE).is_file()), None)
    content = load_json(path) if path else None
    classes = content.get("classes") if isinstance(content, dict) else None
    titles = [item.get("title") for item in classes if isinstance(item, dict)] if isinstance(classes, list) else []
    return [title for title in titles if isinstance(title, str) and not is_ignored_class(title)]


def _shape(record: Record, place: Place) -> Shape | None:
    kind = record.get("geometryType")
    # Files of early versions have no type, but a bitmap or points.
    if kind == "bitmap" or (kind is None and isinstance(record.get("bitmap"), dict)):
        return _bitmap(place.mapping(record.get("bitmap"), "the bitmap"), place)
    if kind not in ("polygon", "rectangle", "point", None):
        return None
    points = place.mapping(record.get("points"), "points")
    exterior = place.ring(points.get("exterior"))
    if kind == "rectangle":
        if len(exterior) < 2:
            raise place.error("a rectangle needs 2 points")
        last = 0 if (exterior % 1).any() else 1
        (x0, y0), (x1, y1) = exterior.min(0).tolist(), (exterior.max(0) + last).tolist()
        return Box(x0, y0, x1, y1)
    if kind == "point":
        if not len(exterior):
            raise place.error("a point needs coordinates")
        return Point(*_centred(exterior)[0].tolist())
    holes = place.items(points.get("interior") or [], "interior")
    return Outline((_centred(exterior),), tuple(_centred(place.ring(hole)) for hole in holes))


def _centred(ring: Ring) -> Ring:
    """Move coordinates that were rounded down to whole pixels to the pixel centres."""
    return ring if (ring % 1).any() else ring + 0.5


def _bitmap(record: Record, place: Place) -> PixelMask:
    data = base64_bytes(record.get("data"), place)
    decoder = zlib.decompressobj()
    try:
        png = decoder.decompress(data, _MAX_BITMAP_BYTES)
    except zlib.error as error:
        raise place.error("the bitmap is not compressed by zlib") from error
    if decoder.unconsumed_tail:
        raise place.error("the bitmap is too large")
    x, y = np.floor(place.point(record.get("origin"))).tolist()
    return PixelMask(mask_of_png(png, place), int(x), int(y))


SUPERVISELY = MarkFormat("supervisely", "Supervisely", find, load)
