from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, partly_annotated, random_smear, write_folder
from smearsynth.datasets import (
    SmearFolder,
    as_smear_folder,
    check_smears,
    choose_split,
    exclude_overlays,
    open_smears,
)
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.base import Entry
from smearsynth.formats.label_images.labels import LabelReader
from smearsynth.runs import SILENT, Progress
from smearsynth.smear_cache import SmearCache


def test_smears_are_read_as_written(smear_folder: Path) -> None:
    folder = open_smears(smear_folder)
    assert len(folder) == 9
    assert folder.names[3] == "smear-03"
    for i, smear in enumerate(folder):
        assert (smear.labels == random_smear(i).labels).all()


def test_opening_and_slicing_decode_no_image(smear_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelReader, "read", lambda *_: pytest.fail("decoded"))
    folder = open_smears(smear_folder, split="train")
    subset = folder[1:4]
    assert isinstance(subset, SmearFolder)
    assert subset.names == folder.names[1:4]
    assert folder.splits == {"train": 6}


def test_splits(smear_folder: Path) -> None:
    folder = open_smears(smear_folder)
    assert folder.splits == {"train": 6, "test": 3}
    assert folder.split("test").names == ("smear-02", "smear-05", "smear-08")
    assert len(open_smears(smear_folder, split="train", limit=2)) == 2
    with pytest.raises(DataError, match="has no split 'val'; existing splits: train, test"):
        open_smears(smear_folder, split="val")


def test_the_error_without_split_csv_says_how_to_create_it(tmp_path: Path) -> None:
    write_folder(tmp_path, [analytic_smear()])
    with pytest.raises(DataError, match=r"none \(add split\.csv"):
        open_smears(tmp_path, split="train")
    (tmp_path / "split.csv").write_text("file,part\nx,y\n")
    with pytest.raises(DataError, match="lacks the columns"):
        open_smears(tmp_path)


def test_split_csv_may_list_files_and_omit_some(tmp_path: Path) -> None:
    write_folder(tmp_path, [analytic_smear(name="a"), analytic_smear(name="b")])
    (tmp_path / "split.csv").write_text("\ufeffimage,split\na.jpg,train\nz,test\n", encoding="utf-8")
    folder = open_smears(tmp_path)
    assert folder.splits == {"train": 1}
    assert len(folder.notes) == 2
    assert "(z)" in folder.notes[0]
    assert "(b)" in folder.notes[1]


def test_scale_is_applied_on_reading(smear_folder: Path) -> None:
    whole, half = open_smears(smear_folder)[0], open_smears(smear_folder, scale=0.5)[0]
    assert half.shape == (48, 48)
    assert np.median(whole.areas()) == pytest.approx(4 * np.median(half.areas()), rel=0.15)


