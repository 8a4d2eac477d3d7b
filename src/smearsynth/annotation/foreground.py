"""Cells against the background: darkness, noise, mask of the cells, and their typical diameter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from smearsynth.annotation.regions import hull_area, measure_shape
from smearsynth.smear import ImageArray, Mask

FloatImage = npt.NDArray[np.float32]  # (H, W)

_SMALL_SIDE = 320  # px; the background varies slowly, so that it is fitted to a small copy of the image
_MIN_CONTRAST = 0.035  # optical density (natural logarithm), 8 grey levels of 230
_MIN_CONTRAST_TO_NOISE = 4.0  # the two halves of Gaussian noise differ by 2.7
_AXES = 1.05  # diameter of a cell over its minor axis
_BINS = 128
_EDGE_LEVEL = 0.25  # the edge of a cell is where its darkness is this fraction of that of a typical cell
_CLOSING = 0.06  # radius relative to the diameter of a cell
_MAX_PALLOR = 0.45  # of the area of a cell; a larger hole is background enclosed by cells
_MAX_CUT_PALLOR = 0.25  # the same where the border cuts the pallor
_MIN_PALLOR_SOLIDITY = 0.85  # pallor is convex, the gap between touching cells is not


class Foreground(NamedTuple):
    """Pixels of cells.

    Parameters
    ----------
    darkness : (H, W) float32 array
        0 for background, 1 for a typical cell; linear in optical density.
    mask : (H, W) bool array
        Pixels of cells, without their pallor.
    edge : float
        Threshold of `mask`, in units of `darkness`.
    noise : float
        Standard deviation of the background, in units of `darkness`.
    contrast : float
        Optical density of a typical cell relative to the background; 0 if no cell is visible.
    """

    darkness: FloatImage
    mask: Mask
    edge: float
    noise: float
    contrast: float


def find_foreground(image: ImageArray, smoothing: float = 1.0) -> Foreground:
    """Separate cells from an uneven background.

    The background of each channel is a quadratic surface, fitted to the bright pixels. The channels are weighted by
    their contrast over their noise. The threshold is a fraction of the darkness of a typical cell, so that dark
    nuclei, which raise the threshold of Otsu (1979), do not hide pale cells.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB, with cells darker than the background.
    smoothing : float
        Standard deviation of the Gaussian filter in px.

    Returns
    -------
    Foreground
        With an empty mask if the image has no contrast beyond its noise.

    Examples
    --------
    >>> image = np.full((40, 60, 3), 220, np.uint8)
    >>> image[10:30, 10:30] = (200, 120, 150)
    >>> foreground = find_foreground(image)
    >>> foreground.mask[20, [5, 20, 40]].tolist(), float(foreground.darkness[20, 20].round(2))
    ([False, True, False], 1.0)
    >>> find_foreground(np.full((8, 8, 3), 220, np.uint8)).contrast
    0.0
    """
    density = _optical_density(image)
    density = ndimage.gaussian_filter(density, smoothing) if smoothing else density
    threshold = _otsu(density)
    dark = density > threshold
    if not dark.any() or dark.all():
        return Foreground(density, np.zeros(dark.shape, np.bool_), _EDGE_LEVEL, 0.0, 0.0)
    level, noise = _background_level(density[~dark])
    contrast = float(np.median(density[dark])) - level
    # Where nuclei are the only pixels above the threshold, a second threshold among the others finds the cells.
    paler = density[~dark]
    second = _otsu(paler)
    pale = paler > second
    if pale.any() and pale.sum() > 1.5 * dark.sum():
        pale_level, pale_noise = _background_level(paler[~pale])
        gap = float(np.median(paler[pale])) - pale_level
        if gap > max(0.25 * contrast, 2 * _MIN_CONTRAST_TO_NOISE * pale_noise, _MIN_CONTRAST):
            level, noise, contrast = pale_level, pale_noise, gap
    if contrast < max(_MIN_CONTRAST, _MIN_CONTRAST_TO_NOISE * noise):
        return Foreground(density, np.zeros(dark.shape, np.bool_), _EDGE_LEVEL, noise, 0.0)
    darkness = (density - np.float32(level)) / np.float32(contrast)
    edge = max(_EDGE_LEVEL, min(3 * noise / contrast, 0.6))
    return Foreground(darkness, darkness > edge, edge, noise / contrast, contrast)


def _background_level(density: FloatImage) -> tuple[float, float]:
    """Return the mode and the noise of the background among pixels that can include pale cells.

    The noise comes from the values below the mode, which no cell has.
    """
    low, high = (float(value) for value in np.percentile(density, [0.5, 99.5]))
    if high <= low:
        return low, 0.0
    counts, edges = np.histogram(density, _BINS, (low, high))
    peak = int(ndimage.gaussian_filter1d(counts.astype(np.float64), 2).argmax())
    mode = float(edges[peak] + edges[peak + 1]) / 2
    below = density[density < mode]
    return mode, 1.4826 * float(np.median(mode - below)) if below.size else 0.0


def _optical_density(image: ImageArray) -> FloatImage:
    """Return the optical density over the fitted background, (H, W): the weighted mean of the channels."""
    height, width = image.shape[:2]
    factor = max(1.0, max(height, width) / _SMALL_SIDE)
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = np.log1p(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float32))
    terms = _quadratic_terms(*small.shape[:2])
    # Starting with all pixels, a gradient of the light that is stronger than the contrast of cells is fitted too.
    bright = np.ones(small.shape[:2], np.bool_)
    for iteration in range(4):
        surface = _fit(small, bright, terms)
        residual = surface - small
        weights = _channel_weights(residual, bright)
        density = residual @ weights
        threshold = _otsu(density)
        # Later, halfway from the mode: the pixels between the two are edges, halos and pale cells.
        if iteration:
            level, noise = _background_level(density)
            threshold = min(max(level + 0.5 * (threshold - level), level + 2 * noise), threshold)
        bright = density <= threshold
        if bright.sum() < 0.02 * bright.size:
            break
    coefficients = _coefficients(small, bright, terms)
    full = _quadratic_terms(height, width)
    density = np.zeros((height, width), np.float32)
    table = np.log1p(np.arange(256, dtype=np.float32))
    for channel in range(3):
        if weights[channel] > 0:
            background = np.tensordot(full, coefficients[:, channel], 1)
            density += weights[channel] * (background - table[image[..., channel]])
    return density


def _quadratic_terms(height: int, width: int) -> FloatImage:
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] if height > 1 else np.zeros((1, 1), np.float32)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] if width > 1 else np.zeros((1, 1), np.float32)
    one = np.ones((height, width), np.float32)
    return np.stack([one, x * one, y * one, x * x * one, x * y, y * y * one], 2)


def _coefficients(values: FloatImage, bright: Mask, terms: FloatImage) -> FloatImage:
    """Fit the quadratic surface to the bright pixels, (6, 3), with a small weight on a flat background."""
    rows, targets = terms[bright].astype(np.float64), values[bright].astype(np.float64)
    if len(rows) == 0:
        rows, targets = terms.reshape(-1, 6).astype(np.float64), values.reshape(-1, 3).astype(np.float64)
    mean = np.median(targets, 0)
    ridge = 0.003 * len(rows) * np.diag([0.0, 1, 1, 1, 1, 1]) + 1e-9 * np.eye(6)
    solution = np.linalg.solve(rows.T @ rows + ridge, rows.T @ (targets - mean))
    solution[0] += mean
    return solution.astype(np.float32)


def _fit(values: FloatImage, bright: Mask, terms: FloatImage) -> FloatImage:
    return np.tensordot(terms, _coefficients(values, bright, terms), 1)


def _channel_weights(residual: FloatImage, bright: Mask) -> FloatImage:
    """Return the weight of each channel, (3,), with sum 1: Fisher's discriminant without covariances."""
    if not bright.any() or bright.all():
        return np.array([0.25, 0.5, 0.25], np.float32)
    contrast = np.maximum(residual[~bright].mean(0) - residual[bright].mean(0), 0)
    weights = contrast / (residual[bright].var(0) + residual[~bright].var(0) + 1e-4)
    total = float(weights.sum())
    return (weights / total).astype(np.float32) if total > 0 else np.array([0.25, 0.5, 0.25], np.float32)


