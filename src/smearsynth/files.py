"""Files of a folder of smears: which are images, and writing that leaves nothing half-written behind."""

from __future__ import annotations

import errno
import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from smearsynth.errors import DataError, ModelError


def describe_read_error(error: OSError) -> str:
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
        raise DataError(describe_read_error(error), path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text; save it again as UTF-8", path) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
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
    >>> with atomic_write(target) as temporary:
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
        raise DataError(_describe_write_error(error), path) from error
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
        raise DataError(_describe_write_error(error), folder) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _describe_write_error(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run the same again, it continues where it stopped"
    if isinstance(error, PermissionError):
        return "no permission to write here; choose another folder"
    return f"cannot be written ({error.strerror or error}); check the disk or choose another folder"


CHECKSUM_FILE = "SHA256SUMS"

COPY_AGAIN = "copy the folder again"


def write_checksums(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the hashes of files, given by name and content; after the files themselves, whole or not at all."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items()))
    write_text(folder / CHECKSUM_FILE, "".join(lines))


def read_checksums(folder: Path) -> dict[str, str]:
    """The hash that each file of a folder should have, by name; empty for what is no list of files in it.

    Raises
    ------
    FileNotFoundError
        When there is no list.
    ModelError
        When it cannot be read.
    """
    try:
        lines = (folder / CHECKSUM_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ModelError(describe_read_error(error), folder / CHECKSUM_FILE) from error
    except UnicodeDecodeError:
        return {}
    sums = {name: wanted for wanted, _, name in (line.partition("  ") for line in lines)}
    return {} if any(Path(name).name != name for name in sums) else sums


def verify_checksums(folder: Path, sums: Mapping[str, str]) -> None:
    """Compare files with the hashes that they should have.

    Raises
    ------
    ModelError
        When a file is missing, cannot be read or was altered.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_bytes(b"whole")
    >>> write_checksums(folder, {"a": b"whole"})
    >>> verify_checksums(folder, read_checksums(folder))
    """
    for name, wanted in sums.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ModelError(f"this file of the model is missing; {COPY_AGAIN}", folder / name) from None
        except OSError as error:
            raise ModelError(describe_read_error(error), folder / name) from error
        if found != wanted:
            raise ModelError(f"altered or damaged, its hash is not the one in {CHECKSUM_FILE}; {COPY_AGAIN}", folder / name)
