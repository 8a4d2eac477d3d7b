"""Tests of the contact sheet: its content, and its robustness to names, sizes and failed writes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pages import Page
from smears import analytic_smear, crowded_smear, empty_smear, random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.report.sheet import write_contact_sheet
from smearsynth.smear import Smear
from smearsynth.statistics.measuring import measure
from smearsynth.statistics.records import DataStatistics


def sheet(folder: Path, smears: list[Smear], real: DataStatistics | None = None, **options: Any) -> Page:
    options = {"title": "A sheet", "facts": {"seed": "7"}, **options}
    real = measure(random_smear(i) for i in range(6)) if real is None else real
    return Page(write_contact_sheet(folder / "sheet.html", smears, real=real, **options))


def test_each_smear_has_its_images_name_and_count(tmp_path: Path) -> None:
    smears = [random_smear(i) for i in range(3)]
    page = sheet(tmp_path, smears)
    for smear in smears:
        assert smear.name in page.text
        assert f"{smear.count} cells" in page.text
    pictures = page.pictures()
    assert [picture.format for picture in pictures] == ["JPEG", "PNG", "PNG"] * 3
    assert {picture.size for picture in pictures} == {(96, 96)}
    first = np.asarray(pictures[0], float)
    assert np.abs(first - smears[0].image).mean() < 4
    assert pictures[0].info["comment"] == b"synthetic=true"  # type: ignore[attr-defined,unused-ignore]
    assert "Synthetic images." in page.text


def test_the_page_has_no_external_resources(tmp_path: Path) -> None:
    page = sheet(tmp_path, [random_smear(0)])
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for _, attributes in page.tags:
        for key in ("href", "src", "xlink:href"):
            link = attributes.get(key)
            assert link is None or link.startswith("data:") or link.removeprefix("#") in ids
    html = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", html)


def test_css_variables_and_classes_are_defined(tmp_path: Path) -> None:
    page = sheet(tmp_path, [random_smear(0)])
    html = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    style = html[html.index("<style>") : html.index("</style>")]
    assert set(re.findall(r"var\((--[\w-]+)\)", html)) <= set(re.findall(r"(--[\w-]+):", style))
    classes = {name for _, attributes in page.tags for name in (attributes.get("class") or "").split()}
    assert classes - {"wide", "out", "key"} <= set(re.findall(r"\.([a-z]+)", style))


def test_names_and_facts_are_escaped(tmp_path: Path) -> None:
    markup = '"><script>alert(1)</script>&amp;'
    page = sheet(
        tmp_path,
        [empty_smear(name=markup)],
        title=markup,
        facts={markup: markup},
        recipes=[{markup: markup, "nested": {"a": [markup]}}],
    )
    assert len(page.all("script")) == 1
    assert page.text.count("<script>alert(1)</script>&amp;") >= 6


def test_names_that_are_not_utf8_are_replaced(tmp_path: Path) -> None:
    assert "caf?" in sheet(tmp_path, [empty_smear(name="caf\udce9")]).text


def test_a_sheet_without_smears(tmp_path: Path) -> None:
    page = sheet(tmp_path, [], facts={})
    assert "no smears to show" in page.text
    assert not page.all("image")
    assert not page.all("tr", "outside")
    assert "cell density" in page.text


def test_smears_without_cells_and_of_different_sizes(tmp_path: Path) -> None:
    smears = [empty_smear(), random_smear(1), random_smear(2, (60, 140)), analytic_smear((30, 30), [(15, 15, 9)])]
    page = sheet(tmp_path, smears, recipes=[{"seed": i} for i in range(4)])
    assert [picture.size for picture in page.pictures()[::3]] == [(40, 30), (96, 96), (140, 60), (30, 30)]
    assert "0 cells" in page.text
    assert re.search(r"\b1 cell\b", page.text)
    assert not re.search(r"\bnan\b", page.text.lower())


def test_differences_are_marked_in_the_table(tmp_path: Path) -> None:
    page = sheet(tmp_path, [analytic_smear((96, 96), background=(40, 40, 40))])
    assert len(page.all("span", "outside")) == len(page.all("tr", "outside")) >= 1
    summary = re.search(r"(\d+) of (\d+) synthetic means (?:is|are) outside.*", page.text)
    assert summary is not None
    assert int(summary[1]) == len(page.all("tr", "outside")) < int(summary[2])
    assert "background colour" in summary[0]


def test_details_contain_size_scale_and_classes(tmp_path: Path) -> None:
    smear = analytic_smear(classes=[0, 1, 0], class_names=("red", "white"), um_per_px=0.125)
    page = sheet(tmp_path, [smear])
    assert "80 × 64 px · 0.125 µm per px · 2 red · 1 white" in page.text


def test_large_smears_are_reduced(tmp_path: Path) -> None:
    page = sheet(tmp_path, [crowded_smear((200, 2560), 20)])
    assert {picture.size for picture in page.pictures()} == {(1280, 100)}
    assert "2560 × 200 px · displayed at 50%" in page.text


def test_a_smear_of_640_by_480_adds_less_than_250_kb(tmp_path: Path) -> None:
    smear = crowded_smear((480, 640), 110, radius=19)
    noise = np.random.default_rng(0).normal(0, 3, smear.image.shape)
    image = np.clip(smear.image + noise, 0, 255).astype(np.uint8)
    sizes = []
    for count in (1, 2):
        sheet(tmp_path, [Smear.from_labels(image, smear.labels)] * count)
        sizes.append((tmp_path / "sheet.html").stat().st_size)
    assert sizes[1] - sizes[0] < 250_000


def test_the_number_of_recipes_must_match(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="2 recipes for 1 smears"):
        sheet(tmp_path, [random_smear(0)], recipes=[{}, {}])
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "sheet.html").mkdir()
    with pytest.raises(DataError, match=r"sheet\.html"):
        sheet(tmp_path, [random_smear(0)])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.html"]


def test_templates_and_styles_are_in_the_package() -> None:
    """The wheel contains all files of the package folder."""
    folder = Path(sys.modules["smearsynth.report.sheet"].__file__ or "").parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {"contact_sheet.html", "contact_sheet.css", "page.css"}
