"""Fields with translucent cells: overlapping cells are painted apart and joined as light passes through both.

A generator that is trained on labels without overlap paints a seam between the labels of two overlapping cells.
Here each of them is painted alone, with its whole outline. By Beer and Lambert, absorbances add up, so the
transmittance of an overlap is the product of those of its cells. This also holds for images with a gamma curve.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.layout.overlaps import Layers, UpperCell
from smearsynth.smear import ImageArray, LabelArray, Mask

_MARGIN = 16  # px of background painted around an upper cell: its halo, and context for the generator
_HALO = 3  # px around a cell that belong to its image
_SOFTNESS = 1.0  # px, of the transition from a cell to what lies around it
_FAR = 6  # px from a cell, from which the background does not depend on it
_MAX_TRANSMITTANCE = 1.1  # halos are slightly brighter than the background

# Paints window labels (h, w), 0 or 1, in the styles of the background and of the cell with this label.
WindowPainter = Callable[[LabelArray, int], ImageArray]


def add_upper_cells(base: ImageArray, layers: Layers, paint: WindowPainter, visibility: float = 1.0) -> ImageArray:
    """Add the upper cells of a field to the painted base layer.

    Parameters
    ----------
    base : (H, W, 3) uint8 array
        Image of ``layers.base``.
    layers : Layers
    paint : callable
        Called with window labels (h, w), 0 or 1, and the label of the cell in the field; returns the image of the
        window (h, w, 3) uint8.
    visibility : float
        Fraction of its absorbance with which a cell of the base layer shows through an upper one: 1 where cells lie
        on each other like filters, 0 where the upper cell hides the lower one, or presses it aside.

    Returns
    -------
    (H, W, 3) uint8 array
    """
    if not layers.upper:
        return base
    image = base.astype(np.float32)
    background = _background_colour(base, layers.base == 0)
    occupied = layers.base > 0
    for cell in layers.upper:
        labels = np.pad(cell.mask.astype(np.int32), _padding(cell.mask.shape))
        window = paint(labels, cell.label).astype(np.float32)
        _add_cell(image, occupied, cell, labels > 0, window, background, visibility)
    result: ImageArray = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return result


def _padding(shape: tuple[int, ...], grid: int = 8) -> list[tuple[int, int]]:
    """Return the pixels to add on each side: the margin, and what makes the sides multiples of `grid`."""
    return [(_MARGIN, _MARGIN + -(side + 2 * _MARGIN) % grid) for side in shape]


def _background_colour(image: npt.NDArray[np.uint8 | np.float32], background: Mask) -> npt.NDArray[np.float32]:
    pixels = image[background] if background.any() else image.reshape(-1, 3)
    median = np.median(pixels[:: max(1, len(pixels) // 20_000)], axis=0)
    colour: npt.NDArray[np.float32] = np.maximum(median, 1).astype(np.float32)  # a divisor
    return colour


def _add_cell(
    image: npt.NDArray[np.float32],
    occupied: Mask,
    cell: UpperCell,
    mask: Mask,
    window: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
    visibility: float,
) -> None:
    """Join one cell with the image, in place, and mark its pixels as occupied."""
    height, width = occupied.shape
    top, left = cell.top - _MARGIN, cell.left - _MARGIN
    rows = slice(max(top, 0), min(top + mask.shape[0], height))
    columns = slice(max(left, 0), min(left + mask.shape[1], width))
    inner = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    far = ndimage.binary_dilation(mask, iterations=_FAR) == 0
    transmittance = np.clip(window / _background_colour(window, far), 0.0, _MAX_TRANSMITTANCE)[inner]
    alpha = _soft(mask, 1.0)[inner]
    # Beside the other cells the base layer shows plain background, whose grain would count twice.
    below = _soft(occupied[rows, columns], 0.0)
    part = image[rows, columns]
    lower = (background + below * (part - background)) / background
    if visibility < 1:  # beside the upper cell, in its halo, the lower one is fully visible
        inside = ndimage.gaussian_filter(mask.astype(np.float32), _SOFTNESS)[inner][..., None]
        lower = np.maximum(lower, 1e-3) ** (1 - (1 - visibility) * inside)
    part += alpha * (background * lower * transmittance - part)
    occupied[rows, columns] |= mask[inner]


def _soft(mask: Mask, inside: float) -> npt.NDArray[np.float32]:
    """Return a mask with a soft transition outside its halo, (H, W, 1); at least `inside` on the mask."""
    grown = ndimage.binary_dilation(mask, iterations=_HALO).astype(np.float32)
    soft = ndimage.gaussian_filter(grown, _SOFTNESS)
    result: npt.NDArray[np.float32] = np.maximum(soft, inside * mask)[..., None].astype(np.float32)
    return result
