"""Record of the cells that were labelled: where they come from and how certain they are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smearsynth.annotation.record import LabelsFrom
from smearsynth.errors import DataError
from smearsynth.files import read_text, write_text
from smearsynth.formats.tables import ORIGIN_FILE

CELL_FILE = "cells.csv"
_COLUMNS = ("image", "instance", "class", "confidence", "labels_from", "x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class LabelledCell:
    """One cell of ``cells.csv``.

    Parameters
    ----------
    image : str
        Name of the smear.
    instance : int
        Label of the cell in the label image.
    class_name : str
    confidence : float
        0 to 1; the cells with the lowest values are most likely wrong.
    labels_from : {"mask", "outline", "box", "point", "image"}
        What the label was made from; "outline" for a cell that was corrected by hand.
    box : tuple of int
        x0, y0, x1, y1 in px, the end excluded.
    """

    image: str
    instance: int
    class_name: str
    confidence: float
    labels_from: LabelsFrom
    box: tuple[int, int, int, int]


def write_cells(folder: Path, cells: Iterable[LabelledCell]) -> None:
    """Write ``cells.csv``, sorted by image and instance."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for cell in sorted(cells, key=lambda cell: (cell.image, cell.instance)):
        row = (cell.image, cell.instance, cell.class_name, f"{cell.confidence:.4f}", cell.labels_from, *cell.box)
        writer.writerow(row)
    write_text(folder / CELL_FILE, text.getvalue())


def read_cells(folder: Path) -> dict[str, list[LabelledCell]]:
    """Read ``cells.csv``: the cells of each smear by name; empty if there is no file.

    Raises
    ------
    DataError
        If the file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_cells(folder, [LabelledCell("a", 1, "cell", 0.25, "box", (0, 0, 4, 4))])
    >>> read_cells(folder)["a"][0].confidence
    0.25
    """
    path = folder / CELL_FILE
    if not path.exists():
        return {}
    cells: dict[str, list[LabelledCell]] = {}
    try:
        for row in csv.DictReader(io.StringIO(read_text(path))):
            box = (int(row["x0"]), int(row["y0"]), int(row["x1"]), int(row["y1"]))
            cell = LabelledCell(
                row["image"],
                int(row["instance"]),
                row["class"],
                float(row["confidence"]),
                row["labels_from"],  # type: ignore[arg-type]
                box,
            )
            cells.setdefault(cell.image, []).append(cell)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"is damaged ({error}); delete it and run the command again", path) from error
    return cells


def write_provenance(folder: Path, cells: Sequence[LabelledCell], source: str) -> None:
    """Write ``labels-from.json``: what the labels of a folder were made from, and from which files."""
    record = {"labels_from": count_by_origin(cells), "source": source}
    write_text(folder / ORIGIN_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def count_by_origin(cells: Iterable[LabelledCell]) -> dict[str, int]:
    """Return the number of cells by what their labels were made from.

    Examples
    --------
    >>> count_by_origin([LabelledCell("a", 1, "cell", 0.25, "box", (0, 0, 4, 4))])
    {'box': 1}
    """
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell.labels_from] = counts.get(cell.labels_from, 0) + 1
    return counts
