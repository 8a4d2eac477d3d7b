from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi, roiread, roiwrite

from marked_cells import CLASSES, check_boxes_and_points, check_round_trip, field, pixels, read, write
from smearsynth.errors import DataError
from smearsynth.formats.mark_files.imagej import IMAGEJ, ImageJWriter
from smearsynth.geometry import Box, Outline, Point

TRIANGLE = [[1, 1], [9, 1], [1, 9]]


def roi(kind: ROI_TYPE = ROI_TYPE.POLYGON, points: object = TRIANGLE, name: str = "c1") -> ImagejRoi:
    made = ImagejRoi.frompoints(points, name=name)
    made.roitype = kind
    return made


def frame(kind: ROI_TYPE, *, subtype: ROI_SUBTYPE = ROI_SUBTYPE.UNDEFINED) -> ImagejRoi:
    made = ImagejRoi(roitype=kind, left=10, top=20, right=30, bottom=30, subtype=subtype)
    made.name = kind.name
    return made


def test_every_kind_of_roi(tmp_path: Path) -> None:
    grouped = roi(ROI_TYPE.TRACED)
    grouped.group = 4
    hidden = roi()
    hidden.z_position = 2
    subpixel = ImagejRoi(roitype=ROI_TYPE.RECT, options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION)
    subpixel.xd, subpixel.yd, subpixel.widthd, subpixel.heightd = 1.5, 2, 3, 4.25
    rois = [
        roi(),
        roi(ROI_TYPE.FREEHAND, np.array(TRIANGLE) + 0.25),
        grouped,
        frame(ROI_TYPE.RECT),
        frame(ROI_TYPE.OVAL),
        subpixel,
        roi(ROI_TYPE.POINT, [[3, 4], [5, 6]], name="p"),
        roi(ROI_TYPE.POINT, [[3.25, 4]]),
        roi(ROI_TYPE.POLYLINE),
        frame(ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT),
        hidden,
    ]
    roiwrite(tmp_path / "a_rois.zip", rois, name=[f"{k:02}" for k in range(len(rois))])
    annotation = read(IMAGEJ, tmp_path).fields[0]
    assert annotation.image == "a"
    shapes = [cell.shape for cell in annotation.cells]
    assert isinstance(shapes[0], Outline)
    assert shapes[0].rings[0].tolist() == TRIANGLE
    assert isinstance(shapes[1], Outline)
    assert shapes[1].rings[0].tolist() == (np.array(TRIANGLE) + 0.25).tolist()
    assert shapes[3] == Box(10, 20, 30, 30)
    assert pixels(shapes[4])[20:30, 10:30].sum() == pixels(shapes[4]).sum() == pytest.approx(math.pi * 50, rel=0.05)
    assert shapes[5] == Box(1.5, 2, 4.5, 6.25)
    # Whole numbers of a point are the column and row of a pixel.
    assert shapes[6:] == [Point(3.5, 4.5), Point(5.5, 6.5), Point(3.25, 4)]
    assert [cell.class_name for cell in annotation.cells] == ["cell", "cell", "group 4", *["cell"] * 6]
    assert [cell.id for cell in annotation.cells][:7] == ["c1", "c1", "c1", "RECT", "OVAL", "05", "p-1"]
    assert annotation.left_out == {"polyline ROIs": 1, "text ROIs": 1, "marks on other planes of a stack": 1}


def test_the_image_of_files_without_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "slide 3"
    folder.mkdir()
    roi().tofile(folder / "0005-0005.roi")
    roi().tofile(folder / "0025-0005.roi")
    fields = read(IMAGEJ, tmp_path).fields
    assert [(image.image, len(image.cells)) for image in fields] == [("slide 3", 2)]
    Image.new("RGB", (64, 48)).save(folder / "b.jpg")
    roiwrite(folder / "RoiSet.zip", [roi()])
    assert [(image.image, len(image.cells)) for image in read(IMAGEJ, folder / "RoiSet.zip").fields] == [
        ("b.jpg", 1)
    ]
    roi().tofile(tmp_path / "c.roi")
    assert [image.image for image in read(IMAGEJ, tmp_path / "c.roi").fields] == ["c"]


def test_the_overlay_of_a_tiff_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    overlay = {"Overlays": [roi().tobytes(), frame(ROI_TYPE.OVAL).tobytes()]}
    tifffile.imwrite(path, np.zeros((48, 64), np.uint8), imagej=True, metadata=overlay)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((48, 64), np.uint8), imagej=True)
    assert [(image.image, len(image.cells)) for image in read(IMAGEJ, tmp_path).fields] == [("a.tif", 2)]


def test_other_zip_and_tiff_files_are_not_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"")
    (tmp_path / "b.zip").write_bytes(b"PK no archive")
    (tmp_path / "c.roi").write_text("region = 1")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8))
    assert IMAGEJ.find(tmp_path) == []


def test_damaged_files_give_data_errors(tmp_path: Path) -> None:
    composite = ImagejRoi(roitype=ROI_TYPE.RECT, left=0, top=0, right=9, bottom=9)
    composite.multi_coordinates = np.array([0, 1, 1, 1, 9, 1, 1, 1, 9, 4], np.float32)
    composite.shape_roi_size = 10
    path = tmp_path / "a.roi"
    failures = 0
    rng = np.random.default_rng(0)
    for made in (roi(), roi(ROI_TYPE.FREEHAND, np.array(TRIANGLE) + 0.25), frame(ROI_TYPE.OVAL), composite):
        data = np.frombuffer(made.tobytes(), np.uint8)
        for _ in range(200):
            changed = data.copy()
            changed[rng.integers(4, len(data), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(changed.tobytes())
            try:
                IMAGEJ.load(tmp_path, [path])
            except DataError as error:
                failures += 1
                assert "a.roi: " in str(error)  # noqa: PT017
        path.write_bytes(data.tobytes()[:40])
        with pytest.raises(DataError, match=r"a\.roi: "):
            IMAGEJ.load(tmp_path, [path])
    assert failures > 20


def test_a_damaged_archive_gives_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    roiwrite(path, [roi()])
    data = path.read_bytes()
    path.write_bytes(data[:60] + b"\xff" * 20 + data[80:])
    with pytest.raises(DataError, match=r"a\.zip: "):
        IMAGEJ.load(tmp_path, [path])


def test_round_trip(tmp_path: Path) -> None:
    check_round_trip(IMAGEJ, ImageJWriter, tmp_path)
    rois = roiread(tmp_path / "rois" / "a.zip")
    assert isinstance(rois, list)
    assert [made.composite for made in rois] == [True, False, False, True, True, False]
    assert [made.group for made in rois] == [0, 1, 2, 3, 1, 2]


def test_boxes_and_points(tmp_path: Path) -> None:
    check_boxes_and_points(IMAGEJ, ImageJWriter, tmp_path)


def test_the_same_smear_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write(ImageJWriter(tmp_path / name, CLASSES), field("a"))
    first, second = ((tmp_path / name / "rois" / "a.zip").read_bytes() for name in ("x", "y"))
    assert first == second
