"""Points of cells in text files: `points/NAME.txt` with a line "x y type" per cell, as in the Chula data set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from smearsynth.errors import DataError
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.finding import files_below, split_of_path, text_of
from smearsynth.formats.mark_files.marks import MarkList
from smearsynth.formats.tables import PointTable
from smearsynth.geometry import Point

_FOLDERS = frozenset({"points", "point", "label", "labels"})
_LINE = re.compile(r"\s*\d+(?:\.\d*)?(?:[\s,]+\d+(?:\.\d*)?){2,3}\s*")
_FIRST_FILES = 10


def find(root: Path) -> list[Path]:
    """Return the files of points, sorted by path: text files in a folder `points` or `label`.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "points").mkdir()
    >>> _ = (folder / "points" / "a.txt").write_text("594 95 0 1")
    >>> [path.name for path in find(folder)]
    ['a.txt']
    """
    groups: dict[Path, list[Path]] = {}
    for path in files_below(root, {".txt"}):
        if path.parent.name.lower() in _FOLDERS:
            groups.setdefault(path.parent, []).append(path)
    found: list[Path] = []
    for group in groups.values():
        lines = (text_of(path).strip().partition("\n")[0] for path in group[:_FIRST_FILES])
        if _LINE.fullmatch(next((line for line in lines if line), "")):
            found += group
    return sorted(found)


def load(root: Path, files: list[Path]) -> AnnotationFiles:
    """Read files of points; the classes are "type 0", "type 1", ...

    Raises
    ------
    DataError
        If a line is not "x y type".

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "points").mkdir()
    >>> _ = (folder / "points" / "a.txt").write_text("594 95 0 1")
    >>> content = load(folder, find(folder))
    >>> content.fields[0].cells[0].shape, content.class_names
    (Point(x=594.0, y=95.0), ('type 0',))
    """
    folder = root if root.is_dir() else root.parent
    fields = []
    types: set[int] = set()
    for path in files:
        points = PointTable(path.parent, ()).points(path.stem)
        if not np.isfinite(points).all() or (points[:, 2] > np.iinfo(np.int32).max).any():
            raise DataError("has a number that is not finite or too large; correct it", path)
        marks = MarkList(path.stem, path)
        for x, y, kind in points.tolist():
            marks.add(Point(x, y), f"type {int(kind)}")
            types.add(int(kind))
        fields.append(marks.annotation(split=split_of_path(path, folder)))
    return AnnotationFiles(fields, tuple(f"type {kind}" for kind in sorted(types)))


POINTS = MarkFormat("points", "text-file", find, load)
