"""The tables beside images: splits by slide, classes per instance, typed points, and our own mark."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.files import read_text, describe_read_error, write_text
from smearsynth.formats.listing import image_name
from smearsynth.smear import LabelArray

INSTANCE_FILE = "instances.csv"
CLASS_FILE = "classes.json"
_WRITTEN_BY = "smearsynth"


@dataclass(frozen=True)
class FolderMetadata:
    """What `classes.json` of a folder written by smearsynth records."""

    format: str
    class_names: tuple[str, ...]


def read_metadata(root: Path) -> FolderMetadata | None:
    """Read the mark that smearsynth leaves in folders it writes; None in all others."""
    path = root / CLASS_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"is not valid JSON ({error}); restore or remove it", path) from error
    if not isinstance(record, dict) or record.get("written_by") != _WRITTEN_BY:
        return None
    names = record.get("class_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError("names no classes; restore or remove it", path)
    return FolderMetadata(str(record.get("format")), tuple(names))


def write_metadata(root: Path, metadata: FolderMetadata) -> None:
    """Write the mark of a folder written by smearsynth."""
    record = {"written_by": _WRITTEN_BY, "format": metadata.format, "class_names": list(metadata.class_names)}
    write_text(root / CLASS_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


class InstanceTable:
    """Classes from `instances.csv`, of which only the place of each image's rows is held in memory.

    Parameters
    ----------
    path : Path
        CSV with the columns image, instance and class; others are ignored.

    Attributes
    ----------
    class_names : tuple of str
        In order of first appearance.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._spans: dict[str, list[tuple[int, int]]] = {}
        names: dict[str, None] = {}
        try:
            with path.open("rb") as file:
                self._header = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
                if not {"image", "instance", "class"} <= set(self._header):
                    raise DataError("lacks the columns 'image', 'instance' and 'class'; add them", path)
                image, kind = self._header.index("image"), self._header.index("class")
                start, current = file.tell(), None
                for line in iter(file.readline, b""):
                    row = next(csv.reader([line.decode("utf-8")]), [])
                    if len(row) > max(image, kind):
                        names.setdefault(row[kind])
                        name = image_name(row[image])
                        # Rows of one image mostly follow each other: one span stands for all of them.
                        spans = self._spans.setdefault(name, [])
                        if name == current:
                            spans[-1] = (spans[-1][0], file.tell())
                        else:
                            spans.append((start, file.tell()))
                        current = name
                    start = file.tell()
        except OSError as error:
            raise DataError(describe_read_error(error), path) from error
        except UnicodeDecodeError as error:
            raise DataError("is not UTF-8 text; save it again as UTF-8", path) from error
        self.class_names = tuple(names)

    @property
    def images(self) -> frozenset[str]:
        """Names of the images that have rows."""
        return frozenset(self._spans)

    def rows(self, name: str) -> dict[int, str]:
        """Class name by instance id of one image; empty where the table does not list it."""
        found: dict[int, str] = {}
        try:
            with self.path.open("rb") as file:
                for start, end in self._spans.get(name, ()):
                    file.seek(start)
                    text = file.read(end - start).decode("utf-8")
                    for row in csv.DictReader(io.StringIO(text), fieldnames=self._header):
                        found[int(row["instance"])] = row["class"]
        except OSError as error:
            raise DataError(describe_read_error(error), self.path) from error
        except (TypeError, ValueError) as error:
            raise DataError(f"a row of image {name} has no whole instance id; mend it", self.path) from error
        return found


def instance_rows(name: str, class_of: Mapping[int, str]) -> str:
    """CSV rows (image, instance, class) of one smear."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((name, i, kind) for i, kind in class_of.items())
    return text.getvalue()


class PointTable:
    """Classes from `points/NAME.txt`: a line "x y type" (px, px, whole number) per annotated cell.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        Smears of the folder; those without a file have no points.

    Attributes
    ----------
    class_names : tuple of str
        "type 0" up to the largest type, then "untyped" for cells without a point.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        top = max((int(self.points(name)[:, 2].max(initial=-1)) for name in names), default=-1)
        self.class_names = (*(f"type {i}" for i in range(top + 1)), "untyped")

    def points(self, name: str) -> npt.NDArray[np.float64]:
        """Points of one smear, (m, 3): x, y in px, type."""
        path = self.folder / f"{name}.txt"
        if not path.exists():
            return np.zeros((0, 3))
        lines = [line.replace(",", " ").split() for line in read_text(path).splitlines()]
        try:
            points = np.array([line[:3] for line in lines if line], float).reshape(-1, 3)
        except ValueError as error:
            raise DataError("has a line that is not 'x y type'; mend it", path) from error
        if (points[:, 2] < 0).any() or (points[:, 2] != np.rint(points[:, 2])).any():
            raise DataError("has a type that is not a whole number from 0; mend it", path)
        return points

    def classes(self, name: str, labels: LabelArray) -> npt.NDArray[np.int64]:
        """Class id per instance: the type of the first point that lies in it, else "untyped"."""
        classes = np.full(int(labels.max(initial=0)) + 1, len(self.class_names) - 1, np.int64)
        points = self.points(name)
        columns, rows = points[:, 0].astype(int), points[:, 1].astype(int)
        inside = (columns >= 0) & (columns < labels.shape[1]) & (rows >= 0) & (rows < labels.shape[0])
        # Backwards, so that the first of several points in one instance is the one that stays.
        hit = labels[rows[inside], columns[inside]][::-1]
        classes[hit] = points[inside, 2].astype(np.int64)[::-1]
        return classes[1:]
