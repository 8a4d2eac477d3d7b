"""Estimation of illumination, blur and chromatic shift from a smear and, for blur, from its reconstruction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.shapes.overlaps import find_overlaps
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.synthesis.acquisition.debris import find_debris

_BLOCK = 8  # px: the illumination is smooth, so block means are sufficient
_MIN_BLOCKS = 50  # min number of background blocks for an estimate of the illumination
_MIN_PIXELS = 50  # min number of rim pixels for an estimate of the chromatic shift
_BLURS = (0.0, 0.4, 0.55, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0)  # px, between which the blur is interpolated
_MIN_ABSORBANCE = 0.05  # of single cells, natural logarithm; the overlaps of paler cells show nothing
_MIN_GAIN = 0.05  # of red or blue per grey level of green; below, the rims are not visible in that channel
_MAX_SHIFT = 2.0  # px
_RIM = 3  # px on either side of a cell outline, where the gradient measures the focus


def estimate_illumination(
    image: ImageArray, labels: LabelArray, ignored: Mask | None = None
) -> npt.NDArray[np.float64]:
    """Fit the illumination polynomial of `Acquisition` to the background of a smear.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    ignored : (H, W) bool array, optional
        Pixels without annotation, which are no background.

    Returns
    -------
    (15,) float64 array
        Zeros if less than 50 blocks of 8×8 px are background.
    """
    height, width = (side // _BLOCK * _BLOCK for side in labels.shape)
    background = _background(image, labels, ignored)
    counts = _block_sums(background[:height, :width])
    usable = counts >= _BLOCK * _BLOCK // 2
    if usable.sum() < _MIN_BLOCKS:
        return np.zeros(15)
    basis = _polynomial_basis((height // _BLOCK, width // _BLOCK))[:, usable]
    matrix = np.concatenate([np.ones((1, basis.shape[1])), basis]).T
    coefficients = []
    for channel in range(3):
        plane = np.where(background, image[..., channel], 0)[:height, :width].astype(np.float64)
        means = _block_sums(plane)[usable] / counts[usable]
        solution = np.linalg.lstsq(matrix, np.log(np.maximum(means, 1.0)), rcond=None)[0]
        coefficients.append(solution[1:])  # without the constant
    return np.concatenate(coefficients)


def estimate_blur(
    real: ImageArray, reconstruction: ImageArray, labels: LabelArray, ignored: Mask | None = None
) -> float:
    """Return the blur in px that brings the rims of a reconstruction to the steepness of the real ones.

    Parameters
    ----------
    real, reconstruction : (H, W, 3) uint8 arrays
    labels : (H, W) int32 array
    ignored : (H, W) bool array, optional
        Pixels without annotation; rims in and beside them do not count.

    Returns
    -------
    float
        0 if the reconstruction is not sharper than the real image or has no cells.
    """
    cells = labels > 0
    rim = ndimage.binary_dilation(cells, iterations=_RIM) & ~ndimage.binary_erosion(cells, iterations=_RIM)
    if ignored is not None:
        rim &= ~ndimage.binary_dilation(ignored, iterations=_RIM)
    if not rim.any():
        return 0.0
    occupied = cells if ignored is None else cells | ignored
    background = ndimage.binary_dilation(occupied, iterations=2 * _RIM) == 0
    target = _rim_gradient(real[..., 1].astype(np.float32), rim, background)
    plane = reconstruction[..., 1].astype(np.float32)
    gradients = [_rim_gradient(ndimage.gaussian_filter(plane, sigma), rim, background) for sigma in _BLURS]
    # gradients decrease with the blur; np.interp needs increasing values
    return float(np.interp(-target, -np.array(gradients), _BLURS))


def estimate_visibility(smear: Smear) -> float:
    """Estimate the fraction of its absorbance with which the lower of two overlapping cells is visible.

    Parameters
    ----------
    smear : Smear

    Returns
    -------
    float
        Mean over the overlaps, in [0, 1]; NaN without overlaps whose cells are elliptic.
    """
    background = smear.background()
    if not smear.count or not background.any():
        return float("nan")
    grey = smear.image.mean(axis=2, dtype=np.float64)
    level = float(np.median(grey[background]))
    diameter = float(np.sqrt(4 * np.median(smear.areas()) / np.pi))
    fractions = []
    for overlap in find_overlaps(smear, diameter):
        both, single = (np.log(level / max(mean, 1.0)) for mean in overlap.levels(grey))
        if single > _MIN_ABSORBANCE:
            fractions.append(both / single - 1)
    return float(np.clip(np.mean(fractions), 0, 1)) if fractions else float("nan")


def estimate_shift(image: ImageArray, labels: LabelArray, ignored: Mask | None = None) -> npt.NDArray[np.float64]:
    """Estimate the lateral chromatic aberration of a smear from the rims of its cells.

    A shifted channel is, to first order, a linear function of the green channel and its gradient.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    ignored : (H, W) bool array, optional
        Pixels without annotation; rims in and beside them do not count.

    Returns
    -------
    (4,) float64 array
        Shift of R down and right, and of B down and right, relative to G, px. Zeros without cells.
    """
    cells = labels > 0
    rim = ndimage.binary_dilation(cells, iterations=_RIM + 1) & ~ndimage.binary_erosion(cells, iterations=_RIM + 1)
    if ignored is not None:
        rim &= ~ndimage.binary_dilation(ignored, iterations=_RIM)
    if rim.sum() < _MIN_PIXELS:
        return np.zeros(4)
    red, green, blue = (ndimage.gaussian_filter(image[..., k].astype(np.float32), 1.0) for k in range(3))
    slopes = np.gradient(green)
    matrix = np.stack([green[rim], slopes[0][rim], slopes[1][rim], np.ones(int(rim.sum()))], 1).astype(np.float64)
    shifts = []
    for plane in (red, blue):
        gain, down, right, _ = np.linalg.lstsq(matrix, plane[rim].astype(np.float64), rcond=None)[0]
        shifts += [-down / gain, -right / gain] if abs(gain) > _MIN_GAIN else [0.0, 0.0]
    return np.clip(shifts, -_MAX_SHIFT, _MAX_SHIFT)


def _background(image: ImageArray, labels: LabelArray, ignored: Mask | None) -> Mask:
    """Return the background away from cells and ignored pixels, without debris, (H, W) bool."""
    occupied = labels > 0 if ignored is None else (labels > 0) | ignored
    background: Mask = ndimage.binary_dilation(occupied, iterations=_RIM) == 0
    return background & ~find_debris(image, labels, ignored)


def _rim_gradient(plane: npt.NDArray[np.float32], rim: Mask, background: Mask) -> float:
    """Return the root mean square gradient of the rims; that of the background is subtracted as noise."""
    dy, dx = np.gradient(plane, axis=0), np.gradient(plane, axis=1)
    squares: npt.NDArray[np.float32] = dy**2 + dx**2
    noise = float(squares[background].mean()) if background.any() else 0.0
    return float(np.sqrt(max(0.0, float(squares[rim].mean()) - noise)))


def _block_sums(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return the sums over blocks of 8×8 px."""
    height, width = plane.shape
    sums: npt.NDArray[np.float64] = plane.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).sum((1, 3))
    return sums


def _polynomial_basis(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return x, y, x², xy and y² on a grid from -1 to 1, (5, H, W)."""
    y, x = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in shape)
    grid_y, grid_x = np.broadcast_arrays(y[:, None], x[None])
    return np.stack([grid_x, grid_y, grid_x**2, grid_x * grid_y, grid_y**2])
