"""Fields that are cut from a synthetic slide of which a part is blank and a part is out of focus."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from image_folders import data_error
from slide_files import BLANK, BLURRED, SHARP, UM_PER_PX, write_slide
from smearsynth.errors import OptionError
from smearsynth.formats.pixels.images import read_png_text, read_rgb
from smearsynth.formats.pixels.pixel_size import image_pixel_size
from smearsynth.formats.slides.cut_fields import FieldReport, cut_fields
from smearsynth.formats.slides.slide_file import Slide
from smearsynth.runs import Progress, StopRequest

pytest.importorskip("tiffslide", reason="tiffslide is not installed (extra slides)")
SIZE = (128, 128)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide") / "case.7.tif")


def cut(slide: Path, output: Path, **options: Any) -> FieldReport:
    return cut_fields(slide, output, **{"um_per_px": UM_PER_PX, "size": SIZE, "n": 20} | options)


@pytest.fixture(scope="module")
def fields(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FieldReport, Path]:
    """Return 20 fields and their folder, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("fields")
    return cut(slide, folder), folder


def test_fields_have_cells_in_focus(slide: Path, fields: tuple[FieldReport, Path]) -> None:
    report, folder = fields
    assert len(report.fields) == 20
    assert all(SHARP[0] <= item.x < SHARP[1] for item in report.fields)
    assert report.blurred > 0
    assert all(item.tissue > 0.15 for item in report.fields)
    # The slide has 6 × 8 sharp fields, and this seed takes at least one of each column.
    assert len({item.x for item in report.fields}) == 6
    with Slide(slide) as source:
        for item in report.fields:
            path = folder / "images" / item.file
            assert item.file == f"case.7_{item.x}_{item.y}.png"
            assert (read_rgb(path) == source.read(item.x, item.y, 1.0, SIZE)).all()
            assert image_pixel_size(path) == UM_PER_PX
            assert read_png_text(path)["slide"] == "case.7.tif"


