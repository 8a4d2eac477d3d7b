"""Colour-palette masks, the annotation of the paper: touching cells never share a colour.

"In order to be able to extract every single blood cell without an overlap with others, any touching cells
have different segmentation mask colors assigned to it" (Bailo, Ham, Shin 2019). Background is black. Pixels
touch along a side or at a corner, in writing and in reading alike, so what is written is read back as it was;
only a cell whose visible part is in several pieces comes back as several.
"""

from __future__ import annotations

import colorsys
import heapq
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage import measure

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import Entry
from smearsynth.formats.images import read_colours, save_png
from smearsynth.formats.labels import BINARY_PROBLEM, LabelReader, label_components, count_values, looks_binary
from smearsynth.formats.writing import TableWriter
from smearsynth.smear import LabelArray, Smear, touching_pairs

PALETTE_FOLDER = "palette"
PALETTE = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25),
    (240, 50, 230), (70, 240, 240), (245, 130, 48), (255, 255, 255),
)  # fmt: skip
# A mask blurred or scaled with smoothing falls into crumbs of mixed colours at every outline.
_CRUMB = 5


def colour_indices(labels: LabelArray, n: int) -> npt.NDArray[np.int64]:
    """Choose a colour for each of n instances such that none touches one of the same colour.

    Cells are taken away in the order of fewest neighbours left and coloured in the reverse order, which needs
    no more than 6 colours wherever cells lie in a plane; of the free colours the least used is taken.

    Returns
    -------
    (n,) int64 array
        Index of the colour of instance ``k + 1``; from ``len(PALETTE)`` on, further colours are needed.
    """
    near: list[set[int]] = [set() for _ in range(n)]
    for a, b in touching_pairs(labels).tolist():
        near[a - 1].add(b - 1)
        near[b - 1].add(a - 1)
    left = [len(neighbours) for neighbours in near]
    queue = [(count, cell) for cell, count in enumerate(left)]
    heapq.heapify(queue)
    order: list[int] = []
    gone = [False] * n
    while queue:
        count, cell = heapq.heappop(queue)
        if gone[cell] or count != left[cell]:
            continue
        gone[cell] = True
        order.append(cell)
        for other in near[cell]:
            left[other] -= 1
            heapq.heappush(queue, (left[other], other))
    colours = np.full(n, -1, np.int64)
    used = [0] * len(PALETTE)
    for cell in reversed(order):
        taken = {int(colours[other]) for other in near[cell]}
        free = [colour for colour in range(len(used)) if colour not in taken]
        if not free:
            free = [len(used)]
            used.append(0)
        best = min(free, key=used.__getitem__)
        used[best] += 1
        colours[cell] = best
    return colours


def palette_colours(count: int) -> npt.NDArray[np.uint8]:
    """Give `count` different colours, (count, 3) RGB, none black: first `PALETTE`, then ever new hues."""
    colours = list(PALETTE[:count])
    step = 0
    while len(colours) < count:
        step += 1
        hue = (step * 0.6180339887) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.4 + 0.5 * (step % 3) / 2, 0.6 + 0.4 * (step % 5) / 4)
        colour = (round(255 * red), round(255 * green), round(255 * blue))
        if colour not in colours:
            colours.append(colour)
    return np.array(colours, np.uint8).reshape(-1, 3)


def encode_palette(labels: LabelArray, n: int) -> npt.NDArray[np.uint8]:
    """Paint n instances with palette colours on black, (H, W, 3) uint8.

    Examples
    --------
    >>> painted = encode_palette(np.array([[1, 2, 0]], np.int32), 2)
    >>> bool((painted[0, 0] != painted[0, 1]).any()), painted[0, 2].tolist()
    (True, [0, 0, 0])
    """
    indices = colour_indices(labels, n)
    colours = palette_colours(int(indices.max(initial=0)) + 1)
    return np.concatenate([np.zeros((1, 3), np.uint8), colours[indices]])[labels]


def decode_palette(painted: npt.NDArray[np.uint8]) -> LabelArray:
    """Find the instances of a colour-palette mask: 8-connected pieces of one colour other than black.

    Parameters
    ----------
    painted : (H, W, 3) uint8 array

    Returns
    -------
    (H, W) int32 array
        Numbered in reading order of their first pixels.
    """
    codes = painted.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    pieces = measure.label(codes, background=0, connectivity=2)  # type: ignore[no-untyped-call]
    return np.asarray(pieces, np.int32)


class PaletteReader(LabelReader):
    """Images with colour-palette masks, RGB or indexed; parameters as for `LabelReader`."""

    format = "palette"

    def _ids(self, entry: Entry) -> npt.NDArray[np.integer[Any]]:
        painted = read_colours(entry.annotation)
        if self._binary:
            return label_components(np.asarray(painted.any(axis=2), np.bool_))
        pieces = decode_palette(painted)
        if self._metadata is None:
            self._check(entry.annotation, painted, pieces)
        return pieces

    def _check(self, path: Path, painted: npt.NDArray[np.uint8], pieces: LabelArray) -> None:
        if pieces.size and pieces.min() > 0:
            raise DataError("has no black background; paint all that is no cell black (0, 0, 0)", path)
        sizes = np.bincount(pieces.ravel())[1:]
        if len(sizes) > 20 and (sizes < _CRUMB).mean() > 0.5:
            raise DataError(
                "has mixed colours along outlines; save it without smoothing or lossy compression", path
            )
        grey = _grey(painted)
        if grey is not None and looks_binary(grey) and self._folder_is_binary():
            raise DataError(BINARY_PROBLEM, path)

    def _values(self, entry: Entry) -> int:
        grey = _grey(read_colours(entry.annotation))
        return 2 if grey is None else count_values(grey)


def _grey(painted: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Give the one channel of a mask without colours, else None."""
    return None if (painted != painted[:, :, :1]).any() else painted[:, :, 0]


class PaletteWriter(TableWriter):
    """Writes `images/NAME.png` and `palette/NAME.png`."""

    format = "palette"

    def __init__(self, folder: Path, class_names: Sequence[str] = ("cell",)) -> None:
        super().__init__(folder, class_names)

    def _save(self, smear: Smear, files: ExitStack) -> None:
        painted = encode_palette(smear.labels, smear.count)
        # Classes go to the pieces as they will be read, which have other numbers than the instances.
        pieces = decode_palette(painted)
        owner = np.zeros(int(pieces.max(initial=0)) + 1, np.int64)
        owner[pieces] = smear.labels
        self._save_classes(smear.name, smear.classes[owner[1:] - 1], files)
        save_png(files.enter_context(atomic_write(self._mask_path(smear.name))), painted)

    def _mask_path(self, name: str) -> Path:
        return self.folder / PALETTE_FOLDER / f"{name}.png"

    def written(self, name: str) -> bool:
        """Whether image, mask and classes of this name are there."""
        return self.image_path(name).exists() and self._mask_path(name).exists() and self._classes_written(name)
