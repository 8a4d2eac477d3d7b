"""Overlays of one image: scale bars, text, markers, lines, frames and dead sensor lines that are not tissue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import ImageArray, Mask

OverlayKind = Literal["scale bar or text", "marker", "line", "pointer", "frame", "dead line"]
KINDS: tuple[OverlayKind, ...] = get_args(OverlayKind)
Floats = npt.NDArray[np.float32]

_WORK_SIDE = 800  # px; images with a longer side are reduced by a whole factor before the search
# Relative colours are divided by the colour of the background, so that all stains and cameras compare. Stained
# tissue is never greener than its background: hues between yellow and cyan with this chroma are not tissue.
_VIVID, _VIVID_EDGE = 0.48, 0.15
_MIN_VIVID_AREA = 8  # px at the working size
_LINE_CONTRAST = 0.12  # of the background level, against both sides
# Black lines are dark in all channels, white ones brighter than the background in all; rims and gaps are not.
_BLACK, _WHITE = 0.68, 1.03
_MIN_RUN = 28  # px at the working size; a flat part of the rim of a cell of 40 px is about 15 px long
_MIN_RUN_FRACTION = 0.045  # of the side of the image along the line
_FRAME_LEVEL = 0.2  # of the background level
_POINTER_LEVEL = 0.06  # optical density that all three channels lose
_POINTER_LENGTH = 0.28  # of the shorter side of the image
_SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class Overlay:
    """An overlay in one image.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    mask : (h, w) bool array
        Its pixels, in a window of the image.
    x, y : int
        Upper left pixel of the window, px.
    """

    kind: OverlayKind
    mask: Mask
    x: int
    y: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Window (x0, y0, x1, y1) in px, x1 and y1 excluded."""
        return self.x, self.y, self.x + self.mask.shape[1], self.y + self.mask.shape[0]


