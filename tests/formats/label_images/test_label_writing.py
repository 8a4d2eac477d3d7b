from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_folders import data_error
from smears import analytic_smear, disc_mask, partly_annotated, same_instances
from smearsynth.datasets import open_smears
from smearsynth.formats.label_images.label_writing import LOST_OUTLINES, labels_16_bit
from smearsynth.formats.registry import open_writer
from smearsynth.geometry import Outline, fill
from smearsynth.smear import Smear

FORMATS = ("labels", "palette", "cellpose", "stardist", "ome-tiff")
TWO_CLASSES = ("red", "white")


def overlapping(name: str = "a") -> Smear:
    smear = analytic_smear(name=name, classes=(0, 1, 1), class_names=TWO_CLASSES, um_per_px=0.1)
    return replace(smear, full_outlines=(Outline.of_mask(disc_mask(smear.shape, (20, 20, 9))), None, None))


def split_of(name: str) -> str | None:
    return {"a": "train", "b": "test"}.get(name)


def write(folder: Path, format: str, *smears: Smear, splits: bool = True) -> Counter[str]:
    options = {"split_of": split_of} if splits else {}
    with open_writer(folder, format=format, class_names=smears[0].class_names, **options) as writer:
        for smear in smears:
            writer.write(smear, {"synthetic": "true"})
            assert writer.is_written(smear.name)
    return writer.lost


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("splits", [False, True])
def test_smears_classes_splits_and_ignored_pixels_are_read_as_written(
    tmp_path: Path, format: str, splits: bool
) -> None:
    first, second = overlapping("a"), partly_annotated(overlapping("b"), 50)
    lost = write(tmp_path, format, first, second, splits=splits)
    folder = open_smears(tmp_path)
    assert folder.names == ("a", "b")
    assert folder.splits == ({"train": 1, "test": 1} if splits else {})
    for written, read in zip((first, second), folder, strict=True):
        assert same_instances(written, read)
        assert (written.image == read.image).all()
        assert read.um_per_px == pytest.approx(0.1)
        assert (written.ignored is None) == (read.ignored is None)
        if written.ignored is not None and read.ignored is not None:
            assert (written.ignored == read.ignored).all()
    assert lost == ({} if format in ("labels", "palette") else {LOST_OUTLINES: 1})


@pytest.mark.parametrize("format", ["labels", "palette"])
def test_hidden_outlines_are_read_as_written(tmp_path: Path, format: str) -> None:
    smear = overlapping()
    write(tmp_path, format, smear)
    read = open_smears(tmp_path)[0]
    assert read.full_outlines is not None
    (k,) = (k for k, outline in enumerate(read.full_outlines) if outline is not None)
    visible = read.labels == k + 1
    full = fill(read.full_outlines[k], read.shape)
    assert full.mask.sum() == disc_mask(smear.shape, (20, 20, 9)).sum() > visible.sum()


@pytest.mark.parametrize("format", FORMATS)
def test_a_smear_that_is_written_again_leaves_no_old_files(tmp_path: Path, format: str) -> None:
    write(tmp_path, format, partly_annotated(overlapping(), 50))
    write(tmp_path, format, replace(overlapping(), full_outlines=None))
    smear = open_smears(tmp_path)[0]
    assert smear.ignored is None
    assert smear.full_outlines is None


def test_split_rows_of_earlier_smears_are_kept(tmp_path: Path) -> None:
    write(tmp_path, "labels", analytic_smear(name="a"))
    write(tmp_path, "labels", analytic_smear(name="b"), analytic_smear(name="c"))
    assert (tmp_path / "split.csv").read_text() == "image,split\na,train\nb,test\n"


def test_more_cells_than_16_bits_can_number() -> None:
    labels = np.arange(1, 65537, dtype=np.int32).reshape(256, 256)
    smear = Smear.from_labels(np.zeros((256, 256, 3), np.uint8), labels, name="many")
    assert "many: has 65,536 cells, but 16-bit ids end at 65,535" in data_error(lambda: labels_16_bit(smear))
