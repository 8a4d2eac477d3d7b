from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, write_folder
from smearsynth.conversion import convert
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.labelling.annotate import PAGE_FILE, annotate
from smearsynth.labelling.record import read_cells
from smearsynth.runs import Execution, Progress
from smearsynth.smear import Smear

SIZE = (200, 260)
DISCS = [(40, 40, 19), (76, 40, 19), (150, 60, 20), (60, 140, 19), (200, 150, 21), (140, 150, 18)]


def field(name: str, classes: list[int] | None = None) -> Smear:
    names = ("rbc", "wbc") if classes else ("cell",)
    return analytic_smear(SIZE, DISCS, classes=classes, class_names=names, noise=4.0, name=name)


def photographs(root: Path, *names: str) -> Path:
    root.mkdir(parents=True)
    for name in names:
        Image.fromarray(field(name).image).save(root / f"{name}.png")
    return root


def box_file(root: Path, *names: str, classes: list[int] | None = None) -> Path:
    rows = ["image,xmin,ymin,xmax,ymax,label"]
    for name in names:
        smear = field(name, classes)
        for (x0, y0, x1, y1), kind in zip(smear.boxes().tolist(), smear.classes.tolist(), strict=True):
            rows.append(f"{name}.png,{x0 - 2},{y0 - 1},{x1 + 1},{y1 + 2},{smear.class_names[kind]}")
    path = root / "boxes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_boxes_points_and_images_give_the_cells(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", "a", "b")
    truth = write_folder(tmp_path / "truth", [field("a"), field("b")])
    boxes = box_file(tmp_path, "a", "b", classes=[0, 0, 1, 0, 0, 0])
    points = tmp_path / "points.csv"
    points.write_text("image,x,y\n" + "".join(f"{n}.png,{x},{y}\n" for n in "ab" for x, y, _ in DISCS))
    for options, origin in (({"boxes": boxes}, "box"), ({"points": points}, "point"), ({}, "image")):
        output = tmp_path / origin
        report = annotate(images, output, score=truth, page=False, **options)  # type: ignore[arg-type]
        assert report.score is not None
        assert report.score.f1_50 > 0.95, (origin, report)
        assert report.labels_from == {origin: 12}
        assert {cell.labels_from for rows in read_cells(output).values() for cell in rows} == {origin}
    labelled = open_smears(tmp_path / "box")
    assert labelled.class_names == ("rbc", "wbc")
    assert labelled[0].classes.tolist().count(1) == 1
    assert json.loads((tmp_path / "box" / "labels-from.json").read_text())["labels_from"] == {"box": 12}


def test_boxes_in_the_folder_are_found_and_can_be_left_unused(tmp_path: Path) -> None:
    photographs(tmp_path / "data" / "images", "a")
    box_file(tmp_path / "data", "a")
    report = annotate(tmp_path / "data", tmp_path / "boxes", page=False)
    assert report.read_from == "CSV boxes, 6 in 1 image"
    assert annotate(tmp_path / "data", tmp_path / "image", from_image=True, page=False).labels_from.keys() == {
        "image"
    }


def test_boxes_that_cannot_be_read_are_not_passed_over(tmp_path: Path) -> None:
    photographs(tmp_path / "data" / "images", "a")
    box_file(tmp_path / "data", "a", "b")
    with pytest.raises(DataError, match=r"b\.png"):
        annotate(tmp_path / "data", tmp_path / "out", page=False)


def test_a_folder_of_images_can_be_a_link(tmp_path: Path) -> None:
    photographs(tmp_path / "elsewhere", "a")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    box_file(tmp_path / "data", "a")
    assert annotate(tmp_path / "data", tmp_path / "out", page=False).labels_from == {"box": 6}


