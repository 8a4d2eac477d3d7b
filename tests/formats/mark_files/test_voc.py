from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from image_folders import data_error
from smears import analytic_smear
from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.formats.base import AnnotationFiles
from smearsynth.formats.mark_files.voc import VocWriter, find, load
from smearsynth.geometry import Box, Outline

BOX = "<bndbox><xmin>10</xmin><ymin>20.5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{content}</annotation>", encoding="utf-8")
    return path


def cell(content: str = BOX, name: str = "RBC") -> str:
    return f"<object><name>{name}</name>{content}</object>"


def read(root: Path) -> AnnotationFiles:
    return load(root, find(root))


def test_boxes_with_class_and_size(tmp_path: Path) -> None:
    size = "<size><width>640</width><height>480</height><depth>3</depth></size>"
    path = write(tmp_path / "a.xml", f"<filename>b.jpg</filename>{size}{cell()}{cell(name=' ')}")
    content = load(path, find(path))
    (field,) = content.fields
    assert (field.image, field.size, field.split) == ("b.jpg", (480, 640), None)
    assert field.cells[0].shape == Box(10, 20.5, 30, 40)
    assert content.class_names == ("RBC", "cell")


def test_polygons_of_two_programs_are_outlines(tmp_path: Path) -> None:
    numbered = "<polygon><x1>1</x1><y1>2</y1><x2>5</x2><y2>2</y2><x3>5</x3><y3>6</y3></polygon>"
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 2), (5, 2), (5, 6)))
    write(tmp_path / "a.xml", cell(f"{BOX}{numbered}") + cell(f"<polygon>{points}</polygon>"))
    for mark in read(tmp_path).fields[0].cells:
        assert isinstance(mark.shape, Outline)
        assert mark.shape.rings[0].tolist() == [[1, 2], [5, 2], [5, 6]]


def test_names_that_tools_leave_wrong(tmp_path: Path) -> None:
    wrong = "<folder>x</folder><filename>C:\\x\\frame.png</filename><path>/home/x/frame.png</path>"
    zero = "<size><width>0</width><height>0</height></size>"
    write(tmp_path / "a.xml", wrong + zero)
    (field,) = read(tmp_path).fields
    assert (field.image, field.size) == ("frame.png", None)
    # Two files that name the same image were renamed.
    write(tmp_path / "b.xml", wrong + cell())
    write(tmp_path / "c.xml", cell())
    assert [field.image for field in read(tmp_path).fields] == ["a", "b", "c"]


def test_difficult_ignored_and_other_objects(tmp_path: Path) -> None:
    angle = "<robndbox><cx>10</cx><cy>10</cy><w>8</w><h>4</h><angle>0</angle></robndbox>"
    objects = [
        cell(f"<difficult>1</difficult>{BOX}"),
        cell(angle),
        cell(f"<deleted>1</deleted>{BOX}"),
        cell(f"{BOX}<part><name>nucleus</name></part>"),
        cell(name="ignore"),
    ]
    write(tmp_path / "a.xml", "".join(objects))
    content = read(tmp_path)
    (field,) = content.fields
    assert [mark.shape for mark in field.cells][1] == Box(6, 8, 14, 12)
    assert len(field.cells) == 3
    assert field.ignored == (Box(10, 20.5, 30, 40),)
    assert field.left_out == {"deleted objects": 1, "parts of objects": 1}
    assert content.notes == ("1 objects marked as difficult are read as cells",)


def test_splits_of_lists_and_folders(tmp_path: Path) -> None:
    for name in ("a 1", "b", "c"):
        write(tmp_path / "Annotations" / f"{name}.xml", cell())
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a 1\n")
    (lists / "val.txt").write_text("b  1\n")
    (lists / "trainval.txt").write_text("a 1\nb\nc\n")
    write(tmp_path / "test" / "d.xml", cell())
    assert [field.split for field in read(tmp_path).fields] == ["train", "val", None, "test"]


def test_other_xml_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "cvat.xml").write_text('<annotations><image id="0" name="a.png"/></annotations>')
    (tmp_path / "counter.xml").write_text("<CellCounter_Marker_File><Marker_Data/></CellCounter_Marker_File>")
    assert find(tmp_path) == []
    write(tmp_path / "a.xml", "<filename>a.png</filename>")
    content = read(tmp_path)
    assert [field.image for field in content.fields] == ["a.png"]
    assert len(content.notes) == 2


def test_declared_encodings_are_read(tmp_path: Path) -> None:
    text = f'<?xml version="1.0" encoding="iso-8859-1"?><annotation>{cell(name="zellé")}</annotation>'
    path = tmp_path / "a.xml"
    path.write_bytes(text.encode("latin-1"))
    assert load(tmp_path, [path]).class_names == ("zellé",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (cell(""), "object 1 has no box"),
        (cell(BOX.replace("30", "nan")), "object 1, xmax: 'nan' is not a finite number"),
        (cell(BOX.replace("<ymin>20.5</ymin>", "")), "object 1, ymin: None is not a finite number"),
        ("<object>", "is not valid XML"),
        (f"<filename>a</filename><size><width>x</width><height>1</height></size>{cell()}", "size: 'x' is not"),
    ],
)
def test_damaged_files(tmp_path: Path, content: str, problem: str) -> None:
    path = write(tmp_path / "a.xml", content)
    assert f"a.xml: {problem}" in data_error(lambda: load(tmp_path, [path]))


def test_entities_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>')
    assert "is not valid XML" in data_error(lambda: load(tmp_path, [path]))


def test_written_boxes_are_read_again(tmp_path: Path) -> None:
    smear = analytic_smear(name="a")
    with VocWriter(tmp_path, smear.class_names, {"a": "train"}.get) as writer:
        writer.write(smear)
        box = CellMark(Box(-4, 2.25, 8.333, 9))
        writer.write_marks("b", smear.image, FieldAnnotation("b", Path("b"), (box,), (Box(0, 0, 1, 1),)))
    assert writer.is_written("a")
    assert not writer.is_written("c")
    assert +writer.lost == Counter({"outlines": smear.count, "ignored regions": 1})
    first, second = read(tmp_path).fields
    assert (first.image, first.size, first.split, second.split) == ("a.png", smear.shape, "train", None)
    assert [cell.shape for cell in first.cells] == [Box(*box) for box in smear.boxes().tolist()]
    assert second.cells[0].shape == Box(0, 2.25, 8.333, 9)
    assert (tmp_path / "ImageSets" / "Main" / "train.txt").read_text() == "a\n"
    assert (tmp_path / "ImageSets" / "Main" / "trainval.txt").read_text() == "b\n"
    assert (tmp_path / "labelmap.txt").read_text().splitlines()[1:] == ["background:::", "cell:::"]
    text = (tmp_path / "Annotations" / "b.xml").read_text()
    assert "<truncated>1</truncated>" in text


def test_special_characters_are_escaped(tmp_path: Path) -> None:
    names = ("a < b & c", "µ")
    image = np.zeros((9, 9, 3), np.uint8)
    with VocWriter(tmp_path, names) as writer:
        cells = tuple(CellMark(Box(1, 1, 4, 4), name) for name in names)
        writer.write_marks("x & y", image, FieldAnnotation("x & y", Path("x"), cells))
    content = read(tmp_path)
    assert content.class_names == names
    assert content.fields[0].image == "x & y.png"