def test_the_cache_avoids_decoding_and_has_a_limited_size(
    smear_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = LabelReader.read

    def recording_read(self: LabelReader, entry: Entry) -> object:
        reads.append(entry.name)
        return read(self, entry)

    monkeypatch.setattr(LabelReader, "read", recording_read)
    smear_mb = 96 * 96 * 5 / 1e6
    folder = open_smears(smear_folder, cache_mb=3.5 * smear_mb)
    first = folder[0]
    first.image[:] = 0  # a change of a returned smear must not change the cache
    assert (folder[0].image == random_smear(0).image).all()
    assert (folder[:2][0].labels == random_smear(0).labels).all()
    assert reads == ["smear-00"]
    for i in (1, 2, 0, 3):
        folder[i]
    assert reads == ["smear-00", "smear-01", "smear-02", "smear-03"]
    folder[0], folder[1]
    assert reads[4:] == ["smear-01"]


def test_the_cache_keeps_ignored_pixels() -> None:
    smear = partly_annotated(random_smear(0), 50)
    cache = SmearCache(1_000_000)
    cache.put(smear)
    copy = cache.get(smear.name)
    assert copy is not None
    assert copy.ignored is not None
    assert smear.ignored is not None
    assert (copy.ignored == smear.ignored).all()
    copy.ignored[:] = False
    again = cache.get(smear.name)
    assert again is not None
    assert again.ignored is not None
    assert (again.ignored == smear.ignored).all()


def test_memory_is_independent_of_the_number_of_smears(tmp_path: Path) -> None:
    write_folder(tmp_path, (random_smear(i, (256, 256)) for i in range(8)))
    folder = open_smears(tmp_path)

    def peak(count: int) -> int:
        tracemalloc.start()
        for smear in folder[:count]:
            assert smear.count
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    peak(1)
    assert peak(8) < 1.5 * peak(2)


def test_check_returns_all_problems(tmp_path: Path) -> None:
    write_folder(tmp_path, (random_smear(i) for i in range(4)))
    (tmp_path / "images" / "smear-01.png").write_text("no image")
    (tmp_path / "labels" / "smear-03.png").write_bytes((tmp_path / "labels" / "smear-03.png").read_bytes()[:60])
    problems = open_smears(tmp_path).check()
    assert len(problems) == 2
    assert "smear-01.png: is not an image" in problems[0]
    assert "smear-03.png: is truncated" in problems[1]


def test_check_smears_reports_each_problem_and_raises_their_number(tmp_path: Path, smear_folder: Path) -> None:
    class Recorder(Progress):
        def __init__(self) -> None:
            self.messages: list[str] = []

        def message(self, text: str) -> None:
            self.messages.append(text)

    write_folder(tmp_path, (random_smear(i) for i in range(4)))
    for i in (1, 3):
        (tmp_path / "images" / f"smear-0{i}.png").write_text("not an image")
    smears, progress = open_smears(tmp_path), Recorder()
    with pytest.raises(DataError, match=f"{tmp_path}: 2 of 4 smears cannot be read") as raised:
        check_smears(smears, progress)
    assert raised.value.path == tmp_path
    assert progress.messages == smears.check()
    progress.messages.clear()
    readable = open_smears(smear_folder)
    check_smears(readable, progress)
    assert progress.messages == [f"{sum(smear.count for smear in readable)} cells in {len(readable)} smears"]


def test_a_path_is_opened_and_an_open_folder_is_returned_unchanged(smear_folder: Path) -> None:
    for path in (smear_folder, str(smear_folder)):
        smears = as_smear_folder(path)
        assert (smears.root, len(smears), smears.scale) == (smear_folder, 9, 1.0)
    subset = smears[2:4]
    assert as_smear_folder(subset) is subset


def test_the_default_split_is_used_only_if_it_exists(smear_folder: Path) -> None:
    smears = open_smears(smear_folder)
    names = {split: smears.split(split).names for split in ("train", "test")}
    for split, default, expected in (
        ("train", "test", "train"),
        (None, "test", "test"),
        (None, "val", None),
        (None, "train", "train"),
    ):
        subset, name = choose_split(smears, split, default=default)
        assert name == expected
        assert subset.names == (smears.names if expected is None else names[expected])
    assert choose_split(smears, "train", default="test", limit=2)[0].names == names["train"][:2]
    with pytest.raises(DataError, match="has no split 'val'"):
        choose_split(smears, "val", default="train")


def test_negative_indices_and_pickling(smear_folder: Path) -> None:
    folder = open_smears(smear_folder)
    assert folder[-1].name == "smear-08"
    with pytest.raises(IndexError):
        folder[9]
    # A data loader sends the folder to its processes.
    assert pickle.loads(pickle.dumps(folder))[0].name == "smear-00"


@pytest.mark.parametrize("options", [{"scale": 0}, {"scale": float("nan")}, {"limit": 0}, {"cache_mb": -1}])
def test_invalid_options_are_rejected(smear_folder: Path, options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        open_smears(smear_folder, **options)  # type: ignore[arg-type]


@pytest.mark.realdata
def test_all_smears_of_chula_are_read(real_data: Path) -> None:
    folder = open_smears(real_data / "chula")
    assert folder.splits == {"train": 144, "test": 96}
    assert folder.class_names == ("cell",)
    counts = [smear.count for smear in folder if smear.shape == (480, 640)]
    assert len(counts) == 240
    assert np.mean(counts) == pytest.approx(98, abs=3)


@pytest.mark.realdata
def test_the_cell_types_of_chula_are_read_on_request(real_data: Path) -> None:
    folder = open_smears(real_data / "chula", classes="annotated", limit=10)
    assert len(folder.class_names) == 14
    typed = sum(int((smear.classes < 13).sum()) for smear in folder)
    points = sum(
        len((real_data / "chula" / "points" / f"{name}.txt").read_text().split("\n")) - 1 for name in folder.names
    )
    # Not all cells have a point, but nearly every point is in a different cell.
    assert 0.95 * points <= typed <= points


@pytest.mark.realdata
def test_a_sample_of_bbbc041seg_agrees_with_its_table(real_data: Path) -> None:
    folder = open_smears(real_data / "bbbc041seg", classes="annotated")
    assert folder.splits == {"train": 54, "test": 36}
    assert set(folder.class_names) == {
        "red blood cell", "trophozoite", "ring", "schizont", "gametocyte", "leukocyte",
    }  # fmt: skip
    rows = (real_data / "bbbc041seg" / "instances.csv").read_text().splitlines()[1:]
    for smear in folder[::15]:
        areas = [int(row.split(",")[7]) for row in rows if row.startswith(smear.name)]
        kinds = [row.split(",")[2] for row in rows if row.startswith(smear.name)]
        assert smear.areas().tolist() == areas
        assert [smear.class_names[kind] for kind in smear.classes] == kinds


def _folder_with_a_bar(root):
    (root / "images").mkdir()
    (root / "labels").mkdir()
    image = np.full((64, 96, 3), 200, np.uint8)
    image[50:52, 40:80] = 0, 255, 0
    labels = np.zeros((64, 96), np.uint8)
    labels[10:20, 10:20], labels[49:53, 45:60], labels[40:50, 5:20] = 1, 2, 3
    Image.fromarray(image).save(root / "images" / "a.png")
    Image.fromarray(labels).save(root / "labels" / "a.png")
    return root


def test_overlays_become_ignored_pixels_and_their_labels_disappear(tmp_path):
    folder = _folder_with_a_bar(tmp_path)
    messages = []

    class Messages(type(SILENT)):
        def message(self, text):
            messages.append(text)

    smears = exclude_overlays(open_smears(folder), Messages())
    assert open_smears(folder)[0].count == 3
    assert smears[0].count == 2
    assert smears[0].ignored[50, 50]
    assert messages == [
        "overlays: scale bar or text in 1 of 1 smears, excluded (stats --overlays shows them; --keep-overlays "
        "keeps them)"
    ]
    assert exclude_overlays(smears) is smears
    assert exclude_overlays(open_smears(folder, keep_overlays=True))[0].ignored is None


def test_a_mask_of_the_user_is_ignored_and_must_fit(tmp_path):
    folder = _folder_with_a_bar(tmp_path)
    mask = np.zeros((64, 96), np.uint8)
    mask[:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert open_smears(folder, ignore=tmp_path / "mask.png")[0].count == 2
    Image.fromarray(mask[:50]).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: mask is 96×50 px, image a is 96×64 px"):
        open_smears(folder, ignore=tmp_path / "mask.png")[0]
