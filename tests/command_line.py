"""What tests of commands look for."""

from __future__ import annotations

from pathlib import Path

from conftest import Ran


def error_of(ran: Ran) -> str:
    """The one error line of a command that failed as it should."""
    lines = ran.err.splitlines()
    assert ran.code == 2, ran
    assert [line for line in lines if line.startswith("error:")] == lines[-1:], ran.err
    assert "Traceback" not in ran.err
    return lines[-1]


def left_behind(folder: Path) -> list[str]:
    """Names of all files and folders in a folder, none where there is no folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []
