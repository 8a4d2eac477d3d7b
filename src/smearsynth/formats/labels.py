"""Label images: an integer image per smear, 0 for background and one id per cell instance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.errors import DataError
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, Reader
from smearsynth.formats.pairs import find_pairs
from smearsynth.formats.pixels import png_text, read_ids, read_rgb
from smearsynth.formats.tables import (
    INSTANCE_FILE,
    InstanceTable,
    PointTable,
    read_mark,
)
from smearsynth.smear import LabelArray, Smear, close_ids

_POINT_FOLDER = "points"


class LabelReader(Reader):
    """Images with label images.

    Parameters
    ----------
    root : Path
        Folder laid out as `smearsynth.formats.pairs.find_pairs` says.
    classes : {"auto", "one", "annotated"}
        "annotated" takes classes from `instances.csv`, else from `points/`; "one" calls every cell "cell";
        "auto" is "annotated" for folders written by smearsynth and "one" for all others, because annotated
        classes with a handful of cells cannot be trained on.
    binary : bool
        Take 4-connected components of all that is not 0 as instances.
    """

    format = "labels"

    def __init__(self, root: Path, *, classes: ClassChoice = "auto", binary: bool = False) -> None:
        self.root = root
        self.entries, self.notes = find_pairs(root)
        self._mark = read_mark(root)
        self._binary = binary
        self._sampled_binary: bool | None = None
        self._table: InstanceTable | None = None
        self._points: PointTable | None = None
        self.class_names = ONE_CLASS
        if classes == "annotated" or (classes == "auto" and self._mark is not None):
            self._find_classes(required=classes == "annotated")

    def _find_classes(self, *, required: bool) -> None:
        if (self.root / INSTANCE_FILE).exists():
            self._table = InstanceTable(self.root / INSTANCE_FILE)
            self.class_names = self._table.class_names
        if self._mark is not None:
            self.class_names = self._mark.class_names
        elif self._table is None and (self.root / _POINT_FOLDER).is_dir():
            self._points = PointTable(self.root / _POINT_FOLDER, (entry.name for entry in self.entries))
            self.class_names = self._points.class_names
        elif self._table is None and required:
            raise DataError(
                f"holds no classes; add {INSTANCE_FILE} (image, instance, class) or ask for classes 'one'",
                self.root,
            )

    def read(self, entry: Entry) -> Smear:
        """Decode one smear at its full size."""
        image = read_rgb(entry.image)
        ids = self._ids(entry)
        if ids.shape != image.shape[:2]:
            raise DataError(
                f"is {ids.shape[1]}×{ids.shape[0]} and its image {entry.image} is "
                f"{image.shape[1]}×{image.shape[0]}; both must be of one size",
                entry.annotation,
            )
        try:
            labels, ids_kept = close_ids(ids)
        except DataError as error:
            raise DataError(str(error), entry.annotation) from error
        classes = self._classes(entry.name, labels, ids_kept)
        return Smear(
            image, labels, classes, self.class_names, _pixel_size(entry.image, self._mark), entry.name
        )

    def _ids(self, entry: Entry) -> npt.NDArray[np.integer[Any]]:
        ids = read_ids(entry.annotation)
        if self._binary:
            return components(ids != 0)
        if self._mark is None and looks_binary(ids) and self._folder_is_binary():
            raise DataError(
                "looks like a binary mask (one value for all cells); "
                "pass --binary (binary=True) to take connected components as instances",
                entry.annotation,
            )
        return ids

    def _folder_is_binary(self) -> bool:
        """Whether no other annotation tells cells apart: one cell cut in two must not condemn a folder."""
        if self._sampled_binary is None:
            step = max(1, len(self.entries) // 8)
            sample = (read_ids(entry.annotation) for entry in self.entries[::step])
            self._sampled_binary = all(_values(ids) <= 1 for ids in sample)
        return self._sampled_binary

    def _classes(self, name: str, labels: LabelArray, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self._points is not None:
            return self._points.classes(name, labels)
        if len(self.class_names) == 1:
            return np.zeros(len(ids), np.int64)
        rows = {} if self._table is None else self._table.rows(name)
        index = {kind: i for i, kind in enumerate(self.class_names)}
        try:
            return np.array([index[rows[i]] for i in ids.tolist()], np.int64)
        except KeyError as error:
            remedy = "run the same command again to finish the folder" if self._mark else "add it"
            raise DataError(
                f"gives no known class for instance {error} of image {name}; {remedy}",
                self.root / INSTANCE_FILE,
            ) from error


def components(mask: npt.NDArray[np.bool_]) -> LabelArray:
    """Label the 4-connected components of a mask, (H, W) int32: cells that meet at a corner are two.

    Examples
    --------
    >>> components(np.array([[True, False], [False, True]])).tolist()
    [[1, 0], [0, 2]]
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels


def looks_binary(ids: npt.NDArray[np.integer[Any]]) -> bool:
    """Whether a label image looks like a mask of all cells: one value, and not the outline of one cell.

    That is several components of some size, or one that reaches all four edges, or the value 255.

    Examples
    --------
    >>> two = np.zeros((8, 8), np.uint8)
    >>> two[1:3, 1:3] = two[5:7, 5:7] = 1
    >>> looks_binary(two), looks_binary(two * np.arange(1, 9, dtype=np.uint8))
    (True, False)
    """
    if _values(ids) != 1:
        return False
    mask = ids != 0
    if int(ids.max()) == 255 and ids.dtype == np.uint8:
        return True
    sizes = np.bincount(components(mask).ravel())[1:]
    if int((sizes >= 0.05 * sizes.sum()).sum()) > 1:
        return True
    return bool(mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any())


def _values(ids: npt.NDArray[np.integer[Any]]) -> int:
    """Count different values other than 0, up to 2 at most."""
    top = ids.max(initial=0)
    if top == 0:
        return 0
    return 1 if ((ids == 0) | (ids == top)).all() else 2


def _pixel_size(image: Path, mark: object) -> float | None:
    """µm per pixel from our own tag; other programs' resolution fields mostly say 72 dpi and mean nothing."""
    if mark is None or image.suffix.lower() != ".png":
        return None
    try:
        return float(png_text(image)["um_per_px"])
    except (KeyError, ValueError):
        return None


def text_tags(smear: Smear, tags: Mapping[str, str] | None) -> dict[str, str]:
    """Tags to put in a written image: the given ones and the pixel size where it is known."""
    size = {} if smear.um_per_px is None else {"um_per_px": repr(float(smear.um_per_px))}
    return {**size, **(tags or {})}
