"""Errors a user can cause and mend: each message names the culprit and the remedy, in one line.

The command line prints such a message and ends with exit code 2; anything else is our own fault and
keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmearsynthError(Exception):
    """Base of all errors that the user can mend.

    Parameters
    ----------
    problem : str
        What is wrong, in one line, with the remedy.
    path : Path or str, optional
        The file or folder at fault; it is put before the message.

    Examples
    --------
    >>> str(SmearsynthError("no images in this folder; name one that holds PNG, JPEG or TIFF", "a/b"))
    'a/b: no images in this folder; name one that holds PNG, JPEG or TIFF'
    """

    def __init__(self, problem: str, path: Path | str | None = None) -> None:
        super().__init__(problem if path is None else f"{path}: {problem}")
        self.path = None if path is None else Path(path)


class DataError(SmearsynthError, ValueError):
    """A smear, a file or a folder of smears that cannot be used."""


class ModelError(SmearsynthError):
    """A model folder that is incomplete, damaged or does not fit what is asked of it."""


class OptionError(SmearsynthError, ValueError):
    """A parameter out of its range, or parameters that contradict each other."""


@contextmanager
def error_location(data: Path | None) -> Iterator[None]:
    """Put the folder of smears before a message that names none, because it is about all of them.

    Examples
    --------
    >>> try:
    ...     with error_location(Path("slides")):
    ...         raise DataError("no whole cell in these smears")
    ... except DataError as error:
    ...     print(error)
    slides: no whole cell in these smears
    """
    try:
        yield
    except DataError as error:
        if data is None or error.path is not None:
            raise
        raise DataError(str(error), data) from error
