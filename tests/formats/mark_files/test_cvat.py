from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marked_cells import CLASSES, check_boxes_and_points, check_round_trip, field, pixels, read, write
from smearsynth.annotation.record import FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.cvat import CVAT, CvatWriter, runs_of_mask
from smearsynth.geometry import Box, Point

SHAPES = (
    '<polygon label="red" points="1,1;9,1;1,9" z_order="1" group_id="3"/>',
    '<polygon label="red" points="21,1;29,1;21,9" z_order="1" group_id="3"/>',
    '<box label="white" xtl="3" ytl="2" xbr="9" ybr="12" occluded="1"/>',
    '<ellipse label="white" cx="30" cy="20" rx="8" ry="4" rotation="90"/>',
    '<points label="red" points="5,6;7,8"/>',
    '<mask label="red" rle="1, 2, 1, 2" left="4" top="7" width="3" height="2"/>',
    '<polyline label="red" points="1,1;9,1"/>',
    '<tag label="blurred"/>',
    '<polygon label="void" points="1,1;9,1;1,9"/>',
)


def load_one(
    folder: Path, shapes: str, attributes: str = 'name="s/a.png" width="64" height="48"'
) -> FieldAnnotation:
    labels = "<labels><label><name>white</name></label><label><name>void</name></label></labels>"
    text = f"<annotations><meta><task>{labels}</task></meta><image {attributes}>{shapes}</image></annotations>"
    (folder / "annotations.xml").write_text(text)
    return read(CVAT, folder).fields[0]


def test_every_shape_in_the_order_of_z(tmp_path: Path) -> None:
    annotation = load_one(tmp_path, "".join(SHAPES), 'name="s/a.png" width="64" height="48" subset="Train"')
    box, ellipse, first, second, mask, polygon = (cell.shape for cell in annotation.cells)
    assert (box, first, second) == (Box(3, 2, 9, 12), Point(5, 6), Point(7, 8))
    assert pixels(ellipse)[12:28, 26:34].sum() == pixels(ellipse).sum() > 90
    assert pixels(mask)[7:9, 4:7].tolist() == [[False, True, True], [False, True, True]]
    assert pixels(polygon)[:, :20].sum() == pixels(polygon)[:, 20:].sum() > 0
    assert [cell.id for cell in annotation.cells] == ["3", "4", "5-1", "5-2", "6", "1"]
    assert annotation.left_out == {"polyline shapes": 1, "tags": 1}
    assert len(annotation.ignored) == 1
    assert (annotation.size, annotation.split, annotation.image) == ((48, 64), "train", "s/a.png")
    assert read(CVAT, tmp_path).class_names == ("white", "red")


def test_an_image_without_shapes_is_not_annotated(tmp_path: Path) -> None:
    assert load_one(tmp_path, "").left_out == {"unannotated images": 1}


def test_frames_of_a_video(tmp_path: Path) -> None:
    shape = '<polygon frame="{}" outside="{}" points="1,1;9,1;1,9"/>'
    track = f'<track id="4" label="red">{shape.format(2, 0)}{shape.format(3, 0)}{shape.format(4, 1)}</track>'
    size = "<meta><task><original_size><width>64</width><height>48</height></original_size></task></meta>"
    (tmp_path / "annotations.xml").write_text(f"<annotations>{size}{track}</annotations>")
    fields = read(CVAT, tmp_path).fields
    assert [(image.image, image.size, image.cells[0].id) for image in fields] == [
        ("frame_000002", (48, 64), "4"),
        ("frame_000003", (48, 64), "4"),
    ]


def test_voc_files_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation><filename>a.png</filename><object/></annotation>")
    assert CVAT.find(tmp_path) == []


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "-1", "1e300", "1,2", "1;2;3"])
def test_damaged_shapes_give_data_errors_that_name_the_shape(tmp_path: Path, value: str) -> None:
    failures = 0
    for shape in SHAPES:
        for part in shape.split('"')[1::2]:
            try:
                load_one(tmp_path, shape.replace(f'"{part}"', f'"{value}"'))
            except DataError as error:
                failures += 1
                assert "annotations.xml: image s/a.png, shape 1" in str(error)  # noqa: PT017
    assert failures > 3


def test_hostile_and_broken_xml(tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations><meta></meta>&b;</annotations>')
    with pytest.raises(DataError, match="is not valid XML"):
        read(CVAT, tmp_path)
    path.write_text("<annotations><meta>")
    with pytest.raises(DataError, match="is not valid XML"):
        read(CVAT, tmp_path)


def test_run_lengths_start_with_the_background() -> None:
    assert runs_of_mask(np.array([[True, False], [False, True]])) == [0, 1, 2, 1]
    assert runs_of_mask(np.zeros((2, 2), bool)) == [4]


def test_round_trip(tmp_path: Path) -> None:
    check_round_trip(CVAT, CvatWriter, tmp_path / "out")


def test_boxes_and_points(tmp_path: Path) -> None:
    check_boxes_and_points(CVAT, CvatWriter, tmp_path)


def test_an_interrupted_run_continues(tmp_path: Path) -> None:
    write(CvatWriter(tmp_path, CLASSES, {"a": "train"}.get), field("a"))
    image = np.full((48, 64, 3), 200, np.uint8)
    CvatWriter(tmp_path, CLASSES, {"b": "test"}.get).write_marks("b", image, field("b"))
    writer = CvatWriter(tmp_path, CLASSES)
    assert writer.is_written("a")
    assert writer.is_written("b")
    writer.finish()
    fields = read(CVAT, tmp_path).fields
    assert [(image.image, image.split, len(image.cells)) for image in fields] == [
        ("a.png", "train", 5),
        ("b.png", "test", 5),
    ]
    assert (tmp_path / "annotations.xml").read_text().count("<image id=") == 2
