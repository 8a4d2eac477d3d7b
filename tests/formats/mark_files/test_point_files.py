from __future__ import annotations

from pathlib import Path

import pytest

from image_folders import data_error
from smearsynth.formats.mark_files.point_files import find, load
from smearsynth.geometry import Point


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_points_with_types(tmp_path: Path) -> None:
    write(tmp_path / "points" / "a.txt", "594 95 3 1\n601 151 0\n")
    write(tmp_path / "test" / "points" / "b.txt", "")
    write(tmp_path / "test" / "points" / "c.txt", "1,2,3")
    content = load(tmp_path, find(tmp_path))
    assert [(field.image, field.split) for field in content.fields] == [("a", None), ("b", "test"), ("c", "test")]
    assert [cell.shape for cell in content.fields[0].cells] == [Point(594, 95), Point(601, 151)]
    assert [cell.class_name for cell in content.fields[0].cells] == ["type 3", "type 0"]
    assert content.class_names == ("type 0", "type 3")


def test_other_text_is_not_found(tmp_path: Path) -> None:
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.1 0.1\n")
    write(tmp_path / "points" / "a.txt", "see the table\n")
    write(tmp_path / "outlines" / "a.txt", "594 95 3\n")
    assert find(tmp_path) == []


@pytest.mark.parametrize("line", ["1 2", "1 nan 3", "x y 3", "1 2 3.5", "1 2 -1", "1 2 1e30"])
def test_damaged_lines(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "points" / "a.txt", f"1 2 3\n{line}\n")
    assert "a.txt: has a " in data_error(lambda: load(tmp_path, [path]))
