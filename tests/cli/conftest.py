"""Fixtures of the tests of the command line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let so many images be written, and of the next one the first bytes."""

    def after(images: int) -> None:
        left = [images]

        def full(self: Image.Image, path: Any, *args: Any, **options: Any) -> None:
            left[0] -= isinstance(path, Path)
            if left[0] < 0 and isinstance(path, Path):
                path.write_bytes(b"\x89PNG")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            saved(self, path, *args, **options)

        monkeypatch.setattr(Image.Image, "save", full)

    saved = Image.Image.save
    return after
