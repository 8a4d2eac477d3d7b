"""Label images: one integer image per smear, with 0 for the background and one id per cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import ONE_CLASS, ClassChoice, Entry, Reader
from smearsynth.formats.label_images.binary_masks import (
    INVERTED_PROBLEM,
    binary_cells,
    looks_binary,
    looks_inverted,
    read_binary,
)
from smearsynth.formats.label_images.binary_masks import label_components as label_components
from smearsynth.formats.label_images.label_checks import (
    BINARY_PROBLEM,
    clean_labels,
    label_problem,
    overflow_remark,
)
from smearsynth.formats.label_images.label_summary import Ids, LabelSummary
from smearsynth.formats.label_images.label_writing import MAX_16_BIT_ID, LabelFolderWriter
from smearsynth.formats.label_images.orientation import check_turn, oriented_image
from smearsynth.formats.label_images.pairs import find_pairs
from smearsynth.formats.label_images.side_files import HIDDEN_FOLDER, read_hidden, read_ignored
from smearsynth.formats.pixels.images import read_ids, save_png, save_tiff
from smearsynth.formats.pixels.pixel_size import image_pixel_size
from smearsynth.formats.tables import (
    INSTANCE_FILE,
    FolderMetadata,
    InstanceTable,
    PointTable,
    read_label_origins,
    read_metadata,
)
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

LABEL_FOLDER = "labels"
_POINT_FOLDER = "points"
_SAMPLE = 8  # label images that are read to decide what the values of a folder are


class DecodedLabels(NamedTuple):
    """Instances of one label image.

    Parameters
    ----------
    labels : (H, W) int32 array
        Instances 1..n.
    ids : (n,) int64 array
        ``ids[k]`` is the id of instance ``k + 1`` in the file.
    ignored : (H, W) bool array or None
        Pixels without annotation.
    left_out : mapping of str to int, optional
        Number of regions that were not read, by reason.
    remarks : tuple of str
        What was changed.
    """

    labels: LabelArray
    ids: npt.NDArray[np.int64]
    ignored: Mask | None = None
    left_out: Mapping[str, int] | None = None
    remarks: tuple[str, ...] = ()


class LabelReader(Reader):
    """Reader of images with label images.

    Values that are no instance ids (classes, parts of cells, a lossy mask, more cells than 8 bits can number) are
    an error. A background other than 0 and void borders are recognised and noted in `report`.

    Parameters
    ----------
    root : Path
        Folder with a layout of `smearsynth.formats.label_images.pairs.find_pairs`.
    classes : {"auto", "one", "annotated"}
        "annotated": classes of `instances.csv`, else of `points/`. "one": all cells are "cell". "auto": "annotated"
        for folders that smearsynth wrote, else "one", because classes with few cells cannot be trained on.
    binary : bool
        The 4-connected components of the mask become the instances. Grey values of lossy compression are allowed.
    ignore_value : int, optional
        Value of pixels without annotation.

    Raises
    ------
    DataError
        If files are missing, or annotated classes are requested and there are none.
    """

    format = "labels"

    def __init__(
        self,
        root: Path,
        *,
        classes: ClassChoice = "auto",
        binary: bool = False,
        ignore_value: int | None = None,
    ) -> None:
        super().__init__(root)
        pairs = find_pairs(root)
        self.entries, self.notes = pairs.entries, pairs.notes
        self.found = f"{self._noun()} of {len(self.entries):,} smear{'' if len(self.entries) == 1 else 's'}"
        if origins := read_label_origins(root):
            self.found += f", made from {' and '.join(origins)}"
        self._ignored = pairs.ignored
        self._metadata = read_metadata(root)
        self.detected = self._metadata is None
        self._binary = binary
        self._ignore_value = ignore_value
        self._sample: list[tuple[str, LabelSummary]] | None = None
        self._table: InstanceTable | None = None
        self._points: PointTable | None = None
        self.class_names = ONE_CLASS
        if not binary and (classes == "annotated" or (classes == "auto" and self._metadata is not None)):
            self._find_classes(required=classes == "annotated")

    def _noun(self) -> str:
        return "label images"

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
        decoded = self._decode(entry)
        image, remarks = self._read_image(entry, decoded.labels)
        ignored = decoded.ignored
        if entry.name in self._ignored:
            pixels = read_ignored(self._ignored[entry.name], decoded.labels.shape)
            ignored = pixels if ignored is None else ignored | pixels
        outlines = None
        if self._metadata is not None:
            outlines = read_hidden(self.root / HIDDEN_FOLDER / f"{entry.name}.json", len(decoded.ids))
        self.report.record(entry.name, len(decoded.ids), decoded.left_out, (*decoded.remarks, *remarks))
        return Smear(
            image,
            decoded.labels,
            self._classes(entry.name, decoded.labels, decoded.ids),
            self.class_names,
            pixel_size(entry.image, self._metadata),
            entry.name,
            None if ignored is None else ignored & (decoded.labels == 0),
            outlines,
        )

    def _read_image(self, entry: Entry, labels: LabelArray) -> tuple[ImageArray, list[str]]:
        image, remark = oriented_image(entry.image, labels, entry.annotation)
        turn = None if self._metadata is not None else check_turn(image, labels)
        return image, [text for text in (remark, turn) if text is not None]

    def _decode(self, entry: Entry) -> DecodedLabels:
        """Return the instances of a label image, after the checks of its values."""
        path = entry.annotation
        try:
            if self._binary:
                return self._binary_labels(read_binary(path))
            ids = self._read_ids(path)
            if self._metadata is not None:
                summary = LabelSummary.of(ids)
                return DecodedLabels(summary.labels, summary.ids)
            return self._checked(ids, entry)
        except DataError as error:
            # The checks do not know the file.
            raise error if error.path is not None else DataError(str(error), path) from error

    def _read_ids(self, path: Path) -> Ids:
        return read_ids(path)

    def _binary_labels(self, values: Ids) -> DecodedLabels:
        ignored = None if self._ignore_value is None else values == self._ignore_value
        cells = binary_cells(values if ignored is None else np.where(ignored, 0, values))
        ids = np.arange(1, int(cells.labels.max(initial=0)) + 1)
        left_out = {"specks (components far smaller than a cell)": cells.specks}
        return DecodedLabels(cells.labels, ids, ignored, left_out)

    def _checked(self, ids: Ids, entry: Entry) -> DecodedLabels:
        clean = clean_labels(LabelSummary.of(ids), self._ignore_value)
        summary = clean.summary
        if summary.count == 1 and looks_binary(_values(summary, ids.dtype)) and self._folder_is_binary():
            raise DataError(INVERTED_PROBLEM if looks_inverted(summary.labels > 0) else BINARY_PROBLEM)
        if problem := label_problem(summary, self._others(entry)):
            raise DataError(problem)
        overflow = overflow_remark(summary) if ids.dtype == np.uint8 else None
        remarks = clean.remarks if overflow is None else (*clean.remarks, overflow)
        return DecodedLabels(summary.labels, summary.ids, clean.ignored, remarks=remarks)

    def _folder_is_binary(self) -> bool:
        """Test whether no label image of a sample has several ids: one cell in two pieces is no binary mask."""
        return all(summary.count <= 1 for _, summary in self._read_sample())

    def _others(self, entry: Entry) -> Callable[[], list[LabelSummary]]:
        return lambda: [summary for name, summary in self._read_sample() if name != entry.name]

    def _read_sample(self) -> list[tuple[str, LabelSummary]]:
        """Return the label images of a sample of the smears, without those that cannot be read."""
        if self._sample is None:
            self._sample = []
            for entry in self.entries[:: max(1, len(self.entries) // _SAMPLE)]:
                try:
                    clean = clean_labels(LabelSummary.of(self._read_ids(entry.annotation)), self._ignore_value)
                except DataError:
                    continue
                self._sample.append((entry.name, clean.summary))
        return self._sample

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


def _values(summary: LabelSummary, dtype: np.dtype[np.integer]) -> Ids:
    """Return the cleaned ids of the file in the type of its values."""
    return np.concatenate([[0], summary.ids]).astype(dtype)[summary.labels]


def pixel_size(image: Path, metadata: FolderMetadata | None = None) -> float | None:
    """Read the pixel size in µm that an image declares (`image_pixel_size`), or return None.

    The result is the same with and without the metadata of a folder of smearsynth.
    """
    return image_pixel_size(image)


class LabelWriter(LabelFolderWriter):
    """Writer of `images/NAME.png` and `labels/NAME.png` (uint16).

    A smear of more than 65,535 instances does not fit in 16 bits: its labels are written to `labels/NAME.tif`
    (int32). Ignored pixels are written to `ignore/`, and full outlines of covered cells to `hidden/`.
    """

    format = "labels"

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] = ONE_CLASS,
        split_of: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(folder, class_names, split_of)

    def _save_labels(self, smear: Smear, files: ExitStack) -> Smear:
        png, tiff = self._label_paths(smear.name)
        if smear.count <= MAX_16_BIT_ID:
            save_png(files.enter_context(atomic_write(png)), smear.labels.astype(np.uint16))
            tiff.unlink(missing_ok=True)
        else:
            save_tiff(files.enter_context(atomic_write(tiff)), smear.labels)
            png.unlink(missing_ok=True)
        return smear

    def _label_paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / LABEL_FOLDER / f"{name}.png", self.folder / LABEL_FOLDER / f"{name}.tif"

    def is_written(self, name: str) -> bool:
        """Test whether image, labels and classes of this name exist."""
        labels = any(path.exists() for path in self._label_paths(name))
        return labels and self.image_path(name).exists() and self._classes_written(name)
