"""Base classes of the writers: metadata of the folder, PNG images with tags, and tables composed at the end.

Data of the whole folder (`instances.csv`, the COCO file) are first written as one small file per smear in a hidden
folder; `finish` composes them. Every file is written once and atomically, so that an interrupted run can continue.
The image of a smear is written last: if it exists, the smear is complete.
Several processes may write different smears to one folder; one of them calls `finish`.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.drawing import annotation_of
from smearsynth.annotation.record import FieldAnnotation, LabelsFrom, kind_of
from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import Writer
from smearsynth.formats.listing import IMAGE_FOLDER, check_file_stem, image_files, remove_temporary_files
from smearsynth.formats.pixels.images import save_png
from smearsynth.formats.tables import (
    CLASS_FILE,
    INSTANCE_FILE,
    FolderMetadata,
    InstanceTable,
    instance_rows,
    read_metadata,
    write_metadata,
)
from smearsynth.smear import ImageArray, Smear

PART_FOLDER = ".parts"


class FolderWriter(Writer):
    """Writer of images to `images/`; subclasses write the annotation.

    Parameters
    ----------
    folder : Path
        New or empty, or written with the same format and classes: then smears are added.
    class_names : sequence of str
        Names of the cell classes.
    split_of : callable, optional
        Returns the split of a smear by its name, for formats with a folder per split.

    Attributes
    ----------
    lost : Counter of str
        Number of cells or regions that the format cannot hold, by what is lost.
    licence : str
        Licence of the images, for formats that name one.

    Raises
    ------
    DataError
        If the folder contains other data.
    """

    def __init__(
        self, folder: Path, class_names: Sequence[str], split_of: Callable[[str], str | None] | None = None
    ) -> None:
        self.folder = folder
        self.class_names = tuple(class_names)
        self.split_of = split_of or _no_split
        self.lost: Counter[str] = Counter()
        self.licence = ""
        metadata = FolderMetadata(self.format, self.class_names)
        existing = read_metadata(folder)
        if existing is None:
            self._check_no_other_files()
            write_metadata(folder, metadata)
        elif existing != metadata:
            raise DataError(
                f"was written with format {existing.format!r} and classes {', '.join(existing.class_names)}; "
                "choose another folder or the same options",
                folder,
            )
        for path in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            remove_temporary_files(path)

    @property
    def parts(self) -> Path:
        """Folder of the files that `finish` composes."""
        return self.folder / PART_FOLDER

    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""
        return self.folder / IMAGE_FOLDER / f"{check_file_stem(name)}.png"

    @abstractmethod
    def _save(self, smear: Smear, files: ExitStack) -> None:
        """Write the annotation of a smear to temporary paths, which are renamed when `files` closes."""

    def write(self, smear: Smear, tags: Mapping[str, str] | None = None) -> None:
        """Write one smear; on an error or interruption the smear does not count as written.

        Parameters
        ----------
        smear : Smear
            Its `name` is used for the file names.
        tags : mapping of str to str, optional
            Text tags of the PNG image, such as ``{"synthetic": "true"}``.

        Raises
        ------
        DataError
            If the smear has other classes, its name is not a file name, or a file cannot be written.
        """
        if smear.class_names != self.class_names:
            raise DataError(
                f"has the classes {', '.join(smear.class_names)}, but the folder has "
                f"{', '.join(self.class_names)}; write it to another folder",
                smear.name or None,
            )
        with ExitStack() as files:
            # All files are complete before the first is renamed. The image is entered first, so it is renamed last.
            # An existing image is removed before, so that it is never combined with labels of the new smear.
            self._save_image(smear.name, smear.image, smear.um_per_px, tags, files)
            self._save(smear, files)
            self.image_path(smear.name).unlink(missing_ok=True)

    def _save_image(
        self,
        name: str,
        image: ImageArray,
        um_per_px: float | None,
        tags: Mapping[str, str] | None,
        files: ExitStack,
    ) -> None:
        save_png(files.enter_context(atomic_write(self.image_path(name))), image, image_text(um_per_px, tags))

    def _check_no_other_files(self) -> None:
        if (self.folder / CLASS_FILE).exists():
            raise DataError("was not written by smearsynth; choose another folder", self.folder / CLASS_FILE)
        for folder in (self.folder, self.folder / IMAGE_FOLDER):
            if folder.is_dir() and image_files(folder):
                raise DataError("contains images that smearsynth did not write; choose another folder", folder)


class TableWriter(FolderWriter):
    """A `FolderWriter` that also writes the classes of instances to `instances.csv`, if there are several."""

    def _save_classes(self, name: str, classes: npt.NDArray[np.int64], files: ExitStack) -> None:
        """Write the classes of a smear; ``classes[k]`` belongs to instance ``k + 1``."""
        if len(self.class_names) == 1:
            return
        rows = instance_rows(name, {i: self.class_names[kind] for i, kind in enumerate(classes.tolist(), 1)})
        part = files.enter_context(atomic_write(self._part(name)))
        part.write_text(rows, encoding="utf-8")

    def _classes_written(self, name: str) -> bool:
        if len(self.class_names) == 1 or self._part(name).exists():
            return True
        # A smear without cells has no row in the composed table, so only the existence of the table is tested.
        return (self.folder / INSTANCE_FILE).exists()

    def _part(self, name: str) -> Path:
        return self.parts / f"{name}.csv"

    def finish(self) -> None:
        """Compose `instances.csv`, sorted by image, from its existing rows and those of the added smears."""
        if not self.parts.is_dir():
            return
        path = self.folder / INSTANCE_FILE
        table = InstanceTable(path) if path.exists() else None
        added = {part.stem for part in self.parts.glob("*.csv") if not part.name.startswith(".")}
        names = sorted(added | (table.images if table else frozenset()))
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.write("image,instance,class\n")
            for name in names:
                if name in added:
                    file.write(self._part(name).read_text(encoding="utf-8"))
                elif table is not None:
                    file.write(instance_rows(name, table.rows(name)))
        shutil.rmtree(self.parts, ignore_errors=True)


class MarkWriter(FolderWriter):
    """A `FolderWriter` of a format that lists marks of cells: outlines, boxes or points.

    Subclasses implement `_save_marks`, and count in `lost` what the format cannot hold.

    Attributes
    ----------
    kinds : frozenset of str
        Marks that the format can hold. A box is written of an outline if the format has only boxes.
    """

    kinds: ClassVar[frozenset[LabelsFrom]] = frozenset({"mask", "outline", "box"})

    @abstractmethod
    def _save_marks(self, name: str, size: tuple[int, int], annotation: FieldAnnotation, files: ExitStack) -> None:
        """Write the marks of an image of `size` (H, W) px to temporary paths, which are renamed with `files`."""

    def _save(self, smear: Smear, files: ExitStack) -> None:
        self._save_marks(smear.name, smear.shape, annotation_of(smear), files)

    def write_marks(
        self,
        name: str,
        image: ImageArray,
        annotation: FieldAnnotation,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write an image with marks that need not show cells, such as boxes; the parameters are those of `write`.

        Raises
        ------
        DataError
            If the format cannot hold the marks, or a file cannot be written.
        """
        for cell in annotation.cells:
            if kind_of(cell.shape) not in self.kinds:
                raise DataError(
                    f"contains a {kind_of(cell.shape)}, which the format {self.format} cannot hold; "
                    "make labels with `smearsynth annotate` first",
                    annotation.source,
                )
        with ExitStack() as files:
            self._save_image(name, image, annotation.um_per_px, tags, files)
            self._save_marks(name, (image.shape[0], image.shape[1]), annotation, files)
            self.image_path(name).unlink(missing_ok=True)


def image_text(um_per_px: float | None, tags: Mapping[str, str] | None) -> dict[str, str]:
    """Return the text to store in an image: its pixel size and the tags.

    Examples
    --------
    >>> image_text(0.125, {"synthetic": "true"})
    {'um_per_px': '0.125', 'synthetic': 'true'}
    """
    size = {} if um_per_px is None else {"um_per_px": repr(float(um_per_px))}
    return {**size, **(tags or {})}


def _no_split(name: str) -> str | None:
    return None
