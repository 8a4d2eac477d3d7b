"""Base class of the writers of label images: ignored pixels, hidden outlines and splits."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.files import write_text
from smearsynth.formats.label_images.side_files import HIDDEN_FOLDER, IGNORE_FOLDER, save_hidden, save_ignored
from smearsynth.formats.listing import SPLIT_FILE, check_file_stem, image_files, image_name, read_splits
from smearsynth.formats.pixels.images import save_png
from smearsynth.formats.writing import TableWriter
from smearsynth.smear import LabelArray, Smear

MAX_16_BIT_ID = 65535
LOST_OUTLINES = "hidden outlines"


class LabelFolderWriter(TableWriter):
    """Writer of label images; subclasses write them in `_save_labels`.

    Ignored pixels are written to `ignore/NAME.png`, which the readers of label images read.

    Attributes
    ----------
    splits_in_folders : bool
        Whether a split is a folder, such as `train/`. Otherwise `finish` writes `split.csv`.
    keeps_hidden : bool
        Whether the full outlines of cells that others cover are written to `hidden/NAME.json`. Otherwise they are
        counted in `lost`.
    """

    splits_in_folders: ClassVar[bool] = False
    keeps_hidden: ClassVar[bool] = True

    def _save(self, smear: Smear, files: ExitStack) -> None:
        smear = self._save_labels(smear, files)
        self._save_classes(smear.name, smear.classes, files)
        save_ignored(self.split_folder(smear.name) / IGNORE_FOLDER / f"{smear.name}.png", smear.ignored, files)
        if self.keeps_hidden:
            save_hidden(self.folder / HIDDEN_FOLDER / f"{smear.name}.json", smear.full_outlines, files)
        elif smear.full_outlines is not None:
            self.lost[LOST_OUTLINES] += sum(outline is not None for outline in smear.full_outlines)

    @abstractmethod
    def _save_labels(self, smear: Smear, files: ExitStack) -> Smear:
        """Write the label image; return the smear with the instances that a reader finds in it."""

    def split_folder(self, name: str) -> Path:
        """Return the folder of the split of a smear; the folder of the writer if splits are no folders."""
        split = self.split_of(check_file_stem(name)) if self.splits_in_folders else None
        return self.folder if split is None else self.folder / check_file_stem(split)

    def finish(self) -> None:
        """Write `instances.csv`, and `split.csv` if there are splits."""
        super().finish()
        if self.splits_in_folders:
            return
        paths = image_files(folder) if (folder := self.image_path("x").parent).is_dir() else []
        names = [image_name(path.name) for path in paths]
        splits = {name: split for name in names if (split := self.split_of(name)) is not None}
        if not splits:
            return
        rows = io.StringIO()
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(("image", "split"))
        table.writerows(sorted({**read_splits(self.folder), **splits}.items()))
        write_text(self.folder / SPLIT_FILE, rows.getvalue())


def save_16_bit_png(path: Path, smear: Smear) -> None:
    """Write labels as a PNG of 16 bits.

    Raises
    ------
    DataError
        If there are more than 65,535 cells.
    """
    save_png(path, labels_16_bit(smear))


def labels_16_bit(smear: Smear) -> npt.NDArray[np.uint16]:
    """Return the labels of a smear as uint16.

    Raises
    ------
    DataError
        If there are more than 65,535 cells.

    Examples
    --------
    >>> labels_16_bit(Smear.from_labels(np.zeros((1, 2, 3), np.uint8), np.array([[0, 9]]))).tolist()
    [[0, 1]]
    """
    labels: LabelArray = smear.labels
    if smear.count > MAX_16_BIT_ID:
        raise DataError(
            f"has {smear.count:,} cells, but 16-bit ids end at 65,535; write it with format 'labels'",
            smear.name or None,
        )
    return labels.astype(np.uint16)
