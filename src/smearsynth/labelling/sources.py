"""Images to label, with the boxes or points that an annotator gave for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.drawing import scaled
from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.base import Reader
from smearsynth.formats.registry import detect_format, open_reader_with_classes
from smearsynth.geometry import Box, Outline, Point, fill
from smearsynth.runs import Progress
from smearsynth.smear import Mask
from smearsynth.tasks.prediction import find_images


@dataclass(frozen=True)
class ImageSource:
    """One image to label.

    Parameters
    ----------
    name : str
    path : Path
    annotation : FieldAnnotation or None
        Boxes or points; None to label it from the image alone.
    split : str, optional
    """

    name: str
    path: Path
    annotation: FieldAnnotation | None = None
    split: str | None = None


@dataclass(frozen=True)
class Sources:
    """Images to label, and what was found.

    Parameters
    ----------
    images : list of ImageSource
        Sorted by name.
    class_names : tuple of str
    found : str
        What the labels are made from, for messages.
    notes : tuple of str
    """

    images: list[ImageSource]
    class_names: tuple[str, ...]
    found: str
    notes: tuple[str, ...] = ()


def find_sources(
    images: Path, marks: Path | None, kind: str, format: str, progress: Progress, *, from_image: bool = False
) -> Sources:
    """Find the images and the marks for them.

    Parameters
    ----------
    images : Path
        Image, folder of images, or folder of a data set with boxes or points.
    marks : Path or None
        File or folder with boxes or points. None: those in `images`, if there are any.
    kind : {"box", "point", "any"}
        Marks that `marks` must hold.
    format : str
        Format of the marks, or "auto".
    progress : Progress
        Receives a message on what was found.
    from_image : bool
        Ignore the boxes and points in `images`.

    Raises
    ------
    DataError
        If there are no images, or the marks cannot be read or are of another kind.
    OptionError
        If the images are already annotated with outlines or label images.
    """
    if marks is None and from_image:
        return _without_marks(images)
    reader = _open_marks(images, marks, format)
    if reader is None:
        return _without_marks(images)
    if reader.shows_cells and marks is None and any(reader.annotation(entry).cells for entry in reader.entries[:1]):
        raise OptionError(
            f"{images}: found {reader.found}, which show the cells already; name a folder of images, or name boxes "
            "or points with --boxes or --points"
        )
    annotations = {entry.name: reader.annotation(entry) for entry in reader.entries}
    if kind != "any":
        annotations = {name: _only(annotation, kind) for name, annotation in annotations.items()}
        if not any(annotation.cells for annotation in annotations.values()):
            raise DataError(f"contains no {'boxes' if kind == 'box' else 'points'}; found {reader.found}", marks)
    sources = [
        ImageSource(entry.name, entry.image, annotations[entry.name], entry.split) for entry in reader.entries
    ]
    progress.message(f"found: {reader.found}")
    notes = (*reader.notes, *_unlisted(images, sources))
    return Sources(sources, reader.class_names, reader.found, notes)


def _open_marks(images: Path, marks: Path | None, format: str) -> Reader | None:
    """Open the marks with their classes; None if `images` has none."""
    if marks is not None:
        folder = images.parent if images.is_file() else images
        return open_reader_with_classes(marks, format, images=folder)
    if images.is_file():
        return None
    if format == "auto":
        try:
            format = detect_format(images)
        except DataError:
            find_images(images)  # images without annotation; if there are none either, this error is clearer
            return None
    return open_reader_with_classes(images, format)


def _without_marks(images: Path) -> Sources:
    files = find_images(images)
    sources = [ImageSource(name, path) for name, path in sorted(files.items())]
    return Sources(sources, ("cell",), "images without annotation")


def _only(annotation: FieldAnnotation, kind: str) -> FieldAnnotation:
    wanted = Box if kind == "box" else Point
    cells = tuple(cell for cell in annotation.cells if isinstance(cell.shape, wanted))
    return replace(annotation, cells=cells)


def _unlisted(images: Path, sources: list[ImageSource]) -> list[str]:
    """Return a note on the images without marks, which are not labelled."""
    try:
        files = find_images(images)
    except DataError:
        return []
    listed = {source.path.resolve() for source in sources}
    count = sum(path.resolve() not in listed for path in files.values())
    return [f"{count} images without boxes or points are left out"] if count else []


@dataclass(frozen=True)
class Marks:
    """Marks of one image in px.

    Parameters
    ----------
    boxes : (m, 4) float64 array
        x0, y0, x1, y1.
    points : (k, 2) float64 array
        x, y.
    outlines : list of Outline
        Cells that are outlined already.
    box_classes, point_classes, outline_classes : list of str
    ignored : (H, W) bool array or None
    """

    boxes: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    outlines: list[Outline]
    box_classes: list[str]
    point_classes: list[str]
    outline_classes: list[str]
    ignored: Mask | None


def marks_of(annotation: FieldAnnotation, size: tuple[int, int]) -> Marks:
    """Sort the marks of an image of `size` (H, W) px by kind.

    Examples
    --------
    >>> from smearsynth.annotation.record import CellMark
    >>> marks = marks_of(FieldAnnotation("a", Path("a"), (CellMark(Point(3, 4)),)), (10, 10))
    >>> marks.points.tolist(), marks.point_classes
    ([[3.0, 4.0]], ['cell'])
    """
    boxes, points, outlines = [], [], []
    names: dict[str, list[str]] = {"box": [], "point": [], "outline": []}
    for cell in annotation.cells:
        shape = scaled(cell.shape, annotation, size)
        if isinstance(shape, Box):
            boxes.append(tuple(shape))
            names["box"].append(cell.class_name)
        elif isinstance(shape, Point):
            points.append(tuple(shape))
            names["point"].append(cell.class_name)
        else:
            pixels = fill(shape, size)
            outlines.append(
                shape if isinstance(shape, Outline) else Outline.of_mask(pixels.mask, (pixels.x, pixels.y))
            )
            names["outline"].append(cell.class_name)
    ignored: Mask | None = None
    for shape in annotation.ignored:
        pixels = fill(scaled(shape, annotation, size), size)
        ignored = np.zeros(size, bool) if ignored is None else ignored
        rows, columns = pixels.mask.shape
        ignored[pixels.y : pixels.y + rows, pixels.x : pixels.x + columns] |= pixels.mask
    return Marks(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(points, np.float64).reshape(-1, 2),
        outlines,
        names["box"],
        names["point"],
        names["outline"],
        ignored,
    )


def typical_class(classes: Mapping[str, int] | Counter[str], class_names: tuple[str, ...]) -> str:
    """Return the most frequent class, for cells that no mark names.

    Examples
    --------
    >>> typical_class({"wbc": 1, "rbc": 20}, ("wbc", "rbc")), typical_class({}, ("cell",))
    ('rbc', 'cell')
    """
    return max(class_names, key=lambda name: classes.get(name, 0))
