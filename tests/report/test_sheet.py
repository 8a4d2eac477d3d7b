"""Overlays and the contact sheet: what they must show, and that nothing put into them can break them."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pages import Page
from smears import analytic_smear, random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.report import overlay, write_contact_sheet, write_overlay_png
from smearsynth.report.comparison import Row, compare
from smearsynth.report.overlays import OUTLINE_COLOURS, overlay_layers
from smearsynth.report.plots import HEIGHT, WIDTH, nearest_plot, pair_correlation_plot
from smearsynth.smear import Smear
from smearsynth.statistics import DataStatistics, measure, touching_pairs

TOUCHING = ((20, 20, 9), (34, 20, 9), (60, 44, 12))


def crowd(size: tuple[int, int], count: int, radius: int = 22, seed: int = 0) -> Smear:
    """A field of many discs, stamped in place and so quick to make."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x**2 + y**2 <= radius**2
    for k in range(1, count + 1):
        top, left = (int(rng.integers(0, side - 2 * radius - 1)) for side in size)
        window = labels[top : top + 2 * radius + 1, left : left + 2 * radius + 1]
        window[disc & (window == 0)] = k
    image = np.full((*size, 3), 200, np.uint8)
    image[labels > 0] = (180, 110, 130)
    return Smear.from_labels(image, labels, name="crowd")


def empty_smear(size: tuple[int, int] = (30, 40), name: str = "nothing") -> Smear:
    return Smear(np.full((*size, 3), 210, np.uint8), np.zeros(size, np.int32), np.array([], np.int64), name=name)


def sheet(path: Path, smears: list[Smear], real: DataStatistics | None = None, **options: Any) -> Page:
    chosen = {"title": "A sheet", "facts": {"seed": "7"}, **options}
    real = measure(random_smear(i) for i in range(6)) if real is None else real
    return Page(write_contact_sheet(path / "sheet.html", smears, real=real, **chosen))


