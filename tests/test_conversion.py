from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, same_instances, write_folder
from smearsynth.conversion import convert
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.registry import WRITE_FORMATS
from smearsynth.geometry import Outline, fill
from smearsynth.smear import Smear

CLASSES = ("red", "white")
# Formats that hold boxes only.
BOX_FORMATS = {"yolo-detect", "voc"}
# Formats that other programs read, without a place for the outline of a hidden cell.
FLAT_FORMATS = {"cellpose", "stardist", "ome-tiff"}


def overlapping_smear(name: str = "a") -> Smear:
    """Return three cells of two classes; the second hides a part of the first, the third is separate."""
    smear = analytic_smear(classes=[0, 1, 0], class_names=CLASSES, name=name)
    y, x = np.mgrid[:64, :80]
    full = Outline.of_mask((x - 20) ** 2 + (y - 20) ** 2 <= 81)
    return Smear(smear.image, smear.labels, smear.classes, CLASSES, name=name, full_outlines=(full, None, None))


@pytest.mark.parametrize("format", [name for name in WRITE_FORMATS if name not in BOX_FORMATS])
def test_every_format_holds_the_instances(tmp_path: Path, format: str) -> None:
    smear = overlapping_smear()
    source = write_folder(tmp_path / "source", [smear], format="coco")
    report = convert(source, tmp_path / "out", to=format)
    assert (report.cells, report.smears) == (3, 1)
    read = open_smears(tmp_path / "out")[0]
    assert (read.image == smear.image).all()
    if format != "yolo-segment":  # Ultralytics has no sub-pixel rule: a cell can differ by pixels at its outline
        assert same_instances(read, smear)
    if format in FLAT_FORMATS:
        assert report.lost.get("hidden outlines") == 1
    else:
        assert "hidden outlines" not in report.lost
        assert read.full_outlines is not None
        outline = next(outline for outline in read.full_outlines if outline is not None)
        assert abs(int(fill(outline, (64, 80)).mask.sum()) - 253) <= 3


@pytest.mark.parametrize("format", sorted(BOX_FORMATS))
def test_box_formats_report_that_the_outlines_are_lost(tmp_path: Path, format: str) -> None:
    source = write_folder(tmp_path / "source", [overlapping_smear()], format="coco")
    report = convert(source, tmp_path / "out", to=format)
    assert report.lost["outlines"] == 3
    with pytest.raises(DataError, match="no outlines"):
        open_smears(tmp_path / "out")
    back = convert(tmp_path / "out", tmp_path / "back", to="coco")
    assert (back.cells, back.lost) == (3, {})
    with pytest.raises(DataError, match="no outlines"):
        convert(tmp_path / "out", tmp_path / "labels", to="labels")


def test_splits_by_fractions_and_of_the_input(tmp_path: Path) -> None:
    smears = [analytic_smear(name=f"s{k}") for k in range(10)]
    source = write_folder(tmp_path / "source", smears)
    report = convert(source, tmp_path / "yolo", to="yolo-segment", split={"train": 0.7, "val": 0.3})
    assert report.splits == {"train": 7, "val": 3}
    assert open_smears(tmp_path / "yolo").splits == {"train": 7, "val": 3}
    again = convert(tmp_path / "yolo", tmp_path / "coco", to="coco")
    assert again.splits == {"train": 7, "val": 3}
    assert open_smears(tmp_path / "coco", split="val").names == open_smears(tmp_path / "yolo", split="val").names
    labels = convert(tmp_path / "coco", tmp_path / "labels", to="labels")
    assert labels.splits == open_smears(tmp_path / "labels").splits == {"train": 7, "val": 3}


def test_tags_of_synthetic_images_survive(tmp_path: Path) -> None:
    from smearsynth.formats.pixels.images import read_png_text
    from smearsynth.formats.registry import open_writer

    with open_writer(tmp_path / "source") as writer:
        writer.write(analytic_smear(name="a", um_per_px=0.25), {"synthetic": "true"})
    convert(tmp_path / "source", tmp_path / "out", to="coco")
    assert read_png_text(tmp_path / "out" / "images" / "a.png") == {"synthetic": "true", "um_per_px": "0.25"}


def test_the_input_is_not_overwritten(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", [analytic_smear()])
    with pytest.raises(OptionError, match="is the input"):
        convert(source, source, to="labels")
    with pytest.raises(OptionError, match="format must be one of"):
        convert(source, tmp_path / "out", to="jpeg")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="is a file"):
        convert(tmp_path / "x.png", tmp_path / "out", to="labels")
