"""Label Studio: a JSON export with one task per image (formats "JSON" and "JSON-MIN")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.record import FieldAnnotation
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, files_with_text, load_json, normalised, split_of_path
from smearsynth.formats.listing import IMAGE_SUFFIXES
from smearsynth.formats.mark_files.figures import (
    Figure,
    Place,
    add_figures,
    annotation_of_marks,
    check_mask_size,
    ellipse,
    rotated_box,
)
from smearsynth.formats.mark_files.marks import MarkList, class_names_of, confidence_of
from smearsynth.geometry import Box, Outline, PixelMask, Point, Shape, transform

Record = dict[str, Any]

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_NO_SHAPES = frozenset({"labels", "choices", "textarea", "taxonomy", "rating", "number", "relation", "pairwise"})
_BITS_OF_LENGTH = 32


def find(root: Path) -> list[Path]:
    """Return the Label Studio files below a folder, or the file itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "project.json"
    >>> _ = path.write_text('[{"data": {"image": "a.png"}, "annotations": [{"result": []}]}]')
    >>> find(path.parent) == [path]
    True
    """
    files = files_below(root, {".json"})
    words = (
        ('"annotations"', '"result"'),
        ('"completions"', '"result"'),
        ('"original_width"', '"original_height"'),
    )
    return sorted({path for choice in words for path in files_with_text(files, *choice)})


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read Label Studio files.

    Polygons, rectangles, ellipses, keypoints and brush masks are read. Of several annotations of an image, the one
    marked as reference is read, else the last one that was not cancelled. Tasks without annotation are not read,
    and a note says how many there are. Uploaded images have a prefix such as "1a2b3c4d-", which is removed unless
    the folder contains an image of this name.

    Raises
    ------
    DataError
        If a file is damaged; the message names the task and result.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "project.json"
    >>> value = '{"x": 50, "y": 25, "width": 1, "keypointlabels": ["red"]}'
    >>> result = '{"type": "keypointlabels", "original_width": 80, "original_height": 40, "value": %s}' % value
    >>> _ = path.write_text('[{"data": {"image": "a.png"}, "annotations": [{"result": [%s]}]}]' % result)
    >>> load(path.parent, [path]).fields[0].cells[0].shape
    Point(x=40.0, y=10.0)
    """
    folder = root if root.is_dir() else root.parent
    stems = {normalised(path.stem) for path in files_below(folder, IMAGE_SUFFIXES)}
    fields: list[FieldAnnotation] = []
    lists: list[MarkList] = []
    notes: list[str] = []
    unannotated = 0
    for path in files:
        content = load_json(path)
        tasks = content if isinstance(content, list) else [content]
        if not all(isinstance(task, dict) and _is_task(task) for task in tasks):
            notes.append(f"{path}: not a Label Studio file; not read")
            continue
        for number, task in enumerate(tasks, 1):
            place = Place(path, f"task {task.get('id', number)}")
            marks = MarkList(_image_of(task, place, stems), path)
            results = _results(task, place, marks)
            if results is None:
                unannotated += 1
                continue
            size = _image_size(results, place)
            add_figures(marks, _figures(results, size, place, marks))
            lists.append(marks)
            split = split_of_path(path, root)
            fields.append(annotation_of_marks(marks, size=size, split=split, relative=size is None))
    if unannotated:
        notes.append(f"Label Studio: {unannotated} tasks without annotation not read")
    return AnnotationFiles(fields, class_names_of(lists), tuple(notes))


def _is_task(task: Record) -> bool:
    return isinstance(task.get("data"), dict) or any(isinstance(value, list) for value in task.values())


def _image_of(task: Record, place: Place, stems: set[str]) -> str:
    data = task["data"] if isinstance(task.get("data"), dict) else task
    texts = [data.get("image"), *data.values(), task.get("file_upload")]
    for text in texts:
        name = _image_path(text) if isinstance(text, str) else ""
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            folder, slash, base = name.rpartition("/")
            if normalised(Path(base).stem) not in stems:
                base = _UPLOAD_PREFIX.sub("", base)
            return f"{folder}{slash}{base}"
    raise place.error("it names no image")


def _image_path(text: str) -> str:
    """Return the path in a URL; local files are written as "/data/local-files/?d=folder/a.png"."""
    try:
        parts = urlsplit(text)
        local = parse_qs(parts.query).get("d")
    except ValueError:
        return text
    return local[0] if local else unquote(parts.path)


def _results(task: Record, place: Place, marks: MarkList) -> list[Any] | None:
    """Return the results of the annotation to read, or None if the task has none."""
    if not isinstance(task.get("data"), dict):
        # JSON-MIN: the results are the values of the task, with the geometry beside the labels.
        lists = [value for value in task.values() if isinstance(value, list)]
        items = [item for value in lists for item in value if isinstance(item, dict) and "original_width" in item]
        return [{**item, "value": item, "type": ""} for item in items] or None
    annotations = place.items(task.get("annotations") or task.get("completions") or [], "annotations")
    records = [place.mapping(item, "the annotation") for item in annotations]
    records = [record for record in records if not record.get("was_cancelled")]
    if not records:
        predictions = place.items(task.get("predictions") or [], "predictions")
        marks.left_out["predictions"] += len(predictions)
        return None
    record = next((record for record in records if record.get("ground_truth")), records[-1])
    for other in records:
        if other is not record:
            marks.left_out["results of further annotations of the image"] += len(other.get("result") or [])
    return place.items(record.get("result") or [], "result")


def _image_size(results: list[Any], place: Place) -> tuple[int, int] | None:
    for item in results:
        if isinstance(item, dict):
            size = place.size(item.get("original_width"), item.get("original_height"))
            if size is not None:
                return size
    return None


