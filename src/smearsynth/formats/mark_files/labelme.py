"""LabelMe: one JSON file per image, beside the image."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from smearsynth.annotation.record import CellMark, FieldAnnotation, LabelsFrom
from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, load_json, split_of_path
from smearsynth.formats.listing import check_file_stem
from smearsynth.formats.mark_files.figures import (
    Figure,
    Place,
    add_figures,
    annotation_of_marks,
    base64_bytes,
    ellipse,
    marks_to_write,
    mask_of_png,
    outline_of,
    png_of_mask,
    rotated_box,
    trimmed,
)
from smearsynth.formats.mark_files.marks import MarkList, class_names_of, class_text, confidence_of
from smearsynth.formats.tables import CLASS_FILE
from smearsynth.formats.writing import MarkWriter
from smearsynth.geometry import Box, Outline, PixelMask, Point, Shape

Record = dict[str, Any]


def find(root: Path) -> list[Path]:
    """Return the LabelMe files below a folder, or the file itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = path.write_text('{"shapes": [], "imagePath": "a.png"}')
    >>> find(path.parent) == find(path) == [path]
    True
    """
    files = [path for path in files_below(root, {".json"}) if path.name != CLASS_FILE]
    with_image = files_with_text(files, '"shapes"', '"imagePath"')
    return sorted({*with_image, *files_with_text(files, '"shapes"', '"shape_type"', '"points"')})


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read LabelMe files.

    Polygons, rectangles, circles, ellipses (corners of the box around them), masks and points are read. Outlines
    and masks of one class and `group_id` are the parts of one cell. The id of a cell is the number of its shape.

    Raises
    ------
    DataError
        If a file is damaged; the message names the shape.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> shape = '{"label": "red", "points": [[1, 2], [5, 6]], "shape_type": "rectangle"}'
    >>> _ = path.write_text('{"shapes": [%s], "imagePath": "a.png"}' % shape)
    >>> load(path.parent, [path]).fields[0].cells[0].shape
    Box(x0=1.0, y0=2.0, x1=5.0, y1=6.0)
    """
    lists: list[MarkList] = []
    fields: list[FieldAnnotation] = []
    other: list[Path] = []
    joined = 0
    for path in files:
        content = load_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            other.append(path)
            continue
        image = content.get("imagePath")
        marks = MarkList(image if isinstance(image, str) and image.strip() else path.stem, path)
        figures: list[Figure] = []
        for number, record in enumerate(content["shapes"], 1):
            place = Place(path, f"shape {number}")
            figures += _figures(place.mapping(record, "the shape"), number, place, marks)
        joined += add_figures(marks, figures)
        lists.append(marks)
        size = Place(path, "image size").size(content.get("imageWidth"), content.get("imageHeight"))
        fields.append(annotation_of_marks(marks, size=size, split=split_of_path(path, root)))
    notes = []
    if other:
        notes.append(f"{other[0]}: not a LabelMe file; {len(other)} such JSON files not read")
    if joined:
        notes.append(f"LabelMe: {joined} cells consist of several shapes with the same group_id")
    return AnnotationFiles(fields, class_names_of(lists), tuple(notes))


def _figures(record: Record, number: int, place: Place, marks: MarkList) -> Iterator[Figure]:
    kind = record.get("shape_type") or "polygon"
    class_name = class_text(record.get("label"), place.path, place.name)
    if kind == "polygon":
        shapes: list[Shape] = [Outline((place.ring(record.get("points")),))]
    else:
        points = [place.point(point) for point in place.items(record.get("points"), "the list of points")]
        shapes = _shapes(str(kind), points, record, place)
    if not shapes:
        marks.left_out[f"{kind} shapes" if isinstance(kind, str) else "shapes of unknown type"] += 1
    group = record.get("group_id")
    confidence = confidence_of(record.get("score"), place.path, place.name)
    for shape in shapes:
        yield Figure(shape, class_name, str(number), None if group is None else str(group), confidence)


