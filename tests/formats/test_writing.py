from __future__ import annotations

import errno
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from smears import analytic_smear, random_smear, same_instances
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.files import atomic_write
from smearsynth.formats import FORMATS, open_writer, writing
from smearsynth.smear import Smear

TWO = ("red", "white")


def empty_smear(name: str, class_names: tuple[str, ...] = ("cell",)) -> Smear:
    return Smear(np.full((20, 30, 3), 200, np.uint8), np.zeros((20, 30), np.int32), np.zeros(0, np.int64),
                 class_names, name=name)  # fmt: skip


@pytest.mark.parametrize("class_names", [("cell",), TWO])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_read_back(tmp_path: Path, format: str, class_names: tuple[str, ...]) -> None:
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
    found = open_smears(tmp_path)
    assert found.format == format
    assert found.names == ("a", "b", "c")
    assert found.class_names == class_names
    for smear, again in zip(smears, found, strict=True):
        assert (again.image == smear.image).all()
        assert same_instances(smear, again)
        assert again.um_per_px == smear.um_per_px
    with Image.open(tmp_path / "images" / "a.png") as image:
        assert image.text["synthetic"] == "true"
        assert image.text["note"] == "µ and 漢"
    assert found.check() == []
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("format", FORMATS)
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, format: str) -> None:
    smears = [random_smear(i, class_names=TWO) for i in range(4)] + [empty_smear("smear-04", TWO)]
    once, twice = tmp_path / "once", tmp_path / "twice"
    with open_writer(once, format=format, class_names=TWO) as writer:
        for smear in smears:
            writer.write(smear)
    interrupted = open_writer(twice, format=format, class_names=TWO)
    for smear in reversed(smears[2:]):
        interrupted.write(smear)
    interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    for finished in (False, True, True):
        writer = open_writer(twice, format=format, class_names=TWO)
        assert [writer.is_written(smear.name) for smear in smears] == [finished, finished, True, True, True]
        with writer:
            for smear in smears:
                if not writer.is_written(smear.name):
                    writer.write(smear)
    files = sorted(path.relative_to(once) for path in once.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(twice) for path in twice.rglob("*") if path.is_file())
    assert all((once / path).read_bytes() == (twice / path).read_bytes() for path in files)


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smear = random_smear(1, class_names=TWO)
    writer = open_writer(tmp_path, format=format, class_names=TWO)
    before = sorted(tmp_path.rglob("*"))
    save = writing.save_png
    calls = []

    def full(path: Path, *args: object) -> None:
        calls.append(path)
        save(path, *args)  # type: ignore[arg-type]
        if format == "coco" or len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    for module in ("writing", "labels", "palette"):
        monkeypatch.setattr(f"smearsynth.formats.{module}.save_png", full)
    with pytest.raises(DataError, match="disk is full") as caught:
        writer.write(smear)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert not writer.is_written(smear.name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [p for p in before if p.is_file()]
    monkeypatch.undo()
    writer.write(smear)
    assert writer.is_written(smear.name)


def test_an_earlier_file_survives_a_failed_write(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with suppress(KeyboardInterrupt), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_label_png_is_16_bit_and_more_instances_go_to_tiff(tmp_path: Path) -> None:
    many = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    smear = Smear.from_labels(np.zeros((300, 300, 3), np.uint8), many, name="many")
    with open_writer(tmp_path) as writer:
        writer.write(smear)
        writer.write(analytic_smear(name="few"))
    with Image.open(tmp_path / "labels" / "few.png") as image:
        assert image.mode == "I;16"
    assert tifffile.imread(tmp_path / "labels" / "many.tif").dtype == np.int32
    assert (open_smears(tmp_path)[1].labels == many).all()


def test_coco_file_is_what_coco_readers_expect(tmp_path: Path) -> None:
    smear = analytic_smear((40, 50), [(20, 15, 6)], classes=[1], class_names=TWO, name="a")
    with open_writer(tmp_path, format="coco", class_names=TWO) as writer:
        writer.write(smear)
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}]
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 50, "height": 40}]
    (annotation,) = content["annotations"]
    assert (annotation["category_id"], annotation["image_id"], annotation["iscrowd"]) == (2, 1, 0)
    assert annotation["bbox"] == [14, 9, 13, 13]
    assert annotation["area"] == smear.areas()[0]


@pytest.mark.parametrize("segmentation", ["polygon", "rle"])
def test_coco_keeps_every_pixel_of_holes_corners_and_pieces(tmp_path: Path, segmentation: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((60, 60), np.int32)
    labels[5:20, 5:20] = 1
    labels[9:12, 9:12] = 0
    labels[30:50, 5:50] = 2 * (rng.random((20, 45)) > 0.4)
    labels[25, 55], labels[26, 56], labels[50, 59] = 3, 3, 3
    smear = Smear.from_labels(np.zeros((60, 60, 3), np.uint8), labels, name="a")
    with open_writer(tmp_path, format="coco", segmentation=segmentation) as writer:
        writer.write(smear)
    assert (open_smears(tmp_path)[0].labels == smear.labels).all()


def test_folders_of_another_origin_are_left_alone(tmp_path: Path) -> None:
    open_writer(tmp_path / "ours", format="labels")
    with pytest.raises(DataError, match="format 'labels'"):
        open_writer(tmp_path / "ours", format="coco")
    with pytest.raises(DataError, match="classes cell"):
        open_writer(tmp_path / "ours", class_names=TWO)
    (tmp_path / "theirs" / "images").mkdir(parents=True)
    (tmp_path / "theirs" / "images" / "x.png").touch()
    with pytest.raises(DataError, match="smearsynth did not write"):
        open_writer(tmp_path / "theirs")
    with pytest.raises(DataError, match="is a file"):
        open_writer(tmp_path / "theirs" / "images" / "x.png")


def test_absurd_options_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="labels, palette, coco"):
        open_writer(tmp_path, format="jpeg")
    with pytest.raises(OptionError, match="twice"):
        open_writer(tmp_path, class_names=("a", "a"))
    writer = open_writer(tmp_path)
    for name in ("", "../up", ".hidden"):
        with pytest.raises(DataError, match="name"):
            writer.write(analytic_smear(name=name))
    with pytest.raises(DataError, match="red, white"):
        writer.write(analytic_smear(class_names=TWO))


def test_an_unfinished_folder_with_classes_says_so(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, class_names=TWO)
    writer.write(random_smear(0, class_names=TWO))
    with pytest.raises(DataError, match="run the same command again to finish"):
        open_smears(tmp_path)[0]