def _figures(results: list[Any], size: tuple[int, int] | None, task: Place, marks: MarkList) -> Iterator[Figure]:
    records = [
        (Place(task.path, f"{task.name}, result {i}"), task.mapping(item, "a result"))
        for i, item in enumerate(results, 1)
    ]
    labels: dict[str, str] = {}
    for place, record in records:
        # With separate label tags, the label and the shape are two results with the same id.
        if (label := _label(_value(record, place))) is not None and record.get("id") is not None:
            labels.setdefault(str(record["id"]), label)
    for number, (place, record) in enumerate(records, 1):
        value = _value(record, place)
        kind = str(record.get("type") or "").removesuffix("labels")
        if str(record.get("type") or "") in _NO_SHAPES:
            if record.get("type") != "labels":
                marks.left_out[f"{record['type']} results"] += 1
            continue
        if record.get("image_rotation"):
            marks.left_out["marks on rotated images"] += 1
            continue
        shape = _shape(value, kind, size, place)
        if shape is None:
            marks.left_out[f"{kind or 'unknown'} shapes"] += 1
            continue
        id = str(record.get("id") or number)
        label = _label(value) or labels.get(id, "cell")
        yield Figure(shape, label, id, confidence=confidence_of(record.get("score"), place.path, place.name))


def _value(record: Record, place: Place) -> Record:
    value = record.get("value")
    return place.mapping({} if value is None else value, "the value")


def _label(value: Mapping[str, Any]) -> str | None:
    """Return the label of a value, which is a list with a name such as "polygonlabels"."""
    for key, names in value.items():
        if key.endswith("labels") and isinstance(names, list) and names and isinstance(names[0], str):
            return names[0].strip() or None
    return None


def _shape(value: Record, kind: str, size: tuple[int, int] | None, place: Place) -> Shape | None:
    """Return a shape in px, or as fractions of the image size if this is unknown."""
    height, width = size or (1, 1)
    scale = (width / 100, height / 100)
    if "rle" in value:
        if size is None:
            raise place.error("original_width and original_height are missing")
        return brush_mask(place.items(value["rle"], "rle"), size, place)
    if "points" in value:
        return transform(Outline((place.ring(value["points"]),)), scale)
    if kind not in ("", "rectangle", "ellipse", "keypoint"):
        return None
    x, y = place.number(value.get("x")) * scale[0], place.number(value.get("y")) * scale[1]
    turn = place.number(value.get("rotation") or 0)
    if turn and size is None:
        raise place.error("a rotated shape needs original_width and original_height")
    if "radiusX" in value:
        rx, ry = place.number(value["radiusX"]) * scale[0], place.number(value.get("radiusY")) * scale[1]
        return ellipse(x, y, rx, ry, turn)
    if kind == "keypoint" or "height" not in value:
        return Point(x, y)
    w, h = place.number(value.get("width")) * scale[0], place.number(value["height"]) * scale[1]
    if not turn:
        return Box(x, y, x + w, y + h)
    # A rectangle is turned around its first corner.
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    cx, cy = float(x + (w * cos - h * sin) / 2), float(y + (w * sin + h * cos) / 2)
    return rotated_box(cx, cy, w, h, turn)


def brush_mask(rle: list[Any], size: tuple[int, int], place: Place) -> PixelMask:
    """Return the mask of the run lengths of the brush tool; its last colour channel is the mask.

    Parameters
    ----------
    rle : list of int
        Bytes of a bit stream: the number of values (32 bits), bits of a value minus 1 (5 bits), bits of the four
        kinds of run length minus 1 (4 bits each); then for each run one bit (1: one value is repeated, 0: all
        values follow), the kind of run length (2 bits), the run length minus 1, and the values.
    size : tuple of int
        (H, W) of the image, px.
    place : Place
        For messages.

    Raises
    ------
    DataError
        If the data are damaged or belong to an image of another size.
    """
    height, width = size
    check_mask_size(width, height, place)
    numbers = [place.number(value) for value in rle]
    if any(value % 1 or not 0 <= value <= 255 for value in numbers):
        raise place.error("the run lengths of the brush are not bytes")
    bits = "".join(f"{int(value):08b}" for value in numbers)
    try:
        values = _decode(bits, height * width * 4)
    except ValueError as error:
        message = f"the run lengths of the brush do not fill the image of {width}×{height} px; export COCO instead"
        raise place.error(message) from error
    mask = values.reshape(height, width, 4)[..., 3] > 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return PixelMask(mask[:1, :1])
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return PixelMask(window.copy(), int(columns[0]), int(rows[0]))


def _decode(bits: str, count: int) -> npt.NDArray[np.uint8]:
    """Return the values of a bit stream; raise a `ValueError` if there are not `count` of them."""
    position = 0

    def read(length: int) -> int:
        nonlocal position
        position += length
        # At the end of the stream the text is too short: int("") is a ValueError as well.
        if position > len(bits):
            raise ValueError("the bit stream is too short")
        return int(bits[position - length : position], 2)

    if read(_BITS_OF_LENGTH) != count:
        raise ValueError("another number of values")
    value_bits = read(5) + 1
    length_bits = [read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    i = 0
    while i < count:
        repeated = read(1)
        end = i + 1 + read(length_bits[read(2)])
        if end > count:
            raise ValueError("too many values")
        if repeated:
            values[i:end] = min(read(value_bits), 255)
        else:
            values[i:end] = [min(read(value_bits), 255) for _ in range(i, end)]
        i = end
    return values


LABEL_STUDIO = MarkFormat("label-studio", "Label Studio", find, load)
