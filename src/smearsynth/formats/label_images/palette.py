"""Colour-palette masks, the annotation of the paper: touching cells have different colours.

"In order to be able to extract every single blood cell without an overlap with others, any touching cells
have different segmentation mask colors assigned to it" (Bailo, Ham, Shin 2019). The background is black.
Both writer and reader use 8-connectivity, so the instances that are read are those that were written; only a cell
whose visible part consists of several pieces is read as several instances.
"""

from __future__ import annotations

import colorsys
import heapq
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage import measure

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import ONE_CLASS, Entry
from smearsynth.formats.label_images.binary_masks import (
    INVERTED_PROBLEM,
    count_values,
    looks_binary,
    looks_inverted,
)
from smearsynth.formats.label_images.label_checks import BINARY_PROBLEM
from smearsynth.formats.label_images.label_formats import is_indexed
from smearsynth.formats.label_images.label_writing import LabelFolderWriter
from smearsynth.formats.label_images.labels import DecodedLabels, LabelReader
from smearsynth.formats.pixels.images import read_colours, read_ids, save_png
from smearsynth.smear import LabelArray, Smear, touching_pairs

PALETTE_FOLDER = "palette"
PALETTE = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25),
    (240, 50, 230), (70, 240, 240), (245, 130, 48), (255, 255, 255),
)  # fmt: skip
# Blur or smooth resizing of a mask creates many tiny components of mixed colours at the outlines.
_MIN_COMPONENT_AREA = 5  # px²


def colour_indices(labels: LabelArray, n: int) -> npt.NDArray[np.int64]:
    """Assign a colour to each instance such that touching instances have different colours.

    Greedy colouring in smallest-last order: the cell with the fewest remaining neighbours is removed first and
    coloured last. For planar neighbourhoods this needs at most 6 colours. Among the available colours the least
    frequent one is used.

    Parameters
    ----------
    labels : (H, W) int32 array
    n : int
        Number of instances.

    Returns
    -------
    (n,) int64 array
        Index of the colour of instance ``k + 1``. Indices from ``len(PALETTE)`` need further colours.
    """
    neighbours: list[set[int]] = [set() for _ in range(n)]
    for a, b in touching_pairs(labels).tolist():
        neighbours[a - 1].add(b - 1)
        neighbours[b - 1].add(a - 1)
    colours = np.full(n, -1, np.int64)
    counts = [0] * len(PALETTE)
    for cell in reversed(_smallest_last_order(neighbours)):
        excluded = {int(colours[neighbour]) for neighbour in neighbours[cell]}
        available = [colour for colour in range(len(counts)) if colour not in excluded]
        if not available:
            available = [len(counts)]
            counts.append(0)
        best = min(available, key=counts.__getitem__)
        counts[best] += 1
        colours[cell] = best
    return colours


def _smallest_last_order(neighbours: Sequence[set[int]]) -> list[int]:
    """Return the cells in the order in which the one with the fewest remaining neighbours is removed."""
    degrees = [len(cells) for cells in neighbours]
    queue = [(degree, cell) for cell, degree in enumerate(degrees)]
    heapq.heapify(queue)
    order: list[int] = []
    removed = [False] * len(degrees)
    while queue:
        degree, cell = heapq.heappop(queue)
        if removed[cell] or degree != degrees[cell]:
            continue  # an outdated entry of the queue
        removed[cell] = True
        order.append(cell)
        for neighbour in neighbours[cell]:
            degrees[neighbour] -= 1
            heapq.heappush(queue, (degrees[neighbour], neighbour))
    return order


def palette_colours(count: int) -> npt.NDArray[np.uint8]:
    """Return `count` different RGB colours, (count, 3), without black: `PALETTE`, then further hues."""
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
    """Paint instances with palette colours on black.

    Parameters
    ----------
    labels : (H, W) int32 array
    n : int
        Number of instances.

    Returns
    -------
    (H, W, 3) uint8 array

    Examples
    --------
    >>> mask = encode_palette(np.array([[1, 2, 0]], np.int32), 2)
    >>> bool((mask[0, 0] != mask[0, 1]).any()), mask[0, 2].tolist()
    (True, [0, 0, 0])
    """
    indices = colour_indices(labels, n)
    colours = palette_colours(int(indices.max(initial=0)) + 1)
    return np.concatenate([np.zeros((1, 3), np.uint8), colours[indices]])[labels]


