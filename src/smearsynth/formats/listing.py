"""File names of a folder of smears: listing of images, names of smears, and splits."""

from __future__ import annotations

import csv
import io
import os
import time
from contextlib import suppress
from pathlib import Path

from smearsynth.errors import DataError
from smearsynth.files import describe_read_error, read_text

IMAGE_FOLDER = "images"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
SPLIT_FILE = "split.csv"
TRAINING_SMEARS_FILE = "training-smears.json"  # of a synthesizer, beside its synthetic smears; no annotation


def image_files(folder: Path) -> list[Path]:
    """List the files of a folder with the extension of an image (in any case), sorted by name.

    Hidden files are skipped, because operating systems and interrupted writes leave such files behind.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        If the folder cannot be listed.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(describe_read_error(error), folder) from error


def image_name(file_name: str) -> str:
    """Return the name of a smear: the file name without the extension of an image.

    Examples
    --------
    >>> image_name("slide.7.JPG"), image_name("slide.7"), image_name("a.ome.tif")
    ('slide.7', 'slide.7', 'a')
    """
    stem, dot, suffix = file_name.rpartition(".")
    if not stem or f"{dot}{suffix.lower()}" not in IMAGE_SUFFIXES:
        return file_name
    is_ome = suffix.lower() in ("tif", "tiff") and stem.lower().endswith(".ome") and len(stem) > len(".ome")
    return stem[: -len(".ome")] if is_ome else stem


def check_file_stem(name: str) -> str:
    """Return the name of a smear if it can be used as a file name, else raise a `DataError`.

    Examples
    --------
    >>> check_file_stem("smear-000001")
    'smear-000001'
    """
    if not name or name.startswith(".") or Path(name).name != name or os.sep in name or "\0" in name:
        raise DataError(f"{name!r} is not a file name; use a name without slashes and without a leading dot")
    return name


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files of interrupted writes, if older than an hour: newer ones may be in use."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def read_splits(root: Path) -> dict[str, str]:
    """Read `split.csv`: the split of each image, by image name. Without the file, the result is empty.

    The file has the columns image and split; images are listed with or without extension.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a column.
    """
    path = root / SPLIT_FILE
    if not path.exists():
        return {}
    rows = csv.DictReader(io.StringIO(read_text(path)))
    if not {"image", "split"} <= set(rows.fieldnames or ()):
        raise DataError("lacks the columns 'image' and 'split'; add them, with one row per image", path)
    return {image_name(row["image"]): row["split"] for row in rows if row["image"] and row["split"]}