def row_named(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


# Overlays


def test_outlines_are_the_cells_own_outermost_pixels() -> None:
    smear = analytic_smear(discs=TOUCHING)
    before = smear.image.copy()
    changed = (overlay(smear) != smear.image).any(axis=2)
    assert (smear.image == before).all()
    assert not changed[smear.labels == 0].any()
    inner = smear.labels.copy()
    for axis in (0, 1):
        for shift in (1, -1):
            inner[np.roll(smear.labels, shift, axis) != smear.labels] = 0
    assert (changed == ((smear.labels > 0) & (inner == 0))).all()


def test_a_wide_outline_grows_into_the_cell() -> None:
    labels = np.zeros((9, 16), np.int32)
    labels[1:8, 1:8], labels[1:8, 8:15] = 1, 2
    smear = Smear(np.full((9, 16, 3), 200, np.uint8), labels, np.array([0, 0]))
    left = (overlay(smear, width=2) != 200).any(axis=2)[:, :8]
    expected = np.zeros((9, 8), bool)
    expected[1:8, 1:8] = True
    expected[3:6, 3:6] = False
    assert (left == expected).all()
    with pytest.raises(OptionError, match="width"):
        overlay(smear, width=0)


def test_a_cell_cut_by_the_border_stays_open_there() -> None:
    labels = np.zeros((6, 6), np.int32)
    labels[1:5, :3] = 1
    changed = (overlay(Smear(np.full((6, 6, 3), 200, np.uint8), labels, np.array([0]))) != 200).any(axis=2)
    assert changed[1, 0]
    assert not changed[2:4, 0].any()


@pytest.mark.parametrize("seed", range(3))
def test_touching_and_nearly_touching_cells_have_other_colours(seed: int) -> None:
    smear = crowd((300, 400), 150, radius=14, seed=seed)
    painted = overlay(smear, fill=1.0)
    _, first = np.unique(smear.labels, return_index=True)
    colours = painted.reshape(-1, 3)[first[1:]]
    pairs = touching_pairs(smear.labels)
    # one column of background between two cells is as good as none to the eye
    beside = np.stack([smear.labels[:, :-2].ravel(), smear.labels[:, 2:].ravel()], axis=1)
    near = beside[(beside > 0).all(axis=1) & (beside[:, 0] != beside[:, 1])]
    assert len(pairs) > 50
    for a, b in np.unique(np.concatenate([pairs, near]), axis=0):
        assert (colours[a - 1] != colours[b - 1]).any(), f"{a} and {b}"


def test_fill_mixes_the_colour_into_the_cell_alone() -> None:
    labels = np.zeros((7, 7), np.int32)
    labels[1:6, 1:6] = 1
    painted = overlay(Smear(np.full((7, 7, 3), 100, np.uint8), labels, np.array([0])), fill=0.25)
    colour = np.array(OUTLINE_COLOURS[0])
    assert painted[3, 3].tolist() == np.rint(0.75 * 100 + 0.25 * colour).tolist()
    assert painted[1, 1].tolist() == colour.tolist()
    assert (painted[labels == 0] == 100).all()


@pytest.mark.parametrize("fill", [-0.1, 1.5, float("nan")])
def test_an_opacity_out_of_range_is_refused(fill: float) -> None:
    with pytest.raises(OptionError, match="opacity"):
        overlay(empty_smear(), fill=fill)


def test_a_field_of_669_cells_is_drawn_in_time() -> None:
    smear = crowd((1200, 1920), 669)
    overlay(smear)
    took = []
    for _ in range(3):
        # the processor's time, which other work on the machine does not lengthen
        start = time.process_time()
        overlay(smear)
        took.append(time.process_time() - start)
    assert min(took) < 0.2


def test_layers_agree_with_the_overlay() -> None:
    smear = crowd((120, 160), 30, radius=12)
    outlines, cells = (np.asarray(Image.open(io.BytesIO(layer)).convert("RGBA")) for layer in overlay_layers(smear))
    drawn = overlay(smear)
    edge = outlines[..., 3] > 0
    assert (outlines[edge][:, :3] == drawn[edge]).all()
    assert (smear.image[~edge] == drawn[~edge]).all()
    assert ((cells[..., 3] > 0) == (smear.labels > 0)).all()


def test_noise_for_labels_still_gives_layers() -> None:
    """Every label touches every other: more colours than an indexed picture has."""
    labels = np.random.default_rng(0).integers(0, 300, (300, 400)).astype(np.int32)
    smear = Smear.from_labels(np.zeros((300, 400, 3), np.uint8), labels)
    assert all(Image.open(io.BytesIO(layer)).size == (400, 300) for layer in overlay_layers(smear))
    assert overlay(smear).shape == (300, 400, 3)


def test_an_overlay_is_written_whole_with_its_tags(tmp_path: Path) -> None:
    smear = random_smear(1)
    path = write_overlay_png(tmp_path / "new" / "a.png", smear, tags={"synthetic": "true"})
    with Image.open(path) as image:
        assert image.info["synthetic"] == "true"  # type: ignore[attr-defined,unused-ignore]
        assert (np.asarray(image) == overlay(smear)).all()
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


# The comparison


def test_a_stranger_is_marked_and_a_like_one_is_not() -> None:
    real = measure(random_smear(i) for i in range(12))
    like = compare(real, measure(random_smear(i) for i in range(20, 28)))
    assert not [row.name for row in like if row.outside]
    discs = [(x, y, 4) for x in range(8, 96, 9) for y in range(8, 96, 9)]
    strange = compare(real, measure([analytic_smear((96, 96), discs, background=(60, 196, 200))]))
    assert row_named(strange, "cell density").verdict == "above"
    assert row_named(strange, "cell width").verdict == "below"
    background = row_named(strange, "background colour")
    assert (background.verdict, background.why) == ("below", "red")


def test_an_offset_is_in_real_standard_deviations() -> None:
    real = measure(
        Smear(np.full((8, 8, 3), grey, np.uint8), np.zeros((8, 8), np.int32), np.array([], np.int64))
        for grey in (90, 100, 110)
    )
    for grey, expected in ((120, 2.0), (100, 0.0), (75, -2.5)):
        one = Smear(np.full((8, 8, 3), grey, np.uint8), np.zeros((8, 8), np.int32), np.array([], np.int64))
        row = row_named(compare(real, measure([one])), "background colour")
        assert [offset for _, offset in row.offsets] == pytest.approx([expected] * 3)
        assert row.outside == (abs(expected) > 2)


def test_without_a_real_spread_there_is_no_verdict() -> None:
    one = measure([random_smear(0)])
    row = row_named(compare(one, measure([random_smear(1)])), "cell density")
    assert (row.verdict, row.offsets) == ("none", ())
    assert "no spread" in row.why
    assert "±" not in row.real


def test_undefined_figures_are_dashes() -> None:
    rows = compare(measure(random_smear(i) for i in range(4)), measure([empty_smear()]))
    row = row_named(rows, "cell width")
    assert (row.synthetic, row.verdict, row.why) == ("–", "none", "no synthetic value")
    assert not any("nan" in row.real + row.synthetic for row in rows)


def test_counts_are_not_judged_between_fields_of_other_sizes() -> None:
    real = measure(random_smear(i) for i in range(4))
    rows = compare(real, measure([random_smear(5, (200, 200))]))
    assert row_named(rows, "cells per smear").verdict == "none"
    assert row_named(rows, "cell density").verdict != "none"


def test_plots_place_curves_within_their_axes() -> None:
    real = measure(crowd((240, 320), 60, radius=12, seed=i) for i in range(4))
    synthetic = measure([crowd((240, 320), 60, radius=12, seed=9)])
    for plot in (pair_correlation_plot(real, synthetic), nearest_plot(real, synthetic)):
        for path in (plot.real, plot.synthetic, plot.band):
            assert "nan" not in path
            numbers = np.array(re.findall(r"[\d.-]+", path), float).reshape(-1, 2)
            assert (numbers >= 0).all()
            assert (numbers <= (WIDTH, HEIGHT)).all()
        assert plot.real
        assert plot.synthetic
    assert len(pair_correlation_plot(real, synthetic).y_ticks) >= 2


# The sheet


def test_every_smear_is_shown_with_its_labels_name_and_count(tmp_path: Path) -> None:
    smears = [random_smear(i) for i in range(3)]
    page = sheet(tmp_path, smears)
    for smear in smears:
        assert smear.name in page.text
        assert f"{smear.count} cells" in page.text
    pictures = page.pictures()
    assert [picture.format for picture in pictures] == ["JPEG", "PNG", "PNG"] * 3
    assert {picture.size for picture in pictures} == {(96, 96)}
    shown = np.asarray(pictures[0], float)
    assert np.abs(shown - smears[0].image).mean() < 4
    assert pictures[0].info["comment"] == b"synthetic=true"  # type: ignore[attr-defined,unused-ignore]
    assert "Synthetic images." in page.text


def test_the_file_stands_alone(tmp_path: Path) -> None:
    page = sheet(tmp_path, [random_smear(0)])
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for _, attributes in page.tags:
        for key in ("href", "src", "xlink:href"):
            link = attributes.get(key)
            assert link is None or link.startswith("data:") or link.removeprefix("#") in ids
    css = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", css)


def test_names_and_facts_are_text_not_markup(tmp_path: Path) -> None:
    nasty = '"><script>alert(1)</script>&amp;'
    page = sheet(
        tmp_path,
        [empty_smear(name=nasty)],
        title=nasty,
        facts={nasty: nasty},
        recipes=[{nasty: nasty, "nested": {"a": [nasty]}}],
    )
    assert len(page.all("script")) == 1
    assert page.text.count("<script>alert(1)</script>&amp;") >= 6


def test_a_name_that_is_no_utf8_does_not_break_the_file(tmp_path: Path) -> None:
    assert "caf?" in sheet(tmp_path, [empty_smear(name="caf\udce9")]).text


def test_an_empty_sheet_says_so(tmp_path: Path) -> None:
    page = sheet(tmp_path, [], facts={})
    assert "no smear to show" in page.text
    assert not page.all("image")
    assert not page.all("tr", "outside")
    assert "cell density" in page.text


def test_smears_without_cells_and_of_other_sizes(tmp_path: Path) -> None:
    smears = [empty_smear(), random_smear(1), random_smear(2, (60, 140)), analytic_smear((30, 30), [(15, 15, 9)])]
    page = sheet(tmp_path, smears, recipes=[{"seed": i} for i in range(4)])
    assert [picture.size for picture in page.pictures()[::3]] == [(40, 30), (96, 96), (140, 60), (30, 30)]
    assert "0 cells" in page.text
    assert re.search(r"\b1 cell\b", page.text)
    assert "nan" not in page.text.lower()


def test_differences_are_marked_in_the_table(tmp_path: Path) -> None:
    page = sheet(tmp_path, [analytic_smear((96, 96), TOUCHING, background=(40, 40, 40))])
    assert len(page.all("span", "outside")) == len(page.all("tr", "outside")) >= 1
    summary = re.search(r"(\d+) of (\d+) synthetic means lie outside.*", page.text)
    assert summary is not None
    assert int(summary[1]) == len(page.all("tr", "outside")) < int(summary[2])
    assert "background colour" in summary[0]


def test_classes_and_scale_are_told(tmp_path: Path) -> None:
    smear = analytic_smear(classes=[0, 1, 0], class_names=("red", "white"), um_per_px=0.125)
    page = sheet(tmp_path, [smear])
    assert "80 × 64 px · 0.125 µm per px · 2 red · 1 white" in page.text


def test_large_smears_are_shown_smaller_and_measured_as_they_are(tmp_path: Path) -> None:
    page = sheet(tmp_path, [crowd((200, 2560), 20)])
    assert {picture.size for picture in page.pictures()} == {(1280, 100)}
    assert "2560 × 200 px · shown at 50%" in page.text


def test_a_pair_of_640_by_480_is_small(tmp_path: Path) -> None:
    smear = crowd((480, 640), 110, radius=19)
    noisy = np.random.default_rng(0).normal(0, 3, smear.image.shape)
    image = np.clip(smear.image + noisy, 0, 255).astype(np.uint8)
    sizes = []
    for count in (1, 2):
        sheet(tmp_path, [Smear.from_labels(image, smear.labels)] * count)
        sizes.append((tmp_path / "sheet.html").stat().st_size)
    assert sizes[1] - sizes[0] < 250_000


def test_recipes_must_match_the_smears(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="2 recipes for 1 smears"):
        sheet(tmp_path, [random_smear(0)], recipes=[{}, {}])
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sheet.html").mkdir()
    with pytest.raises(DataError, match=r"sheet\.html"):
        sheet(tmp_path, [random_smear(0)])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.html"]


def test_template_and_styles_lie_beside_the_code() -> None:
    """The wheel takes every file of the package, so being there is being shipped."""
    folder = Path(sys.modules["smearsynth.report"].__file__ or "").parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {"contact_sheet.html", "contact_sheet.css"}
