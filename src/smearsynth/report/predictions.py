"""What a task model finds in images, written for people and programs: labels, boxes, counts, pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from smearsynth.errors import DataError
from smearsynth.formats.files import image_files, read_text, replacing, write_text
from smearsynth.formats.pairs import IMAGE_FOLDER
from smearsynth.formats.pixels import read_rgb
from smearsynth.formats.tables import image_name
from smearsynth.formats.writing import save_png, save_tiff
from smearsynth.report.overlays import OUTLINE_COLOURS, overlay
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.synthesis.interrupt import StopRequest
from smearsynth.tasks.base import Prediction, Task

Row = dict[str, str | int | float]  # of a table

_MARK = "predictions.json"
_MOST_IN_PNG = 65535  # instances


def find_images(path: Path | str) -> dict[str, Path]:
    """The images meant by a path, by name: a file, a folder, or the ``images/`` in it.

    Raises
    ------
    DataError
        When there is none, or two go by one name.
    """
    path = Path(path)
    if path.is_file():
        return {image_name(path.name): path}
    if not path.is_dir():
        raise DataError("does not exist; name an image or a folder of images", path)
    files = image_files(path / IMAGE_FOLDER if (path / IMAGE_FOLDER).is_dir() else path)
    if not files:
        raise DataError("holds no images; name a folder with PNG, JPEG or TIFF images", path)
    found: dict[str, Path] = {}
    for file in files:
        name = image_name(file.name)
        if name in found:
            raise DataError(f"goes by the same name as {found[name].name}; remove one of the two", file)
        found[name] = file
    return found


def prediction_picture(image: ImageArray, found: Prediction) -> ImageArray:
    """The image with what was found: outlines where there are labels, else boxes in a colour per class.

    Examples
    --------
    >>> image = np.full((9, 9, 3), 200, np.uint8)
    >>> one = Prediction(np.array([[2, 2, 7, 7]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
    >>> int((prediction_picture(image, one) != image).any(2).sum())
    16
    """
    if found.labels is not None:
        return overlay(Smear(image, found.labels, found.classes, found.class_names))
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box, kind in zip(np.rint(found.boxes).astype(int).tolist(), found.classes.tolist(), strict=True):
        x0, y0, x1, y1 = box
        pen.rectangle(
            (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=OUTLINE_COLOURS[kind % len(OUTLINE_COLOURS)]
        )
    return np.array(picture)


def write_predictions(
    task: Task,
    images: dict[str, Path],
    folder: Path | str,
    *,
    pictures: bool = True,
    on_image: Callable[[int], object] | None = None,
) -> list[Row]:
    """Run a model on images and write what it finds.

    Parameters
    ----------
    task : Task
    images : dict of str to Path
        As `find_images` gives them.
    folder : Path or str
        Gets ``counts.csv`` (cells by class of each image), ``boxes.csv`` (a row a cell), ``labels/`` (uint16 PNG
        where the task gives labels) and ``overlays/``. New, empty, or written by this function before.
    pictures : bool
        Whether to write ``overlays/``.
    on_image : callable, optional
        Called with the number of images done.

    Returns
    -------
    list of dict
        The rows of ``counts.csv``; fewer than the images when Ctrl-C stopped it.

    Raises
    ------
    DataError
        When an image cannot be read, or the folder holds something else or cannot be written.
    """
    folder = Path(folder)
    _claim(folder, task)
    counts: list[Row] = []
    boxes: list[Row] = []
    try:
        with StopRequest() as stop:
            for name, path in images.items():
                if stop.asked:
                    break
                image = read_rgb(path)
                found = task.predict(image)
                if found.labels is not None:
                    _write_labels(folder / "labels" / name, found.labels)
                if pictures:
                    with replacing(folder / "overlays" / f"{name}.png") as temporary:
                        save_png(temporary, prediction_picture(image, found))
                boxes += box_rows(name, found)
                counts.append({"image": name, **found.counts(), "total": len(found.scores)})
                if on_image:
                    on_image(len(counts))
    finally:
        # what was done before an error stays usable
        class_names = task.config.class_names
        _write_table(folder / "counts.csv", ["image", *class_names, "total"], counts)
        _write_table(folder / "boxes.csv", ["image", "instance", "class", "score", "x0", "y0", "x1", "y1"], boxes)
    return counts


def box_rows(name: str, found: Prediction) -> list[Row]:
    """A row for each cell: image, instance, class, score and box in px, the end excluded."""
    rows: list[Row] = []
    for k, (box, score, kind) in enumerate(zip(found.boxes, found.scores, found.classes, strict=True), 1):
        row: Row = {"image": name, "instance": k, "class": found.class_names[int(kind)]}
        row |= {"score": round(float(score), 4)}
        row |= {side: round(float(value), 2) for side, value in zip(("x0", "y0", "x1", "y1"), box, strict=True)}
        rows.append(row)
    return rows


def _claim(folder: Path, task: Task) -> None:
    """Refuse a folder that holds anything else: ``labels/`` there may be someone's annotation."""
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file; name a folder to write to", folder)
    mark = json.dumps({"task": task.name, "class_names": task.config.class_names})
    path = folder / _MARK
    if path.exists():
        if read_text(path) != mark:
            raise DataError("holds predictions of another kind of model; choose another folder", folder)
    elif folder.exists() and any(folder.iterdir()):
        raise DataError("is not empty and was not written by `smearsynth predict`; choose another folder", folder)
    else:
        write_text(path, mark)


def _write_labels(path: Path, labels: LabelArray) -> None:
    if int(labels.max(initial=0)) <= _MOST_IN_PNG:
        with replacing(path.with_name(f"{path.name}.png")) as temporary:
            save_png(temporary, labels.astype(np.uint16))
    else:
        with replacing(path.with_name(f"{path.name}.tif")) as temporary:
            save_tiff(temporary, labels)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
