"""Files of a folder of smears: which are images, and writing that leaves nothing half-written behind."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smearsynth.errors import DataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


def image_files(folder: Path) -> list[Path]:
    """Files in a folder that their extension (in any case) declares images, sorted by name.

    Hidden files are left out: they are what other systems and interrupted writes leave behind.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        When the folder cannot be listed.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
    except OSError as error:
        raise DataError(reading_problem(error), folder) from error


def reading_problem(error: OSError) -> str:
    """Say in one line why a file cannot be opened, with the remedy."""
    if isinstance(error, PermissionError):
        return "no permission to read it; change its access rights (chmod +r)"
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    return f"cannot be read ({error.strerror or error}); check the disk or copy the file again"


def read_text(path: Path) -> str:
    """Read a text file as UTF-8 (with or without its mark); a `DataError` says why where that fails."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(reading_problem(error), path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text; save it again as UTF-8", path) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its place when the block ends well.

    On any error, Ctrl-C included, the temporary file is removed and `path` stays what it was.

    Parameters
    ----------
    path : Path
        The file to write; its folder is made when missing.

    Yields
    ------
    Path
        Write here, under any library.

    Raises
    ------
    DataError
        When the file cannot be written: disk full, no permission.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('whole', 1)
    """
    # A short name of its own: the target's may already be as long as the file system allows.
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise DataError(_writing_problem(error), path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and see that files can be written there: before long work, not after.

    Raises
    ------
    DataError
        When they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(_writing_problem(error), folder) from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writes that were killed, when older than an hour: a younger may be in use."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _writing_problem(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run the same again, it continues where it stopped"
    if isinstance(error, PermissionError):
        return "no permission to write here; choose another folder"
    return f"cannot be written ({error.strerror or error}); check the disk or choose another folder"


def writable_name(name: str) -> str:
    """Return a smear's name when it can be a file's stem, else raise `DataError`.

    Examples
    --------
    >>> writable_name("smear-000001")
    'smear-000001'
    """
    if not name or name.startswith(".") or Path(name).name != name or os.sep in name or "\0" in name:
        raise DataError(f"{name!r} cannot be the name of a file; name the smear without slashes or a leading dot")
    return name
