from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from smearsynth.formats.base import Writer
from smearsynth.smear import Smear


class CountingWriter(Writer):
    format = "none"

    def __init__(self) -> None:
        self.finished = 0

    def write(self, smear: Smear, tags: Mapping[str, str] | None = None) -> None: ...

    def image_path(self, name: str) -> Path:
        return Path(name)

    def is_written(self, name: str) -> bool:
        return False

    def finish(self) -> None:
        self.finished += 1


def test_the_context_manager_finishes_after_success() -> None:
    with CountingWriter() as writer:
        assert writer.finished == 0
    assert writer.finished == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_context_manager_does_not_finish_after_an_error(error: type[BaseException]) -> None:
    writer = CountingWriter()
    with pytest.raises(error), writer:
        raise error
    assert writer.finished == 0
