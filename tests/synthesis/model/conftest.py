"""Fixtures of the tests of model folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """Copy of a model folder, for modification."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("state", "samples")))
