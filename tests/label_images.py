"""Label images of discs, and what goes wrong with such files: other values for background, classes, void."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Ids = npt.NDArray[np.integer[Any]]


def discs(rows: int = 4, columns: int = 6, radius: int = 6, pitch: int = 20, touching: bool = True) -> Ids:
    """Return ids 1..n of discs on a grid; every third one touches a further disc to its right."""
    y, x = np.mgrid[: rows * pitch, : columns * pitch]
    ids: Ids = np.zeros(y.shape, np.int64)
    for k in range(rows * columns):
        cy, cx = pitch * (k // columns) + pitch // 2, pitch * (k % columns) + radius + 1
        ids[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = ids.max() + 1
        if touching and k % 3 == 0:
            ids[((y - cy) ** 2 + (x - cx - radius - 3) ** 2 <= 9) & (ids == 0)] = ids.max() + 1
    return ids


def components(ids: Ids) -> int:
    """Return the number of 4-connected components of the cells."""
    return int(ndimage.label(ids > 0)[1])


def jpeg(mask: npt.NDArray[np.bool_], quality: int = 90) -> npt.NDArray[np.uint8]:
    """Return a black and white mask after JPEG compression."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def outlines(ids: Ids) -> npt.NDArray[np.bool_]:
    """Return the pixels of cells that are next to another value."""
    return (ids > 0) & ((ndimage.minimum_filter(ids, 3) != ids) | (ndimage.maximum_filter(ids, 3) != ids))


def indexed(ids: Ids, palette: npt.NDArray[np.uint8]) -> Image.Image:
    """Return an indexed image with a palette (256, 3)."""
    image = Image.frombytes("P", (ids.shape[1], ids.shape[0]), ids.astype(np.uint8).tobytes())
    image.putpalette(palette.tobytes())
    return image


def photograph(ids: Ids) -> npt.NDArray[np.uint8]:
    """Return an RGB image in which the cells are darker than the background."""
    image = np.full((*ids.shape, 3), (230, 215, 220), np.uint8)
    image[ids > 0] = (190, 120, 140)
    return image
