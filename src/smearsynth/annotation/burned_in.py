"""Overlays of one image: scale bars, text, markers, lines, frames and dead sensor lines that are not tissue."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.annotation.relative_colours import (
    KINDS,
    SQUARE,
    Floats,
    Overlay,
    OverlayKind,
    RelativeColours,
    block_means,
    bounding_window,
    grown,
    parts,
    union,
)
from smearsynth.smear import ImageArray, Mask

# Relative colours are divided by the colour of the background, so that all stains and cameras compare. Stained
# tissue is never greener than its background: hues between yellow and cyan with this chroma are not tissue.
_VIVID, _VIVID_EDGE = 0.48, 0.15
_MIN_VIVID_AREA = 8  # px at the working size
_MIN_TEXT_AREA = 24  # px at the working size
_LINE_CONTRAST = 0.12  # of the background level, against both sides
# Black lines are dark in all channels, white ones brighter than the background in all; rims and gaps are not.
_BLACK, _WHITE = 0.68, 1.03
_MIN_RUN = 28  # px at the working size; a flat part of the rim of a cell of 40 px is about 15 px long
_MIN_RUN_FRACTION = 0.045  # of the side of the image along the line
_FRAME_LEVEL = 0.2  # of the background level
_POINTER_LEVEL = 0.06  # optical density that all three channels lose
_POINTER_LENGTH = 0.28  # of the shorter side of the image


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
    return overlays_of(RelativeColours.of(image))


def overlays_of(relative: RelativeColours) -> list[Overlay]:
    """Find the overlays of an image at the working size, as `find_overlays` does."""
    field_border = _frame(relative)
    found: list[Overlay | None] = [relative.overlay("frame", part) for part in parts(field_border)]
    inside = ~grown(field_border, 4) if field_border.any() else None
    found += [relative.overlay("dead line", part) for part in parts(_dead_lines(relative.colours[1], inside))]
    dead = union((item for item in found if item is not None), relative)
    usable = ~grown(dead, 4) if dead.any() else np.ones(dead.shape, bool)
    found += vivid_overlays(relative, usable)
    found += _line_overlays(relative, usable)
    found += [relative.overlay("pointer", part) for part in parts(_pointer(relative.brightest) & usable)]
    overlays = [item for item in found if item is not None]
    return sorted(overlays, key=lambda item: (KINDS.index(item.kind), item.y, item.x))


def vivid(relative: RelativeColours, chroma: float, within: Mask) -> Mask:
    """Test for colours of this chroma that stained tissue does not have, (h, w) bool.

    Parameters
    ----------
    relative : RelativeColours
    chroma : float
        Smallest difference of the largest and the smallest channel.
    within : (h, w) bool array
        Pixels that are tested.
    """
    result = ((relative.brightest - relative.darkest) >= chroma) & within
    y, x = np.nonzero(result)
    if not y.size:
        return result
    red, green, blue = relative.colours[:, y, x]
    high, low = relative.brightest[y, x], relative.darkest[y, x]
    spread = high - low
    # Hues from yellow (48 degrees, or 36 where it is vivid) over green to cyan-blue (212).
    yellow = (red >= green) & (green >= blue) & (green - blue >= np.where(spread > 0.9, 0.6, 0.8) * spread)
    green_side = (green >= red) & (green >= blue)
    cyan = (blue >= green) & (green >= red) & (green - red >= 0.55 * spread)
    middle = red + green + blue - high - low
    pure = (spread > 0.85) & (middle < 0.15) & (low < 0.12) & (green < 0.15)
    result[y, x] = yellow | green_side | cyan | pure
    return result


def vivid_overlays(relative: RelativeColours, usable: Mask, chroma: float = _VIVID) -> list[Overlay | None]:
    """Return marks in colours that stained tissue does not have.

    Parameters
    ----------
    relative : RelativeColours
    usable : (h, w) bool array
        Pixels that may be their core.
    chroma : float
        Smallest chroma of the core.
    """
    seeds = vivid(relative, chroma, usable)
    if not seeds.any():
        return []
    labels, count = ndimage.label(seeds, SQUARE)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= 2
    large[0] = False
    seeds = large[labels]
    # JPEG files store colour at half the resolution: the edges of a stroke fade into the background.
    mask = grown(seeds | vivid(relative, _VIVID_EDGE, grown(seeds, 4)), 2)
    # The strokes of a text belong together: a group is what a gap of a few px separates.
    gap = max(3, round(0.012 * max(mask.shape)))
    groups, count = ndimage.label(grown(mask, gap), SQUARE)
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
    runs = np.zeros(along.shape, bool)
    chosen = np.flatnonzero(along.sum(1) >= length // 2)
    if not chosen.size or along.shape[1] < length:
        return runs
    rows = along[chosen]
    rows[:, 1:-1] |= rows[:, :-2] & rows[:, 2:]
    sums = np.zeros((len(rows), rows.shape[1] + 1), np.int32)
    np.cumsum(rows, axis=1, out=sums[:, 1:])
    starts = sums[:, length:] - sums[:, :-length] == length
    if starts.any():
        changes = np.zeros((len(rows), rows.shape[1] + 1), np.int32)
        changes[:, : starts.shape[1]] += starts
        changes[:, length:] -= starts
        runs[chosen] = np.cumsum(changes, axis=1)[:, :-1] > 0
    return runs


def _thin_rows(level: Floats, extreme: Mask, length: int) -> Mask:
    """Return horizontal lines of `level` (h, w) that are darker than both sides, of one to five rows."""
    found = np.zeros(level.shape, bool)
    height = level.shape[0]
    rows = np.flatnonzero(extreme.sum(1) >= length // 2)
    if not rows.size:
        return found
    here, limit = extreme[rows], level[rows] + np.float32(_LINE_CONTRAST)
    for step in (2, 4):
        above, below = level[np.maximum(rows - step, 0)], level[np.minimum(rows + step, height - 1)]
        runs = _runs((above > limit) & (below > limit) & here, length)
        found[rows] |= runs
    return found


def _line_overlays(relative: RelativeColours, usable: Mask) -> list[Overlay | None]:
    height, width = usable.shape
    found: list[Overlay | None] = []
    black, white = relative.brightest < _BLACK, relative.darkest > _WHITE
    for level, extreme in ((relative.brightest, black), (-relative.darkest, white)):
        if not extreme.any():
            continue
        along_rows = _thin_rows(level, extreme, max(_MIN_RUN, round(_MIN_RUN_FRACTION * width))) & usable
        upright = np.ascontiguousarray(level.T), np.ascontiguousarray(extreme.T)
        along_columns = _thin_rows(*upright, max(_MIN_RUN, round(_MIN_RUN_FRACTION * height))).T & usable
        lines = along_rows | along_columns
        if not lines.any():
            continue
        for part in parts(grown(lines, 2)):
            found.append(_line_overlay(relative, part & lines, level, usable))
    return found


def _line_overlay(relative: RelativeColours, line: Mask, level: Floats, usable: Mask) -> Overlay | None:
    """Return a scale bar with its text, or a line."""
    rows, columns = np.flatnonzero(line.any(1)), np.flatnonzero(line.any(0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    tall, wide = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    side = max(line.shape)
    if max(tall, wide) > 0.4 * side or min(tall, wide) > 0.15 * max(tall, wide):
        return relative.overlay("line", grown(line, 2))
    window = np.zeros(line.shape, bool)
    reach = max(18, min(round(0.35 * max(tall, wide)), round(0.05 * side)))
    window[max(0, top - reach) : top + tall + reach, max(0, left - 4) : left + wide + 4] = True
    if tall > wide:
        window[:] = False
        window[max(0, top - 4) : top + tall + 4, max(0, left - reach) : left + wide + reach] = True
    crop = bounding_window(window, 8) or (slice(None), slice(None))
    strokes = ndimage.grey_closing(level[crop], size=(7, 7)) - level[crop] > _LINE_CONTRAST
    line[crop] |= _text(strokes & usable[crop] & window[crop], window[crop])
    return relative.overlay("scale bar or text", grown(line, 2))


def text_at(relative: RelativeColours, window: tuple[slice, slice]) -> Overlay | None:
    """Return black or white strokes at a place where other smears have a scale bar or text.

    Parameters
    ----------
    relative : RelativeColours
    window : (slice, slice)
        Rows and columns of the place. Strokes that leave it are not text.
    """
    crop = tuple(slice(max(0, part.start - 8), part.stop + 8) for part in window)
    black, white = relative.brightest[crop], relative.darkest[crop]
    inside = np.zeros(relative.brightest.shape, bool)
    inside[window] = True
    inside = inside[crop]
    found = np.zeros(inside.shape, bool)
    for level, extreme in ((black, black < _BLACK), (-white, white > _WHITE)):
        strokes = (ndimage.grey_closing(level, size=(7, 7)) - level > _LINE_CONTRAST) & extreme
        found |= _text(strokes & inside, inside)
    mask = np.zeros(relative.brightest.shape, bool)
    mask[crop] = found
    return relative.overlay("scale bar or text", grown(mask, 2)) if found.sum() >= _MIN_TEXT_AREA else None


def _text(strokes: Mask, window: Mask) -> Mask:
    """Return strokes that do not leave the window: outlines of cells that pass through it do."""
    labels, count = ndimage.label(strokes, SQUARE)
    edge = window & ~ndimage.binary_erosion(window, SQUARE, border_value=True)
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
        near = grown(frame, margin)
        frame = grown(frame, 2) | (near & (relative.brightest < 0.6))
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
    return grown(dead, 1) & usable if dead.any() else dead


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
    small = block_means(brightest[: rows * step, : columns * step], step)
    density = -np.log10(np.clip(small, 0.03, 1.5))
    density = np.pad(density, 6, mode="edge")
    ribbon = (density - ndimage.grey_opening(density, size=(8, 8)))[6:-6, 6:-6]
    found = _straight_runs(ribbon > max(_POINTER_LEVEL, float(np.percentile(ribbon, 95))), length)
    if not found.any():
        return none
    labels, count = ndimage.label(found, SQUARE)
    at_border = np.zeros(count + 1, bool)
    # The ribbon fades within the last pixels, where the opening reaches over the border.
    for edge in (labels[:3], labels[-3:], labels[:, :3], labels[:, -3:]):
        at_border[edge] = True
    at_border[0] = False
    kept = grown(at_border[labels], 1)
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
