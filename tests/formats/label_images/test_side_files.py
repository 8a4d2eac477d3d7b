from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from image_folders import data_error
from smearsynth.formats.label_images.side_files import read_hidden, read_ignored, save_hidden, save_ignored
from smearsynth.geometry import Outline


def test_ignored_pixels_are_read_as_written_and_removed(tmp_path: Path) -> None:
    path, ignored = tmp_path / "ignore" / "a.png", np.eye(5, dtype=bool)
    with ExitStack() as files:
        save_ignored(path, ignored, files)
    assert (read_ignored(path, (5, 5)) == ignored).all()
    assert "is 5×5 px, but the labels are 6×5 px" in data_error(lambda: read_ignored(path, (5, 6)))
    with ExitStack() as files:
        save_ignored(path, None, files)
    assert not path.exists()


def test_hidden_outlines_are_read_as_written_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "hidden" / "a.json"
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    with ExitStack() as files:
        save_hidden(path, (None, Outline.of_mask(mask)), files)
    first, second = read_hidden(path, 2) or ()
    assert first is None
    assert second is not None
    assert (len(second.rings), len(second.holes)) == (1, 1)
    assert second.holes[0].tolist() == Outline.of_mask(mask).holes[0].tolist()
    with ExitStack() as files:
        save_hidden(path, None, files)
    assert read_hidden(path, 2) is None


@pytest.mark.parametrize(
    "text", ["[]", '{"1": {}}', '{"x": {"rings": [], "holes": []}}', '{"1": {"rings": [[1]]}}']
)
def test_damaged_outlines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert "contains no outlines" in data_error(lambda: read_hidden(tmp_path / "a.json", 1))
