"""Application of a task model to images: labels, boxes, counts and pictures in a folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smearsynth.errors import DataError
from smearsynth.files import atomic_write, read_text, write_text
from smearsynth.formats.listing import IMAGE_FOLDER, image_files, image_name
from smearsynth.formats.pixels.images import read_rgb, save_png, save_tiff
from smearsynth.runs import Execution, Progress, StopRequest, select_device
from smearsynth.smear import ImageArray, LabelArray, Smear, check_scale
from smearsynth.tasks.base import Prediction, Task
from smearsynth.tasks.pictures import prediction_picture
from smearsynth.tasks.registry import load_model

Row = tuple[str | int | float, ...]  # of a table

_BOX_COLUMNS = ("image", "instance", "class", "score", "x0", "y0", "x1", "y1")
_MARK = "predictions.json"
_MAX_PNG_INSTANCES = 65535


class CellCount(NamedTuple):
    """Number of cells in an image, per class and in total."""

    image: str
    cells: dict[str, int]
    total: int


def predict(
    model: Task | Path | str,
    images: Path | str,
    output: Path | str,
    *,
    scale: float | None = None,
    overlays: bool = True,
    execution: Execution | None = None,
) -> list[CellCount]:
    """Find the cells in images and write labels, boxes, counts and pictures.

    Parameters
    ----------
    model : Task, Path or str
        A model, or a folder written by `train_task`.
    images : Path or str
        An image, a folder of images, or a folder with ``images/``.
    output : Path or str
        Folder, see `write_predictions`.
    scale : float, optional
        Resize images on reading. Default: the training scale of the model. Results are in px of the images.
    overlays : bool
        Also write pictures.
    execution : Execution, optional

    Returns
    -------
    list of CellCount
        One per image; fewer after Ctrl-C.

    Raises
    ------
    DataError
        If the folder holds other files or cannot be written; or, after all other images are done, if an image
        cannot be read.
    ModelError
        If the model folder is incomplete or damaged.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> from smearsynth.tasks.segmentation import Segmentation
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (40, 30), "white").save(folder / "field.png")
    >>> counts = predict(Segmentation.preset("tiny"), folder / "field.png", folder / "predictions")
    >>> counts[0].image, sorted(path.name for path in (folder / "predictions").iterdir())
    ('field', ['boxes.csv', 'counts.csv', 'labels', 'overlays', 'predictions.json'])
    """
    execution = execution or Execution()
    progress = execution.progress
    device = select_device(execution.device)
    task = model.to(device) if isinstance(model, Task) else load_model(model, device)
    files = find_images(images)
    if ignored := images_below(images, Path(output)):
        progress.message(f"{ignored} images in subfolders of {images} are ignored; name each folder to include it")
    return write_predictions(
        task,
        files,
        output,
        scale=choose_scale(task, scale, progress),
        pictures=overlays,
        on_image=lambda done: progress.advance("finding cells", done, len(files)),
        on_damaged=lambda error: progress.message(str(error)),
    )


def choose_scale(task: Task, scale: float | None, progress: Progress) -> float:
    """Return the scale to read images at: the training scale of the model unless another one is given.

    A difference between the image scale and 1, or the training scale, is reported to `progress`.

    Raises
    ------
    OptionError
        If the scale is out of range.
    """
    if scale is None:
        if task.scale != 1:
            progress.message(f"images are resized by {task.scale:g}, the training scale of the model")
        return task.scale
    check_scale(scale)
    if scale != task.scale:
        progress.message(f"the model was trained at scale {task.scale:g}, images are read at scale {scale:g}")
    return scale


def find_images(path: Path | str) -> dict[str, Path]:
    """Find the images of a path, by name: a file, a folder, or the ``images/`` in it.

    Raises
    ------
    DataError
        If there is none, or two images have the same name.
    """
    path = Path(path)
    if path.is_file():
        return {image_name(path.name): path}
    if not path.is_dir():
        raise DataError("does not exist; name an image or a folder of images", path)
    files = image_files(path / IMAGE_FOLDER if (path / IMAGE_FOLDER).is_dir() else path)
    if not files:
        raise DataError("contains no images; name a folder with PNG, JPEG or TIFF images", path)
    images: dict[str, Path] = {}
    for file in files:
        name = image_name(file.name)
        if name in images:
            raise DataError(f"has the same name as {images[name].name}; remove one of them", file)
        images[name] = file
    return images


def images_below(path: Path | str, output: Path) -> int:
    """Count the images in subfolders that `find_images` does not read, except those of the output folder."""
    path, output = Path(path).resolve(), output.resolve()
    top = path / IMAGE_FOLDER if (path / IMAGE_FOLDER).is_dir() else path
    folders = (folder for folder in top.rglob("*") if folder.is_dir() and not folder.is_relative_to(output))
    return sum(len(image_files(folder)) for folder in folders)


def write_predictions(
    task: Task,
    images: dict[str, Path],
    folder: Path | str,
    *,
    scale: float | None = None,
    pictures: bool = True,
    on_image: Callable[[int], object] | None = None,
    on_damaged: Callable[[DataError], object] | None = None,
) -> list[CellCount]:
    """Apply a model to images and write the predictions.

    Parameters
    ----------
    task : Task
    images : dict of str to Path
        As returned by `find_images`.
    folder : Path or str
        Receives ``counts.csv`` (cells per class and image), ``boxes.csv`` (one row per cell), ``labels/`` (16-bit
        PNG, if the task gives labels) and ``overlays/``. It must be new, empty, or written by this function
        before; the files of an earlier call are removed.
    scale : float, optional
        Scale of the images for the model. Default: its training scale. Results are in px of the images.
    pictures : bool
        Write ``overlays/``.
    on_image : callable, optional
        Called with the number of images done.
    on_damaged : callable, optional
        Called with the error of each image that cannot be read.

    Returns
    -------
    list of CellCount
        The rows of ``counts.csv``; fewer than the images after Ctrl-C.

    Raises
    ------
    DataError
        If the folder holds other files or cannot be written; or, after all other images are done, if an image
        cannot be read.
    """
    folder = Path(folder)
    scale = task.scale if scale is None else scale
    _claim_folder(folder, task)
    _remove_predictions(folder)
    counts: list[CellCount] = []
    boxes: list[Row] = []
    damaged: list[str] = []
    try:
        with StopRequest() as stop:
            for name, path in images.items():
                if stop.requested:
                    break
                try:
                    image = read_rgb(path)
                except DataError as error:
                    damaged.append(path.name)
                    if on_damaged:
                        on_damaged(error)
                    continue
                prediction = predict_image(task, image, scale)
                _write_images(folder, name, image, prediction, pictures)
                boxes += box_rows(name, prediction)
                counts.append(CellCount(name, prediction.counts(), len(prediction.scores)))
                if on_image:
                    on_image(len(counts))
    finally:
        # The images that were done before an error stay usable.
        rows: list[Row] = [(count.image, *count.cells.values(), count.total) for count in counts]
        _write_table(folder / "counts.csv", ("image", *task.config.class_names, "total"), rows)
        _write_table(folder / "boxes.csv", _BOX_COLUMNS, boxes)
    if damaged:
        raise DataError(
            f"{len(damaged)} of {len(images)} images cannot be read ({', '.join(damaged)}); the predictions of the "
            f"other {len(counts)} are complete",
            folder,
        )
    return counts


def box_rows(name: str, prediction: Prediction) -> list[Row]:
    """Return one row per cell: image, instance, class, score and box in px, the end excluded."""
    rows: list[Row] = []
    cells = zip(prediction.boxes, prediction.scores, prediction.classes, strict=True)
    for k, (box, score, kind) in enumerate(cells, 1):
        sides = (round(float(side), 2) + 0.0 for side in box)  # + 0.0 turns -0.0 into 0.0
        rows.append((name, k, prediction.class_names[int(kind)], round(float(score), 4), *sides))
    return rows


def predict_image(task: Task, image: ImageArray, scale: float) -> Prediction:
    """Apply a model to an image resized by `scale`; return the prediction in px of the image."""
    if scale == 1:
        return task.predict(image)
    unannotated = Smear(image, np.zeros(image.shape[:2], np.int32), np.array([], np.int64)).resized(scale)
    return task.predict(unannotated.image).rescaled(unannotated.shape, image.shape[:2])


def _claim_folder(folder: Path, task: Task) -> None:
    """Refuse a folder with other files, because its ``labels/`` may be an annotation."""
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file; name an output folder", folder)
    mark = json.dumps({"task": task.name, "class_names": task.config.class_names})
    path = folder / _MARK
    if path.exists():
        if read_text(path) != mark:
            raise DataError("contains predictions of another kind of model; choose another folder", folder)
    elif folder.exists() and any(folder.iterdir()):
        raise DataError("is not empty and was not written by `smearsynth predict`; choose another folder", folder)
    else:
        write_text(path, mark)


def _remove_predictions(folder: Path) -> None:
    """Remove the files of an earlier call, which may be of other images."""
    for subfolder in ("labels", "overlays"):
        for file in image_files(folder / subfolder) if (folder / subfolder).is_dir() else ():
            file.unlink()
    for table in ("counts.csv", "boxes.csv"):
        (folder / table).unlink(missing_ok=True)


def _write_images(folder: Path, name: str, image: ImageArray, prediction: Prediction, pictures: bool) -> None:
    if prediction.labels is not None:
        _write_labels(folder / "labels" / name, prediction.labels)
    if pictures:
        with atomic_write(folder / "overlays" / f"{name}.png") as temporary:
            save_png(temporary, prediction_picture(image, prediction))


def _write_labels(path: Path, labels: LabelArray) -> None:
    if int(labels.max(initial=0)) <= _MAX_PNG_INSTANCES:
        with atomic_write(path.with_name(f"{path.name}.png")) as temporary:
            save_png(temporary, labels.astype(np.uint16))
    else:
        with atomic_write(path.with_name(f"{path.name}.tif")) as temporary:
            save_tiff(temporary, labels)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
