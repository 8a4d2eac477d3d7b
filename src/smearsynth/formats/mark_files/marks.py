"""Checks and collection of marks that text files list: numbers, boxes, polygons, and what is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smearsynth.annotation.record import CellMark, FieldAnnotation, is_ignored_class
from smearsynth.errors import DataError
from smearsynth.geometry import Box, Outline, Point, Shape

_MAX_SHOWN = 30
UNANNOTATED = "unannotated images"


def finite_number(value: Any, path: Path, place: str) -> float:
    """Return a number from a file, which may be written as text.

    Parameters
    ----------
    value : object
    path : Path
        File, for the message.
    place : str
        Place in the file, for the message, such as "line 3".

    Raises
    ------
    DataError
        If the value is no number, or is not finite.

    Examples
    --------
    >>> finite_number("12.5", Path("a.csv"), "line 3")
    12.5
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {short_text(value)} is not a finite number; correct it or remove the mark", path)
    return number


def short_text(value: Any) -> str:
    """Return a value from a file in the form for a message: one line, not long.

    Examples
    --------
    >>> short_text("red"), short_text(None), short_text([1, 2])
    ("'red'", 'None', 'a list')
    """
    # repr of a nested value can be as large as the file.
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def class_text(value: Any, path: Path, place: str) -> str:
    """Return the name of a class: text or a number; "cell" if it is empty.

    Raises
    ------
    DataError
        If the value is neither text nor a number.

    Examples
    --------
    >>> class_text(" red blood cell ", Path("a.csv"), "line 3"), class_text(None, Path("a.csv"), "line 3")
    ('red blood cell', 'cell')
    """
    if value is None:
        return "cell"
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise DataError(f"{place}: the class is {short_text(value)}, not a name; correct it", path)
    return str(value).strip() or "cell"


def polygon(numbers: Sequence[float]) -> Outline:
    """Return the outline of a polygon x1, y1, x2, y2, ...

    Examples
    --------
    >>> polygon([0, 0, 4, 0, 4, 4]).rings[0].shape
    (3, 2)
    """
    return Outline((np.array(numbers, np.float64).reshape(-1, 2),))


@dataclass
class MarkList:
    """The marks of one image while its file is read.

    Parameters
    ----------
    image : str
        Name of the image as in the file.
    source : Path
        The annotation file.

    Examples
    --------
    >>> marks = MarkList("a.png", Path("a.xml"))
    >>> marks.add_box((9, 2, 4, 7), "red")
    >>> marks.add_box((3, 3, 3, 8), "red")
    >>> marks.annotation().cells[0].shape, dict(marks.left_out)
    (Box(x0=4, y0=2, x1=9, y1=7), {'boxes without area': 1})
    """

    image: str
    source: Path
    cells: list[CellMark] = field(default_factory=list)
    ignored: list[Shape] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, shape: Shape, class_name: str, *, id: str | None = None, confidence: float | None = None) -> None:
        """Add a cell, or an ignored region if the class has the name of one."""
        if not is_ignored_class(class_name):
            self.cells.append(CellMark(shape, class_name, id, confidence))
        elif isinstance(shape, Point):
            self.left_out["points of an ignored class"] += 1
        else:
            self.ignored.append(shape)

    def add_box(
        self, corners: Sequence[float], class_name: str, *, id: str | None = None, confidence: float | None = None
    ) -> None:
        """Add a box of two opposite corners x, y, x, y in any order; count it as left out if it has no area."""
        x0, y0, x1, y1 = corners
        if x0 == x1 or y0 == y1:
            self.left_out["boxes without area"] += 1
            return
        box = Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self.add(box, class_name, id=id, confidence=confidence)

    def annotation(
        self, *, size: tuple[int, int] | None = None, split: str | None = None, relative: bool = False
    ) -> FieldAnnotation:
        """Return the record; the parameters are those of `FieldAnnotation`."""
        return FieldAnnotation(
            self.image,
            self.source,
            tuple(self.cells),
            tuple(self.ignored),
            size,
            split,
            relative,
            dict(self.left_out),
        )


def class_names_of(lists: Sequence[MarkList]) -> tuple[str, ...]:
    """Return the names of the classes of all cells, in order of first appearance.

    Examples
    --------
    >>> marks = MarkList("a.png", Path("a.xml"))
    >>> marks.add(Point(1, 2), "red")
    >>> class_names_of([marks])
    ('red',)
    """
    return tuple(dict.fromkeys(cell.class_name for marks in lists for cell in marks.cells))


def confidence_of(value: Any, path: Path, place: str) -> float | None:
    """Return the confidence of a detection, or None if the value is empty.

    Raises
    ------
    DataError
        If it is not a number of 0 to 1.

    Examples
    --------
    >>> confidence_of("0.5", Path("a.csv"), "line 3"), confidence_of("", Path("a.csv"), "line 3")
    (0.5, None)
    """
    if value is None or value == "":
        return None
    number = finite_number(value, path, place)
    if not 0 <= number <= 1:
        raise DataError(f"{place}: the confidence {number:g} is not a fraction of 0 to 1; correct it", path)
    return number
