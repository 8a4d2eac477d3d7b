"""Tables (CSV, TSV) with a box or a point per row."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.files import describe_read_error
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, normalised, split_name, split_of_path
from smearsynth.formats.listing import IMAGE_SUFFIXES
from smearsynth.formats.mark_files.csv_columns import Columns, guess_columns, image_of_stack
from smearsynth.formats.mark_files.marks import (
    MarkList,
    class_names_of,
    class_text,
    confidence_of,
    finite_number,
    short_text,
)
from smearsynth.geometry import Point, bounds

_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
_SEPARATORS = ("\t", ";", ",")
_MAX_FRACTION = 1.001
# In a folder with more tables, each is the annotation of one image, and they are alike.
_MAX_FILES = 20
_HEAD_BYTES = 16_384
_SAMPLE_ROWS = 20
_ENDING = re.compile(r"[_-](results?|points?|boxes|rois?|cells?|annotations?)$", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


class _Row(NamedTuple):
    """One row: its line in the file, its cells, and its coordinates; none for an image without marks."""

    line: int
    cells: list[str]
    numbers: list[float]


def find(root: Path) -> list[Path]:
    r"""Return the tables with boxes or points, sorted by path.

    A table needs a column with the name of the image, or is named after an image in the folder.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax\na.png,1,2,9,8\n")
    >>> _ = (folder / "split.csv").write_text("image,split\na.png,train\n")
    >>> [path.name for path in find(folder)]
    ['boxes.csv']
    """

    @cache
    def images() -> frozenset[str]:
        files = files_below(root if root.is_dir() else root.parent, IMAGE_SUFFIXES)
        return frozenset(normalised(name) for path in files for name in (path.stem, path.name))

    def is_table(path: Path) -> bool:
        columns = _columns(_text(path, _HEAD_BYTES))
        return columns is not None and (
            columns.image is not None or any(normalised(name) in images() for name in _image_names(path))
        )

    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files_below(root, _SUFFIXES):
        groups.setdefault((path.parent, path.suffix), []).append(path)
    found: list[Path] = []
    for group in groups.values():
        if len(group) <= _MAX_FILES:
            found += [path for path in group if is_table(path)]
        elif any(is_table(path) for path in group[:3]):
            found += group
    return sorted(found)


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    r"""Read tables with a box or a point per row.

    The separator is a comma, semicolon or tab; with the last two, numbers can have a decimal comma. Coordinates are
    fractions of the image size if all are within 0..1 and not all are integers. A row without coordinates is an
    image without cells. The columns are reported in the notes.

    Raises
    ------
    DataError
        If a row has no image, or a coordinate is not a number.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "boxes.csv"
    >>> _ = path.write_text("image;x;y;width;height;class\na.png;1,5;2;9;8;red\n")
    >>> content = load(path, [path])
    >>> content.fields[0].cells[0].shape
    Box(x0=1.5, y0=2.0, x1=10.5, y1=10.0)
    >>> content.notes
    ('boxes.csv: image = image, box (corner and size) = x y width height, class = class, px',)
    """
    folder = root if root.is_dir() else root.parent
    fields: list[FieldAnnotation] = []
    lists: list[MarkList] = []
    described: dict[str, list[Path]] = {}
    for path in files:
        text = _text(path)
        columns = _columns(text)
        if columns is None:
            described.setdefault("no boxes or points; not read", []).append(path)
            continue
        rows = list(_numbered_rows(text, columns, path))
        relative = _is_relative([row.numbers for row in rows])
        note, marks, of_table = _fields(path, folder, columns, rows, relative=relative)
        described.setdefault(f"{note}, {'fractions of the image size' if relative else 'px'}", []).append(path)
        lists += marks
        fields += of_table
    notes = [f"{_joined(paths, folder)}: {note}" for note, paths in described.items()]
    return AnnotationFiles(fields, class_names_of(lists), tuple(notes))


def _joined(paths: Sequence[Path], folder: Path) -> str:
    first = paths[0].relative_to(folder)
    return str(first) if len(paths) == 1 else f"{first} and {len(paths) - 1:,} more"


def _text(path: Path, size: int = -1) -> str:
    """Return the text of a table, or its first `size` bytes; programs write tables in several encodings."""
    try:
        with path.open("rb") as file:
            content = file.read(size)
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The end of the first bytes can be within a character.
        if size > 0 and error.start > len(content) - 4:
            return content[: error.start].decode("utf-8-sig")
        return content.decode("cp1252", errors="replace")


def _separator(text: str) -> str:
    """Return the separator of the first line; of those that occur, a tab is preferred to ; and that to a comma."""
    line = text.lstrip("\r\n").partition("\n")[0]
    # Names in quotes can contain the other separators.
    unquoted = re.sub(r'"[^"]*"', "", line)
    return next((separator for separator in _SEPARATORS if separator in unquoted), ",")


def _columns(text: str) -> Columns | None:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
    rows: list[list[str]] = []
    # A damaged row is reported when the whole table is read.
    with suppress(csv.Error):
        rows.extend(islice((row for row in reader if any(row)), _SAMPLE_ROWS))
    if len(text) == _HEAD_BYTES:
        rows = rows[:-1] or rows
    return guess_columns(rows)


def _numbered_rows(text: str, columns: Columns, path: Path) -> Iterator[_Row]:
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = bool(columns.header)
    last = max(columns.coordinates + ((columns.image,) if columns.image is not None else ()))
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header:
                header = False
                continue
            place = f"line {reader.line_num}"
            if len(cells) <= last:
                raise DataError(f"{place} has {len(cells)} columns, expected {last + 1} or more; correct it", path)
            texts = [cells[i].strip() for i in columns.coordinates]
            if columns.kind == "text":
                texts = _texts_of_box(texts[0], path, place)
            decimal = [_decimal(text, separator) for text in texts] if any(texts) else []
            yield _Row(reader.line_num, cells, [finite_number(text, path, place) for text in decimal])
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} is damaged ({error}); export the table again", path) from error


def _texts_of_box(text: str, path: Path, place: str) -> list[str]:
    if text in ("", "[]"):
        return [""]
    numbers = [part for part in re.split(r"[\s,;\[\](){}]+", text) if part]
    if len(numbers) != 4:
        raise DataError(f"{place}: the box {short_text(text)} is not four numbers; correct it", path)
    return numbers


def _decimal(text: str, separator: str) -> str:
    return text.replace(",", ".") if separator != "," and _DECIMAL_COMMA.fullmatch(text) else text


def _is_relative(numbers: Sequence[Sequence[float]]) -> bool:
    flat = [number for row in numbers for number in row]
    in_range = all(-_MAX_FRACTION + 1 <= number <= _MAX_FRACTION for number in flat)
    return in_range and any(number != round(number) for number in flat)


def _fields(
    path: Path, folder: Path, columns: Columns, rows: Sequence[_Row], *, relative: bool
) -> tuple[str, list[MarkList], list[FieldAnnotation]]:
    """Return a description of the columns, and the marks of each image."""
    kind, note = columns.kind, columns.description
    if kind == "text":
        # Corners increase in every box; of sizes, some are smaller than the corner.
        increasing = all(n[0] < n[2] and n[1] < n[3] for n in (row.numbers for row in rows) if n)
        kind = "corners" if increasing else "size"
        note += " (x0 y0 x1 y1)" if increasing else " (x y width height)"
    by_name: dict[str, MarkList] = {}
    splits: dict[str, str] = {}
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    default_name = next(iter(_image_names(path)))
    for row in rows:
        place = f"line {row.line}"
        name = default_name if columns.image is None else image_of_stack(row.cells[columns.image].strip())
        if not name:
            raise DataError(f"{place} has no name of an image; add it or remove the row", path)
        marks = by_name.setdefault(name, MarkList(name, path))
        if (split := _cell(row, columns.split)) is not None:
            splits.setdefault(name, split)
        if columns.size is not None and (size := _size(row, columns.size)) is not None:
            sizes.setdefault(name, Counter())[size] += 1
        if row.numbers:
            class_name = class_text(_cell(row, columns.class_name), path, place)
            confidence = confidence_of(_cell(row, columns.confidence), path, place)
            _add(marks, kind, row.numbers, class_name, _cell(row, columns.id), confidence, place)
    default_split = split_of_path(path, folder) or split_name(path.stem)
    fields = [
        marks.annotation(
            size=_common_size(sizes.get(name), marks),
            split=splits.get(name, default_split),
            relative=relative,
        )
        for name, marks in by_name.items()
    ]
    return note, list(by_name.values()), fields


def _add(
    marks: MarkList,
    kind: str,
    numbers: Sequence[float],
    class_name: str,
    id: str | None,
    confidence: float | None,
    place: str,
) -> None:
    if kind == "point":
        marks.add(Point(numbers[0], numbers[1]), class_name, id=id, confidence=confidence)
        return
    x, y, width, height = numbers
    if kind != "corners":
        if width < 0 or height < 0:
            raise DataError(f"{place}: the box has a negative size; correct it or remove the row", marks.source)
        x, y = (x - width / 2, y - height / 2) if kind == "centre" else (x, y)
        width, height = x + width, y + height
    marks.add_box((x, y, width, height), class_name, id=id, confidence=confidence)


def _cell(row: _Row, column: int | None) -> str | None:
    if column is None or column >= len(row.cells):
        return None
    return row.cells[column].strip() or None


def _size(row: _Row, columns: tuple[int, int]) -> tuple[int, int] | None:
    height, width = (_cell(row, column) or "" for column in columns)
    return (int(height), int(width)) if height.isdecimal() and width.isdecimal() else None


def _common_size(sizes: Counter[tuple[int, int]] | None, marks: MarkList) -> tuple[int, int] | None:
    """Return the size of the image if all rows agree and it contains the boxes; else the size is that of a cell."""
    if sizes is None or len(sizes) != 1:
        return None
    ((height, width),) = sizes
    boxes = [bounds(cell.shape) for cell in marks.cells]
    return (height, width) if all(box.x1 <= width and box.y1 <= height for box in boxes) else None


def _image_names(path: Path) -> tuple[str, ...]:
    """Return the names that the image of a table without a column for it can have."""
    return tuple(dict.fromkeys((_ENDING.sub("", path.stem), path.stem)))


TABLE = MarkFormat("table", "CSV", find, load)
