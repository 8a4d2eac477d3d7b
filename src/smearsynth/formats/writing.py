"""Base classes of the writers: metadata of the folder, PNG images with tags, and tables composed at the end.

Data of the whole folder (`instances.csv`, the COCO file) are first written as one small file per smear in a hidden
folder; `finish` composes them. Every file is written once and atomically, so that an interrupted run can continue.
The image of a smear is written last: if it exists, the smear is complete.
Several processes may write different smears to one folder; one of them calls `finish`.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.base import Writer
from smearsynth.formats.images import save_png
from smearsynth.formats.listing import IMAGE_FOLDER, check_file_stem, image_files, remove_temporary_files
from smearsynth.formats.tables import (
    CLASS_FILE,
    INSTANCE_FILE,
    FolderMetadata,
    InstanceTable,
    instance_rows,
    read_metadata,
    write_metadata,
)
from smearsynth.smear import Smear

PART_FOLDER = ".parts"


class FolderWriter(Writer):
    """Writer of images to `images/`; subclasses write the annotation.

    Parameters
    ----------
    folder : Path
        New or empty, or written with the same format and classes: then smears are added.
    class_names : sequence of str
        Names of the cell classes.

    Raises
    ------
    DataError
        If the folder contains other data.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder = folder
        self.class_names = tuple(class_names)
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
        size = {} if smear.um_per_px is None else {"um_per_px": repr(float(smear.um_per_px))}
        with ExitStack() as files:
            # All files are complete before the first is renamed. The image is entered first, so it is renamed last.
            # An existing image is removed before, so that it is never combined with labels of the new smear.
            image = files.enter_context(atomic_write(self.image_path(smear.name)))
            save_png(image, smear.image, {**size, **(tags or {})})
            self._save(smear, files)
            self.image_path(smear.name).unlink(missing_ok=True)

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
