"""Errors that the user can correct. Each message is one line that says what is wrong, where, and what to do.

The command line prints the message and ends with exit code 2. Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmearsynthError(Exception):
    """Base class of all errors that the user can correct.

    Parameters
    ----------
    problem : str
        What is wrong and what to do, in one line.
    path : Path or str, optional
        File or folder concerned; it precedes the message.

    Examples
    --------
    >>> str(SmearsynthError("no images in this folder; name one that holds PNG, JPEG or TIFF", "a/b"))
    'a/b: no images in this folder; name one that holds PNG, JPEG or TIFF'
    """

    def __init__(self, problem: str, path: Path | str | None = None) -> None:
        super().__init__(problem if path is None else f"{path}: {problem}")
        self.path = None if path is None else Path(path)


class DataError(SmearsynthError, ValueError):
    """A smear, file or folder of smears is not usable."""


class ModelError(SmearsynthError):
    """A model folder is incomplete, damaged or of the wrong kind."""


class OptionError(SmearsynthError, ValueError):
    """A parameter is out of range, or parameters contradict each other."""


@contextmanager
def error_location(data: Path | None) -> Iterator[None]:
    """Add the folder of smears to a `DataError` without a path, which concerns all smears.

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
