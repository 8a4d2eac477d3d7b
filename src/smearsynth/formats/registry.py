"""One reader and one writer per annotation format, and the detection of the format of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from smearsynth.errors import DataError, OptionError
from smearsynth.files import describe_read_error
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, Reader, Writer
from smearsynth.formats.coco import CocoReader, CocoWriter, find_coco_files
from smearsynth.formats.images import is_coloured
from smearsynth.formats.labels import LabelReader, LabelWriter
from smearsynth.formats.listing import ANNOTATION_FOLDERS, IMAGE_FOLDER, annotation_folder, find_pairs, image_files
from smearsynth.formats.palette import PaletteReader, PaletteWriter
from smearsynth.formats.tables import read_metadata

FormatName = Literal["labels", "palette", "coco"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)

__all__ = [
    "FORMATS",
    "ClassChoice",
    "Entry",
    "FormatName",
    "Reader",
    "Writer",
    "detect_format",
    "open_reader",
    "open_writer",
]


def open_reader(
    path: Path | str, format: str = "auto", *, classes: ClassChoice = "auto", binary: bool = False
) -> Reader:
    """Open annotated smears for reading: their files are listed, none is decoded.

    Parameters
    ----------
    path : Path or str
    format : str
        One of `FORMATS`, or "auto".
    classes : {"auto", "one", "annotated"}
    binary : bool
        As for `smearsynth.datasets.open_smears`, which is what most callers want.

    Raises
    ------
    DataError
        When nothing readable is there.
    OptionError
        When the format or the choice of classes is unknown.
    """
    path = Path(path)
    if classes not in get_args(ClassChoice):
        raise OptionError(f"classes must be one of {', '.join(get_args(ClassChoice))}, not {classes!r}")
    if format not in ("auto", *FORMATS):
        raise OptionError(f"format must be auto, {', '.join(FORMATS)}, not {format!r}")
    if binary and classes == "annotated":
        raise OptionError("binary=True finds instances anew, whose classes no table knows; use classes='one'")
    _check_path(path)
    readers: dict[str, type[LabelReader | CocoReader]] = {
        "labels": LabelReader,
        "palette": PaletteReader,
        "coco": CocoReader,
    }
    name = detect_format(path) if format == "auto" else format
    return readers[name](path, classes=classes, binary=binary)


def detect_format(path: Path | str) -> FormatName:
    """Tell the format of annotated smears from the files there.

    Parameters
    ----------
    path : Path or str
        A folder, or a COCO file.

    Returns
    -------
    str
        One of `FORMATS`.

    Raises
    ------
    DataError
        When none fits; the message says what was looked for.
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
        f"is of no known format; looked for {IMAGE_FOLDER}/ beside {'/, '.join(ANNOTATION_FOLDERS)}/, "
        "for pairs x.png and x_label.png or x_mask.png, and for a COCO .json file",
        path,
    )


def open_writer(
    folder: Path | str,
    *,
    format: str = "labels",
    class_names: Sequence[str] = ONE_CLASS,
    segmentation: Literal["polygon", "rle"] = "polygon",
) -> Writer:
    """Open a folder for writing smears, or for going on where an interrupted run stopped.

    Parameters
    ----------
    folder : Path or str
        Made when missing.
    format : str
        One of `FORMATS`: "labels" writes uint16 PNG label images (int32 TIFF above 65,535 instances),
        "palette" colour-palette masks, "coco" one `annotations.json`.
    class_names : sequence of str
        The classes all smears share.
    segmentation : {"polygon", "rle"}
        How COCO describes a cell.

    Returns
    -------
    Writer
        With `write`, `written` and `finish`; as a context manager it finishes when all went well.

    Raises
    ------
    DataError
        When the folder holds images of another origin, or was written with other options.
    OptionError
        When the format is unknown.

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
        raise OptionError("class_names must name at least one class, and none twice")
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
