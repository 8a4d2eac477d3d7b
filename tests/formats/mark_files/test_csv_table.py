from __future__ import annotations

from pathlib import Path

import pytest

from image_folders import data_error
from smearsynth.formats.base import AnnotationFiles
from smearsynth.formats.mark_files.csv_table import find, load
from smearsynth.geometry import Box, Point


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


def read(root: Path) -> AnnotationFiles:
    return load(root, find(root))


def test_one_box_per_row(tmp_path: Path) -> None:
    rows = ["a.png,1,2,9,8,red,0.5,train", "b.png,3,3,3,5,white,,test", "a.png,9,8,4,4,white,1,train", ",,,,,,,"]
    header = "image,x0,y0,x1,y1,class,score,split"
    content = read(write(tmp_path / "boxes.csv", "\n".join([header, *rows])))
    assert content.class_names == ("red", "white")
    a, b = content.fields
    assert [(cell.shape, cell.confidence) for cell in a.cells] == [(Box(1, 2, 9, 8), 0.5), (Box(4, 4, 9, 8), 1)]
    assert (a.split, b.split, a.relative) == ("train", "test", False)
    assert (b.cells, b.left_out) == ((), {"boxes without area": 1})
    assert content.notes == (
        "boxes.csv: image = image, box = x0 y0 x1 y1, class = class, confidence = score, split = split, px",
    )


def test_fractions(tmp_path: Path) -> None:
    header = "image,xmin,ymin,xmax,ymax\n"
    content = read(write(tmp_path / "a.csv", f"{header}a.png,0,0,0.25,1\n"))
    assert content.fields[0].relative
    assert content.notes[0].endswith("fractions of the image size")
    for box in ("0,0,1,1", "0,0,0.5,1.5", "-0.5,0,0.5,1"):
        assert not read(write(tmp_path / "a.csv", f"{header}a.png,{box}\n")).fields[0].relative


