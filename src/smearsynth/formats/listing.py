"""File names of a folder of smears: listing of images, pairing with annotation images, and splits."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from smearsynth.errors import DataError
from smearsynth.files import describe_read_error, read_text
from smearsynth.formats.base import Entry

IMAGE_FOLDER = "images"
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
# In order of preference. smearsynth writes colour-palette masks to "palette".
ANNOTATION_FOLDERS = ("labels", "masks", "instances", "palette")
SPLIT_FILE = "split.csv"
_ENDINGS = ("label", "labels", "mask", "masks", "instances", "instance", "palette")


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
    >>> image_name("slide.7.JPG"), image_name("slide.7")
    ('slide.7', 'slide.7')
    """
    stem, dot, suffix = file_name.rpartition(".")
    return stem if stem and f"{dot}{suffix.lower()}" in IMAGE_SUFFIXES else file_name


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


def annotation_folder(root: Path) -> Path | None:
    """Return the folder of annotation images beside `images/`, or None if there is none."""
    return next((root / name for name in ANNOTATION_FOLDERS if (root / name).is_dir()), None)


def find_pairs(root: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """List images with their annotation images.

    Two layouts are supported: `images/` beside one of `ANNOTATION_FOLDERS`, or one folder in which ``x.png`` has
    the annotation ``x_label.png``, ``x_mask.png`` or similar. Splits are read from `split.csv`.

    Returns
    -------
    entries : tuple of Entry
        Sorted by name.
    notes : tuple of str
        Differences between `split.csv` and the images, one line each.

    Raises
    ------
    DataError
        If there are no images, or an image has no annotation, or an annotation has no image.
    """
    if (root / IMAGE_FOLDER).is_dir():
        folder = annotation_folder(root)
        if folder is None:
            raise DataError(
                f"contains images/ without annotations; put label images in {root / ANNOTATION_FOLDERS[0]}", root
            )
        images = _by_name(image_files(root / IMAGE_FOLDER))
        annotations = _by_name(image_files(folder), images)
        annotation_pattern = f"{folder.name}/{{}}.png"
    else:
        images, annotations = _pairs_of_one_folder(image_files(root))
        annotation_pattern = "{}_label.png"
    if not images:
        raise DataError("contains no images; name a folder with PNG, JPEG or TIFF images and their labels", root)
    _check_pairs(root, images, annotations, annotation_pattern)
    splits = read_splits(root)
    entries = tuple(Entry(name, images[name], annotations[name], splits.get(name)) for name in sorted(images))
    return entries, _split_notes(root, splits, images)


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


def _by_name(files: list[Path], images: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Return files by smear name. For annotations of `images`, an ending such as "_label" is removed."""
    paths: dict[str, Path] = {}
    for path in files:
        name = image_name(path.name)
        if images is not None and name not in images:
            name = _without_ending(name) or name
        if name in paths:
            raise DataError(f"has the same name as {paths[name].name}; remove one of the two files", path)
        paths[name] = path
    return paths


def _without_ending(name: str) -> str | None:
    """Return "x" for "x_label" and similar names, None for names without such an ending."""
    stem, _, ending = name.rpartition("_")
    if not stem or ending.lower() not in _ENDINGS:
        return None
    # Cellpose writes x_cp_masks for x.
    return stem.removesuffix("_cp")


def _pairs_of_one_folder(files: list[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    names = {image_name(path.name) for path in files}
    annotations = [path for path in files if _without_ending(image_name(path.name)) in names]
    images = _by_name([path for path in files if path not in set(annotations)])
    return images, _by_name(annotations, images)


def _check_pairs(
    root: Path, images: dict[str, Path], annotations: dict[str, Path], annotation_pattern: str
) -> None:
    without_labels = sorted(images.keys() - annotations.keys())
    without_image = sorted(annotations.keys() - images.keys())
    if without_labels:
        raise DataError(
            f"{_count(without_labels, 'image')} without labels; add {annotation_pattern.format(without_labels[0])} "
            "or remove the image",
            root,
        )
    if without_image:
        raise DataError(
            f"{_count(without_image, 'label image')} without image; add {IMAGE_FOLDER}/{without_image[0]}.png "
            "or remove it",
            root,
        )


def _count(names: list[str], noun: str) -> str:
    """Return for example "4 images (a, b, c, …)"."""
    examples = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({examples})"


def _split_notes(root: Path, splits: dict[str, str], images: Mapping[str, Path]) -> tuple[str, ...]:
    if not splits:
        return ()
    notes = []
    if missing := sorted(splits.keys() - images.keys()):
        notes.append(f"{root / SPLIT_FILE}: {_count(missing, 'row')} without an image")
    if unlisted := sorted(images.keys() - splits.keys()):
        notes.append(f"{root / SPLIT_FILE}: {_count(unlisted, 'image')} in no split")
    return tuple(notes)
