"""What a task model finds in images, written for people and programs: labels, boxes, counts, pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smearsynth.errors import DataError
from smearsynth.files import atomic_write, read_text, write_text
from smearsynth.formats.images import read_rgb, save_png, save_tiff
from smearsynth.formats.listing import IMAGE_FOLDER, image_files, image_name
from smearsynth.runs import StopRequest
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.tasks.base import Prediction, Task
from smearsynth.tasks.pictures import prediction_picture

Row = tuple[str | int | float, ...]  # of a table

_BOXES = ("image", "instance", "class", "score", "x0", "y0", "x1", "y1")

_MARK = "predictions.json"
_MOST_IN_PNG = 65535  # instances


class Counted(NamedTuple):
    """Cells of an image, by class and in all."""

    image: str
    cells: dict[str, int]
    total: int


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


def images_below(path: Path | str, output: Path) -> int:
    """Number of images in the folders of the one that `find_images` looks into, but for those of the output."""
    path = Path(path)
    top = path / IMAGE_FOLDER if (path / IMAGE_FOLDER).is_dir() else path
    below = (one for one in top.rglob("*") if one.is_dir() and not one.is_relative_to(output))
    return sum(len(image_files(one)) for one in below)


def write_predictions(
    task: Task,
    images: dict[str, Path],
    folder: Path | str,
    *,
    scale: float | None = None,
    pictures: bool = True,
    on_image: Callable[[int], object] | None = None,
) -> list[Counted]:
    """Run a model on images and write what it finds.

    Parameters
    ----------
    task : Task
    images : dict of str to Path
        As `find_images` gives them.
    folder : Path or str
        Gets ``counts.csv`` (cells by class of each image), ``boxes.csv`` (a row a cell), ``labels/`` (uint16 PNG
        where the task gives labels) and ``overlays/``. New, empty, or written by this function before: what it
        wrote then is taken away.
    scale : float, optional
        At which cells are looked for; None: at that of the smears the model learned from. What is found is given in
        px of the images all the same.
    pictures : bool
        Whether to write ``overlays/``.
    on_image : callable, optional
        Called with the number of images done.

    Returns
    -------
    list of Counted
        The rows of ``counts.csv``; fewer than the images when Ctrl-C stopped it.

    Raises
    ------
    DataError
        When an image cannot be read, or the folder holds something else or cannot be written.
    """
    folder = Path(folder)
    _claim(folder, task)
    _take_away(folder)
    counts: list[Counted] = []
    boxes: list[Row] = []
    try:
        with StopRequest() as stop:
            for name, path in images.items():
                if stop.asked:
                    break
                image = read_rgb(path)
                found = _found(task, image, task.scale if scale is None else scale)
                if found.labels is not None:
                    _write_labels(folder / "labels" / name, found.labels)
                if pictures:
                    with atomic_write(folder / "overlays" / f"{name}.png") as temporary:
                        save_png(temporary, prediction_picture(image, found))
                boxes += box_rows(name, found)
                counts.append(Counted(name, found.counts(), len(found.scores)))
                if on_image:
                    on_image(len(counts))
    finally:
        # what was done before an error stays usable
        class_names = task.config.class_names
        rows: list[Row] = [(one.image, *one.cells.values(), one.total) for one in counts]
        _write_table(folder / "counts.csv", ("image", *class_names, "total"), rows)
        _write_table(folder / "boxes.csv", _BOXES, boxes)
    return counts


def _found(task: Task, image: ImageArray, scale: float) -> Prediction:
    """What a model finds in an image looked at in `scale` times its size, in px of the image."""
    if scale == 1:
        return task.predict(image)
    bare = Smear(image, np.zeros(image.shape[:2], np.int32), np.array([], np.int64)).resized(scale)
    return task.predict(bare.image).rescaled(bare.shape, image.shape[:2])


def box_rows(name: str, found: Prediction) -> list[Row]:
    """A row for each cell: image, instance, class, score and box in px, the end excluded."""
    rows: list[Row] = []
    for k, (box, score, kind) in enumerate(zip(found.boxes, found.scores, found.classes, strict=True), 1):
        sides = (round(float(side), 2) + 0.0 for side in box)  # + 0.0: no -0.0 in a table
        rows.append((name, k, found.class_names[int(kind)], round(float(score), 4), *sides))
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


def _take_away(folder: Path) -> None:
    """Remove what an earlier call wrote: of other images, or by another model of this kind."""
    for place in ("labels", "overlays"):
        for file in image_files(folder / place) if (folder / place).is_dir() else ():
            file.unlink()
    for table in ("counts.csv", "boxes.csv"):
        (folder / table).unlink(missing_ok=True)


def _write_labels(path: Path, labels: LabelArray) -> None:
    if int(labels.max(initial=0)) <= _MOST_IN_PNG:
        with atomic_write(path.with_name(f"{path.name}.png")) as temporary:
            save_png(temporary, labels.astype(np.uint16))
    else:
        with atomic_write(path.with_name(f"{path.name}.tif")) as temporary:
            save_tiff(temporary, labels)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