def _shapes(kind: str, points: list[tuple[float, float]], record: Record, place: Place) -> list[Shape]:
    """Return the shapes of a record that is no polygon; an empty list for an unknown kind."""
    needed = {"rectangle": 2, "circle": 2, "ellipse": 2, "rotation": 4, "mask": 1, "point": 1}.get(kind, 0)
    if len(points) < needed:
        raise place.error(f"a {kind} needs {needed} points, not {len(points)}")
    corners = np.array(points, np.float64).reshape(-1, 2)
    if kind == "rectangle":
        return [Box(*corners.min(0).tolist(), *corners.max(0).tolist())]
    if kind == "circle":
        radius = float(np.hypot(*(corners[1] - corners[0])))
        return [ellipse(*points[0], radius, radius)]
    if kind == "ellipse":
        (cx, cy), (rx, ry) = corners.min(0) / 2 + corners.max(0) / 2, np.ptp(corners, axis=0) / 2
        return [ellipse(cx, cy, rx, ry)]
    if kind == "rotation":
        (cx, cy), side, next_side = corners.mean(0), corners[1] - corners[0], corners[2] - corners[1]
        turn = float(np.degrees(np.arctan2(side[1], side[0])))
        return [rotated_box(cx, cy, float(np.hypot(*side)), float(np.hypot(*next_side)), turn)]
    if kind in ("point", "points"):
        return [Point(x, y) for x, y in points]
    if kind == "mask":
        mask = mask_of_png(base64_bytes(record.get("mask"), place), place)
        x, y = corners.min(0)
        return [PixelMask(mask, round(x), round(y))]
    return []


class LabelMeWriter(MarkWriter):
    """Writer of `NAME.png` and `NAME.json` side by side.

    A cell with holes, and a cell of pixels, becomes a shape of type "mask", which LabelMe 5.2 and later shows. The
    parts of a cell share a `group_id`. Ignored regions have the label "ignore". Confidences are counted in `lost`.

    Parameters
    ----------
    folder : Path
    class_names : sequence of str
    split_of : callable, optional
        Not used: LabelMe has no splits.
    """

    format = "labelme"
    kinds: ClassVar[frozenset[LabelsFrom]] = frozenset({"mask", "outline", "box", "point"})

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self.folder / f"{check_file_stem(name)}.png"

    def _json_path(self, name: str) -> Path:
        path = self.folder / f"{check_file_stem(name)}.json"
        if path.name.lower() == CLASS_FILE:
            raise DataError(f"{name!r} is the name of the file of classes; rename the image")
        return path

    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        shapes: list[Record] = []
        for group, mark in enumerate(marks_to_write(annotation), 1):
            records = list(_records(mark, group, size))
            self.lost["confidences"] += mark.confidence is not None
            self.lost["cells outside the image"] += not records
            shapes += records
        content: Record = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{name}.png",
            "imageData": None,
            "imageHeight": size[0],
            "imageWidth": size[1],
        }
        path = files.enter_context(atomic_write(self._json_path(name)))
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def is_written(self, name: str) -> bool:
        """Test whether image and shapes of this name exist."""
        return self.image_path(name).exists() and self._json_path(name).exists()

    def finish(self) -> None:
        """Do nothing: all files are complete."""


def _records(mark: CellMark, group: int, size: tuple[int, int]) -> Iterator[Record]:
    shape = mark.shape
    if isinstance(shape, Box):
        yield _record(mark, "rectangle", [[shape.x0, shape.y0], [shape.x1, shape.y1]])
    elif isinstance(shape, Point):
        yield _record(mark, "point", [[shape.x, shape.y]])
    elif (outline := outline_of(shape)).holes:
        pixels = trimmed(shape, size)
        if pixels.mask.size:
            height, width = pixels.mask.shape
            # LabelMe includes the last row and column.
            corners = [[pixels.x, pixels.y], [pixels.x + width - 1, pixels.y + height - 1]]
            mask = base64.b64encode(png_of_mask(pixels.mask)).decode("ascii")
            yield _record(mark, "mask", corners, mask=mask)
    else:
        several = len(outline.rings) > 1
        for ring in outline.rings:
            yield _record(mark, "polygon", ring.tolist(), group=group if several else None)


def _record(
    mark: CellMark, kind: str, points: list[list[float]], group: int | None = None, mask: str | None = None
) -> Record:
    return {
        "label": mark.class_name,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": mask,
    }


LABELME = MarkFormat("labelme", "LabelMe", find, load)
