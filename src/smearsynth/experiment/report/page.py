"""The report of the benefit experiment: the verdict, the paper's Table 2 on one's own smears, all that backs it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from smearsynth.experiment.arms import ArmName
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.report import wording as words
from smearsynth.experiment.report.figures import (
    DARK,
    LIGHT,
    TITLES,
    Ink,
    curves_figure,
    differences_figure,
    image_metric,
    images_figure,
    png_of,
    verdict_pair,
)
from smearsynth.files import atomic_write
from smearsynth.report.html import data_uri, jpeg_uri, template, write_page
from smearsynth.smear import ImageArray
from smearsynth.tasks.config import TaskName

_WIDEST = 1600  # px of a picture in the report
_DENSITY = 1.4  # px of a figure per px of the page, sharp on paper and good screens


@dataclass(frozen=True, eq=False)
class Example:
    """A prediction to show.

    Parameters
    ----------
    task : TaskName
    arm : ArmName
    smear : str
        Its name.
    score : float
        Of this image: Dice for segmentation, else F1 at IoU 0.5.
    which : {"best", "worst"}
    picture : (H, W, 3) uint8 array
        As `smearsynth.tasks.pictures.prediction_example` gives it.
    """

    task: TaskName
    arm: ArmName
    smear: str
    score: float
    which: Literal["best", "worst"]
    picture: ImageArray


@dataclass(frozen=True)
class Picture:
    """A picture of the report: its file beside the Markdown, and what the page embeds, by day and by night."""

    file: str
    png: bytes
    uri: str
    dark_uri: str
    caption: str
    width: int  # px on the page, where there is room


@dataclass(frozen=True)
class Page:
    """All that the report shows; both its forms are written from this, in this order."""

    title: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    arms: tuple[ArmName, ...]
    blocks: tuple[words.Block, ...]
    differences: Picture | None
    comparisons: tuple[words.Comparison, ...]
    curves: Picture | None
    against_all: tuple[words.Comparison, ...]
    examples: tuple[Picture, ...]
    images: Picture | None
    changed: tuple[tuple[str, tuple[str, ...]], ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    reading: tuple[str, ...]

    @property
    def pictures(self) -> list[Picture]:
        """All of them."""
        return [one for one in (self.differences, self.curves, *self.examples, self.images) if one is not None]


def write_report(result: BenefitResult, folder: Path, pictures: Sequence[Example] = ()) -> tuple[Path, Path]:
    """Write the result for people: as one HTML file that needs nothing else, and as Markdown with its figures.

    Parameters
    ----------
    result : BenefitResult
        Arms, tasks, sizes or seeds may be missing: what cannot be shown is left out or is a dash.
    folder : Path
        Gets ``report.html``, ``report.md`` and ``figures/``; made when missing.
    pictures : sequence of Example
        Predictions to show, in this order within their task.

    Returns
    -------
    html, markdown : Path
        The files written.

    Raises
    ------
    DataError
        When a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from smearsynth.experiment import Facts
    >>> facts = Facts(
    ...     data_set="mine", command="smearsynth benefit mine", smearsynth="1", torch="2", machine="a laptop",
    ...     preset="cpu", device="cpu", scale=1, seeds=1, select_by="validation", train=9, held_out=1, test=3,
    ...     synthetic=90, synthetic_fraction=0.5, steps={}, minutes=2)
    >>> html, _ = write_report(BenefitResult(facts=facts, runs=(), differences=(), verdict=("None yet.",)),
    ...     Path(tempfile.mkdtemp()))
    >>> "None yet." in html.read_text(encoding="utf-8")
    True
    """
    folder = Path(folder)
    page = _page(result, pictures)
    for picture in page.pictures:
        with atomic_write(folder / picture.file) as temporary:
            temporary.write_bytes(picture.png)
    html = write_page(folder / "report.html", template("benefit.html").render(page=page, words=words))
    return html, write_page(folder / "report.md", _markdown(page))


def _page(result: BenefitResult, pictures: Sequence[Example]) -> Page:
    compared = any(verdict_pair(result, task) for task in result.tasks)
    order = list(TITLES)
    shown = sorted(pictures, key=lambda one: (order.index(one.task), one.which))
    return Page(
        title=f"Do synthetic smears help? {result.facts.data_set}",
        verdict=result.verdict,
        warnings=tuple(words.warnings(result.facts)),
        arms=words.columns(result),
        blocks=words.table(result),
        differences=_figure("differences", differences_figure, result) if result.differences else None,
        comparisons=tuple(words.comparisons(result)),
        curves=_figure("curves", curves_figure, result) if len(result.sizes) > 1 else None,
        against_all=tuple(words.against_all(result)),
        examples=tuple(_example(one, number) for number, one in enumerate(shown, 1)),
        images=_figure("images", images_figure, result) if compared else None,
        changed=tuple(words.changed(result)),
        facts=tuple(words.facts(result)),
        command=result.facts.command,
        reading=tuple(words.reading(result)),
    )


def _figure(name: str, draw: Callable[[BenefitResult, Ink], Any], result: BenefitResult) -> Picture:
    light, dark = png_of(draw(result, LIGHT)), png_of(draw(result, DARK))
    width = round(Image.open(io.BytesIO(light)).width / _DENSITY)
    uris = data_uri("png", light), data_uri("png", dark)
    return Picture(f"figures/{name}.png", light, *uris, words.CAPTIONS[name], width)


def _example(one: Example, number: int) -> Picture:
    picture = Image.fromarray(one.picture)
    picture.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    uri = jpeg_uri(np.array(picture))
    caption = f"{TITLES[one.task]}, {one.which} of {one.arm}: {one.smear}, {image_metric(one.task)} {one.score:.2f}"
    file = f"figures/{number:02d}-{one.task}-{one.which}.png"
    return Picture(file, buffer.getvalue(), uri, uri, caption, picture.width)


def _markdown(page: Page) -> str:
    lines = [f"# {_plain(page.title)}", *(f"**{_plain(sentence)}**" for sentence in page.verdict)]
    lines += [f"> **Warning:** {_plain(warning)}" for warning in page.warnings]
    if page.blocks:
        lines += ["## Scores", _plain(words.SCORES_NOTE)]
    for block in page.blocks:
        rows = [[line.name, *line.cells] for line in block.lines]
        lines += [f"### {block.title}", _rows(["", *page.arms], rows)]
    if page.differences:
        lines += ["## Differences", _image(page.differences)]
        lines += [_compared(page, page.comparisons), words.DIFFERENCES_NOTE]
    if page.curves:
        lines += ["## How many real smears", _image(page.curves)]
    if page.against_all:
        lines += [words.AGAINST_ALL_NOTE, _compared(page, page.against_all)]
    if page.examples:
        lines += ["## Best and worst predictions", _plain(words.EXAMPLES_NOTE), *map(_image, page.examples)]
    if page.images:
        lines += ["## How each image fared", _image(page.images), "Changed most:"]
    for heading, changed in page.changed:
        numbered = (f"{number}. {_plain(line)}" for number, line in enumerate(changed, 1))
        lines += [_plain(heading), "\n".join(numbered)]
    lines += ["## What it was made of", "\n".join(f"- **{name}:** {_plain(value)}" for name, value in page.facts)]
    fence = "`" * max([3, *(len(found) + 1 for found in re.findall("`+", page.command))])
    lines += ["To run it again:", f"{fence}sh\n{page.command}\n{fence}"]
    lines += ["## How to read it", "\n".join(f"- {_plain(line)}" for line in page.reading)]
    return "\n\n".join(lines) + "\n"


def _compared(page: Page, rows: Sequence[words.Comparison]) -> str:
    head = ["", "real smears", *(block.title for block in page.blocks)]
    return _rows(head, [[row.pair, str(row.reals), *(cell.text for cell in row.cells)] for row in rows])


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    parts = [head, ["---", *["---:"] * (len(head) - 1)], *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(part)} |" for part in parts)


def _image(picture: Picture) -> str:
    return f"![{_plain(picture.caption)}]({picture.file})\n\n{_plain(picture.caption)}"


def _plain(text: str) -> str:
    r"""Text that Markdown takes for nothing else.

    Examples
    --------
    >>> print(_plain("a<b> | c_d"))
    a\<b\> \| c\_d
    """
    return re.sub(r"([\\`*_<>|#]|\](?=[(\[]))", r"\\\1", " ".join(text.split()))
