"""Stained tissue, focus and choice of the fields of a slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from smearsynth.smear import ImageArray, Mask

_BLACK, _WHITE = 8, 253  # pixels outside of the scanned area are darker or brighter
_THRESHOLDS = (8.0, 60.0)  # grey levels darker than the background
_MIN_SEPARATION = 6.0  # grey levels between the means of tissue and background
_CELL_CONTRAST = 12.0  # grey levels
_SMOOTHING = 7  # px
_FINE, _COARSE = 1.0, 3.0  # px; scales of the focus measure
_MIN_EDGES = 0.05  # squared grey levels per px; fields below have no edges


@dataclass(frozen=True)
class FieldMeasures:
    """Measures of one field.

    Parameters
    ----------
    tissue : float
        Fraction of the area that is darker than the background of the field.
    focus : float
        Gradient energy at fine scale over that at coarse scale, minus 1: near 2 for sharp edges, 0 without focus.
    """

    tissue: float
    focus: float


def tissue_mask(overview: ImageArray) -> Mask:
    """Return where a slide is stained, by Otsu's threshold on the largest difference from the background colour.

    Black and pure white pixels are outside of the scanned area. If there are not two classes of pixels, the whole
    scanned area counts as tissue, because a cut-out of a smear has no empty background.

    Parameters
    ----------
    overview : (H, W, 3) uint8 array
        The slide at low resolution.

    Returns
    -------
    (H, W) bool array

    Examples
    --------
    >>> overview = np.full((4, 6, 3), 240, np.uint8)
    >>> overview[1:3, 1:4] = (220, 170, 190)
    >>> tissue_mask(overview).astype(int).tolist()
    [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
    """
    scanned: Mask = (overview.max(axis=2) > _BLACK) & (overview.min(axis=2) < _WHITE)
    if not scanned.any():
        return scanned
    background = np.percentile(overview[scanned], 99, axis=0)
    stain = np.maximum(background - overview, 0).max(axis=2)
    values = stain[scanned]
    if values.min() == values.max():
        return scanned
    threshold = float(np.clip(threshold_otsu(values), *_THRESHOLDS))  # type: ignore[no-untyped-call]
    above = values > threshold
    if not above.any() or above.all() or values[above].mean() - values[~above].mean() < _MIN_SEPARATION:
        return scanned
    scanned &= stain > threshold
    return scanned


def measure_field(image: ImageArray) -> FieldMeasures:
    """Measure the tissue fraction and the focus of a field.

    The focus does not depend on the number of cells: it compares the gradients of the same edges at two scales,
    after the noise of the pixels is subtracted.

    Parameters
    ----------
    image : (H, W, 3) uint8 array

    Examples
    --------
    >>> image = np.full((64, 64, 3), 230, np.uint8)
    >>> image[16:48, 16:48] = (190, 120, 140)
    >>> blurred = ndimage.gaussian_filter(image, (4, 4, 0))
    >>> round(measure_field(image).tissue, 1), measure_field(image).focus > 3 * measure_field(blurred).focus
    (0.3, True)
    """
    # Every second pixel of the smoothed image is enough for an area.
    smooth = ndimage.uniform_filter(image.astype(np.float32), (_SMOOTHING, _SMOOTHING, 1))[::2, ::2]
    background = np.percentile(smooth[::2, ::2], 98, axis=(0, 1))
    tissue = float(((background - smooth).max(axis=2) > _CELL_CONTRAST).mean())
    green = image[:, :, 1].astype(np.float32)
    noise = _noise(green)
    fine, coarse = (_gradient_energy(green, scale, noise) for scale in (_FINE, _COARSE))
    focus = max(fine / coarse - 1, 0.0) if coarse > _MIN_EDGES else 0.0
    return FieldMeasures(tissue, focus)


def _noise(plane: npt.NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise of a plane (Immerkær 1996, with a median)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.median(np.abs(ndimage.convolve(plane, kernel))) / 0.6745 / 6)


def _gradient_energy(plane: npt.NDArray[np.float32], scale: float, noise: float) -> float:
    gradients = (ndimage.gaussian_filter(plane, scale, order=order) for order in ((0, 1), (1, 0)))
    energy = sum(float(np.mean(gradient**2)) for gradient in gradients)
    # White noise of variance v has the gradient energy v / (4 π scale⁴) after smoothing.
    return energy - noise**2 / (4 * np.pi * scale**4)


def field_grid(tissue: Mask, field: tuple[float, float], min_tissue: float) -> npt.NDArray[np.int64]:
    """Return the fields of a grid that have tissue.

    Parameters
    ----------
    tissue : (H, W) bool array
        Where the slide is stained.
    field : (float, float)
        Height and width of a field, in pixels of `tissue`.
    min_tissue : float
        Smallest fraction of tissue in a field.

    Returns
    -------
    (N, 2) int64 array
        Row and column in the grid, whose first field is in the upper left corner.

    Examples
    --------
    >>> field_grid(np.array([[True, True, False, False]]), (1.0, 2.0), 0.5).tolist()
    [[0, 0]]
    """
    counts = [int(side / step + 1e-6) for side, step in zip(tissue.shape, field, strict=True)]
    if not all(counts):
        return np.empty((0, 2), np.int64)
    # Sums over rectangles are differences of the cumulated sum.
    total = np.pad(tissue.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    edges = []
    for count, step, side in zip(counts, field, tissue.shape, strict=True):
        starts = np.minimum((np.arange(count) * step).astype(np.int64), side - 1)
        ends = np.clip(np.ceil(np.arange(1, count + 1) * step - 1e-6).astype(np.int64), starts + 1, side)
        edges.append((starts, ends))
    (top, bottom), (left, right) = edges
    sums = total[np.ix_(bottom, right)] - total[np.ix_(top, right)]
    sums = sums - total[np.ix_(bottom, left)] + total[np.ix_(top, left)]
    fractions = sums / np.outer(bottom - top, right - left)
    return np.argwhere(fractions >= max(min_tissue, 1e-9)).astype(np.int64)


def spread_order(places: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return an order of places in which the first ones, however many, are spread over all of them.

    Places are numbered along a Hilbert curve, on which neighbours are near each other, and taken in the order of
    van der Corput from a random start: halves, quarters, eighths, ...

    Parameters
    ----------
    places : (N, 2) int64 array
        Row and column, not negative.
    rng : numpy.random.Generator

    Returns
    -------
    (N,) int64 array
        Indices of the places.

    Examples
    --------
    >>> places = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    >>> sorted(spread_order(places, np.random.default_rng(0)).tolist())
    [0, 1, 2, 3]
    """
    count = len(places)
    if count == 0:
        return np.empty(0, np.int64)
    curve = np.argsort(_hilbert(places), kind="stable")
    bits = max(1, (count - 1).bit_length())
    numbers = np.arange(count)
    reversed_bits = np.zeros(count, np.int64)
    for bit in range(bits):
        reversed_bits |= ((numbers >> bit) & 1) << (bits - 1 - bit)
    turns = np.argsort(reversed_bits, kind="stable")
    order: npt.NDArray[np.int64] = curve[(turns + int(rng.integers(count))) % count]
    return order


def _hilbert(places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the distance of each place along a Hilbert curve."""
    y, x = places[:, 0].copy(), places[:, 1].copy()
    side = 1 << max(1, int(places.max()).bit_length())
    distance = np.zeros(len(places), np.int64)
    step = side >> 1
    while step:
        right, lower = (x & step) > 0, (y & step) > 0
        distance += step * step * ((3 * right) ^ lower)
        # Turn the quadrant, so that the curve continues from the one before.
        mirrored = ~lower & right
        x, y = np.where(mirrored, side - 1 - x, x), np.where(mirrored, side - 1 - y, y)
        x, y = np.where(~lower, y, x), np.where(~lower, x, y)
        step >>= 1
    return distance
