from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benefit_results import make_facts, make_result, make_synthesizer
from pages import Page
from smearsynth.experiment.report.examples import Example
from smearsynth.experiment.report.page import write_report
from smearsynth.experiment.report.tables import columns, score_table


def picture(grey: int = 200) -> Any:
    return np.full((40, 90, 3), grey, np.uint8)


def tables(markdown: str) -> list[list[list[str]]]:
    """Return the cells of the tables of a Markdown file."""
    rows: list[list[list[str]]] = [[]]
    for line in markdown.splitlines():
        if line.startswith("|"):
            rows[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows[-1]:
            rows.append([])
    return [table for table in rows if table]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a report with all sections. Only to be read."""
    folder = tmp_path_factory.mktemp("benefit")
    examples = [
        Example("detection", "RD+SD+aug", "field-03", 0.91, "best", picture()),
        Example("detection", "RD+SD+aug", "field-07", 0.52, "worst", picture(90)),
    ]
    write_report(make_result(), folder, examples)
    return folder


# The files


def test_html_and_markdown_have_the_same_content(folder: Path) -> None:
    page, markdown = Page(folder / "report.html"), (folder / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", markdown, re.M)
    assert headings == [
        "Scores", "Differences", "Separation of cells", "Number of real smears", "Best and worst predictions",
        "Scores of single images", "Setup", "How to read this report",
    ]  # fmt: skip
    positions = [page.text.index(f"\n{heading}\n") for heading in headings]
    assert positions == sorted(positions)
    for text in ("my smears", "increased Dice by", "smearsynth benefit my-smears --seeds 3", "field-07", "900"):
        assert text in page.text
        assert text in markdown
    assert page.text.index("increased Dice by") < page.text.index("Scores")
    assert "RD+SD − RD of 60" in page.text


def test_cells_of_both_forms_are_those_of_the_score_table(folder: Path) -> None:
    result = make_result()
    segmentation, text = tables((folder / "report.md").read_text())[0], Page(folder / "report.html").text
    line = score_table(result)[0].lines[0]
    assert segmentation[0] == ["", *columns(result)]
    assert segmentation[2] == [line.name, *line.cells]
    assert all(cell in text for cell in line.cells)


def test_the_page_has_no_external_files_and_the_markdown_has_its_figures(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<script", html)
    sources = [str(image["src"]) for image in Page(folder / "report.html").all("img")]
    assert len(sources) == 5
    assert all(source.startswith("data:image/") for source in sources)
    files = re.findall(r"!\[.*\]\((.*)\)", (folder / "report.md").read_text())
    assert sorted(files) == sorted(path.relative_to(folder).as_posix() for path in (folder / "figures").iterdir())
    assert {Image.open(folder / file).format for file in files} == {"PNG"}
    best = next(file for file in files if file.endswith("detection-best.png"))
    assert (np.asarray(Image.open(folder / best)) == picture()).all()


def test_every_row_of_a_table_has_as_many_cells_as_its_head(folder: Path) -> None:
    all_tables = tables((folder / "report.md").read_text())
    assert [len(table[0]) for table in all_tables] == [8, 8, 8, 5, 6, 6, 5]
    assert all({len(row) for row in table} == {len(table[0])} for table in all_tables)


def test_names_are_text_and_not_markup(tmp_path: Path) -> None:
    result = make_result(
        ("segmentation",), ("RD+aug", "RD+SD+aug"), (60,), data_set="a<b>|c_d", command="run <x> ```"
    )
    runs = [
        run.model_copy(
            update={"images": tuple(row.model_copy(update={"image": "<i>|$x"}) for row in run.images[:1])}
        )
        for run in result.runs
    ]
    examples = [Example("segmentation", "RD", "<script>", 0.5, "worst", picture())]
    html, markdown = write_report(result.model_copy(update={"runs": tuple(runs)}), tmp_path, examples)
    page = Page(html)
    assert not page.all("b")
    assert not page.all("i")
    assert not page.all("script")
    assert "a<b>|c_d" in page.text
    assert "<i>|$x" in page.text
    text = markdown.read_text()
    assert "a\\<b\\>\\|c\\_d" in text
    assert "````sh\nrun <x> ```\n````" in text
    assert all({len(row) for row in table} == {len(table[0])} for table in tables(text))


def test_a_name_that_is_not_utf8_does_not_break_the_report(tmp_path: Path) -> None:
    html, markdown = write_report(make_result(("segmentation",), ("RD",), (60,), data_set="bad\udcff"), tmp_path)
    assert "bad?" in html.read_text(encoding="utf-8")
    assert "bad?" in markdown.read_text(encoding="utf-8")


def test_sections_without_content_are_left_out(tmp_path: Path) -> None:
    _, markdown = write_report(make_result(("contours",), ("SD", "RD+copy-paste"), (60,), command=""), tmp_path)
    text = markdown.read_text()
    assert re.findall(r"^## (.*)$", text, re.M) == [
        "Scores", "Separation of cells", "Setup", "How to read this report",
    ]  # fmt: skip
    assert "Command to repeat" not in text
    assert not (tmp_path / "figures").exists()
    row = dict(zip(*(tables(text)[0][k] for k in (0, 2)), strict=True))
    assert row["RD"] == "–"
    assert row["SD"] != "–"
    assert "SD+aug" not in row  # neither run nor in the paper
    real, _ = write_report(make_result(("contours",), ("RD", "RD+aug"), (60,)), tmp_path / "real")
    assert "Synthesizer" not in Page(real).text


def test_one_seed_and_one_image_give_warnings(tmp_path: Path) -> None:
    result = make_result(("detection",), ("RD+aug", "RD+SD+aug"), (10, 3), seeds=1, images=1, half_width=0)
    text = Page(write_report(result, tmp_path)[0]).text
    assert "One seed only" in text
    assert "so there is none" in text
    assert "no interval" in text


def test_subsets_and_their_synthesizers_are_listed(tmp_path: Path) -> None:
    result = make_result(("segmentation",), ("RD", "RD+SD"), (60, 2))
    synthesizers = {60: make_synthesizer("mine", 60), 2: make_synthesizer("few", 2)}
    facts = make_facts(subsets={2: ("slide-a", "slide-b")}, synthesizers=synthesizers)
    _, markdown = write_report(result.model_copy(update={"facts": facts}), tmp_path)
    text = markdown.read_text()
    assert "**Subset of 2 real smears:** slide-a, slide-b" in text
    assert "**Synthesizer for 60 real smears:** mine, 60 smears, hash f00df00df00d" in text
    assert "**Synthesizer for 2 real smears:** few, 2 smears, hash f00df00df00d" in text
