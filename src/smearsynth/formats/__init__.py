"""One reader and one writer per annotation format, and the detection of the format of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from smearsynth.errors import DataError, OptionError
from smearsynth.formats.base import ClassChoice, Entry, Reader, Writer
from smearsynth.formats.labels import LabelReader

FormatName = Literal["labels"]

__all__ = ["ClassChoice", "Entry", "FormatName", "Reader", "Writer", "open_reader"]


def open_reader(
    path: Path, format: str = "auto", *, classes: ClassChoice = "auto", binary: bool = False
) -> Reader:
    """Open a folder of smears for reading, its format told from what lies in it where not given."""
    if not path.exists():
        raise DataError("does not exist; name a folder of annotated smears", path)
    if classes not in get_args(ClassChoice):
        raise OptionError(f"classes must be one of {', '.join(get_args(ClassChoice))}, not {classes!r}")
    return LabelReader(path, classes=classes, binary=binary)
