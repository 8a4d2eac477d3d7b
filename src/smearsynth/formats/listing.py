"""Folders in which each image has an annotation image of the same name: listing and pairing."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from smearsynth.errors import DataError
from smearsynth.files import read_text, describe_read_error
from smearsynth.formats.base import Entry

IMAGE_FOLDER = "images"
# In order of preference; "palette" is where smearsynth itself puts colour-palette masks.
ANNOTATION_FOLDERS = ("labels", "masks", "instances", "palette")
_ENDINGS = ("label", "labels", "mask", "masks", "instances", "instance", "palette")


def annotation_folder(root: Path) -> Path | None:
    """Folder of annotation images beside `images/`, None where there is none."""
    return next((root / name for name in ANNOTATION_FOLDERS if (root / name).is_dir()), None)


def find_pairs(root: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """List images with their annotation images, sorted by name, with remarks that stop nothing.

    Either `images/` beside one of `ANNOTATION_FOLDERS`, or a flat folder in which ``x.png`` goes with
    ``x_label.png``, ``x_mask.png`` and the like. Splits come from `split.csv`.

    Raises
    ------
    DataError
        When there are no images, or an image or an annotation is without its pair.
    """
    if (root / IMAGE_FOLDER).is_dir():
        folder = annotation_folder(root)
        if folder is None:
            raise DataError(
                f"holds images/ without annotations; put label images in {root / ANNOTATION_FOLDERS[0]}", root
            )
        images = _by_name(image_files(root / IMAGE_FOLDER))
        annotations = _by_name(image_files(folder), cut_endings_for=images)
        wanted = f"{folder.name}/{{}}.png"
    else:
        images, annotations = _flat(image_files(root))
        wanted = "{}_label.png"
    if not images:
        raise DataError("holds no images; name a folder with PNG, JPEG or TIFF images and their labels", root)
    _check_pairs(root, images, annotations, wanted)
    splits = read_splits(root)
    entries = tuple(Entry(name, images[name], annotations[name], splits.get(name)) for name in sorted(images))
    return entries, _split_notes(root, splits, images)


def _by_name(files: list[Path], cut_endings_for: Mapping[str, Path] | None = None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        name = image_name(path.name)
        if cut_endings_for is not None and name not in cut_endings_for:
            name = _without_ending(name) or name
        if name in found:
            raise DataError(f"goes by the same name as {found[name].name}; remove one of the two", path)
        found[name] = path
    return found


def _without_ending(name: str) -> str | None:
    """Return "x" for "x_label" and its like, None for names without such an ending."""
    stem, _, ending = name.rpartition("_")
    if not stem or ending.lower() not in _ENDINGS:
        return None
    # Cellpose writes x_cp_masks beside x.
    return stem.removesuffix("_cp")


def _flat(files: list[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    names = {image_name(path.name) for path in files}
    annotations = [path for path in files if _without_ending(image_name(path.name)) in names]
    images = _by_name([path for path in files if path not in set(annotations)])
    return images, _by_name(annotations, cut_endings_for=images)


def _check_pairs(root: Path, images: dict[str, Path], annotations: dict[str, Path], wanted: str) -> None:
    bare = sorted(images.keys() - annotations.keys())
    stray = sorted(annotations.keys() - images.keys())
    if bare:
        raise DataError(
            f"{_these(bare, 'image')} without labels; add {wanted.format(bare[0])} or remove the image", root
        )
    if stray:
        raise DataError(
            f"{_these(stray, 'label image')} without image; add {IMAGE_FOLDER}/{stray[0]}.png or remove it",
            root,
        )


def _these(names: list[str], what: str) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({shown})"


def _split_notes(root: Path, splits: dict[str, str], images: Mapping[str, Path]) -> tuple[str, ...]:
    if not splits:
        return ()
    notes = []
    if gone := sorted(splits.keys() - images.keys()):
        notes.append(f"{root / SPLIT_FILE}: {_these(gone, 'row')} without an image")
    if unlisted := sorted(images.keys() - splits.keys()):
        notes.append(f"{root / SPLIT_FILE}: {_these(unlisted, 'image')} in no split")
    return tuple(notes)


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


def image_files(folder: Path) -> list[Path]:
    """Files in a folder that their extension (in any case) declares images, sorted by name.

    Hidden files are left out: they are what other systems and interrupted writes leave behind.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        When the folder cannot be listed.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(describe_read_error(error), folder) from error


def remove_temporary_files(folder: Path) -> None:
    """Remove temporary files of writes that were killed, when older than an hour: a younger may be in use."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def check_file_stem(name: str) -> str:
    """Return a smear's name when it can be a file's stem, else raise `DataError`.

    Examples
    --------
    >>> check_file_stem("smear-000001")
    'smear-000001'
    """
    if not name or name.startswith(".") or Path(name).name != name or os.sep in name or "\0" in name:
        raise DataError(f"{name!r} cannot be the name of a file; name the smear without slashes or a leading dot")
    return name


SPLIT_FILE = "split.csv"


def read_splits(root: Path) -> dict[str, str]:
    """Read `split.csv` (columns image and split): split by image name, empty without the file.

    The image may be given with or without its extension.
    """
    path = root / SPLIT_FILE
    if not path.exists():
        return {}
    rows = csv.DictReader(io.StringIO(read_text(path)))
    if not {"image", "split"} <= set(rows.fieldnames or ()):
        raise DataError("lacks the columns 'image' and 'split'; give each image's split in them", path)
    return {image_name(row["image"]): row["split"] for row in rows if row["image"] and row["split"]}


def image_name(file_name: str) -> str:
    """Name of a smear from its file's name, in which other dots than the extension's are kept.

    Examples
    --------
    >>> image_name("slide.7.JPG"), image_name("slide.7")
    ('slide.7', 'slide.7')
    """
    stem, dot, suffix = file_name.rpartition(".")
    known = {"png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp"}
    return stem if dot and stem and suffix.lower() in known else file_name
