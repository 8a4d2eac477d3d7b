"""Tables of a folder of smears: class of each instance, points with a type, and the metadata of smearsynth."""

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
from smearsynth.files import describe_read_error, read_text, write_text
from smearsynth.formats.finding import normalised
from smearsynth.formats.listing import image_name
from smearsynth.smear import LabelArray

INSTANCE_FILE = "instances.csv"
CLASS_FILE = "classes.json"
ORIGIN_FILE = "labels-from.json"
_WRITTEN_BY = "smearsynth"


@dataclass(frozen=True)
class FolderMetadata:
    """Content of `classes.json` in a folder that smearsynth wrote."""

    format: str
    class_names: tuple[str, ...]


def read_metadata(root: Path) -> FolderMetadata | None:
    """Read `classes.json` of a folder that smearsynth wrote; return None for other folders.

    Raises
    ------
    DataError
        If the file is damaged.
    """
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
        raise DataError("contains no list of class names; restore or remove it", path)
    return FolderMetadata(str(record.get("format")), tuple(names))


def write_metadata(root: Path, metadata: FolderMetadata) -> None:
    """Write `classes.json`."""
    record = {
        "written_by": _WRITTEN_BY,
        "format": metadata.format,
        "class_names": list(metadata.class_names),
    }
    write_text(root / CLASS_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_label_origins(root: Path) -> tuple[str, ...]:
    """Return what the labels of a folder were made from, most frequent first; empty for an expert's labels.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "labels-from.json").write_text('{"labels_from": {"image": 3, "box": 9}}')
    >>> read_label_origins(folder)
    ('boxes', 'images')
    """
    path = root / ORIGIN_FILE
    if not path.exists():
        return ()
    try:
        counts = {str(name): int(count) for name, count in json.loads(read_text(path))["labels_from"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("is damaged; delete it", path) from error
    names = {"box": "boxes", "point": "points", "image": "images", "outline": "outlines", "mask": "masks"}
    return tuple(names.get(name, name) for name in sorted(counts, key=lambda name: -counts[name]))


class InstanceTable:
    """Classes from `instances.csv`. Only the file positions of the rows of each image are kept in memory.

    Parameters
    ----------
    path : Path
        CSV file with the columns image, instance and class; other columns are ignored.

    Attributes
    ----------
    class_names : tuple of str
        In order of first appearance.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a column.
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
                        # Consecutive rows of one image are one span.
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
        self._listed = {normalised(name): name for name in self._spans}

    @property
    def images(self) -> frozenset[str]:
        """Names of the images in the table."""
        return frozenset(self._spans)

    def rows(self, name: str) -> dict[int, str]:
        """Return the class name of each instance id of an image; empty if the image is not in the table.

        Names are compared without case.
        """
        if name not in self._spans:
            name = self._listed.get(normalised(name), name)
        class_of: dict[int, str] = {}
        try:
            with self.path.open("rb") as file:
                for start, end in self._spans.get(name, ()):
                    file.seek(start)
                    text = file.read(end - start).decode("utf-8")
                    for row in csv.DictReader(io.StringIO(text), fieldnames=self._header):
                        class_of[int(row["instance"])] = row["class"]
        except OSError as error:
            raise DataError(describe_read_error(error), self.path) from error
        except (TypeError, ValueError) as error:
            raise DataError(
                f"a row of image {name} has no integer in the column 'instance'; correct it", self.path
            ) from error
        return class_of


def instance_rows(name: str, class_of: Mapping[int, str]) -> str:
    """Return the CSV rows (image, instance, class) of one smear.

    Examples
    --------
    >>> instance_rows("a", {1: "red", 2: "white"}).splitlines()
    ['a,1,red', 'a,2,white']
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((name, i, kind) for i, kind in class_of.items())
    return text.getvalue()


class PointTable:
    """Classes from `points/NAME.txt`, with a line "x y type" (px, px, integer) per annotated cell.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        Names of all smears; a smear without a file has no points.

    Attributes
    ----------
    class_names : tuple of str
        "type 0" up to the largest type, then "untyped" for cells without a point.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._paths = {normalised(path.stem): path for path in folder.glob("*.txt")}
        max_type = max((int(self.points(name)[:, 2].max(initial=-1)) for name in names), default=-1)
        self.class_names = (*(f"type {i}" for i in range(max_type + 1)), "untyped")

    def points(self, name: str) -> npt.NDArray[np.float64]:
        """Read the points of one smear, (m, 3): x and y in px, type."""
        path = self._paths.get(normalised(name))
        if path is None:
            return np.zeros((0, 3))
        lines = [line.replace(",", " ").split() for line in read_text(path).splitlines()]
        try:
            points = np.array([line[:3] for line in lines if line], float).reshape(-1, 3)
        except ValueError as error:
            raise DataError("has a line that is not 'x y type'; correct it", path) from error
        if (points[:, 2] < 0).any() or (points[:, 2] != np.rint(points[:, 2])).any():
            raise DataError("has a type that is not an integer from 0; correct it", path)
        return points

    def classes(self, name: str, labels: LabelArray) -> npt.NDArray[np.int64]:
        """Return the class id of each instance: the type of the first point inside it, else "untyped"."""
        classes = np.full(int(labels.max(initial=0)) + 1, len(self.class_names) - 1, np.int64)
        points = self.points(name)
        columns, rows = points[:, 0].astype(int), points[:, 1].astype(int)
        inside = (columns >= 0) & (columns < labels.shape[1]) & (rows >= 0) & (rows < labels.shape[0])
        # In reverse order, so that the first of several points in one instance is assigned last.
        ids = labels[rows[inside], columns[inside]][::-1]
        classes[ids] = points[inside, 2].astype(np.int64)[::-1]
        return classes[1:]
