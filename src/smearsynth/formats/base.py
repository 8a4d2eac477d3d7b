"""Base classes of the readers and writers of all annotation formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, NamedTuple, Self

from smearsynth.annotation.drawing import annotation_of
from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.reading import ReadingReport
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


class AnnotationFiles(NamedTuple):
    """Content of the annotation files of a data set.

    Parameters
    ----------
    fields : list of FieldAnnotation
        One per image and file, in the order of the files.
    class_names : tuple of str
        Names of the classes, in the order of the files. Classes without a cell may be included.
    notes : tuple of str
        Notes for the user, one line each, such as the columns that were guessed.
    """

    fields: list[FieldAnnotation]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkFormat:
    """A format whose files list marks of cells: outlines, boxes or points.

    Parameters
    ----------
    name : str
        Name for `format` and `--format`, such as "labelme".
    title : str
        Name for messages, such as "LabelMe".
    find : callable
        Returns the annotation files of this format in a folder (or the file itself); an empty list if there is
        none.
    load : callable
        Reads these files, given the folder and the files. Images are not opened.
    """

    name: str
    title: str
    find: Callable[[Path], list[Path]]
    load: Callable[[Path, list[Path]], AnnotationFiles]


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
    found : str
        What was found, such as "YOLO boxes, 1,240 in 60 images".
    shows_cells : bool
        Whether the annotation shows the pixels of cells; boxes and points do not.
    detected : bool
        Whether the format was detected; False for a folder that smearsynth wrote.
    report : ReadingReport
        Number of cells that were read, and what was left out, of the smears that were decoded so far.
    """

    format: str
    root: Path
    entries: tuple[Entry, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    found: str
    shows_cells: bool = True
    detected: bool
    report: ReadingReport

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes = ()
        self.found = ""
        self.detected = True
        self.report = ReadingReport()

    @abstractmethod
    def read(self, entry: Entry) -> Smear:
        """Decode one smear at full size.

        Raises
        ------
        DataError
            If a file is missing, damaged or inconsistent; the message names the file.
        """

    def annotation(self, entry: Entry) -> FieldAnnotation:
        """Return what an annotator gave for one image; for label images the outlines of their cells."""
        return annotation_of(self.read(entry))

    def no_outlines(self) -> DataError:
        """Return the error of an annotation that shows no cells."""
        return DataError(
            f"found {self.found}; they show no outlines of cells. Make labels with "
            f"`smearsynth annotate {self.root} -o OUT`, or export outlines",
            self.root,
        )


class Writer(ABC):
    """Writer of smears. Each smear is written completely or not at all, so that an interrupted run can continue.

    As a context manager it calls `finish` if the block ends without an error.
    """

    format: ClassVar[str]
    folder: Path
    class_names: tuple[str, ...]
    licence: str

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """Return the path of the image of this name."""

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
