"""Summary and picture of the burned-in overlays of a data set, such as scale bars and text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from smearsynth.annotation.relative_colours import KINDS, Overlay, OverlayKind, overlay_mask
from smearsynth.files import atomic_write
from smearsynth.smear import ImageArray

_TILE, _COLUMNS, _MAX_TILES = 480, 4, 60
_COLOURS: dict[OverlayKind, tuple[int, int, int]] = {
    "scale bar or text": (0, 0, 255),
    "marker": (255, 0, 255),
    "line": (255, 0, 0),
    "pointer": (255, 128, 0),
    "frame": (0, 160, 160),
    "dead line": (90, 0, 160),
    "dust": (0, 130, 0),
}


class OverlaySummary(NamedTuple):
    """Overlays of one kind.

    Parameters
    ----------
    kind : str
    smears : int
        Number of smears that have one.
    pixel_fraction : float
        Fraction of the pixels of all smears.
    place : str
        Where they usually are, such as "lower right".
    """

    kind: OverlayKind
    smears: int
    pixel_fraction: float
    place: str


def summarise_overlays(fields: Sequence[tuple[tuple[int, int], Sequence[Overlay]]]) -> list[OverlaySummary]:
    """Summarise the overlays of a data set by kind.

    Parameters
    ----------
    fields : sequence of ((H, W), sequence of Overlay)
        Size of each image in px, and its overlays.

    Examples
    --------
    >>> bar = Overlay("scale bar or text", np.ones((2, 20), bool), 70, 90)
    >>> summarise_overlays([((100, 100), [bar]), ((100, 100), [])])
    [OverlaySummary(kind='scale bar or text', smears=1, pixel_fraction=0.002, place='lower right')]
    """
    pixels = sum(height * width for (height, width), _ in fields)
    rows = []
    for kind in KINDS:
        having = [(size, [item for item in overlays if item.kind == kind]) for size, overlays in fields]
        having = [(size, items) for size, items in having if items]
        if not having:
            continue
        covered = sum(int(overlay_mask(items, size).sum()) for size, items in having)
        places = [_place(item, size) for size, items in having for item in items]
        place = max(dict.fromkeys(places), key=places.count)
        place = place if places.count(place) > 0.7 * len(places) else "various"
        rows.append(OverlaySummary(kind, len(having), covered / pixels, place))
    return rows


def draw_overlay_sheet(path: Path | str, fields: Iterable[tuple[str, ImageArray, Sequence[Overlay]]]) -> int:
    """Draw a contact sheet of smears with their overlays, each outlined and named by its kind.

    If no smear has an overlay, it shows the first smears as they are. At most 60 smears are drawn.

    Parameters
    ----------
    path : Path or str
        PNG file.
    fields : iterable of (str, (H, W, 3) uint8 array, sequence of Overlay)
        Name, image and overlays of each smear.

    Returns
    -------
    int
        Number of smears that are drawn.

    Raises
    ------
    DataError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "overlays.png"
    >>> draw_overlay_sheet(target, [("a", np.zeros((30, 40, 3), np.uint8), [])])
    1
    """
    tiles: list[Image.Image] = []
    clean: list[Image.Image] = []
    for name, image, overlays in fields:
        chosen = tiles if overlays else clean
        if len(chosen) < (_MAX_TILES if overlays else _COLUMNS):
            chosen.append(_tile(name, image, overlays))
    tiles = tiles or clean
    columns = min(_COLUMNS, max(1, len(tiles)))
    height = max((tile.height for tile in tiles), default=1)
    sheet = Image.new(
        "RGB", (columns * (_TILE + 6), max(1, math.ceil(len(tiles) / columns)) * (height + 6)), "white"
    )
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k % columns * (_TILE + 6), k // columns * (height + 6)))
    with atomic_write(Path(path)) as temporary:
        sheet.save(temporary, format="PNG")
    return len(tiles)


def _tile(name: str, image: ImageArray, overlays: Sequence[Overlay]) -> Image.Image:
    scale = _TILE / image.shape[1]
    size = (_TILE, max(1, round(image.shape[0] * scale)))
    pixels = np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    labels = []
    for overlay in overlays:
        mask = Image.fromarray(overlay_mask([overlay], image.shape[:2]))
        small = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
        pixels[ndimage.binary_dilation(small, iterations=2) & ~small] = _COLOURS[overlay.kind]
        x0, y0, _, _ = overlay.box
        labels.append((min(x0 * scale, _TILE - 6.5 * len(overlay.kind)), max(y0 * scale - 14, 0), overlay.kind))
    tile = Image.fromarray(pixels)
    draw = ImageDraw.Draw(tile)
    for x, y, kind in labels:
        draw.text((max(x, 0), y), kind, fill=_COLOURS[kind], stroke_width=2, stroke_fill="white")
    draw.text((4, 2), name, fill="black", stroke_width=2, stroke_fill="white")
    return tile


def _place(overlay: Overlay, size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = overlay.box
    if (x1 - x0) > 0.6 * size[1] or (y1 - y0) > 0.6 * size[0]:
        return "across the field"
    vertical = ("upper", "middle", "lower")[min(2, int(1.5 * (y0 + y1) / size[0]))]
    horizontal = ("left", "centre", "right")[min(2, int(1.5 * (x0 + x1) / size[1]))]
    return f"{vertical} {horizontal}"
