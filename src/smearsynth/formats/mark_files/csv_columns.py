"""Meaning of the columns of a table with boxes or points, guessed from their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from smearsynth.formats.listing import IMAGE_SUFFIXES

# Names without capitals, spaces and punctuation; the first that is there is used.
_IMAGE = (
    *("image", "filename", "file", "imagename", "imagefile", "imagefilename", "img", "imgname", "imagepath"),
    *("filepath", "path", "picture", "photo", "imageid", "label", "name"),
)
# These are the image only if the values are names of image files.
_IMAGE_OR_CLASS = frozenset({"label", "name"})
_CLASS = ("class", "classname", "label", "labelname", "category", "categoryname", "celltype", "type", "cls", "name")
_CONFIDENCE = ("score", "confidence", "conf", "probability")
_SPLIT = ("split", "subset")
_ID = ("instance", "cellid", "objectid", "roiid")
_HEIGHT = ("imageheight", "imgheight", "height", "h")
_WIDTH = ("imagewidth", "imgwidth", "width", "w")

Kind = Literal["corners", "size", "centre", "text", "point"]
_COORDINATES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("corners", ("xmin ymin xmax ymax", "x0 y0 x1 y1", "x1 y1 x2 y2", "left top right bottom")),
    ("corners", ("minx miny maxx maxy", "xtl ytl xbr ybr", "startx starty endx endy", "xstart ystart xend yend")),
    ("centre", ("cx cy w h", "xcenter ycenter w h", "xcentre ycentre w h", "centerx centery w h", "xc yc w h")),
    ("size", ("bx by w h", "x y w h", "left top w h", "xmin ymin w h", "x0 y0 w h", "x1 y1 w h")),
    ("text", ("bbox", "box", "boundingbox")),
    ("point", ("x y", "cx cy", "xm ym", "xcenter ycenter", "xcentre ycentre", "centerx centery", "xc yc")),
    ("point", ("centroidx centroidy", "centroid1 centroid0")),
)
_ALIASES = {"width": "w", "height": "h"}
_PREFIXES = re.compile(r"^(?:boundingbox|bbox|box)(?=.)")
_UNIT = re.compile(r"(?<=.)(?:px|pixels?)$")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?\s*")
# An image of a stack in a results table of ImageJ: "a.tif:0001-0012".
_STACK = re.compile(r"(.+\.[A-Za-z]{3,4}):[^/\\]*")


class Columns(NamedTuple):
    """Columns of a table.

    Parameters
    ----------
    header : tuple of str
        Names as in the file; empty if the table has no header.
    kind : {"corners", "size", "centre", "text", "point"}
        Meaning of the coordinates: x0, y0, x1, y1; x, y, width, height; the same with the centre; four numbers in
        one column; x, y.
    coordinates : tuple of int
        Their columns.
    image, class_name, confidence, split, id : int, optional
        Columns of the name of the image, and so on.
    size : tuple of int, optional
        Columns of the height and width of the image.
    """

    header: tuple[str, ...]
    kind: Kind
    coordinates: tuple[int, ...]
    image: int | None
    class_name: int | None
    confidence: int | None = None
    split: int | None = None
    id: int | None = None
    size: tuple[int, int] | None = None

    @property
    def description(self) -> str:
        """The columns in one line, for the user."""

        def names(*columns: int) -> str:
            return " ".join(self.header[i].strip() if self.header else f"column {i + 1}" for i in columns)

        shape = {"size": "box (corner and size)", "centre": "box (centre and size)", "point": "point"}
        items = [
            ("image", self.image),
            ("class", self.class_name),
            ("confidence", self.confidence),
            ("split", self.split),
        ]
        parts = [f"{title} = {names(column)}" for title, column in items if column is not None]
        parts.insert(int(self.image is not None), f"{shape.get(self.kind, 'box')} = {names(*self.coordinates)}")
        return ", ".join(parts)


def guess_columns(rows: Sequence[Sequence[str]]) -> Columns | None:
    """Guess the columns of a table from its first rows; return None if it has no boxes or points.

    A table without header is accepted in the form of RetinaNet: image, x1, y1, x2, y2, class.

    Examples
    --------
    >>> guess_columns([["filename", "Class", "bbox_x", "bbox_y", "bbox_width", "bbox_height"]]).description
    'image = filename, box (corner and size) = bbox_x bbox_y bbox_width bbox_height, class = Class'
    >>> guess_columns([["a.png", "1", "2", "9", "8", "red"]]).description
    'image = column 1, box = column 2 column 3 column 4 column 5, class = column 6'
    >>> guess_columns([["image", "split"], ["a.png", "train"]]) is None
    True
    """
    if not rows:
        return None
    header = rows[0]
    if is_image_file(header[0]) and len(header) in (5, 6):
        numbers = header[1:5]
        if not any(numbers) or all(_NUMBER.fullmatch(number) for number in numbers):
            return Columns((), "corners", (1, 2, 3, 4), 0, 5 if len(header) == 6 else None)
        return None
    plain = [_plain(name) for name in header]
    index = {name: i for i, name in reversed(list(enumerate(plain)))}
    # Columns such as "bbox_x" without their prefix; without it they do not replace another column.
    short = {_ALIASES.get(name, name): i for name, i in index.items()}
    for name, i in index.items():
        stripped = _PREFIXES.sub("", name)
        short.setdefault(_ALIASES.get(stripped, stripped), i)
    coordinates = _coordinates(short)
    if coordinates is None:
        return None
    kind, columns = coordinates
    image = _image_column(index, rows)
    size = _first(index, _HEIGHT), _first(index, _WIDTH)
    has_size = size[0] is not None and size[1] is not None and not set(size) & set(columns)
    taken = {image, *columns}
    return Columns(
        tuple(header),
        kind,
        columns,
        image,
        _first({name: i for name, i in index.items() if i not in taken}, _CLASS),
        _first(index, _CONFIDENCE),
        _first(index, _SPLIT),
        _first(index, _ID),
        (size[0] or 0, size[1] or 0) if has_size and kind == "corners" else None,
    )


def _plain(name: str) -> str:
    # "µ" and "%" are kept: such columns are not px.
    return _UNIT.sub("", re.sub(r"[^a-z0-9µμ%]", "", name.casefold()))


def _first(index: dict[str, int], names: Sequence[str]) -> int | None:
    return next((index[name] for name in names if name in index), None)


def _coordinates(index: dict[str, int]) -> tuple[Kind, tuple[int, ...]] | None:
    for kind, choices in _COORDINATES:
        for names in (choice.split() for choice in choices):
            if all(name in index for name in names):
                return kind, tuple(index[name] for name in names)
    return None


def _image_column(index: dict[str, int], rows: Sequence[Sequence[str]]) -> int | None:
    candidates = [(name, index[name]) for name in _IMAGE if name in index]

    def holds_files(column: int) -> bool:
        values = [row[column] for row in rows[1:] if len(row) > column]
        return bool(values) and all(is_image_file(value) for value in values)

    first = next((column for name, column in candidates if name not in _IMAGE_OR_CLASS), None)
    return next((column for _, column in candidates if holds_files(column)), first)


def is_image_file(name: str) -> bool:
    """Test whether a text is the name of an image file.

    Examples
    --------
    >>> is_image_file("slides/a.TIF"), is_image_file("a.tif:0001-0012"), is_image_file("red")
    (True, True, False)
    """
    stem, dot, suffix = image_of_stack(name.strip()).rpartition(".")
    return bool(stem) and f"{dot}{suffix.lower()}" in IMAGE_SUFFIXES


def image_of_stack(name: str) -> str:
    """Return the name of an image without the slice that ImageJ appends.

    Examples
    --------
    >>> image_of_stack("a.tif:0001-0012"), image_of_stack("a.tif")
    ('a.tif', 'a.tif')
    """
    match = _STACK.fullmatch(name)
    return match[1] if match else name