@pytest.mark.parametrize(("separator", "one_and_a_half"), [(",", "1.5"), (";", "1,5"), ("\t", "1,5"), (";", "1.5")])
def test_separators_and_decimal_commas(tmp_path: Path, separator: str, one_and_a_half: str) -> None:
    rows = [["image", "cx", "cy", "width", "height"], ["a.png", "10", "20", one_and_a_half, "4"]]
    path = write(tmp_path / "a.csv", "\r\n".join(separator.join(row) for row in rows), "utf-8-sig")
    assert read(path).fields[0].cells[0].shape == Box(9.25, 18, 10.75, 22)


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_encodings_of_other_programs(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.csv", "image,x,y,class\na.png,1,2,zellé\n", encoding)
    assert read(path).class_names == ("zellé",)


@pytest.mark.parametrize(
    ("boxes", "shapes", "order"),
    [
        (["[10, 20, 5, 8]", "[1 2 30 40]"], [Box(10, 20, 15, 28), Box(1, 2, 31, 42)], "(x y width height)"),
        (["[10.0, 20, 15, 28]", "(1, 2, 3, 4)"], [Box(10, 20, 15, 28), Box(1, 2, 3, 4)], "(x0 y0 x1 y1)"),
    ],
)
def test_boxes_as_text(tmp_path: Path, boxes: list[str], shapes: list[Box], order: str) -> None:
    rows = "".join(f'a.png,"{box}"\n' for box in boxes)
    content = read(write(tmp_path / "a.csv", f"image_id,bbox\n{rows}b.png,\n"))
    assert [cell.shape for cell in content.fields[0].cells] == shapes
    assert content.fields[1].cells == ()
    assert order in content.notes[0]


def test_a_table_without_header(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", "x/a.png,1,2,9,8,red\nx/b.png,,,,,\n")
    a, b = read(path).fields
    assert (a.image, a.cells[0].shape, a.cells[0].class_name, a.split) == (
        "x/a.png",
        Box(1, 2, 9, 8),
        "red",
        "train",
    )
    assert (b.image, b.cells, dict(b.left_out)) == ("x/b.png", (), {})


def test_points_of_a_stack(tmp_path: Path) -> None:
    path = write(tmp_path / "Results.txt", " \tLabel\tX\tY\n1\ta.tif:0001\t5.5\t6\n")
    (field,) = read(path).fields
    assert (field.image, field.cells[0].shape) == ("a.tif", Point(5.5, 6))


def test_tables_named_after_their_image(tmp_path: Path) -> None:
    for name in ("images/A.png", "images/b.jpg"):
        write(tmp_path / name, "")
    for name in ("a.csv", "b.jpg.csv", "b_results.csv", "c.csv"):
        write(tmp_path / "tables" / name, "X,Y\n1,2\n")
    assert [path.name for path in find(tmp_path)] == ["a.csv", "b.jpg.csv", "b_results.csv"]
    content = read(tmp_path)
    assert [field.image for field in content.fields] == ["a", "b.jpg", "b"]
    assert content.notes == ("tables/a.csv and 2 more: point = X Y, px",)


def test_size_of_the_image_is_not_that_of_a_cell(tmp_path: Path) -> None:
    header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    of_image = read(write(tmp_path / "a.csv", f"{header}a.png,640,480,red,1,2,9,8\na.png,640,480,red,1,2,5,8\n"))
    assert of_image.fields[0].size == (480, 640)
    of_cell = read(write(tmp_path / "a.csv", f"{header}a.png,8,6,red,1,2,9,8\n"))
    assert of_cell.fields[0].size is None


def test_tables_of_smearsynth_and_others_are_not_found(tmp_path: Path) -> None:
    write(tmp_path / "split.csv", "image,split\na,train\n")
    write(tmp_path / "instances.csv", "image,instance,class\na,1,red\n")
    write(tmp_path / "counts.csv", "image,cell,total\na,3,3\n")
    write(tmp_path / "log.csv", "step,loss\n1,2\n")
    write(tmp_path / "yolo.txt", "0 0.5 0.5 0.1 0.1\n")
    write(tmp_path / "empty.csv", "")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    assert find(tmp_path) == []


def test_a_folder_of_many_tables_is_judged_by_three(tmp_path: Path) -> None:
    for i in range(25):
        write(tmp_path / f"{i:02}.csv", "a,b\n1,2\n" if i == 24 else "image,x,y\na.png,1,2\n")
    assert len(find(tmp_path)) == 25
    notes = read(tmp_path).notes
    assert notes == ("00.csv and 23 more: image = image, point = x y, px", "24.csv: no boxes or points; not read")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.png,1,2,nan,8,red", "line 3: 'nan' is not a finite number"),
        ("a.png,1,,9,8,red", "line 3: '' is not a finite number"),
        ("a.png,1,2", "line 3 has 3 columns, expected 5 or more"),
        (",1,2,9,8,red", "line 3 has no name of an image"),
    ],
)
def test_damaged_rows(tmp_path: Path, row: str, problem: str) -> None:
    path = write(tmp_path / "a.csv", f"image,x0,y0,x1,y1,class\na.png,1,2,9,8,red\n{row}\n")
    assert f"a.csv: {problem}" in data_error(lambda: load(tmp_path, [path]))


def test_damaged_boxes_and_confidences(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'image,bbox\na.png,"[1, 2, 3]"\n')
    assert "line 2: the box '[1, 2, 3]' is not four numbers" in data_error(lambda: read(path))
    path = write(tmp_path / "a.csv", "image,x,y,w,h\na.png,1,2,-3,4\n")
    assert "line 2: the box has a negative size" in data_error(lambda: read(path))
    path = write(tmp_path / "a.csv", "image,x,y,score\na.png,1,2,80\n")
    assert "line 2: the confidence 80 is not a fraction" in data_error(lambda: read(path))
    path = write(tmp_path / "a.csv", "image,x,y\na.png,1,2\nb.png,1," + "2" * 200_000)
    assert "is damaged (field larger than field limit" in data_error(lambda: read(path))
