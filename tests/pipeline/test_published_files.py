"""Files as other programs and data sets publish them: read rightly, or refused with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import published_files as published
from command_line import error_of
from conftest import Run

Make = Callable[[Path], None]


def statistics(run: Run, folder: Path, *options: str) -> tuple[dict[str, object], str]:
    ran = run("stats", str(folder), "--json", *options)
    assert ran.code == 0, ran
    return json.loads(ran.out), ran.err


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (published.capital_names, "label images"),
        (published.singular_names, "label images"),
        (published.cellpose_names, "label images"),
        (published.text_labels_beside_masks, "label images"),
        (published.indexed_on_white, "label images"),
        (published.void_outlines, "label images"),
        (published.background_is_one, "label images"),
        (published.turned_half, "label images"),
        (published.camera(10), "label images"),
        (published.camera(14), "label images"),
        (published.coco_crowd_masks, "COCO"),
        (published.coco_decomposed_name, "COCO outlines"),
        (published.coco_fractions, "COCO outlines"),
        (published.coco_frame, "COCO outlines"),
        (published.coco_image_subset, "COCO outlines"),
        (published.coco_fiftyone, "COCO outlines"),
        (published.yolo_outlines, "YOLO outlines"),
        (published.labelme_outlines, "LabelMe outlines"),
        (published.via_outlines, "VGG Image Annotator outlines"),
        (published.cvat_outlines, "CVAT outlines"),
        (published.qupath_outlines, "QuPath GeoJSON outlines"),
    ],
)
def test_the_cells_are_read_and_the_kind_is_named(run: Run, tmp_path: Path, make: Make, found: str) -> None:
    make(tmp_path)
    record, errors = statistics(run, tmp_path)
    assert record["cells"] == published.CELLS
    assert str(record["read_from"]).startswith(found)
    assert f"found: {found}" in errors
    colours = (record["cell_colour"]["mean"], record["background_colour"]["mean"])  # type: ignore[index]
    expected = (published.CELL_COLOUR, published.BACKGROUND_COLOUR)
    for colour, right in zip(colours, expected, strict=True):
        assert all(abs(value - target) < 4 for value, target in zip(colour, right, strict=True)), colours


@pytest.mark.parametrize("make", [published.coco_boxes, published.voc_boxes, published.yolo_boxes])
def test_boxes_are_named_with_the_way_to_labels(run: Run, tmp_path: Path, make: Make) -> None:
    make(tmp_path / "data")
    message = error_of(run("stats", str(tmp_path / "data")))
    assert f"boxes, {published.CELLS} in 1 image" in message
    assert "smearsynth annotate" in message
    ran = run("annotate", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--no-page", "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out)["labels_from"] == {"box": published.CELLS}
    assert statistics(run, tmp_path / "out")[0]["cells"] == published.CELLS


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (published.clipped_ids, "uint16"),
        (published.wrapped_ids, "uint16"),
        (published.nucleus_in_cytoplasm, "--binary"),
        (published.jpeg_mask, "lossy compression"),
        (published.turned_quarter, "EXIF orientation 6"),
    ],
)
def test_misleading_labels_are_refused_with_the_remedy(run: Run, tmp_path: Path, make: Make, reason: str) -> None:
    make(tmp_path)
    ran = run("stats", str(tmp_path))
    if ran.code == 0:  # read rightly after all: then with a note
        assert reason in ran.err
    else:
        assert reason in error_of(ran)


def test_a_compressed_mask_is_read_as_binary(run: Run, tmp_path: Path) -> None:
    published.jpeg_mask(tmp_path)
    assert statistics(run, tmp_path, "--binary")[0]["cells"] == published.PIECES


def test_notes_on_what_was_corrected(run: Run, tmp_path: Path) -> None:
    notes = {
        published.background_is_one: "background",
        published.turned_half: "EXIF orientation 3",
        published.void_outlines: "255",
        published.coco_crowd_masks: "9 masks marked as a crowd",
        published.coco_fractions: "fractions of the image size",
        published.coco_frame: "1 annotations that cover the whole field",
    }
    for k, (make, note) in enumerate(notes.items()):
        make(tmp_path / str(k))
        assert note in statistics(run, tmp_path / str(k))[1], make


def test_cells_outside_the_image_are_counted(run: Run, tmp_path: Path) -> None:
    published.coco_shifted(tmp_path)
    record, errors = statistics(run, tmp_path)
    outside = record["left_out"]["cells outside the image"]  # type: ignore[index]
    assert outside > 0
    assert record["cells"] == published.CELLS - outside
    assert f"left out: {outside} cells outside the image (a)" in errors


def test_splits_and_the_parent_category_of_roboflow(run: Run, tmp_path: Path) -> None:
    published.coco_roboflow(tmp_path)
    record, _ = statistics(run, tmp_path, "--classes", "annotated")
    assert record["smears"] == 3
    assert set(record["class_counts"]) == {"rbc", "wbc"}  # type: ignore[call-overload]
    for split in ("train", "valid", "test"):
        assert statistics(run, tmp_path, "--split", split)[0]["smears"] == 1
    published.stardist_splits(tmp_path / "stardist")
    assert statistics(run, tmp_path / "stardist", "--split", "test")[0]["cells"] == published.CELLS
