"""Label images: one integer image per smear, with 0 for the background and one id per cell."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, Reader
from smearsynth.formats.images import read_ids, read_png_text, read_rgb, save_png, save_tiff
from smearsynth.formats.listing import find_pairs
from smearsynth.formats.tables import INSTANCE_FILE, FolderMetadata, InstanceTable, PointTable, read_metadata
from smearsynth.formats.writing import TableWriter
from smearsynth.smear import LabelArray, Smear, relabel_sequential

LABEL_FOLDER = "labels"
BINARY_PROBLEM = (
    "looks like a binary mask (one value for all cells); "
    "pass --binary (binary=True) to use its connected components as instances"
)
_POINT_FOLDER = "points"
_MAX_PNG_ID = 65535


class LabelReader(Reader):
    """Reader of images with label images.

    Parameters
    ----------
    root : Path
        Folder with a layout of `smearsynth.formats.listing.find_pairs`.
    classes : {"auto", "one", "annotated"}
        "annotated": classes of `instances.csv`, else of `points/`. "one": all cells are "cell". "auto": "annotated"
        for folders that smearsynth wrote, else "one", because classes with few cells cannot be trained on.
    binary : bool
        The 4-connected components of all non-zero pixels become the instances.

    Raises
    ------
    DataError
        If files are missing, or annotated classes are requested and there are none.
    """

    format = "labels"

    def __init__(self, root: Path, *, classes: ClassChoice = "auto", binary: bool = False) -> None:
        self.root = root
        self.entries, self.notes = find_pairs(root)
        self._metadata = read_metadata(root)
        self._binary = binary
        self._binary_folder: bool | None = None
        self._table: InstanceTable | None = None
        self._points: PointTable | None = None
        self.class_names = ONE_CLASS
        if not binary and (classes == "annotated" or (classes == "auto" and self._metadata is not None)):
            self._find_classes(required=classes == "annotated")

    def _find_classes(self, *, required: bool) -> None:
        if (self.root / INSTANCE_FILE).exists():
            self._table = InstanceTable(self.root / INSTANCE_FILE)
            self.class_names = self._table.class_names
        if self._metadata is not None:
            self.class_names = self._metadata.class_names
        elif self._table is None and (self.root / _POINT_FOLDER).is_dir():
            self._points = PointTable(self.root / _POINT_FOLDER, (entry.name for entry in self.entries))
            self.class_names = self._points.class_names
        elif self._table is None and required:
            raise DataError(
                f"contains no classes; add {INSTANCE_FILE} (image, instance, class) or use classes 'one'",
                self.root,
            )

    def read(self, entry: Entry) -> Smear:
        """Decode one smear at full size."""
        image = read_rgb(entry.image)
        labels = self._read_labels(entry)
        if labels.shape != image.shape[:2]:
            raise DataError(
                f"is {labels.shape[1]}×{labels.shape[0]} px, but its image {entry.image} is "
                f"{image.shape[1]}×{image.shape[0]} px; both must have the same size",
                entry.annotation,
            )
        try:
            instances, ids = relabel_sequential(labels)
        except DataError as error:
            raise DataError(str(error), entry.annotation) from error
        classes = self._classes(entry.name, instances, ids)
        um_per_px = pixel_size(entry.image, self._metadata)
        return Smear(image, instances, classes, self.class_names, um_per_px, entry.name)

    def _read_labels(self, entry: Entry) -> npt.NDArray[np.integer[Any]]:
        ids = read_ids(entry.annotation)
        if self._binary:
            return label_components(ids != 0)
        if self._metadata is None and looks_binary(ids) and self._folder_is_binary():
            raise DataError(BINARY_PROBLEM, entry.annotation)
        return ids

    def _folder_is_binary(self) -> bool:
        """Test whether no annotation of a sample has several ids: one cell in two pieces is no binary mask."""
        if self._binary_folder is None:
            step = max(1, len(self.entries) // 8)
            self._binary_folder = all(self._count_values(entry) <= 1 for entry in self.entries[::step])
        return self._binary_folder

    def _count_values(self, entry: Entry) -> int:
        return count_values(read_ids(entry.annotation))

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
            remedy = "run the same command again to finish the folder" if self._metadata else "add it"
            raise DataError(
                f"has no known class for instance {error} of image {name}; {remedy}",
                self.root / INSTANCE_FILE,
            ) from error


def label_components(mask: npt.NDArray[np.bool_]) -> LabelArray:
    """Label the 4-connected components of a mask, so that cells that meet at a corner stay separate.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    (H, W) int32 array

    Examples
    --------
    >>> label_components(np.array([[True, False], [False, True]])).tolist()
    [[1, 0], [0, 2]]
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels


