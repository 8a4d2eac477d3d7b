"""Selection of the reader and writer of a format, and detection of the format of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from smearsynth.errors import DataError, OptionError
from smearsynth.files import describe_read_error
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Reader, Writer
from smearsynth.formats.coco import CocoReader, CocoWriter, find_coco_files
from smearsynth.formats.images import is_coloured
from smearsynth.formats.labels import LabelReader, LabelWriter
from smearsynth.formats.listing import ANNOTATION_FOLDERS, IMAGE_FOLDER, annotation_folder, find_pairs, image_files
from smearsynth.formats.palette import PaletteReader, PaletteWriter
from smearsynth.formats.tables import read_metadata

FormatName = Literal["labels", "palette", "coco"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


def open_reader(
    path: Path | str, format: str = "auto", *, classes: ClassChoice = "auto", binary: bool = False
) -> Reader:
    """List annotated smears for reading; no image is decoded.

    Most callers should use `smearsynth.datasets.open_smears`.

    Parameters
    ----------
    path : Path or str
        Folder, or COCO file.
    format : str
        One of `FORMATS`, or "auto" to detect it.
    classes : {"auto", "one", "annotated"}
        Classes of the cells, as for `open_smears`.
    binary : bool
        The annotation is a binary mask, as for `open_smears`.

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
    if format not in ("auto", *FORMATS):
        raise OptionError(f"format must be auto, {', '.join(FORMATS)}, not {format!r}")
    if binary and classes == "annotated":
        raise OptionError("a binary mask (binary=True) has no annotated classes; use classes='one'")
    _check_path(path)
    readers: dict[str, type[LabelReader | CocoReader]] = {
        "labels": LabelReader,
        "palette": PaletteReader,
        "coco": CocoReader,
    }
    name = detect_format(path) if format == "auto" else format
    return readers[name](path, classes=classes, binary=binary)


def detect_format(path: Path | str) -> FormatName:
    """Detect the annotation format of a folder from its files.

    Parameters
    ----------
    path : Path or str
        Folder, or COCO file.

    Returns
    -------
    str
        One of `FORMATS`.

    Raises
    ------
    DataError
        If the format is unknown; the message lists the expected files.
    """
    path = Path(path)
    _check_path(path)
    if path.is_file():
        return "coco"
    metadata = read_metadata(path)
    if metadata is not None and metadata.format in FORMATS:
        return metadata.format
    if (path / IMAGE_FOLDER).is_dir() and annotation_folder(path) is not None:
        return _palette_or_labels(path)
    if find_coco_files(path):
        return "coco"
    if (path / IMAGE_FOLDER).is_dir() or image_files(path):
        return _palette_or_labels(path)
    raise DataError(
        f"unknown format; expected {IMAGE_FOLDER}/ with {'/, '.join(ANNOTATION_FOLDERS)}/ beside it, "
        "pairs of x.png and x_label.png or x_mask.png, or a COCO .json file",
        path,
    )


def open_writer(
    folder: Path | str,
    *,
    format: str = "labels",
    class_names: Sequence[str] = ONE_CLASS,
    segmentation: Literal["polygon", "rle"] = "polygon",
) -> Writer:
    """Open a folder for writing smears. Smears of an interrupted run with the same options are kept.

    Parameters
    ----------
    folder : Path or str
        Created if missing.
    format : str
        One of `FORMATS`. "labels": uint16 PNG label images (int32 TIFF above 65,535 instances). "palette":
        colour-palette masks. "coco": one file `annotations.json`.
    class_names : sequence of str
        Names of the cell classes, the same for all smears.
    segmentation : {"polygon", "rle"}
        Shape of a cell in COCO: polygons or run-length encoding.

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
    if format == "labels":
        return LabelWriter(folder, class_names)
    if format == "palette":
        return PaletteWriter(folder, class_names)
    if format == "coco":
        return CocoWriter(folder, class_names, segmentation=segmentation)
    raise OptionError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")


def _check_path(path: Path) -> None:
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise DataError("is a file; name the folder of annotated smears, or a COCO .json file", path)
        return
    if not path.exists():
        raise DataError("does not exist; name a folder of annotated smears", path)
    try:
        empty = not any(path.iterdir())
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    if empty:
        raise DataError("is empty; name a folder of annotated smears", path)


def _palette_or_labels(path: Path) -> FormatName:
    entries, _ = find_pairs(path)
    return "palette" if is_coloured(entries[0].annotation) else "labels"
