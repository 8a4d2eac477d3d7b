from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smearsynth.annotation.record import CellMark, FieldAnnotation
from smearsynth.errors import DataError
from smearsynth.formats.base import AnnotationFiles, MarkFormat
from smearsynth.formats.mark_files.mark_reader import MarkReader
from smearsynth.formats.mark_files.marks import UNANNOTATED
from smearsynth.geometry import Box, Outline, Shape

SIZE = (20, 30)
SQUARE = Outline((np.array([[2, 2], [8, 2], [8, 8], [2, 8]], float),))


def open_marks(
    root: Path, *fields: FieldAnnotation, classes: str = "annotated", images: Path | None = None
) -> MarkReader:
    """Open a reader of given annotations, as if they were in a file."""
    names = tuple(dict.fromkeys(cell.class_name for annotation in fields for cell in annotation.cells))
    content = AnnotationFiles(list(fields), names)
    mark_format = MarkFormat("test", "Test", lambda path: [path], lambda path, files: content)
    return MarkReader(root, mark_format, [root], classes=classes, images=images)  # type: ignore[arg-type]


def field(root: Path, name: str, *shapes: Shape, kind: str = "rbc", **options: object) -> FieldAnnotation:
    """Write an image and return marks for it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], "white").save(path)
    cells = tuple(CellMark(shape, kind) for shape in shapes)
    return FieldAnnotation(name, root / "marks.json", cells, **options)  # type: ignore[arg-type]


def test_outlines_become_labels_with_classes(tmp_path: Path) -> None:
    reader = open_marks(tmp_path, field(tmp_path, "a.png", SQUARE), field(tmp_path, "b.png", SQUARE, kind="wbc"))
    assert reader.class_names == ("rbc", "wbc")
    assert reader.found == "Test outlines, 2 in 2 images"
    smears = [reader.read(entry) for entry in reader.entries]
    assert [smear.areas().tolist() for smear in smears] == [[36], [36]]
    assert smears[1].classes.tolist() == [1]
    assert reader.report.cells == 2
    assert open_marks(tmp_path, field(tmp_path, "a.png", SQUARE), classes="auto").class_names == ("cell",)


def test_images_of_one_name_in_several_folders_get_different_names(tmp_path: Path) -> None:
    fields = [field(tmp_path, f"images/{split}/a.png", SQUARE, split=split) for split in ("train", "test")]
    reader = open_marks(tmp_path, *fields)
    assert [(entry.name, entry.split) for entry in reader.entries] == [
        ("images_test_a", "test"),
        ("images_train_a", "train"),
    ]


def test_missing_and_repeated_images_are_errors(tmp_path: Path) -> None:
    present = field(tmp_path / "sub", "a.png", SQUARE)
    absent = FieldAnnotation("b.png", tmp_path / "marks.json", (CellMark(SQUARE),))
    with pytest.raises(DataError, match="1 image that does not exist below"):
        open_marks(tmp_path, present, absent)
    with pytest.raises(DataError, match=r"a\.png twice"):
        open_marks(tmp_path, present, present)
    # A folder of images that is named may hold some of them.
    reader = open_marks(tmp_path, present, absent, images=tmp_path / "sub")
    assert len(reader.entries) == 1
    assert "1 of 2 images" in reader.notes[0]
    with pytest.raises(DataError, match="does not exist below"):
        open_marks(tmp_path, absent, images=tmp_path / "sub")


def test_another_size_than_that_of_the_image_is_an_error(tmp_path: Path) -> None:
    reader = open_marks(tmp_path, field(tmp_path, "a.png", SQUARE, size=(20, 31)))
    with pytest.raises(DataError, match="lists the size 31×20 px"):
        reader.read(reader.entries[0])


def test_images_without_annotation_are_left_out(tmp_path: Path) -> None:
    empty = field(tmp_path, "a.png", left_out={UNANNOTATED: 1})
    reader = open_marks(tmp_path, empty, field(tmp_path, "b.png", SQUARE))
    assert [entry.name for entry in reader.entries] == ["b"]
    assert reader.report.left_out == {UNANNOTATED: 1}


def test_boxes_show_no_cells_but_can_be_asked_for(tmp_path: Path) -> None:
    reader = open_marks(tmp_path, field(tmp_path, "a.png", Box(1, 1, 5, 5)))
    assert not reader.shows_cells
    with pytest.raises(DataError, match="Test boxes, 1 in 1 image"):
        reader.read(reader.entries[0])
    assert reader.annotation(reader.entries[0]).cells[0].shape == Box(1, 1, 5, 5)


def test_coordinates_up_to_one_are_fractions(tmp_path: Path) -> None:
    small = Outline((np.array([[0.1, 0.1], [0.4, 0.1], [0.4, 0.5], [0.1, 0.5]]),))
    reader = open_marks(tmp_path, field(tmp_path, "a.png", small))
    assert reader.read(reader.entries[0]).areas().tolist() == [9 * 8]
    assert "fractions" in reader.notes[0]
    # One cell of one pixel is not enough to tell.
    pixel = Outline((np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float),))
    assert open_marks(tmp_path, field(tmp_path, "a.png", pixel)).notes == ()


def save_turned(path: Path, orientation: int) -> None:
    """Write a dark square at the position of `SQUARE` in the stored pixels, with an EXIF orientation."""
    pixels = np.full((*SIZE, 3), 220, np.uint8)
    pixels[2:8, 2:8] = 90
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("size", [None, SIZE])
def test_outlines_of_the_stored_pixels_are_read_as_stored(
    tmp_path: Path, orientation: int, size: tuple[int, int] | None
) -> None:
    annotation = field(tmp_path, "a.jpg", SQUARE, size=size)
    save_turned(tmp_path / "a.jpg", orientation)
    reader = open_marks(tmp_path, annotation)
    smear = reader.read(reader.entries[0])
    assert smear.shape == SIZE
    assert smear.image[smear.labels > 0].mean() < 100
    assert reader.report.remarks() == [
        f"EXIF orientation {orientation} not applied, because the outlines fit the stored pixels (a)"
    ]


def test_outlines_of_the_turned_image_are_read_as_turned(tmp_path: Path) -> None:
    turned = Outline((np.array([[12, 2], [18, 2], [18, 8], [12, 8]], float),))  # orientation 6 turns right
    annotation = field(tmp_path, "a.jpg", turned, size=SIZE[::-1])
    save_turned(tmp_path / "a.jpg", 6)
    reader = open_marks(tmp_path, annotation)
    smear = reader.read(reader.entries[0])
    assert smear.shape == SIZE[::-1]
    assert smear.image[smear.labels > 0].mean() < 100
    assert reader.report.remarks() == ["EXIF orientation 6 applied (a)"]


def test_outlines_that_fit_a_mirrored_image_are_reported(tmp_path: Path) -> None:
    mirrored = Outline((np.array([[22, 2], [28, 2], [28, 8], [22, 8]], float),))
    annotation = field(tmp_path, "a.jpg", mirrored)
    save_turned(tmp_path / "a.jpg", 1)
    reader = open_marks(tmp_path, annotation)
    reader.read(reader.entries[0])
    assert "mirrored left to right" in reader.report.remarks()[0]
