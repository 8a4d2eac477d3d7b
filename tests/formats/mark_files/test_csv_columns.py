from __future__ import annotations

import pytest

from smearsynth.formats.mark_files.csv_columns import guess_columns


@pytest.mark.parametrize(
    ("header", "kind", "coordinates", "image", "class_name"),
    [
        ("filename width height class xmin ymin xmax ymax", "corners", (4, 5, 6, 7), 0, 3),
        ("image_id image xmin ymin xmax ymax label", "corners", (2, 3, 4, 5), 1, 6),
        ("image instance class score x0 y0 x1 y1", "corners", (4, 5, 6, 7), 0, 2),
        ("ImageID Source LabelName Confidence XMin XMax YMin YMax", "corners", (4, 6, 5, 7), 0, 2),
        ("img x1 y1 x2 y2 type", "corners", (1, 2, 3, 4), 0, 5),
        ("left top right bottom", "corners", (0, 1, 2, 3), None, None),
        ("File X Y Width Height Cell_Type", "size", (1, 2, 3, 4), 0, 5),
        ("bbox_x bbox_y bbox_width bbox_height image_name label_name", "size", (0, 1, 2, 3), 4, 5),
        ("name cx cy w h class", "centre", (1, 2, 3, 4), None, 5),
        ("image x_center y_center width height", "centre", (1, 2, 3, 4), 0, None),
        ("image_id width height bbox source", "text", (3,), 0, None),
        ("# Area Mean X Y", "point", (3, 4), None, None),
        ("# Area Mean X Y BX BY Width Height", "size", (5, 6, 7, 8), None, None),
        ("Type Slice X Y Value C-pos", "point", (2, 3), None, 0),
        ("label centroid-0 centroid-1 area", "point", (2, 1), 0, None),
        ("file x(px) y(px)", "point", (1, 2), 0, None),
    ],
)
def test_columns_of_programs(
    header: str, kind: str, coordinates: tuple[int, ...], image: int | None, class_name: int | None
) -> None:
    columns = guess_columns([header.split()])
    assert columns is not None
    assert (columns.kind, columns.coordinates) == (kind, coordinates)
    if "label centroid" not in header:
        assert (columns.image, columns.class_name) == (image, class_name)


@pytest.mark.parametrize(
    "header",
    ["image split", "image instance class", "image cell total", "x y%", "Centroid_X_µm Centroid_Y_µm", "x", ""],
)
def test_tables_without_marks(header: str) -> None:
    assert guess_columns([header.split(" ")]) is None


def test_a_label_is_the_image_only_if_it_holds_file_names() -> None:
    header = [" ", "Label", "X", "Y"]
    of_class = guess_columns([header, ["1", "red", "5", "6"]])
    assert of_class is not None
    assert (of_class.image, of_class.class_name) == (None, 1)
    of_image = guess_columns([header, ["1", "a.tif:0001-0002", "5", "6"]])
    assert of_image is not None
    assert (of_image.image, of_image.class_name) == (1, None)


def test_the_column_with_file_names_is_preferred() -> None:
    rows = [["image", "file", "x", "y"], ["1", "a.png", "5", "6"]]
    columns = guess_columns(rows)
    assert columns is not None
    assert columns.image == 1


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ("a.png,1,2,9,8,red", True),
        ("a.png,1.5,2,9,8", True),
        ("a.png,,,,,", True),
        ("a.png,red,1,2,9,8", False),
        ("a,1,2,9,8,red", False),
        ("a.png,train", False),
    ],
)
def test_tables_without_header(row: str, known: bool) -> None:
    columns = guess_columns([row.split(",")])
    assert (columns is not None) == known
    if columns is not None:
        assert (columns.kind, columns.coordinates, columns.header) == ("corners", (1, 2, 3, 4), ())
