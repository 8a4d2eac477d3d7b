"""The contact sheet: one HTML file, with all its images in it, by which to judge synthetic smears."""

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
from smearsynth.statistics import DataStatistics, measure_smear

MAX_SIDE = 1280  # px of an embedded image; larger smears are shown smaller
_COLUMN = 640  # px, about the width of a picture on the page


@dataclass(frozen=True)
class Card:
    """What the sheet shows of one smear.

    Parameters
    ----------
    name : str
    count : str
        Number of cells in words.
    details : str
        Size, scale and classes.
    width, height : int
        Of the embedded pictures, px.
    image, outlines, cells : str
        Data URIs.
    recipe : list of (str, str)
        Keys and values; empty where none is known.
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
    """Write synthetic smears, and their statistics beside the real ones', as one HTML file.

    The file needs no network and nothing beside it. Every smear is shown plain and with its labels; images
    over 1280 px are shown smaller, while statistics are of the smears as they are.

    Parameters
    ----------
    path : Path or str
        The file to write; its folder is made when missing.
    smears : sequence of Smear
        The synthetic ones, of any sizes; read once, one at a time. May be empty.
    real : DataStatistics
        Of the smears that the synthesizer was trained on.
    title : str
    facts : mapping of str to str
        What the smears were made by and may be used for (model, hash, seed, command, licence), in order.
    recipes : sequence of mapping, optional
        What each smear can be made again by, in the order of `smears`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        When the file cannot be written; what was there before is left.
    OptionError
        When there is not one recipe per smear.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from smearsynth.statistics import measure
    >>> labels = np.zeros((40, 60), np.int32)
    >>> labels[10:20, 10:20] = 1
    >>> smear = Smear(np.full((40, 60, 3), 200, np.uint8), labels, np.array([0]), name="first")
    >>> target = Path(tempfile.mkdtemp()) / "sheet.html"
    >>> sheet = write_contact_sheet(target, [smear], real=measure([smear]), title="Try", facts={"seed": "1"})
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
        cell_count=_counted(sum(row.count for row in rows), "cell"),
        rows=compare(real, synthetic),
        plots=[pair_correlation_plot(real, synthetic), nearest_plot(real, synthetic)],
        plot_size=(WIDTH, HEIGHT),
        real=real,
        synthetic=synthetic,
        facts=dict(facts),
    )
    return write_page(Path(path), html)


def _card(smear: Smear, index: int, recipe: Mapping[str, object]) -> Card:
    shown = smear.resized(min(1.0, MAX_SIDE / max(smear.shape)))
    height, width = shown.shape
    # Outlines of one pixel would vanish where the page shows a picture at half its size.
    outlines, cells = overlay_layers(shown, max(1, round(width / _COLUMN)))
    return Card(
        name=smear.name or f"smear {index + 1}",
        count=_counted(smear.count, "cell"),
        details=_details(smear, shown),
        width=width,
        height=height,
        image=jpeg_uri(shown.image, comment="synthetic=true"),  # a picture saved from the sheet still says it
        outlines=data_uri("png", outlines),
        cells=data_uri("png", cells),
        recipe=[(str(key), _plain(value)) for key, value in recipe.items()],
    )


def _details(smear: Smear, shown: Smear) -> str:
    """Describe size, scale and classes in one line."""
    parts = [f"{smear.shape[1]} × {smear.shape[0]} px"]
    if smear.um_per_px is not None:
        parts.append(f"{smear.um_per_px:.3g} µm per px")
    if shown is not smear:
        parts.append(f"shown at {shown.shape[1] / smear.shape[1]:.0%}")
    if len(smear.class_names) > 1:
        counts = [int((smear.classes == kind).sum()) for kind in range(len(smear.class_names))]
        parts += [f"{count} {name}" for count, name in zip(counts, smear.class_names, strict=True) if count]
    return " · ".join(parts)


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
