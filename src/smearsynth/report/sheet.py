"""Contact sheet: one HTML file with synthetic smears, their labels, and a comparison with real smears."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smearsynth.errors import OptionError
from smearsynth.report.comparison import compare
from smearsynth.report.html import data_uri, jpeg_uri, template, write_page
from smearsynth.report.overlays import overlay_layers
from smearsynth.report.plots import HEIGHT, WIDTH, nearest_plot, pair_correlation_plot
from smearsynth.smear import Smear
from smearsynth.statistics.measuring import measure_smear
from smearsynth.statistics.records import DataStatistics

MAX_SIDE = 1280  # longer side of an embedded image, px; larger images are reduced
_DISPLAY_WIDTH = 640  # approximate width of an image on the page, px


@dataclass(frozen=True)
class Card:
    """Content of the sheet for one smear.

    Parameters
    ----------
    name : str
    count : str
        Number of cells as text.
    details : str
        Size, scale and classes.
    width, height : int
        Size of the embedded images, px.
    image, outlines, cells : str
        Data URIs.
    recipe : list of (str, str)
        Keys and values; empty without a recipe.
    """

    name: str
    count: str
    details: str
    width: int
    height: int
    image: str
    outlines: str
    cells: str
    recipe: list[tuple[str, str]]


def write_contact_sheet(
    path: Path | str,
    smears: Sequence[Smear],
    *,
    real: DataStatistics,
    title: str,
    facts: Mapping[str, str],
    recipes: Sequence[Mapping[str, object]] | None = None,
) -> Path:
    """Write a page that shows synthetic smears and compares their statistics with those of real smears.

    The page is one HTML file without external resources. It shows each smear without and with its labels. Images
    with a side above 1280 px are reduced; statistics are measured at full size.

    Parameters
    ----------
    path : Path or str
        Output file; its folder is created if it does not exist.
    smears : sequence of Smear
        Synthetic smears of any size, read once and one at a time. Can be empty.
    real : DataStatistics
        Statistics of the real smears, usually those that the synthesizer was trained on.
    title : str
        Title of the page.
    facts : mapping of str to str
        Provenance of the smears (model, hash, seed, command, licence), in display order.
    recipes : sequence of mapping, optional
        Recipe of each smear, in the order of `smears`.

    Returns
    -------
    Path
        The output file.

    Raises
    ------
    DataError
        If the file cannot be written; an existing file is kept.
    OptionError
        If the numbers of recipes and smears differ.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.statistics import measure
    >>> labels = np.zeros((40, 60), np.int32)
    >>> labels[10:20, 10:20] = 1
    >>> smear = Smear(np.full((40, 60, 3), 200, np.uint8), labels, np.array([0]), name="first")
    >>> target = Path(tempfile.mkdtemp()) / "sheet.html"
    >>> sheet = write_contact_sheet(target, [smear], real=measure([smear]), title="Example", facts={"seed": "1"})
    >>> text = sheet.read_text(encoding="utf-8")
    >>> "first" in text, "Synthetic images" in text
    (True, True)
    """
    if recipes is not None and len(recipes) != len(smears):
        raise OptionError(f"{len(recipes)} recipes for {len(smears)} smears; give one recipe per smear")
    rows, cards = [], []
    for index, smear in enumerate(smears):
        rows.append(measure_smear(smear))
        cards.append(_card(smear, index, recipes[index] if recipes is not None else {}))
    synthetic = DataStatistics.from_rows(rows) if rows else None
    html = template("contact_sheet.html").render(
        title=title,
        cards=cards,
        cell_count=_quantity(sum(row.count for row in rows), "cell"),
        rows=compare(real, synthetic),
        plots=[pair_correlation_plot(real, synthetic), nearest_plot(real, synthetic)],
        plot_size=(WIDTH, HEIGHT),
        real=real,
        synthetic=synthetic,
        facts=dict(facts),
    )
    return write_page(Path(path), html)


def _card(smear: Smear, index: int, recipe: Mapping[str, object]) -> Card:
    preview = smear.resized(min(1.0, MAX_SIDE / max(smear.shape)))
    height, width = preview.shape
    # Outlines of one pixel would be invisible where the page displays an image at half its size.
    outlines, cells = overlay_layers(preview, max(1, round(width / _DISPLAY_WIDTH)))
    return Card(
        name=smear.name or f"smear {index + 1}",
        count=_quantity(smear.count, "cell"),
        details=_details(smear, preview),
        width=width,
        height=height,
        image=jpeg_uri(preview.image, comment="synthetic=true"),  # marks images saved from the page
        outlines=data_uri("png", outlines),
        cells=data_uri("png", cells),
        recipe=[(str(key), _as_text(value)) for key, value in recipe.items()],
    )


def _details(smear: Smear, preview: Smear) -> str:
    """Describe size, scale and classes in one line."""
    parts = [f"{smear.shape[1]} × {smear.shape[0]} px"]
    if smear.um_per_px is not None:
        parts.append(f"{smear.um_per_px:.3g} µm per px")
    if preview is not smear:
        parts.append(f"displayed at {preview.shape[1] / smear.shape[1]:.0%}")
    if len(smear.class_names) > 1:
        counts = [int((smear.classes == class_id).sum()) for class_id in range(len(smear.class_names))]
        parts += [f"{count} {name}" for count, name in zip(counts, smear.class_names, strict=True) if count]
    return " · ".join(parts)


def _quantity(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
