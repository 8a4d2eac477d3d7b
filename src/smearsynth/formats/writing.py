"""What the writers share: a marked folder, PNG images with tags, class parts composed at the end.

What concerns the folder as a whole (`instances.csv`, a COCO file) is kept as one small part per smear in a
hidden folder until `finish` composes it. So every file is written once, whole, and an interrupted run goes
on. The image takes its place last: where it is, all else is.
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
from smearsynth.formats.listing import IMAGE_FOLDER, image_files, remove_temporary_files, check_file_stem
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
    """Writes images to `images/` and leaves the annotation to a subclass.

    Parameters
    ----------
    folder : Path
        New, empty, or written before by the same format with the same classes: then smears are added.
    class_names : sequence of str

    Raises
    ------
    DataError
        When the folder holds something else.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder = folder
        self.class_names = tuple(class_names)
        metadata = FolderMetadata(self.format, self.class_names)
        there = read_metadata(folder)
        if there is None:
            self._refuse_foreign_files()
            write_metadata(folder, metadata)
        elif there != metadata:
            raise DataError(
                f"was written with format {there.format!r} and classes {', '.join(there.class_names)}; "
                "choose another folder or the same options",
                folder,
            )
        for inner in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            remove_temporary_files(inner)

    @property
    def parts(self) -> Path:
        """Folder of what is composed at the end."""
        return self.folder / PART_FOLDER

    def image_path(self, name: str) -> Path:
        """Where the image of this name goes."""
        return self.folder / IMAGE_FOLDER / f"{check_file_stem(name)}.png"

    @abstractmethod
    def _save(self, smear: Smear, files: ExitStack) -> None:
        """Write all files of a smear to temporary paths, which take their places when `files` closes."""

    def write(self, smear: Smear, tags: Mapping[str, str] | None = None) -> None:
        """Write one smear; when this fails or is interrupted, `written` stays as it was.

        Parameters
        ----------
        smear : Smear
            Its `name` is the stem of its files.
        tags : mapping of str to str, optional
            Text tags of the PNG image, such as ``{"synthetic": "true"}``.

        Raises
        ------
        DataError
            When the smear has other classes or no usable name, or the files cannot be written.
        """
        if smear.class_names != self.class_names:
            raise DataError(
                f"has classes {', '.join(smear.class_names)}, the folder {', '.join(self.class_names)}; "
                "write it to another folder",
                smear.name or None,
            )
        size = {} if smear.um_per_px is None else {"um_per_px": repr(float(smear.um_per_px))}
        with ExitStack() as files:
            # All are whole before the first takes its place; the image, entered first, comes last, and an
            # earlier one goes away before, so that it never stands beside labels that are not its own.
            image = files.enter_context(atomic_write(self.image_path(smear.name)))
            save_png(image, smear.image, {**size, **(tags or {})})
            self._save(smear, files)
            self.image_path(smear.name).unlink(missing_ok=True)

    def _refuse_foreign_files(self) -> None:
        if (self.folder / CLASS_FILE).exists():
            raise DataError("was not written by smearsynth; choose another folder", self.folder / CLASS_FILE)
        for folder in (self.folder, self.folder / IMAGE_FOLDER):
            if folder.is_dir() and image_files(folder):
                raise DataError("holds images that smearsynth did not write; choose another folder", folder)


class TableWriter(FolderWriter):
    """A `FolderWriter` that records the classes of instances in `instances.csv`, when there are several."""

    def _save_classes(self, name: str, classes: npt.NDArray[np.int64], files: ExitStack) -> None:
        """Keep the class of instance ``k + 1`` for each k."""
        if len(self.class_names) == 1:
            return
        rows = instance_rows(name, {i: self.class_names[kind] for i, kind in enumerate(classes.tolist(), 1)})
        part = files.enter_context(atomic_write(self._part(name)))
        part.write_text(rows, encoding="utf-8")

    def _classes_written(self, name: str) -> bool:
        if len(self.class_names) == 1 or self._part(name).exists():
            return True
        # A smear without cells has no row in the composed table, so the table as such must do.
        return (self.folder / INSTANCE_FILE).exists()

    def _part(self, name: str) -> Path:
        return self.parts / f"{name}.csv"

    def finish(self) -> None:
        """Compose `instances.csv`, sorted by image, from what was there and what was added."""
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
