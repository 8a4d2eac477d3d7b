"""Text files, atomic writes, and checksums of a folder."""

from __future__ import annotations

import errno
import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from smearsynth.errors import DataError, ModelError

CHECKSUM_FILE = "SHA256SUMS"
COPY_AGAIN = "copy the folder again"


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises
    ------
    DataError
        If the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text; save it again as UTF-8", path) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically (`atomic_write`)."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path, and rename it to `path` if the block succeeds.

    On any error, including Ctrl-C, the temporary file is removed and `path` is unchanged.

    Parameters
    ----------
    path : Path
        File to write; its folder is created if missing.

    Yields
    ------
    Path
        Temporary path in the same folder.

    Raises
    ------
    DataError
        If the file cannot be written, for example because the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("complete")
    >>> target.read_text(), len(list(target.parent.iterdir()))
    ('complete', 1)
    """
    # The name of the target may already have the maximum length of the file system, so it cannot be extended.
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
    """Create a folder if it is missing, and test that files can be written there.

    Call it before a long computation, so that a missing permission is reported at the start.

    Raises
    ------
    DataError
        If the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(_describe_write_error(error), folder) from error


def describe_read_error(error: OSError) -> str:
    """Return one line that says why a file cannot be read and what to do.

    Examples
    --------
    >>> describe_read_error(FileNotFoundError())
    'does not exist; check the path'
    """
    if isinstance(error, PermissionError):
        return "no permission to read it; change its access rights (chmod +r)"
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    return f"cannot be read ({error.strerror or error}); check the disk or copy the file again"


def _describe_write_error(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space and run the same command again, it continues where it stopped"
    if isinstance(error, PermissionError):
        return "no permission to write here; choose another folder"
    return f"cannot be written ({error.strerror or error}); check the disk or choose another folder"


def write_checksums(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the SHA-256 hashes of files to ``SHA256SUMS``, atomically.

    Call it after the files are written: the list then marks a complete folder.

    Parameters
    ----------
    folder : Path
    contents : mapping of str to bytes
        Content of each file, by file name.
    """
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items()))
    write_text(folder / CHECKSUM_FILE, "".join(lines))


def read_checksums(folder: Path) -> dict[str, str]:
    """Read the expected hash of each file of a folder, by file name.

    The result is empty if ``SHA256SUMS`` is not a list of files in this folder.

    Raises
    ------
    FileNotFoundError
        If there is no ``SHA256SUMS``.
    ModelError
        If it cannot be read.
    """
    try:
        lines = (folder / CHECKSUM_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ModelError(describe_read_error(error), folder / CHECKSUM_FILE) from error
    except UnicodeDecodeError:
        return {}
    checksums = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    # A path that leaves the folder is not accepted.
    return {} if any(Path(name).name != name for name in checksums) else checksums


def verify_checksums(folder: Path, checksums: Mapping[str, str]) -> None:
    """Compare files with their expected hashes.

    Parameters
    ----------
    folder : Path
    checksums : mapping of str to str
        SHA-256 of each file, by file name.

    Raises
    ------
    ModelError
        If a file is missing, unreadable or changed.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a").write_bytes(b"content")
    >>> write_checksums(folder, {"a": b"content"})
    >>> verify_checksums(folder, read_checksums(folder))
    """
    for name, expected in checksums.items():
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ModelError(f"this file of the model is missing; {COPY_AGAIN}", folder / name) from None
        except OSError as error:
            raise ModelError(describe_read_error(error), folder / name) from error
        if actual != expected:
            raise ModelError(
                f"altered or damaged, its hash is not the one in {CHECKSUM_FILE}; {COPY_AGAIN}", folder / name
            )
