"""The benefit report as one HTML file and as Markdown with its figures."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smearsynth.experiment.arms import ArmName
from smearsynth.experiment.records import TASK_TITLES, BenefitResult
from smearsynth.experiment.report import tables, wording
from smearsynth.experiment.report.examples import Example
from smearsynth.experiment.report.figures import (
    DARK,
    LIGHT,
    Colours,
    curves_figure,
    differences_figure,
    images_figure,
    render_png,
)
from smearsynth.experiment.report.separation import SeparationTables, separation_tables, unmeasured_runs
from smearsynth.files import atomic_write
from smearsynth.report.html import data_uri, jpeg_uri, template, write_page

_MAX_SIDE = 1600  # px of an example picture
_PIXEL_RATIO = 1.4  # px of a figure per px of the page; sharp in print and on high-resolution screens


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Parameters
    ----------
    file : str
        File of the picture beside the Markdown.
    png : bytes
        Content of the file.
    uri, dark_uri : str
        Data URIs for the HTML page in its light and dark colours.
    caption : str
    width : int
        Preferred width on the page in px.
    """

    file: str
    png: bytes
    uri: str
    dark_uri: str
    caption: str
    width: int


@dataclass(frozen=True)
class Page:
    """Content of the report, in order. Both files are written from it."""

    title: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    arms: tuple[ArmName, ...]
    blocks: tuple[tables.Block, ...]
    differences: Picture | None
    comparisons: tuple[tables.Comparison, ...]
    separation: tuple[SeparationTables, ...]
    curves: Picture | None
    subset_comparisons: tuple[tables.Comparison, ...]
    examples: tuple[Picture, ...]
    images: Picture | None
    largest_changes: tuple[tuple[str, tuple[str, ...]], ...]
    setup: tuple[tuple[str, str], ...]
    command: str
    explanations: tuple[str, ...]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures."""
        pictures = (self.differences, self.curves, *self.examples, self.images)
        return [picture for picture in pictures if picture is not None]


def write_report(result: BenefitResult, folder: Path | str, examples: Sequence[Example] = ()) -> tuple[Path, Path]:
    """Write the report as one HTML file without external files, and as Markdown with its figures.

    Parameters
    ----------
    result : BenefitResult
        Sections whose arms, tasks, sizes or seeds are missing are left out.
    folder : Path or str
        Gets ``report.html``, ``report.md`` and ``figures/``; created if it does not exist.
    examples : sequence of Example
        Pictures of predictions.

    Returns
    -------
    html, markdown : Path
        The files written.

    Raises
    ------
    DataError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from smearsynth.experiment.records import Facts
    >>> facts = Facts(
    ...     data_set="mine", command="smearsynth benefit mine", smearsynth="1", torch="2", machine="a laptop",
    ...     preset="cpu", device="cpu", scale=1, seeds=1, select_by="validation", train=9, held_out=1, test=3,
    ...     synthetic=90, synthetic_fraction=0.5, steps={}, minutes=2)
    >>> result = BenefitResult(facts=facts, runs=(), differences=(), verdict=("None yet.",))
    >>> html, _ = write_report(result, tempfile.mkdtemp())
    >>> "None yet." in html.read_text(encoding="utf-8")
    True
    """
    folder = Path(folder)
    page = _page(result, examples)
    for picture in page.pictures:
        with atomic_write(folder / picture.file) as temporary:
            temporary.write_bytes(picture.png)
    html = template("benefit.html", "smearsynth.experiment.report").render(page=page, wording=wording)
    return write_page(folder / "report.html", html), write_page(folder / "report.md", _markdown(page))


def _page(result: BenefitResult, examples: Sequence[Example]) -> Page:
    has_pair = any(tables.verdict_pair(result, task) for task in result.tasks)
    order = list(TASK_TITLES)
    ordered = sorted(examples, key=lambda example: (order.index(example.task), example.rank))
    return Page(
        title=f"Benefit of synthetic smears: {result.facts.data_set}",
        verdict=result.verdict,
        warnings=(*wording.warnings(result.facts), *wording.unmeasured_warnings(unmeasured_runs(result))),
        arms=tables.columns(result),
        blocks=tables.score_table(result),
        differences=_figure("differences", differences_figure, result) if result.differences else None,
        comparisons=tuple(tables.comparisons(result)),
        separation=separation_tables(result),
        curves=_figure("curves", curves_figure, result) if len(result.sizes) > 1 else None,
        subset_comparisons=tuple(tables.subset_comparisons(result)),
        examples=tuple(_example(example, number) for number, example in enumerate(ordered, 1)),
        images=_figure("images", images_figure, result) if has_pair else None,
        largest_changes=tuple(tables.largest_changes(result)),
        setup=tuple(wording.setup(result)),
        command=result.facts.command,
        explanations=tuple(wording.explanations(result)),
    )


def _figure(name: str, draw: Callable[[BenefitResult, Colours], Any], result: BenefitResult) -> Picture:
    light, dark = render_png(draw(result, LIGHT)), render_png(draw(result, DARK))
    width = round(Image.open(io.BytesIO(light)).width / _PIXEL_RATIO)
    uris = data_uri("png", light), data_uri("png", dark)
    return Picture(f"figures/{name}.png", light, *uris, wording.CAPTIONS[name], width)


def _example(example: Example, number: int) -> Picture:
    image = Image.fromarray(example.picture)
    image.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    uri = jpeg_uri(np.array(image))
    title, metric = TASK_TITLES[example.task], tables.image_metric(example.task)
    caption = f"{title}, {example.rank} prediction of {example.arm}: {example.smear}, {metric} {example.score:.2f}"
    file = f"figures/{number:02d}-{example.task}-{example.rank}.png"
    return Picture(file, buffer.getvalue(), uri, uri, caption, image.width)


def _markdown(page: Page) -> str:
    parts = [f"# {_escape(page.title)}", *(f"**{_escape(sentence)}**" for sentence in page.verdict)]
    parts += [f"> **Warning:** {_escape(warning)}" for warning in page.warnings]
    if page.blocks:
        parts += [f"## {wording.SCORES}", _escape(wording.SCORES_NOTE)]
    for block in page.blocks:
        rows = [[line.name, *line.cells] for line in block.lines]
        parts += [f"### {block.title}", _table(["", *page.arms], rows)]
    if page.differences:
        parts += [f"## {wording.DIFFERENCES}", _image(page.differences)]
        parts += [_differences_table(page, page.comparisons), wording.DIFFERENCES_NOTE]
    if page.separation:
        parts += [f"## {wording.SEPARATION}", wording.SEPARATION_NOTE]
    for item in page.separation:
        parts += [f"### {item.title}", _comparisons_table(item.head, item.arms)]
        parts += [_comparisons_table(item.head, item.differences)] if item.differences else []
    if page.curves:
        parts += [f"## {wording.SIZES}", _image(page.curves)]
    if page.subset_comparisons:
        parts += [wording.SUBSETS_NOTE, _differences_table(page, page.subset_comparisons)]
    if page.examples:
        parts += [f"## {wording.EXAMPLES}", _escape(wording.EXAMPLES_NOTE), *map(_image, page.examples)]
    if page.images:
        parts += [f"## {wording.IMAGES}", _image(page.images), wording.CHANGES]
    for heading, lines in page.largest_changes:
        parts += [_escape(heading), "\n".join(f"{number}. {_escape(line)}" for number, line in enumerate(lines, 1))]
    parts += [f"## {wording.SETUP}", "\n".join(f"- **{name}:** {_escape(value)}" for name, value in page.setup)]
    if page.command:
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", page.command))])
        parts += [wording.REPEAT, f"{fence}sh\n{page.command}\n{fence}"]
    parts += [f"## {wording.EXPLANATIONS}", "\n".join(f"- {_escape(line)}" for line in page.explanations)]
    return "\n\n".join(parts) + "\n"


def _differences_table(page: Page, comparisons: Sequence[tables.Comparison]) -> str:
    return _comparisons_table([block.title for block in page.blocks], comparisons)


def _comparisons_table(names: Sequence[str], comparisons: Sequence[tables.Comparison]) -> str:
    head = ["", "real smears", *names]
    return _table(head, [[row.pair, str(row.reals), *(cell.text for cell in row.cells)] for row in comparisons])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _image(picture: Picture) -> str:
    return f"![{_escape(picture.caption)}]({picture.file})\n\n{_escape(picture.caption)}"


def _escape(text: str) -> str:
    r"""Escape the characters that have a meaning in Markdown.

    Examples
    --------
    >>> print(_escape("a<b> | c_d"))
    a\<b\> \| c\_d
    """
    return re.sub(r"([\\`*_<>|#]|\](?=[(\[]))", r"\\\1", " ".join(text.split()))
