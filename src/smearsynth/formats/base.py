"""What every format offers: a reader that lists without decoding, a writer that can be interrupted."""

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
    """Where one smear is: its files, nothing decoded.

    Parameters
    ----------
    name : str
        Stem of the image file, unique in its folder.
    image, annotation : Path
        The image, and the file that holds its instances.
    split : str, optional
        Such as "train".
    """

    name: str
    image: Path
    annotation: Path
    split: str | None = None


class Reader(ABC):
    """A folder of smears in one format, listed on construction and decoded on `read`.

    Attributes
    ----------
    root : Path
        What the user named.
    entries : tuple of Entry
        Sorted by name.
    class_names : tuple of str
    notes : tuple of str
        Remarks that stop nothing, such as skipped annotations, one line each.
    """

    format: ClassVar[str]
    root: Path
    entries: tuple[Entry, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    @abstractmethod
    def read(self, entry: Entry) -> Smear:
        """Decode one smear at its full size; a `DataError` names the file at fault."""


class Writer(ABC):
    """Writes smears one by one; each is whole or absent, so an interrupted run can go on.

    Used as a context manager, `finish` runs when the block ends without an error.
    """

    format: ClassVar[str]
    folder: Path
    class_names: tuple[str, ...]

    @abstractmethod
    def write(self, smear: Smear, tags: Mapping[str, str] | None = None) -> None:
        """Write image and annotation; `tags` become PNG text of the image."""

    @abstractmethod
    def written(self, name: str) -> bool:
        """Whether the smear of this name is there, whole."""

    @abstractmethod
    def finish(self) -> None:
        """Write what describes the folder as a whole; may be called again after more smears."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
