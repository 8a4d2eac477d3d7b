"""Picture of the crops that give synthetic smears away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smearsynth.datasets import SmearFolder
from smearsynth.evaluation.realism.tell import TellCrops, TellPlace
from smearsynth.files import atomic_write
from smearsynth.smear import ImageArray, Smear

_SHOWN = 160  # px, side of a crop in the picture
_COLUMNS = 8
_GAP = 4  # px
_PADDING = 235  # grey level outside of a smear


def tell_figure(
    crops: TellCrops, real: Sequence[Smear], synthetic: Sequence[Smear], path: Path | str | None = None
) -> Image.Image:
    """Draw the crops of the tell test in three blocks under each other.

    The blocks are the synthetic crops that are recognised best, the synthetic crops that pass as real, and the real
    crops that pass as synthetic. The crops are shown without the compression that the test adds.

    Parameters
    ----------
    crops : TellCrops
    real, synthetic : sequence of Smear
        The smears of the test; they may contain others.
    path : Path or str, optional
        PNG file to write.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    side = max(1, round(crops.side))
    blocks = [
        ("Synthetic crops that are recognised best", crops.obvious, synthetic),
        ("Synthetic crops that pass as real", crops.convincing, synthetic),
        ("Real crops that pass as synthetic", crops.misjudged, real),
    ]
    rows: list[ImageArray] = []
    for title, places, smears in blocks:
        tiles = [_cut(smear, place, side) for place, smear in zip(places, _smears_of(places, smears), strict=True)]
        rows += [_heading(title), *_tile_rows(tiles)]
    figure = Image.fromarray(np.concatenate(rows))
    if path is not None:
        with atomic_write(Path(path)) as temporary:
            figure.save(temporary, format="PNG")
    return figure


def _smears_of(places: Sequence[TellPlace], smears: Sequence[Smear]) -> list[Smear]:
    names = smears.names if isinstance(smears, SmearFolder) else tuple(smear.name for smear in smears)
    index = {name: k for k, name in enumerate(names)}
    return [smears[index[place.smear]] for place in places]


def _cut(smear: Smear, place: TellPlace, side: int) -> ImageArray:
    padded = np.pad(smear.image, ((side, side), (side, side), (0, 0)), constant_values=_PADDING)
    top, left = (round(centre - side / 2) + side for centre in (place.y, place.x))
    crop = Image.fromarray(padded[top : top + side, left : left + side])
    return np.asarray(crop.resize((_SHOWN, _SHOWN), Image.Resampling.BICUBIC))


def _tile_rows(tiles: list[ImageArray]) -> list[ImageArray]:
    step = _SHOWN + _GAP
    rows = []
    for start in range(0, len(tiles), _COLUMNS):
        row = np.full((step, _COLUMNS * step, 3), 255, np.uint8)
        for k, tile in enumerate(tiles[start : start + _COLUMNS]):
            row[:_SHOWN, k * step : k * step + _SHOWN] = tile
        rows.append(row)
    return rows


def _heading(text: str) -> ImageArray:
    heading = Image.new("RGB", (_COLUMNS * (_SHOWN + _GAP), 28), "white")
    ImageDraw.Draw(heading).text((4, 6), text, fill="black", font=ImageFont.load_default(16))
    return np.asarray(heading)