@dataclass(frozen=True, eq=False)
class RelativeColours:
    """An image at the working size, divided by the colour of its background.

    Parameters
    ----------
    colours : (3, h, w) float32 array
        Red, green and blue; 1 is the level of the background.
    brightest, darkest : (h, w) float32 array
        Largest and smallest channel of each pixel.
    factor : int
        Reduction of the image.
    shape : tuple of int
        (H, W) of the image.
    """

    colours: Floats
    brightest: Floats
    darkest: Floats
    factor: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, image: ImageArray) -> RelativeColours:
        """Reduce an image and divide it by its background."""
        height, width = image.shape[:2]
        factor = max(1, round(max(height, width) / _WORK_SIDE))
        small: npt.NDArray[np.uint8 | np.float32] = image
        if factor > 1:
            rows, columns = max(1, height // factor), max(1, width // factor)
            blocks = image[: rows * factor, : columns * factor]
            if min(blocks.shape[:2]) >= factor:
                small = _block_means(blocks, factor)
        levels = small[::2, ::2].reshape(-1, 3)
        field = levels[levels.max(1) > 25]  # without a black frame
        background = np.percentile(field, 75, axis=0) if len(field) else np.full(3, 255.0)
        scale = np.float32(1) / np.maximum(background, 20).astype(np.float32)
        relative = np.stack([small[..., k] * scale[k] for k in range(3)])
        return cls(relative, relative.max(0), relative.min(0), factor, (height, width))

    def overlay(self, kind: OverlayKind, mask: Mask) -> Overlay | None:
        """Return the pixels of a mask at the working size as an overlay of the full image; None without a pixel."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not rows.size:
            return None
        (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
        window = mask[top:bottom, left:right]
        f = self.factor
        full = window if f == 1 else np.repeat(np.repeat(window, f, 0), f, 1)
        # Pixels that the reduction cut off belong to the last row and column.
        below = self.shape[0] - f * mask.shape[0] if bottom == mask.shape[0] else 0
        beside = self.shape[1] - f * mask.shape[1] if right == mask.shape[1] else 0
        if below or beside:
            full = np.pad(full, ((0, max(0, below)), (0, max(0, beside))), mode="edge")
        return Overlay(kind, full.copy(), int(left) * f, int(top) * f)


def find_overlays(image: ImageArray) -> list[Overlay]:
    """Find what is drawn on an image or surrounds its field, from this image alone.

    Vivid colours between yellow and cyan, pure red and pure blue are marks. Thin dark or white lines along rows or
    columns are scale bars, with their text, or lines. Black regions in the corners and constant rows and columns
    along the border are frames. Columns and rows that differ from both neighbours everywhere are dead. A straight
    dark ribbon from the border is a pointer. A violet nucleus, a platelet and a crystal are none of these.

    Parameters
    ----------
    image : (H, W, 3) uint8 array

    Returns
    -------
    list of Overlay
        In the order of `KINDS`; with the pixels around them that antialiasing and JPEG compression change.

    Examples
    --------
    >>> image = np.full((120, 160, 3), 200, np.uint8)
    >>> find_overlays(image)
    []
    >>> image[100:103, 60:110] = 0, 255, 0
    >>> [(overlay.kind, overlay.box) for overlay in find_overlays(image)]
    [('scale bar or text', (58, 98, 112, 105))]
    """
    if min(image.shape[:2]) < 16:
        return []
    relative = RelativeColours.of(image)
    field_border = _frame(relative)
    found: list[Overlay | None] = [relative.overlay("frame", part) for part in _parts(field_border)]
    inside = ~_grown(field_border, 4) if field_border.any() else None
    found += [relative.overlay("dead line", part) for part in _parts(_dead_lines(relative.colours[1], inside))]
    dead = _union((item for item in found if item is not None), relative)
    usable = ~_grown(dead, 4) if dead.any() else np.ones(dead.shape, bool)
    found += _vivid_overlays(relative, usable)
    found += _line_overlays(relative, usable)
    found += [relative.overlay("pointer", part) for part in _parts(_pointer(relative.brightest) & usable)]
    overlays = [item for item in found if item is not None]
    return sorted(overlays, key=lambda item: (KINDS.index(item.kind), item.y, item.x))


def overlay_mask(overlays: Iterable[Overlay], shape: tuple[int, int]) -> Mask:
    """Return the pixels of all overlays, (H, W) bool.

    Examples
    --------
    >>> overlay_mask([Overlay("line", np.ones((1, 2), bool), 1, 0)], (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(shape, bool)
    for overlay in overlays:
        x0, y0, x1, y1 = overlay.box
        mask[y0:y1, x0:x1] |= overlay.mask[: shape[0] - y0, : shape[1] - x0]
    return mask


def stroke_maps(relative: RelativeColours) -> tuple[Floats, Floats]:
    """Return how much darker and how much brighter a pixel is than both sides of a thin stroke.

    Parameters
    ----------
    relative : RelativeColours

    Returns
    -------
    dark, bright : (h, w) float32 array
        Dark strokes are dark in all channels, white ones bright in all.
    """
    brightest, darkest = relative.brightest, relative.darkest
    dark = ndimage.grey_closing(brightest, size=(7, 7)) - brightest
    bright = darkest - ndimage.grey_opening(darkest, size=(7, 7))
    return dark, bright


def _block_means(image: npt.NDArray[np.generic], factor: int) -> Floats:
    """Return the means of blocks of `factor` × `factor` px; slices are faster than a mean over two axes."""
    total = np.zeros((image.shape[0] // factor, image.shape[1] // factor, *image.shape[2:]), np.float32)
    for y in range(factor):
        for x in range(factor):
            total += image[y::factor, x::factor]
    means: Floats = (total / np.float32(factor * factor)).astype(np.float32)
    return means


def _grown(mask: Mask, radius: int) -> Mask:
    """Return the pixels within `radius` rows and columns of a mask."""
    grown: Mask = ndimage.maximum_filter(mask, size=2 * radius + 1)
    return grown


def _union(overlays: Iterable[Overlay], relative: RelativeColours) -> Mask:
    full, f = overlay_mask(overlays, relative.shape), relative.factor
    rows, columns = relative.brightest.shape
    return full[: rows * f : f, : columns * f : f]


def _parts(mask: Mask) -> list[Mask]:
    """Return the connected parts of a mask, each as a mask of the same size."""
    if not mask.any():
        return []
    labels, count = ndimage.label(mask, _SQUARE)
    return [labels == k for k in range(1, count + 1)]


def vivid(relative: RelativeColours, chroma: float) -> Mask:
    """Test for colours of this chroma that stained tissue does not have, (h, w) bool.

    Parameters
    ----------
    relative : RelativeColours
    chroma : float
        Smallest difference of the largest and the smallest channel.
    """
    high, low = relative.brightest, relative.darkest
    spread = high - low
    strong = spread >= chroma
    if not strong.any():
        return strong
    red, green, blue = relative.colours
    # Hues from yellow (48 degrees, or 36 where it is vivid) over green to cyan-blue (212).
    yellow = (red >= green) & (green >= blue) & (green - blue >= np.where(spread > 0.9, 0.6, 0.8) * spread)
    green_side = (green >= red) & (green >= blue)
    cyan = (blue >= green) & (green >= red) & (green - red >= 0.55 * spread)
    middle = red + green + blue - high - low
    pure = (spread > 0.85) & (middle < 0.15) & (low < 0.12) & (green < 0.15)
    result: Mask = strong & (yellow | green_side | cyan | pure)
    return result


def _vivid_overlays(relative: RelativeColours, usable: Mask) -> list[Overlay | None]:
    seeds = vivid(relative, _VIVID) & usable
    if not seeds.any():
        return []
    labels, count = ndimage.label(seeds, _SQUARE)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= 2
    large[0] = False
    seeds = large[labels]
    # JPEG files store colour at half the resolution: the edges of a stroke fade into the background.
    near = _grown(seeds, 4)
    mask = _grown(seeds | (near & vivid(relative, _VIVID_EDGE)), 2)
    # The strokes of a text belong together: a group is what a gap of a few px separates.
    gap = max(3, round(0.012 * max(mask.shape)))
    groups, count = ndimage.label(_grown(mask, gap), _SQUARE)
    found: list[Overlay | None] = []
    for k in range(1, count + 1):
        group = (groups == k) & mask
        core = group & seeds
        if core.sum() < _MIN_VIVID_AREA:
            continue
        found.append(relative.overlay(_kind_of(core), group))
    return found


def _kind_of(core: Mask) -> OverlayKind:
    """Tell a scale bar or text, thin strokes in a long box, from a marker."""
    rows, columns = np.flatnonzero(core.any(1)), np.flatnonzero(core.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    if height * 2 <= width and (core.sum() < 0.6 * height * width or height <= 0.2 * width):
        return "scale bar or text"
    return "marker"


def _runs(along: Mask, length: int) -> Mask:
    """Return the pixels of rows that lie in runs of at least this length; single missing pixels do not end one."""
    closed = ndimage.binary_closing(along, np.ones((1, 3), bool)) | along
    # Opening with a long row: sums over windows are faster than an erosion.
    full = ndimage.uniform_filter1d(closed.astype(np.float32), length, axis=1, mode="constant") > 1 - 0.5 / length
    runs: Mask = ndimage.maximum_filter1d(full, length, axis=1, origin=-1 if length % 2 == 0 else 0)
    return runs


def _thin_rows(level: Floats, extreme: Mask, length: int) -> Mask:
    """Return horizontal lines of `level` (h, w) that are darker than both sides, of one to five rows."""
    found = np.zeros(level.shape, bool)
    padded = np.pad(level, ((5, 5), (0, 0)), mode="edge")
    height = level.shape[0]
    for step in (2, 4):
        above, below = padded[5 - step : 5 - step + height], padded[5 + step : 5 + step + height]
        darker = (np.minimum(above, below) - level > _LINE_CONTRAST) & extreme
        if darker.any():
            found |= _runs(darker, length)
    return found


def _line_overlays(relative: RelativeColours, usable: Mask) -> list[Overlay | None]:
    height, width = usable.shape
    found: list[Overlay | None] = []
    black, white = relative.brightest < _BLACK, relative.darkest > _WHITE
    for level, extreme in ((relative.brightest, black), (-relative.darkest, white)):
        if not extreme.any():
            continue
        along_rows = _thin_rows(level, extreme, max(_MIN_RUN, round(_MIN_RUN_FRACTION * width))) & usable
        along_columns = _thin_rows(level.T, extreme.T, max(_MIN_RUN, round(_MIN_RUN_FRACTION * height))).T & usable
        lines = along_rows | along_columns
        if not lines.any():
            continue
        strokes = ndimage.grey_closing(level, size=(7, 7)) - level > _LINE_CONTRAST
        for part in _parts(_grown(lines, 2)):
            found.append(_line_overlay(relative, part & lines, strokes & usable))
    return found


def _line_overlay(relative: RelativeColours, line: Mask, strokes: Mask) -> Overlay | None:
    """Return a scale bar with its text, or a line."""
    rows, columns = np.flatnonzero(line.any(1)), np.flatnonzero(line.any(0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    tall, wide = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    side = max(line.shape)
    if max(tall, wide) > 0.4 * side or min(tall, wide) > 0.15 * max(tall, wide):
        return relative.overlay("line", _grown(line, 2))
    window = np.zeros(line.shape, bool)
    reach = max(18, min(round(0.35 * max(tall, wide)), round(0.05 * side)))
    window[max(0, top - reach) : top + tall + reach, max(0, left - 4) : left + wide + 4] = True
    if tall > wide:
        window[:] = False
        window[max(0, top - 4) : top + tall + 4, max(0, left - reach) : left + wide + reach] = True
    mask = _grown(line | _text(strokes & window, window), 2)
    return relative.overlay("scale bar or text", mask)


def _text(strokes: Mask, window: Mask) -> Mask:
    """Return strokes that do not leave the window: outlines of cells that pass through it do."""
    labels, count = ndimage.label(strokes, _SQUARE)
    edge = window & ~ndimage.binary_erosion(window, _SQUARE, border_value=True)
    crossing = np.zeros(count + 1, bool)
    crossing[labels[edge]] = True
    crossing[0] = True
    inside: Mask = ~crossing[labels]
    return inside


def _frame(relative: RelativeColours) -> Mask:
    """Return black corners, and constant rows and columns along the border."""
    dark = relative.brightest < _FRAME_LEVEL
    frame = np.zeros(dark.shape, bool)
    labels, _ = ndimage.label(dark)
    for k in {int(labels[y, x]) for y in (0, -1) for x in (0, -1)} - {0}:
        part = labels == k
        if part.sum() > 0.003 * part.size and part.sum() < 0.9 * part.size:
            frame |= part
    if frame.any():  # the soft edge of a round field
        margin = max(2, round(0.012 * max(frame.shape)))
        near = _grown(frame, margin)
        frame = _grown(frame, 2) | (near & (relative.brightest < 0.6))
    for axis in (0, 1):
        lines = relative.colours.swapaxes(1, 2) if axis else relative.colours
        view = frame.T if axis else frame
        for order in (1, -1):
            view[::order][: _constant_rows(lines[:, ::order])] = True
    return frame


def _constant_rows(colours: Floats) -> int:
    """Return how many rows at the top have one constant colour, which ends with a sharp edge along the row."""
    first = np.median(colours[:, 0], axis=1)[:, None]
    rows, height = 0, colours.shape[1]
    while rows < 0.45 * height and (np.abs(colours[:, rows] - first).max(0) < 0.04).mean() > 0.98:
        rows += 1
    if rows == 0 or rows >= 0.45 * height:
        return 0
    # The background of a bright field can be constant, too, but it does not end along a row.
    after = min(rows + 2, height - 1)
    return rows + 1 if (np.abs(colours[:, after] - first).max(0) > 0.08).mean() > 0.6 else 0


def _dead_lines(level: Floats, inside: Mask | None) -> Mask:
    dead = np.zeros(level.shape, bool)
    usable = np.ones(dead.shape, bool) if inside is None else inside
    for axis in (0, 1):
        lines = level if axis == 0 else level.T
        view, valid = (dead, usable) if axis == 0 else (dead.T, usable.T)
        for width in (1, 2, 3):
            view[:, _dead_columns(lines[::3], valid[::3], width)] = True
    return _grown(dead, 1) & usable if dead.any() else dead


def _dead_columns(level: Floats, valid: Mask, width: int) -> npt.NDArray[np.int64]:
    """Return columns that differ from those at this distance on both sides, in nearly every row the same way."""
    reach = (width + 1) // 2 + (width == 1)
    middle, left, right = level[:, reach:-reach], level[:, : -2 * reach], level[:, 2 * reach :]
    rows = valid[:, reach:-reach]
    enough = np.maximum(rows.sum(0), 1)
    signed = np.where(middle < np.minimum(left, right) - 0.02, -1, 0) + (middle > np.maximum(left, right) + 0.02)
    agreement = np.abs((signed * rows).sum(0)) / enough
    return np.flatnonzero((agreement > 0.9) & (enough > 0.3 * len(level))) + reach


def _pointer(brightest: Floats) -> Mask:
    """Return straight dark ribbons that end at the border of the image."""
    none = np.zeros(brightest.shape, bool)
    step = max(1, round(max(none.shape) / 160))
    rows, columns = (side // step for side in brightest.shape)
    length = round(_POINTER_LENGTH * min(rows, columns))
    if length < 8:
        return none
    small = _block_means(brightest[: rows * step, : columns * step], step)
    density = -np.log10(np.clip(small, 0.03, 1.5))
    density = np.pad(density, 6, mode="edge")
    ribbon = (density - ndimage.grey_opening(density, size=(8, 8)))[6:-6, 6:-6]
    found = _straight_runs(ribbon > max(_POINTER_LEVEL, float(np.percentile(ribbon, 95))), length)
    if not found.any():
        return none
    labels, count = ndimage.label(found, _SQUARE)
    at_border = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_border[edge] = True
    at_border[0] = False
    kept = _grown(at_border[labels], 1)
    none[: rows * step, : columns * step] = np.repeat(np.repeat(kept, step, 0), step, 1)
    return none


def _straight_runs(dark: Mask, length: int) -> Mask:
    """Return pixels in straight runs of any direction, of at least this length (a Hough transform)."""
    found = np.zeros(dark.shape, bool)
    y, x = np.nonzero(dark)
    if not length <= len(y) <= 0.1 * dark.size:  # straight runs exist by chance where much is dark
        return found
    offset = int(np.hypot(*dark.shape)) + 1
    for angle in np.arange(0, np.pi, np.pi / 48):
        along = np.round(x * np.cos(angle) + y * np.sin(angle)).astype(int) + offset
        across = np.round(y * np.cos(angle) - x * np.sin(angle)).astype(int) + offset
        votes = np.bincount(across)
        for line in np.flatnonzero(votes >= 0.8 * length):
            members = np.flatnonzero(np.abs(across - line) <= 1)
            members = members[np.argsort(along[members], kind="stable")]
            position = along[members]
            starts = np.concatenate([[0], np.flatnonzero(np.diff(position) > 3) + 1, [len(members)]])
            for first, last in pairwise(starts.tolist()):
                if position[last - 1] - position[first] + 1 >= length:
                    found[y[members[first:last]], x[members[first:last]]] = True
    return found