def _otsu(values: npt.NDArray[np.floating]) -> float:
    if not values.size or np.ptp(values) == 0:
        return float(values.max(initial=0))
    return float(threshold_otsu(values))  # type: ignore[no-untyped-call]


def fill_pallor(mask: Mask, diameter: float) -> Mask:
    """Fill the pale centres of cells, but not the background between touching cells.

    Parameters
    ----------
    mask : (H, W) bool array
    diameter : float
        Typical diameter of the cells in px.

    Returns
    -------
    (H, W) bool array

    Examples
    --------
    >>> mask = np.zeros((20, 20), bool)
    >>> mask[4:16, 4:16] = True
    >>> mask[8:12, 8:12] = False
    >>> int(fill_pallor(mask, diameter=12).sum()), int(fill_pallor(mask, diameter=4).sum())
    (144, 128)
    """
    if not mask.any():
        return mask
    # Dark spots and folds divide the rim of many cells: a closing joins its parts around the pallor.
    radius = max(1, round(_CLOSING * diameter))
    closed = ndimage.binary_closing(np.pad(mask, radius), _disc(radius))[radius:-radius, radius:-radius]
    components, n = ndimage.label(~(mask | closed))
    if n == 0:
        return np.ones_like(mask)
    edge = np.concatenate([components[0], components[-1], components[:, 0], components[:, -1]])
    contact = np.bincount(edge, minlength=n + 1)
    areas = np.bincount(components.ravel(), minlength=n + 1)
    cell = np.pi / 4 * diameter**2
    fill = np.zeros(n + 1, bool)
    for k, window in enumerate(ndimage.find_objects(components), 1):
        # The visible part of a pallor that the border cuts is about as long as its contact with the border.
        if contact[k] > 0.7 * diameter or (contact[k] and areas[k] > _MAX_CUT_PALLOR * cell):
            continue
        if areas[k] < 0.03 * cell and not contact[k]:
            fill[k] = True
        elif areas[k] < _MAX_PALLOR * cell:
            fill[k] = areas[k] > _MIN_PALLOR_SOLIDITY * hull_area(components[window] == k)
    holes = fill[components]
    # Only the parts of the closing inside a cell are kept; the others would join neighbours.
    result: Mask = mask | holes | (closed & ndimage.binary_dilation(holes, _disc(2 * radius)))
    return result


