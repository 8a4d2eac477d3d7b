"""JSON files of public malaria data: BBBC041, IML-Malaria, and a mapping of image names to boxes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from smearsynth.errors import DataError
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, load_json, split_name, split_of_path, text_of
from smearsynth.formats.mark_files.marks import MarkList, class_names_of, class_text, finite_number, short_text

# In a folder with more JSON files, each is the annotation of one image.
_MAX_FILES = 20
# First bracket, and the keys that must occur.
_KINDS = (
    ("[", ('"bounding_box"', '"pathname"', '"objects"')),
    ("[", ('"image_name"', '"objects"', '"bbox"')),
    ("{", ('"cls"', '"box"')),
)
_START = re.compile(r"\s*([\[{])")


def find(root: Path) -> list[Path]:
    """Return the JSON files in one of the formats of this module, sorted by path.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "boxes.json").write_text('{"a": [{"cls": "red", "box": [1, 2, 9, 8]}]}')
    >>> [path.name for path in find(folder)]
    ['boxes.json']
    """
    groups: dict[Path, list[Path]] = {}
    for path in files_below(root, {".json"}):
        groups.setdefault(path.parent, []).append(path)
    few = (path for group in groups.values() if len(group) <= _MAX_FILES for path in group)
    return sorted(path for path in few if _is_known(text_of(path)))


def _is_known(text: str) -> bool:
    start = _START.match(text)
    return start is not None and any(
        start[1] == bracket and all(word in text for word in words) for bracket, words in _KINDS
    )


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read malaria data in JSON: boxes with classes.

    All classes are kept as they are, also "difficult" of BBBC041. Of several files, those with the name of a split
    are that split.

    Raises
    ------
    DataError
        If a file is damaged; the message names the image and the object.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "boxes.json"
    >>> _ = path.write_text('{"a": [{"cls": "red", "box": [1, 2, 9, 8]}]}')
    >>> load(path, [path]).fields[0].cells[0].shape
    Box(x0=1.0, y0=2.0, x1=9.0, y1=8.0)
    """
    folder = root if root.is_dir() else root.parent
    lists: list[MarkList] = []
    fields = []
    for path in files:
        split = split_of_path(path, folder) or (split_name(path.stem) if len(files) > 1 else None)
        for marks, size in _images(path):
            lists.append(marks)
            fields.append(marks.annotation(size=size, split=split))
    return AnnotationFiles(fields, class_names_of(lists))


def _images(path: Path) -> Iterator[tuple[MarkList, tuple[int, int] | None]]:
    content = load_json(path)
    if isinstance(content, dict):
        for name, objects in content.items():
            yield _marks(name, objects, path, _mapped_object), None
        return
    for number, item in enumerate(_list(content, path, "the file"), 1):
        place = f"image {number}"
        record = _mapping(item, path, place)
        if "image" in record:
            image = _mapping(record["image"], path, place)
            name, size = image.get("pathname"), _size(image, path, place)
            yield _marks(_name(name, path, place), record.get("objects"), path, _bbbc041_object), size
        else:
            name = _name(record.get("image_name"), path, place)
            yield _marks(name, record.get("objects"), path, _iml_object), None


_ObjectReader = Callable[[dict[str, Any], Path, str], tuple[Any, Sequence[float]]]


def _marks(name: str, objects: Any, path: Path, read: _ObjectReader) -> MarkList:
    marks = MarkList(name, path)
    for number, item in enumerate(_list(objects, path, f"image {short_text(name)}"), 1):
        place = f"image {short_text(name)}, object {number}"
        class_name, corners = read(_mapping(item, path, place), path, place)
        marks.add_box(corners, class_text(class_name, path, place))
    return marks


def _bbbc041_object(item: dict[str, Any], path: Path, place: str) -> tuple[Any, Sequence[float]]:
    box = _mapping(item.get("bounding_box"), path, f"{place}, bounding_box")
    low, high = (_mapping(box.get(key), path, f"{place}, {key}") for key in ("minimum", "maximum"))
    corners = (low.get("c"), low.get("r"), high.get("c"), high.get("r"))
    return item.get("category"), [finite_number(value, path, place) for value in corners]


def _iml_object(item: dict[str, Any], path: Path, place: str) -> tuple[Any, Sequence[float]]:
    box = item.get("bbox")
    values = [box.get(key) for key in ("x", "y", "w", "h")] if isinstance(box, dict) else box
    x, y, width, height = _four(values, path, place)
    if width < 0 or height < 0:
        raise DataError(f"{place}: the box has a negative size; correct it", path)
    return item.get("type"), (x, y, x + width, y + height)


def _mapped_object(item: dict[str, Any], path: Path, place: str) -> tuple[Any, Sequence[float]]:
    return item.get("cls"), _four(item.get("box"), path, place)


def _four(values: Any, path: Path, place: str) -> list[float]:
    if not isinstance(values, list) or len(values) != 4:
        raise DataError(f"{place}: the box is not four numbers; correct it", path)
    return [finite_number(value, path, place) for value in values]


def _size(image: dict[str, Any], path: Path, place: str) -> tuple[int, int] | None:
    shape = image.get("shape")
    if not isinstance(shape, dict) or not {"r", "c"} <= shape.keys():
        return None
    height, width = (int(finite_number(shape[key], path, f"{place}, shape")) for key in ("r", "c"))
    return (height, width) if height > 0 and width > 0 else None


def _name(value: Any, path: Path, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place} has no file name; add it", path)
    return value


def _mapping(value: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{place} is {short_text(value)}, not an object with keys; export the file again", path)
    return value


def _list(value: Any, path: Path, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(
            f"{place} has {short_text(value)} instead of a list of objects; export the file again", path
        )
    return value


MALARIA_JSON = MarkFormat("malaria-json", "malaria JSON", find, load)
