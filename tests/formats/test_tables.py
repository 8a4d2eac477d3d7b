from __future__ import annotations

from pathlib import Path

import pytest

from image_folders import LABELS, data_error, write_pair
from smearsynth.datasets import open_smears
from smearsynth.formats.tables import (
    FolderMetadata,
    InstanceTable,
    PointTable,
    instance_rows,
    read_metadata,
    write_metadata,
)


def test_the_first_point_inside_a_cell_sets_its_class(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "a.txt").write_text("60 44 2\n60 45 0\n20 20 1\n999 999 3\n")
    folder = open_smears(tmp_path, classes="annotated")
    assert folder.class_names == ("type 0", "type 1", "type 2", "type 3", "untyped")
    assert folder[0].classes.tolist() == [1, 4, 2]


def test_metadata_are_read_as_written_and_only_from_smearsynth(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) is None
    metadata = FolderMetadata("palette", ("red", "µ"))
    write_metadata(tmp_path, metadata)
    assert read_metadata(tmp_path) == metadata
    path = tmp_path / "classes.json"
    path.write_text('{"class_names": ["a"]}')
    assert read_metadata(tmp_path) is None
    path.write_text("{")
    assert "is not valid JSON" in data_error(lambda: read_metadata(tmp_path))
    path.write_text('{"written_by": "smearsynth", "class_names": []}')
    assert "contains no list of class names" in data_error(lambda: read_metadata(tmp_path))


def test_rows_of_an_image_need_not_be_consecutive(tmp_path: Path) -> None:
    path = tmp_path / "instances.csv"
    path.write_text("area,class,instance,image\n9,red,1,a.png\n9,white,1,b\n9,ring,2,a\n")
    table = InstanceTable(path)
    assert table.class_names == ("red", "white", "ring")
    assert table.images == {"a", "b"}
    assert table.rows("a") == {1: "red", 2: "ring"}
    assert table.rows("c") == {}


def test_written_rows_are_read_with_their_quotes(tmp_path: Path) -> None:
    path = tmp_path / "instances.csv"
    path.write_text("image,instance,class\n" + instance_rows('a,"b"', {3: "red, large"}), encoding="utf-8")
    assert InstanceTable(path).rows('a,"b"') == {3: "red, large"}


def test_damaged_instance_tables_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "instances.csv"
    path.write_text("image,class\n")
    assert "lacks the columns" in data_error(lambda: InstanceTable(path))
    path.write_text("image,instance,class\na,1.5,red\n")
    assert "a row of image a has no integer" in data_error(lambda: InstanceTable(path).rows("a"))
    path.write_bytes(b"image,instance,class\na,1,\xff\n")
    assert "is not UTF-8" in data_error(lambda: InstanceTable(path))
    assert "does not exist" in data_error(lambda: InstanceTable(tmp_path / "missing.csv"))


@pytest.mark.parametrize("line", ["1 2", "1 2 x", "1 2 0.5", "1 2 -1"])
def test_damaged_points_are_rejected(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(f"3,4,1\n{line}\n")
    assert "a.txt: has a " in data_error(lambda: PointTable(tmp_path, ["a"]))


def test_without_points_all_cells_are_untyped(tmp_path: Path) -> None:
    table = PointTable(tmp_path, ["a"])
    assert table.class_names == ("untyped",)
    assert table.classes("a", LABELS).tolist() == [0, 0, 0]
