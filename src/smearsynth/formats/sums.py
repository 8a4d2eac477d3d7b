"""SHA256SUMS of a model folder, as ``sha256sum -c`` reads it: whether its files are as they were written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from smearsynth.errors import ModelError
from smearsynth.formats.files import reading_problem, write_text

SUMS = "SHA256SUMS"
COPY_AGAIN = "copy the folder again"


def write_sums(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the hashes of files, given by name and content; after the files themselves, whole or not at all."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items()))
    write_text(folder / SUMS, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """The hash that each file of a folder should have, by name; empty for what is no list of files in it.

    Raises
    ------
    FileNotFoundError
        When there is no list.
    ModelError
        When it cannot be read.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ModelError(reading_problem(error), folder / SUMS) from error
    except UnicodeDecodeError:
        return {}
    sums = {name: wanted for wanted, _, name in (line.partition("  ") for line in lines)}
    return {} if any(Path(name).name != name for name in sums) else sums


def check_sums(folder: Path, sums: Mapping[str, str]) -> None:
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
    >>> write_sums(folder, {"a": b"whole"})
    >>> check_sums(folder, read_sums(folder))
    """
    for name, wanted in sums.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ModelError(f"this file of the model is missing; {COPY_AGAIN}", folder / name) from None
        except OSError as error:
            raise ModelError(reading_problem(error), folder / name) from error
        if found != wanted:
            raise ModelError(f"altered or damaged, its hash is not the one in {SUMS}; {COPY_AGAIN}", folder / name)