def _disc(radius: int) -> Mask:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc: Mask = x * x + y * y <= radius * radius + radius
    return disc


def estimate_diameter(mask: Mask) -> float | None:
    """Estimate the typical diameter of the cells.

    Elliptic components are taken as single cells. In other components, each maximum of the distance transform is
    taken as a cell. The estimate is the median, without platelets and dirt, which are much smaller.

    Parameters
    ----------
    mask : (H, W) bool array
        Pixels of cells; pallor is filled here.

    Returns
    -------
    float or None
        In px; None if there is no component of at least 12 px².

    Examples
    --------
    >>> y, x = np.mgrid[:60, :100]
    >>> mask = ((x - 25) ** 2 + (y - 30) ** 2 < 15**2) | ((x - 75) ** 2 + (y - 30) ** 2 < 15**2)
    >>> round(estimate_diameter(mask))
    30
    """
    components, n = ndimage.label(ndimage.binary_opening(_fill_round_holes(mask)))
    areas = np.bincount(components.ravel(), minlength=n + 1)[1:]
    if not (areas >= 12).any():
        return None
    cut = np.zeros(n + 1, bool)
    cut[np.concatenate([components[0], components[-1], components[:, 0], components[:, -1]])] = True
    is_clump = np.ones(n + 1, bool)
    diameters: list[float] = []
    for k, window in enumerate(ndimage.find_objects(components), 1):
        shape = measure_shape(components[window] == k) if not cut[k] and areas[k - 1] >= 12 else None
        if shape and shape.solidity > 0.9 and shape.ellipse_fit > 0.93 and shape.elongation < 1.7:
            diameters.append(float(np.sqrt(4 / np.pi * shape.area)))
            is_clump[k] = False
    distance = ndimage.distance_transform_edt(components > 0)
    peaks = (distance == ndimage.maximum_filter(distance, 5)) & (distance >= 2)
    if peaks.any():
        window_size = 2 * int(_typical(distance[peaks], 2) / 2) + 1
        peaks &= (distance == ndimage.maximum_filter(distance, max(window_size, 5))) & is_clump[components]
        # Several adjacent pixels can share one maximum.
        groups, m = ndimage.label(peaks, np.ones((3, 3), int))
        diameters += [
            _AXES * 2 * float(r) for r in np.atleast_1d(ndimage.maximum(distance, groups, range(1, m + 1)))
        ]
    if not diameters:
        return None
    values = np.array(diameters)
    return float(np.median(values[values > 0.5 * _typical(values, 2)]))


def _fill_round_holes(mask: Mask) -> Mask:
    """Fill the holes of a mask that are convex, as pallor is."""
    holes, n = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    round_holes = np.zeros(n + 1, np.bool_)
    for k, window in enumerate(ndimage.find_objects(holes), 1):
        hole = holes[window] == k
        round_holes[k] = hole.sum() > _MIN_PALLOR_SOLIDITY * hull_area(hole)
    result: Mask = mask | round_holes[holes]
    return result


def _typical(values: npt.NDArray[np.floating], power: int) -> float:
    """Return the median of values that are weighted by a power of themselves."""
    order = np.sort(values.astype(np.float64))
    total = np.cumsum(order**power)
    return float(order[np.searchsorted(total, total[-1] / 2)])
