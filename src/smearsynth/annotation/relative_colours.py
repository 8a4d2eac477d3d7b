"""Overlays of an image, and the image relative to its background, in which they are searched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import ImageArray, Mask

OverlayKind = Literal["scale bar or text", "marker", "line", "pointer", "frame", "dead line", "dust"]
KINDS: tuple[OverlayKind, ...] = get_args(OverlayKind)
Floats = npt.NDArray[np.float32]

_WORK_SIDE = 800  # px; images with a longer side are reduced by a whole factor before the search
SQUARE = np.ones((3, 3), bool)  # neighbourhood of 8 pixels


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
                small = block_means(blocks, factor)
        levels = small[::4, ::4].reshape(-1, 3)
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


def union(overlays: Iterable[Overlay], relative: RelativeColours) -> Mask:
    """Return the pixels of overlays at the working size, (h, w) bool."""
    full, f = overlay_mask(overlays, relative.shape), relative.factor
    rows, columns = relative.brightest.shape
    return full[: rows * f : f, : columns * f : f]


def block_means(image: npt.NDArray[np.generic], factor: int) -> Floats:
    """Return the means of blocks of `factor` × `factor` px; slices are faster than a mean over two axes."""
    total = np.zeros((image.shape[0] // factor, image.shape[1] // factor, *image.shape[2:]), np.float32)
    for y in range(factor):
        for x in range(factor):
            total += image[y::factor, x::factor]
    means: Floats = (total / np.float32(factor * factor)).astype(np.float32)
    return means


def grown(mask: Mask, radius: int) -> Mask:
    """Return the pixels within `radius` rows and columns of a mask."""
    result = np.zeros(mask.shape, bool)
    window = bounding_window(mask, radius)
    if window is not None:
        result[window] = ndimage.maximum_filter(mask[window], size=2 * radius + 1)
    return result


def bounding_window(mask: Mask, margin: int) -> tuple[slice, slice] | None:
    """Return the rows and columns that contain a mask with a margin; None without a pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )


def parts(mask: Mask) -> list[Mask]:
    """Return the connected parts of a mask, each as a mask of the same size."""
    if not mask.any():
        return []
    labels, count = ndimage.label(mask, SQUARE)
    return [labels == k for k in range(1, count + 1)]