def test_the_table_and_the_contact_sheet_show_all_fields(fields: tuple[FieldReport, Path]) -> None:
    report, folder = fields
    with (folder / "fields.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [item.file for item in report.fields]
    assert {row["slide"] for row in rows} == {"case.7"}
    assert [int(row["x"]) for row in rows] == [item.x for item in report.fields]
    assert all(float(row["focus"]) > 0.3 and 0 < float(row["tissue"]) < 1 for row in rows)
    with Image.open(folder / "fields.png") as sheet:
        assert sheet.size == (8 * 192, 768 + 3 * 192)
        red = (np.asarray(sheet)[:768] == (214, 0, 28)).all(axis=2)
    # The mark of the first field is at its place on the slide.
    x, y = report.fields[0].x * 0.75, report.fields[0].y * 0.75
    assert red[round(y), round(x) : round(x + 96)].mean() > 0.9


def test_the_same_call_gives_the_same_files(slide: Path, fields: tuple[FieldReport, Path], tmp_path: Path) -> None:
    report, folder = fields
    cut(slide, tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(files) == 22
    assert all((tmp_path / file).read_bytes() == (folder / file).read_bytes() for file in files)
    other = cut(slide, tmp_path / "other", n=5, seed=1)
    assert [item.file for item in other.fields] != [item.file for item in report.fields[:5]]


def test_fields_are_resampled_to_the_requested_pixel_size(slide: Path, tmp_path: Path) -> None:
    report = cut(slide, tmp_path, um_per_px=0.4, size=(80, 100), n=3)
    for item in report.fields:
        image = read_rgb(tmp_path / "images" / item.file)
        assert image.shape == (80, 100, 3)
        with Slide(slide) as source:
            full = source.read(item.x, item.y, 1.0, (128, 160))
        assert image.mean() == pytest.approx(full.mean(), abs=1)


def test_a_slide_without_enough_fields_gives_those_it_has(slide: Path, tmp_path: Path) -> None:
    report = cut(slide, tmp_path, n=500, size=(256, 256))
    assert 10 <= len(report.fields) <= 12
    assert report.blurred >= 4
    assert report.as_dict()["requested"] == 500


def test_blurred_fields_are_written_on_request_and_blank_ones_are_not(slide: Path, tmp_path: Path) -> None:
    report = cut(slide, tmp_path, n=500, size=(256, 256), min_focus=0)
    assert any(BLURRED[0] <= item.x < BLURRED[1] for item in report.fields)
    assert not any(item.x >= BLANK[0] for item in report.fields)


def test_a_dry_run_writes_nothing(slide: Path, tmp_path: Path) -> None:
    report = cut(slide, tmp_path / "out", dry_run=True)
    assert (report.width, report.height, report.slide_um_per_px) == (2048, 1024, pytest.approx(UM_PER_PX))
    assert 80 <= report.candidates <= 88  # 10 columns of 8 fields have cells, and one has the blurred border
    assert report.fields == []
    assert not (tmp_path / "out").exists()


def test_fields_of_several_slides_share_a_folder(slide: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.tif"
    shutil.copy(slide, second)
    out = tmp_path / "out"
    first = cut(slide, out, n=3)
    cut(second, out, n=2)
    cut(slide, out, n=3)
    assert len((out / "fields.csv").read_text().splitlines()) == 1 + 3 + 2
    assert len(list((out / "images").iterdir())) == 5
    with pytest.raises(OptionError, match=r"has other fields of slide case\.7; choose another folder"):
        cut(slide, out, n=3, seed=5)
    assert {item.file for item in first.fields} <= {path.name for path in (out / "images").iterdir()}


class StopAfter(Progress):
    """Requests a stop as Ctrl-C does, after some fields of a stage."""

    def __init__(self, stage: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage, self.count = stage, count
        self.requests: list[StopRequest] = []
        enter = StopRequest.__enter__

        def remember(request: StopRequest) -> StopRequest:
            self.requests.append(request)
            return enter(request)

        monkeypatch.setattr(StopRequest, "__enter__", remember)

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        if stage == self.stage and done == self.count:
            self.requests[-1].requested = True


@pytest.mark.parametrize(("stage", "written"), [("inspecting fields", 0), ("writing fields", 4)])
def test_ctrl_c_keeps_the_fields_so_far_and_the_same_call_continues(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, written: int
) -> None:
    report = cut(slide, tmp_path, n=6, progress=StopAfter(stage, 4, monkeypatch))
    assert report.interrupted
    assert len(report.fields) == written
    assert len(list(tmp_path.rglob("images/*"))) == written
    assert (tmp_path / "fields.csv").exists() == bool(written)
    again = cut(slide, tmp_path, n=6)
    assert again.fields[:written] == report.fields
    assert len(again.fields) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"um_per_px": 0.0}, "--um-per-px 0; it must be positive"),
        ({"um_per_px": 0.01}, "too coarse; choose 0.0625 or more"),
        ({"size": (0, 0)}, "each side must be at least 64 px"),
        ({"size": (2000, 2000)}, "larger than .*, which is 2048×1024 px"),
        ({"n": 0}, "number of fields must be at least 1"),
        ({"min_focus": 2.0}, "must be from 0 to 1"),
    ],
)
def test_options_out_of_range_are_rejected(
    slide: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        cut(slide, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_finer_pixel_size_than_that_of_the_slide_is_reported(slide: Path, tmp_path: Path) -> None:
    class Messages(Progress):
        texts: list[str] = []  # noqa: RUF012

        def message(self, text: str) -> None:
            self.texts.append(text)

    messages = Messages()
    report = cut(slide, tmp_path, um_per_px=0.125, n=2, progress=messages)
    assert len(report.fields) == 2
    assert messages.texts[0].endswith("fields are enlarged 2 times")


def test_a_slide_without_cells_is_rejected(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(235, 1.5, (512, 512, 3))
    empty = write_slide(tmp_path / "empty.tif", pixels=noise.astype(np.uint8))
    assert "has no field with cells among 16 fields" in data_error(lambda: cut(empty, tmp_path / "out"))
    black = write_slide(tmp_path / "black.tif", pixels=np.zeros((512, 512, 3), np.uint8))
    assert "shows no stained smear" in data_error(lambda: cut(black, tmp_path / "out"))


def test_a_table_of_another_program_is_kept(slide: Path, tmp_path: Path) -> None:
    (tmp_path / "fields.csv").write_text("a,b\n1,2\n")
    assert "fields.csv: is not a table of smearsynth cut-fields" in data_error(lambda: cut(slide, tmp_path, n=2))
    assert (tmp_path / "fields.csv").read_text() == "a,b\n1,2\n"
