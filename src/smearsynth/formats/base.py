"""Base classes of the readers and writers of all annotation formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self

from smearsynth.smear import Smear

ClassChoice = Literal["auto", "one", "annotated"]
ONE_CLASS = ("cell",)


@dataclass(frozen=True, slots=True)
class Entry:
    """Files of one smear.

    Parameters
    ----------
    name : str
        Name of the image file without extension, unique in its folder.
    image, annotation : Path
        The image, and the file with its instances.
    split : str, optional
        Name of the split, such as "train".
    """

    name: str
    image: Path
    annotation: Path
    split: str | None = None


class Reader(ABC):
    """Reader of a folder of smears: lists the files on construction, decodes a smear on `read`.

    Attributes
    ----------
    root : Path
        Folder or file that was opened.
    entries : tuple of Entry
        Sorted by name.
    class_names : tuple of str
        Names of the cell classes.
    notes : tuple of str
        Notes that are no errors, such as skipped annotations, one line each.
    """

    format: ClassVar[str]
    root: Path
    entries: tuple[Entry, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    @abstractmethod
    def read(self, entry: Entry) -> Smear:
        """Decode one smear at full size.

        Raises
        ------
        DataError
            If a file is missing, damaged or inconsistent; the message names the file.
        """


class Writer(ABC):
    """Writer of smears. Each smear is written completely or not at all, so that an interrupted run can continue.

    As a context manager it calls `finish` if the block ends without an error.
    """

    format: ClassVar[str]
    folder: Path
    class_names: tuple[str, ...]

    @abstractmethod
    def write(self, smear: Smear, tags: Mapping[str, str] | None = None) -> None:
        """Write image and annotation; `tags` are stored as text in the PNG image."""

    @abstractmethod
    def is_written(self, name: str) -> bool:
        """Test whether all files of the smear of this name exist."""

    @abstractmethod
    def finish(self) -> None:
        """Write the files that describe the whole folder; more smears can be added later."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