def looks_binary(ids: npt.NDArray[np.integer[Any]]) -> bool:
    """Test whether a label image looks like a mask of all cells and not like the label of a single cell.

    It does if all non-zero pixels have the same value, and this value is 255, or there are several large
    components, or one component reaches all four borders.

    Examples
    --------
    >>> mask = np.zeros((8, 8), np.uint8)
    >>> mask[1:3, 1:3] = mask[5:7, 5:7] = 1
    >>> looks_binary(mask), looks_binary(mask * np.arange(1, 9, dtype=np.uint8))
    (True, False)
    """
    if count_values(ids) != 1:
        return False
    mask = ids != 0
    if int(ids.max()) == 255 and ids.dtype == np.uint8:
        return True
    sizes = np.bincount(label_components(mask).ravel())[1:]
    if int((sizes >= 0.05 * sizes.sum()).sum()) > 1:
        return True
    return bool(mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any())


def count_values(ids: npt.NDArray[np.integer[Any]]) -> int:
    """Return the number of different non-zero values, or 2 if there are more.

    Examples
    --------
    >>> count_values(np.array([[0, 7, 7]])), count_values(np.array([[1, 2, 3]]))
    (1, 2)
    """
    largest = ids.max(initial=0)
    if largest == 0:
        return 0
    return 1 if ((ids == 0) | (ids == largest)).all() else 2


def pixel_size(image: Path, metadata: FolderMetadata | None) -> float | None:
    """Read the pixel size in µm from the PNG tag of smearsynth, or return None.

    The resolution tags of other programs are ignored: they usually contain a default of 72 dpi.
    """
    if metadata is None or image.suffix.lower() != ".png":
        return None
    try:
        return float(read_png_text(image)["um_per_px"])
    except (KeyError, ValueError):
        return None


class LabelWriter(TableWriter):
    """Writer of `images/NAME.png` and `labels/NAME.png` (uint16).

    A smear of more than 65,535 instances does not fit in 16 bits: its labels are written to `labels/NAME.tif`
    (int32).
    """

    format = "labels"

    def __init__(self, folder: Path, class_names: Sequence[str] = ONE_CLASS) -> None:
        super().__init__(folder, class_names)

    def _save(self, smear: Smear, files: ExitStack) -> None:
        self._save_classes(smear.name, smear.classes, files)
        png, tiff = self._label_paths(smear.name)
        if smear.count <= _MAX_PNG_ID:
            save_png(files.enter_context(atomic_write(png)), smear.labels.astype(np.uint16))
            tiff.unlink(missing_ok=True)
        else:
            save_tiff(files.enter_context(atomic_write(tiff)), smear.labels)
            png.unlink(missing_ok=True)

    def _label_paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / LABEL_FOLDER / f"{name}.png", self.folder / LABEL_FOLDER / f"{name}.tif"

    def is_written(self, name: str) -> bool:
        """Test whether image, labels and classes of this name exist."""
        labels = any(path.exists() for path in self._label_paths(name))
        return labels and self.image_path(name).exists() and self._classes_written(name)
