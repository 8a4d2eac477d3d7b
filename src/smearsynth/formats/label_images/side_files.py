"""Files beside label images: images of ignored pixels, and full outlines of cells that others cover."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.finding import load_json
from smearsynth.formats.label_images.binary_masks import read_binary
from smearsynth.formats.pixels.images import save_png
from smearsynth.geometry import Outline
from smearsynth.smear import Mask

IGNORE_FOLDER = "ignore"
HIDDEN_FOLDER = "hidden"

FullOutlines = tuple[Outline | None, ...]


def save_ignored(path: Path, ignored: Mask | None, files: ExitStack) -> None:
    """Write the ignored pixels as an image with the value 255; without such pixels, remove the file."""
    if ignored is None:
        path.unlink(missing_ok=True)
        return
    save_png(files.enter_context(atomic_write(path)), ignored.astype(np.uint8) * np.uint8(255))


def read_ignored(path: Path, shape: tuple[int, ...]) -> Mask:
    """Read the ignored pixels: those that are not 0.

    Raises
    ------
    DataError
        If the file cannot be decoded or has another size than the labels.
    """
    ignored: Mask = read_binary(path) > 0
    if ignored.shape != shape:
        raise DataError(
            f"is {ignored.shape[1]}×{ignored.shape[0]} px, but the labels are {shape[1]}×{shape[0]} px; "
            "both must have the same size",
            path,
        )
    return ignored


def save_hidden(path: Path, outlines: FullOutlines | None, files: ExitStack) -> None:
    """Write the full outlines of cells that others cover as JSON; without such cells, remove the file."""
    if outlines is None:
        path.unlink(missing_ok=True)
        return
    record = {
        str(k): {
            "rings": [ring.tolist() for ring in outline.rings],
            "holes": [hole.tolist() for hole in outline.holes],
        }
        for k, outline in enumerate(outlines, 1)
        if outline is not None
    }
    files.enter_context(atomic_write(path)).write_text(json.dumps(record), encoding="utf-8")


def read_hidden(path: Path, count: int) -> FullOutlines | None:
    """Read the full outlines of the cells 1..count; None if there is no file.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    if not path.exists():
        return None
    record = load_json(path)
    try:
        outlines = {
            int(k): Outline(
                *(tuple(np.array(ring, np.float64).reshape(-1, 2) for ring in shape[part]) for part in parts)
            )
            for k, shape in record.items()
            for parts in (("rings", "holes"),)
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError("contains no outlines of cells; write the folder again or remove the file", path) from error
    return tuple(outlines.get(k) for k in range(1, count + 1))
