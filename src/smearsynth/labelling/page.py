"""Page that shows the labelled cells sorted by doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smearsynth.datasets import SmearFolder
from smearsynth.labelling.record import LabelledCell, count_by_origin
from smearsynth.report.html import jpeg_uri, template, write_page
from smearsynth.report.overlays import cell_edges
from smearsynth.smear import ImageArray, Smear

_MAX_CELLS = 120
_MAX_FIELDS = 12
_MARGIN = 0.6  # of the size of the cell, on each side
_MAX_SIDE = 900  # px of a field on the page
_OUTLINE = (255, 235, 0)
_OTHERS = (40, 140, 255)


@dataclass(frozen=True)
class CellCard:
    """A cell on the page: its number in the order of doubt, picture and text."""

    rank: int
    cell: LabelledCell
    picture: str
    plain: str
    width: int
    height: int


@dataclass(frozen=True)
class FieldCard:
    """A field on the page: name, number of cells, number of doubtful cells, picture."""

    name: str
    cells: int
    doubtful: int
    picture: str


def write_doubt_page(path: Path, smears: SmearFolder, cells: Mapping[str, Sequence[LabelledCell]]) -> Path:
    """Write a page with the least certain cells first, and with the fields that contain most of them.

    Parameters
    ----------
    path : Path
    smears : SmearFolder
        The labelled smears.
    cells : mapping of str to sequence of LabelledCell
        Confidence of the cells, by smear.

    Returns
    -------
    Path
    """
    ordered = sorted((cell for rows in cells.values() for cell in rows), key=lambda cell: cell.confidence)
    doubtful = ordered[: max(1, round(0.05 * len(ordered)))] if ordered else []
    shown = ordered[:_MAX_CELLS]
    index = {name: k for k, name in enumerate(smears.names)}
    per_field = _count_by_image(doubtful)
    fields = sorted(index, key=lambda name: -per_field.get(name, 0))[:_MAX_FIELDS]
    cards: dict[LabelledCell, CellCard] = {}
    field_cards: dict[str, FieldCard] = {}
    for name in dict.fromkeys([*(cell.image for cell in shown), *fields]):
        if name not in index:
            continue
        smear = smears[index[name]]
        for rank, cell in enumerate(shown, 1):
            if cell.image == name:
                cards[cell] = _cell_card(rank, cell, smear)
        if name in fields:
            field_cards[name] = _field_card(smear, cells.get(name, ()), per_field.get(name, 0))
    html = template("cells_by_doubt.html", "smearsynth.labelling").render(
        cards=[cards[cell] for cell in shown if cell in cards],
        fields=[field_cards[name] for name in fields],
        total=len(ordered),
        images=len(smears),
        origins=count_by_origin(ordered),
    )
    return write_page(path, html)


def _count_by_image(cells: Sequence[LabelledCell]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell.image] = counts.get(cell.image, 0) + 1
    return counts


def _cell_card(rank: int, cell: LabelledCell, smear: Smear) -> CellCard:
    x0, y0, x1, y1 = cell.box
    margin = round(_MARGIN * max(x1 - x0, y1 - y0)) + 4
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    right, bottom = min(smear.shape[1], x1 + margin), min(smear.shape[0], y1 + margin)
    crop = smear.cropped(top, left, bottom - top, right - left)
    window = smear.labels[top:bottom, left:right]
    picture = crop.image.copy()
    # The page shows a crop at about 150 px: thinner outlines would be invisible there.
    edges = cell_edges(crop.labels, max(1, round(max(crop.shape) / 120)))
    picture[edges] = _OTHERS
    picture[edges & (window == cell.instance)] = _OUTLINE
    return CellCard(rank, cell, jpeg_uri(picture), jpeg_uri(crop.image), right - left, bottom - top)


def _field_card(smear: Smear, cells: Sequence[LabelledCell], doubtful: int) -> FieldCard:
    preview = smear.resized(min(1.0, _MAX_SIDE / max(smear.shape)))
    return FieldCard(smear.name, smear.count, doubtful, jpeg_uri(_doubt_overlay(preview, cells, smear)))


def _doubt_overlay(preview: Smear, cells: Sequence[LabelledCell], smear: Smear) -> ImageArray:
    """Draw outlines from red (doubtful) over yellow to green (certain)."""
    picture = preview.image.copy()
    confidence = np.ones(smear.count + 1)
    for cell in cells:
        if 0 < cell.instance <= smear.count:
            confidence[cell.instance] = cell.confidence
    ranks = np.clip(confidence, 0, 1)
    colours = np.stack([np.minimum(1, 2 * (1 - ranks)), np.minimum(1, 2 * ranks), np.zeros_like(ranks)], 1)
    # Labels of the preview lack cells that are smaller than a pixel there; such cells do not occur in practice.
    if preview.count == smear.count:
        edges = cell_edges(preview.labels)
        picture[edges] = np.rint(220 * colours[preview.labels[edges]]).astype(np.uint8)
    return picture