def decode_palette(mask: npt.NDArray[np.uint8]) -> LabelArray:
    """Label the instances of a colour-palette mask: 8-connected components of one colour other than black.

    Parameters
    ----------
    mask : (H, W, 3) uint8 array

    Returns
    -------
    (H, W) int32 array
        Numbered in the order of their first pixels, row by row.

    Examples
    --------
    >>> decode_palette(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 0]]], np.uint8)).tolist()
    [[1, 2, 0]]
    """
    codes = mask.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    labels = measure.label(codes, background=0, connectivity=2)  # type: ignore[no-untyped-call]
    return np.asarray(labels, np.int32)


class PaletteReader(LabelReader):
    """Reader of images with colour-palette masks, RGB or indexed; the parameters are those of `LabelReader`."""

    format = "palette"
    _is_binary: bool | None = None

    def _noun(self) -> str:
        return "colour-palette masks"

    def _decode(self, entry: Entry) -> DecodedLabels:
        path = entry.annotation
        if self._binary:
            return super()._decode(entry)
        mask = read_colours(path)
        labels = decode_palette(mask)
        if self._metadata is None and labels.size and labels.min() > 0:
            labels = self._indexed_labels(path)
        if self._metadata is None:
            self._check(path, mask, labels)
        return DecodedLabels(labels, np.arange(1, int(labels.max(initial=0)) + 1))

    def _indexed_labels(self, path: Path) -> LabelArray:
        """Decode a mask without black: in an indexed image, index 0 is the background whatever its colour."""
        if is_indexed(path):
            indices = read_ids(path)
            if (indices == 0).any():
                labels = measure.label(indices, background=0, connectivity=2)  # type: ignore[no-untyped-call]
                return np.asarray(labels, np.int32)
        raise DataError(
            "has no black background; paint the background black (0, 0, 0), or use format 'labels' if the file "
            "contains one id per cell",
            path,
        )

    def _check(self, path: Path, mask: npt.NDArray[np.uint8], labels: LabelArray) -> None:
        areas = np.bincount(labels.ravel())[1:]
        if len(areas) > 20 and (areas < _MIN_COMPONENT_AREA).mean() > 0.5:
            raise DataError(
                "has mixed colours along outlines; save it without smoothing or lossy compression", path
            )
        grey = _grey_channel(mask)
        if grey is not None and looks_binary(grey) and self._folder_is_binary():
            raise DataError(INVERTED_PROBLEM if looks_inverted(grey > 0) else BINARY_PROBLEM, path)

    def _folder_is_binary(self) -> bool:
        step = max(1, len(self.entries) // 8)
        if self._is_binary is None:
            self._is_binary = all(self._count_values(entry) <= 1 for entry in self.entries[::step])
        return self._is_binary

    def _count_values(self, entry: Entry) -> int:
        grey = _grey_channel(read_colours(entry.annotation))
        return 2 if grey is None else count_values(grey)


def _grey_channel(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """Return one channel if all channels are equal, else None."""
    return None if (mask != mask[:, :, :1]).any() else mask[:, :, 0]


class PaletteWriter(LabelFolderWriter):
    """Writer of `images/NAME.png` and `palette/NAME.png`."""

    format = "palette"

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] = ONE_CLASS,
        split_of: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(folder, class_names, split_of)

    def _save_labels(self, smear: Smear, files: ExitStack) -> Smear:
        mask = encode_palette(smear.labels, smear.count)
        save_png(files.enter_context(atomic_write(self._mask_path(smear.name))), mask)
        # The reader numbers the components of the mask, not the instances: classes are written for its numbers.
        components = decode_palette(mask)
        instance_of = np.zeros(int(components.max(initial=0)) + 1, np.int64)
        instance_of[components] = smear.labels
        instances = instance_of[1:] - 1
        outlines = None
        if smear.full_outlines is not None:
            # Of a cell in several pieces, the first keeps the outline.
            first = np.unique(instances, return_index=True)[1]
            outlines = tuple(
                smear.full_outlines[k] if i in first else None for i, k in enumerate(instances.tolist())
            )
        return replace(smear, labels=components, classes=smear.classes[instances], full_outlines=outlines)

    def _mask_path(self, name: str) -> Path:
        return self.folder / PALETTE_FOLDER / f"{name}.png"

    def is_written(self, name: str) -> bool:
        """Test whether image, mask and classes of this name exist."""
        return self.image_path(name).exists() and self._mask_path(name).exists() and self._classes_written(name)
