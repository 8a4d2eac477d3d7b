"""Selection of the reader and writer of a format, and detection of the format of a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from smearsynth.errors import DataError, OptionError
from smearsynth.files import describe_read_error
from smearsynth.formats.base import ONE_CLASS, ClassChoice, MarkFormat, Reader, Writer
from smearsynth.formats.finding import files_below, load_json
from smearsynth.formats.label_images.cell_masks import CellMaskReader
from smearsynth.formats.label_images.cellpose import CellposeWriter
from smearsynth.formats.label_images.label_formats import label_format
from smearsynth.formats.label_images.labels import LabelReader, LabelWriter
from smearsynth.formats.label_images.ome_tiff import OmeTiffWriter
from smearsynth.formats.label_images.pairs import find_pairs
from smearsynth.formats.label_images.palette import PaletteReader, PaletteWriter
from smearsynth.formats.label_images.stardist import StarDistWriter
from smearsynth.formats.listing import IMAGE_SUFFIXES
from smearsynth.formats.mark_files.coco import COCO, CocoWriter
from smearsynth.formats.mark_files.csv_table import TABLE
from smearsynth.formats.mark_files.cvat import CVAT, CvatWriter
from smearsynth.formats.mark_files.imagej import IMAGEJ, ImageJWriter
from smearsynth.formats.mark_files.label_studio import LABEL_STUDIO
from smearsynth.formats.mark_files.labelme import LABELME, LabelMeWriter
from smearsynth.formats.mark_files.malaria_json import MALARIA_JSON
from smearsynth.formats.mark_files.mark_reader import MarkReader
from smearsynth.formats.mark_files.point_files import POINTS
from smearsynth.formats.mark_files.qupath import QUPATH, QuPathWriter
from smearsynth.formats.mark_files.supervisely import SUPERVISELY
from smearsynth.formats.mark_files.via import VIA
from smearsynth.formats.mark_files.voc import VOC, VocWriter
from smearsynth.formats.mark_files.yolo import YOLO, YoloDetectWriter, YoloSegmentWriter
from smearsynth.formats.tables import read_metadata
from smearsynth.formats.writing import FolderWriter

# In the order in which they are looked for: formats with outlines before those with boxes, points last.
MARK_FORMATS: dict[str, MarkFormat] = {
    mark_format.name: mark_format
    for mark_format in (
        COCO,
        LABELME,
        VIA,
        CVAT,
        LABEL_STUDIO,
        SUPERVISELY,
        QUPATH,
        IMAGEJ,
        YOLO,
        VOC,
        MALARIA_JSON,
        TABLE,
        POINTS,
    )
}
_LABEL_READERS: dict[str, type[LabelReader | CellMaskReader]] = {
    "labels": LabelReader,
    "palette": PaletteReader,
    "cell-masks": CellMaskReader,
}
_WRITERS: dict[str, type[FolderWriter]] = {
    writer.format: writer
    for writer in (
        LabelWriter,
        PaletteWriter,
        CocoWriter,
        YoloDetectWriter,
        YoloSegmentWriter,
        VocWriter,
        LabelMeWriter,
        CvatWriter,
        QuPathWriter,
        ImageJWriter,
        CellposeWriter,
        StarDistWriter,
        OmeTiffWriter,
    )
}
READ_FORMATS: tuple[str, ...] = (*_LABEL_READERS, *MARK_FORMATS)
WRITE_FORMATS: tuple[str, ...] = tuple(_WRITERS)
# Formats of our own writers that are read under the name of a more general format.
READ_AS = {
    "yolo-detect": "yolo",
    "yolo-segment": "yolo",
    "cellpose": "labels",
    "stardist": "labels",
    "ome-tiff": "labels",
}


def open_reader(
    path: Path | str,
    format: str = "auto",
    *,
    classes: ClassChoice = "auto",
    binary: bool = False,
    images: Path | str | None = None,
    ignore_value: int | None = None,
) -> Reader:
    """List annotated smears for reading; no image is decoded.

    Most callers should use `smearsynth.datasets.open_smears`.

    Parameters
    ----------
    path : Path or str
        Folder, or annotation file.
    format : str
        One of `READ_FORMATS`, or "auto" to detect it.
    classes : {"auto", "one", "annotated"}
        Classes of the cells, as for `open_smears`.
    binary : bool
        The annotation is a binary mask, as for `open_smears`.
    images : Path or str, optional
        Folder of the images of an annotation file. Default: the folder of the file.
    ignore_value : int, optional
        Value of the pixels without annotation in label images.

    Raises
    ------
    DataError
        If the path does not exist, is empty, or has no known format.
    OptionError
        If `format` or `classes` is unknown.
    """
    path = Path(path)
    if classes not in get_args(ClassChoice):
        raise OptionError(f"classes must be one of {', '.join(get_args(ClassChoice))}, not {classes!r}")
    if format not in ("auto", *READ_FORMATS):
        raise OptionError(f"format must be auto, {', '.join(READ_FORMATS)}, not {format!r}")
    if binary and classes == "annotated":
        raise OptionError("a binary mask (binary=True) has no annotated classes; use classes='one'")
    _check_path(path)
    name = detect_format(path) if format == "auto" else format
    if name == "labels":
        return LabelReader(path, classes=classes, binary=binary, ignore_value=ignore_value)
    if ignore_value is not None:
        raise OptionError(f"ignore_value applies to the format labels, not to {name}")
    if name in _LABEL_READERS:
        return _LABEL_READERS[name](path, classes=classes, binary=binary)
    mark_format = MARK_FORMATS[name]
    files = mark_format.find(path)
    if not files:
        raise DataError(f"contains no {mark_format.title} file", path)
    folder = None if images is None else Path(images)
    return MarkReader(path, mark_format, files, classes=classes, binary=binary, images=folder)


def open_reader_with_classes(path: Path | str, format: str = "auto", *, images: Path | str | None = None) -> Reader:
    """List annotated smears as `open_reader`, with the annotated classes, or with one class if there are none."""
    try:
        return open_reader(path, format, classes="annotated", images=images)
    except DataError:
        # An error that does not concern the classes is raised again.
        return open_reader(path, format, classes="one", images=images)


def detect_format(path: Path | str) -> str:
    """Detect the annotation format of a folder from its files.

    Parameters
    ----------
    path : Path or str
        Folder, or annotation file.

    Returns
    -------
    str
        One of `READ_FORMATS`.

    Raises
    ------
    DataError
        If the format is unknown; the message lists the expected files.
    """
    path = Path(path)
    _check_path(path)
    if path.is_dir():
        metadata = read_metadata(path)
        written = None if metadata is None else READ_AS.get(metadata.format, metadata.format)
        name = written if written in READ_FORMATS else label_format(path)
        if name is not None:
            return name
    for mark_format in MARK_FORMATS.values():
        if mark_format.find(path):
            return mark_format.name
    if path.is_dir() and files_below(path, IMAGE_SUFFIXES):
        find_pairs(path)  # raises the error that names what is missing
    if path.is_file() and path.suffix.lower() == ".json":
        load_json(path)  # raises an error if it is damaged
    titles = ", ".join(mark_format.title for mark_format in MARK_FORMATS.values())
    if path.is_file():
        raise DataError(
            f"is a file; name the folder of annotated smears, or a file of one of these: {titles}", path
        )
    raise DataError(
        "unknown format; expected images/ with labels/ or masks/ beside it, pairs of x.png and x_label.png or "
        f"x_mask.png, or files of one of these: {titles}",
        path,
    )


def open_writer(
    folder: Path | str,
    *,
    format: str = "labels",
    class_names: Sequence[str] = ONE_CLASS,
    split_of: Callable[[str], str | None] | None = None,
) -> Writer:
    """Open a folder for writing smears. Smears of an interrupted run with the same options are kept.

    Parameters
    ----------
    folder : Path or str
        Created if missing.
    format : str
        One of `WRITE_FORMATS`. "labels": uint16 PNG label images (int32 TIFF above 65,535 instances). "palette":
        colour-palette masks. "coco": one file `annotations.json`.
    class_names : sequence of str
        Names of the cell classes, the same for all smears.
    split_of : callable, optional
        Returns the split of a smear by its name. Default: no splits.

    Returns
    -------
    Writer

    Raises
    ------
    DataError
        If the folder contains images that smearsynth did not write, or was written with other options.
    OptionError
        If `format` is unknown, or `class_names` is empty or has duplicates.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.smear import Smear
    >>> labels = np.array([[0, 1], [2, 2]], np.int32)
    >>> smear = Smear.from_labels(np.zeros((2, 2, 3), np.uint8), labels, name="a")
    >>> folder = tempfile.mkdtemp()
    >>> with open_writer(folder) as writer:
    ...     writer.write(smear, {"synthetic": "true"})
    >>> writer.is_written("a"), open_reader(folder).format
    (True, 'labels')
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file; name a folder to write to", folder)
    if not class_names or len(set(class_names)) < len(class_names):
        raise OptionError("class_names must contain at least one name and no duplicates")
    if format not in _WRITERS:
        raise OptionError(f"format must be one of {', '.join(WRITE_FORMATS)}, not {format!r}")
    return _WRITERS[format](folder, class_names, split_of)


def _check_path(path: Path) -> None:
    if path.is_file():
        return
    if not path.exists():
        raise DataError("does not exist; name a folder of annotated smears", path)
    try:
        empty = not any(path.iterdir())
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    if empty:
        raise DataError("is empty; name a folder of annotated smears", path)
