from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from smears import analytic_smear, random_smear, same_instances
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.formats.pixels.tiff_files import read_image_text
from smearsynth.formats.registry import READ_AS, WRITE_FORMATS, open_writer
from smearsynth.smear import Smear

TWO_CLASSES = ("red", "white")
BOX_FORMATS = ("yolo-detect", "voc")


def empty_smear(name: str, class_names: tuple[str, ...] = ("cell",)) -> Smear:
    return Smear(np.full((20, 30, 3), 200, np.uint8), np.zeros((20, 30), np.int32), np.zeros(0, np.int64),
                 class_names, name=name)  # fmt: skip


@pytest.mark.parametrize("class_names", [("cell",), TWO_CLASSES])
@pytest.mark.parametrize("format", [name for name in WRITE_FORMATS if name not in BOX_FORMATS])
def test_written_smears_are_read_unchanged(tmp_path: Path, format: str, class_names: tuple[str, ...]) -> None:
    discs = [(20, 20, 9), (34, 20, 9), (60, 44, 12), (0, 60, 5)]
    smears = [
        analytic_smear(discs=discs, classes=[0, len(class_names) - 1, 0, 0], class_names=class_names,
                       noise=5, name="a", um_per_px=0.125),
        empty_smear("b", class_names),
        analytic_smear((50, 41), [(20, 20, 6)], class_names=class_names, name="c"),
    ]  # fmt: skip
    with open_writer(tmp_path, format=format, class_names=class_names) as writer:
        for smear in smears:
            writer.write(smear, {"synthetic": "true", "note": "µ and 漢"})
        path = writer.image_path("a")
    smears_read = open_smears(tmp_path)
    assert smears_read.format == READ_AS.get(format, format)
    assert smears_read.names == ("a", "b", "c")
    assert smears_read.class_names == class_names
    for smear, result in zip(smears, smears_read, strict=True):
        assert (result.image == smear.image).all()
        assert same_instances(smear, result)
        assert result.um_per_px == smear.um_per_px
    text = read_image_text(path)
    assert (text["synthetic"], text["note"]) == ("true", "µ and 漢")
    assert smears_read.check() == []
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("format", WRITE_FORMATS)
def test_an_interrupted_run_continues(tmp_path: Path, format: str) -> None:
    smears = [random_smear(i, class_names=TWO_CLASSES) for i in range(4)] + [empty_smear("smear-04", TWO_CLASSES)]
    uninterrupted, continued = tmp_path / "uninterrupted", tmp_path / "continued"
    with open_writer(uninterrupted, format=format, class_names=TWO_CLASSES) as writer:
        for smear in smears:
            writer.write(smear)
    interrupted = open_writer(continued, format=format, class_names=TWO_CLASSES)
    for smear in reversed(smears[2:]):
        interrupted.write(smear)
    interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    for finished in (False, True, True):
        writer = open_writer(continued, format=format, class_names=TWO_CLASSES)
        assert [writer.is_written(smear.name) for smear in smears] == [finished, finished, True, True, True]
        with writer:
            for smear in smears:
                if not writer.is_written(smear.name):
                    writer.write(smear)
    files = sorted(path.relative_to(uninterrupted) for path in uninterrupted.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(continued) for path in continued.rglob("*") if path.is_file())
    assert all((uninterrupted / path).read_bytes() == (continued / path).read_bytes() for path in files)


@pytest.mark.parametrize("format", WRITE_FORMATS)
def test_a_full_disk_leaves_no_incomplete_files(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smear = random_smear(1, class_names=TWO_CLASSES)
    writer = open_writer(tmp_path, format=format, class_names=TWO_CLASSES)
    before = sorted(tmp_path.rglob("*"))

    def full_disk(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(DataError, match="disk is full") as raised:
        writer.write(smear)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert not writer.is_written(smear.name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [p for p in before if p.is_file()]
    monkeypatch.undo()
    writer.write(smear)
    assert writer.is_written(smear.name)


def test_folders_with_other_files_are_rejected(tmp_path: Path) -> None:
    open_writer(tmp_path / "written", format="labels")
    with pytest.raises(DataError, match="format 'labels'"):
        open_writer(tmp_path / "written", format="coco")
    with pytest.raises(DataError, match="classes cell"):
        open_writer(tmp_path / "written", class_names=TWO_CLASSES)
    (tmp_path / "other" / "images").mkdir(parents=True)
    (tmp_path / "other" / "images" / "x.png").touch()
    with pytest.raises(DataError, match="smearsynth did not write"):
        open_writer(tmp_path / "other")
    with pytest.raises(DataError, match="is a file"):
        open_writer(tmp_path / "other" / "images" / "x.png")


def test_invalid_names_and_other_classes_are_rejected(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    for name in ("", "../up", ".hidden"):
        with pytest.raises(DataError, match="name"):
            writer.write(analytic_smear(name=name))
    with pytest.raises(DataError, match="red, white"):
        writer.write(analytic_smear(class_names=TWO_CLASSES))