def test_the_same_call_continues(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", "a", "b", "c")

    class Interrupt(Progress):
        def advance(self, stage: str, done: int, total: int | None = None) -> None:
            if done == 2:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGINT)

    first = annotate(images, tmp_path / "out", page=False, execution=Execution(progress=Interrupt()))
    assert (first.images, first.total) == (2, 3)
    before = (tmp_path / "out" / "images" / "a.png").stat().st_mtime_ns
    report = annotate(images, tmp_path / "out", page=False)
    assert (report.images, report.cells) == (3, 18)
    assert (tmp_path / "out" / "images" / "a.png").stat().st_mtime_ns == before


def test_a_damaged_image_does_not_stop_the_others(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", "a", "b", "c")
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:300])
    report = annotate(images, tmp_path / "out", page=False)
    assert (report.images, report.total) == (2, 3)
    assert "b.png" in report.problems[0]


@pytest.mark.parametrize("format", ["qupath", "labelme", "cvat", "imagej", "labels"])
def test_only_the_cells_that_were_corrected_change(tmp_path: Path, format: str) -> None:
    images = photographs(tmp_path / "images", "a", "b")
    output = tmp_path / "out"
    annotate(images, output, page=False)
    before, cells = open_smears(output)[0], read_cells(output)
    corrected = before.labels.copy()
    corrected[corrected == 2] = 0  # removed
    corrected[corrected == 3] = 0  # drawn again, larger
    corrected[30:100, 120:190] = np.where(corrected[30:100, 120:190] == 0, 3, corrected[30:100, 120:190])
    write_folder(tmp_path / "corrected", [Smear.from_labels(before.image, corrected, name="a")])
    export = tmp_path / "corrected"
    if format != "labels":
        export = tmp_path / "export"
        convert(tmp_path / "corrected", export, to=format)
    report = annotate(images, output, corrections=export, page=False)
    assert report.changed == 2
    after, rows = open_smears(output)[0], read_cells(output)["a"]
    assert after.count == before.count - 1
    assert [row.labels_from for row in rows].count("outline") == 1
    for row in rows:
        if row.labels_from != "outline":
            old = next(cell for cell in cells["a"] if cell.box == row.box)
            assert row.confidence == old.confidence
            assert ((after.labels == row.instance) == (before.labels == old.instance)).all()
    assert read_cells(output)["b"] == cells["b"]


def test_label_images_without_classes_are_a_correction(tmp_path: Path) -> None:
    output = tmp_path / "out"
    annotate(photographs(tmp_path / "images", "a"), output, page=False)
    before = open_smears(output)[0]
    corrected = write_folder(tmp_path / "napari", [Smear.from_labels(before.image, before.labels % 6, name="a")])
    (corrected / "classes.json").unlink()  # as written by another program
    report = annotate(tmp_path / "images", output, corrections=corrected, page=False)
    assert (report.changed, report.cells) == (1, 5)


def test_contradictions_and_missing_input_are_errors(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", "a")
    boxes = box_file(tmp_path, "a")
    with pytest.raises(OptionError, match="not both"):
        annotate(images, tmp_path / "out", boxes=boxes, points=boxes)
    with pytest.raises(DataError, match="contains no points"):
        annotate(images, tmp_path / "out", points=boxes)
    with pytest.raises(DataError, match="make them first"):
        annotate(images, tmp_path / "out", corrections=boxes)
    with pytest.raises(DataError, match="does not exist"):
        annotate(tmp_path / "none", tmp_path / "out")
    truth = write_folder(tmp_path / "truth", [field("a")])
    with pytest.raises(OptionError, match="show the cells already"):
        annotate(truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_page_shows_the_least_certain_cells_first(tmp_path: Path) -> None:
    images = photographs(tmp_path / "images", "a")
    output = tmp_path / "out"
    annotate(images, output)
    text = (output / PAGE_FILE).read_text()
    cells = sorted(read_cells(output)["a"], key=lambda cell: cell.confidence)
    positions = [text.index(f"cell {cell.instance} of a<br>") for cell in cells]
    assert positions == sorted(positions)
    assert text.count("<figure") == len(cells) + 1
