"""Texture: the noise of the background and of cells, with its spectrum and its colour.

Sensor noise, demosaicing, the grain of the slide and compression leave noise whose neighbours and channels are
correlated. A painted image has less of it at high frequencies, and its background is too even at low ones. The
missing noise is measured as the power of bands of spatial frequency, and drawn as a sum of Gaussian fields with
different correlation lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage, optimize

from smearsynth.smear import ImageArray, LabelArray, Mask
from smearsynth.synthesis.acquisition.debris import find_debris

# Correlation lengths of the noise, px: standard deviations of the Gaussian filters of white noise.
SIGMAS = (0.0, 0.7, 1.4, 2.8, 5.6, 11.2)
# Band k of a measurement is the difference of the images filtered with edges k and k + 1.
_EDGES = (0.0, 0.7, 1.4, 2.8, 5.6, 11.2, 22.4)
_STEPS = (1, 1, 2, 2, 4, 4)  # px: noise of long correlation is drawn on a coarser grid
_COARSE = 4  # px: blocks on which the bands of long correlation are measured
_FIRST_COARSE = 4  # index in _EDGES from which the blocks are used
_CELL_BANDS = 2  # the coarser structure of cells is painted: no independent noise resembles it
_MARGIN = 3  # px around a rim that belong neither to the background nor to the inside of a cell
_MIN_PIXELS = 500  # of a region whose power is measured
_TRIMMED = 0.95  # fraction of the pixels of a region that is used; specks have the largest values
_MAX_VALUES = 40_000  # of a region whose mean square is computed
_ROUNDS = 3  # of the fit; compression removes part of the noise

FloatArray = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]

# ITU-R BT.601, as in JPEG.
_TO_YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_RGB = np.linalg.inv(_TO_YCBCR)

_Row = tuple[float, float, float]


class Texture(BaseModel):
    """Noise of one field, in addition to that of the painted image.

    Parameters
    ----------
    background, cells : tuple of (float, float, float)
        Standard deviations in grey levels of luma, blue and red chroma (Y, Cb, Cr) for each correlation length in
        `SIGMAS`.

    Examples
    --------
    >>> texture = Texture(background=((3.0, 0.0, 0.0),), cells=())
    >>> noise = texture.draw((200, 200), None, np.random.default_rng(0))
    >>> noise.std(axis=(1, 2)).round(1).tolist()
    [3.0, 3.0, 3.0]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    background: tuple[_Row, ...] = Field((), max_length=len(SIGMAS))
    cells: tuple[_Row, ...] = Field((), max_length=len(SIGMAS))

    @classmethod
    def of(cls, deviations: npt.ArrayLike) -> Self:
        """Return the texture of an array (2, bands, 3): background and cells."""
        background, cells = np.round(np.asarray(deviations, np.float64), 2).tolist()
        return cls(background=background, cells=cells)

    def scaled(self, factor: float) -> Texture:
        """Return a texture with standard deviations multiplied by a factor."""
        return Texture.of(factor * np.stack([self._table(self.background), self._table(self.cells)]))

    def draw(self, shape: tuple[int, int], cell_mask: Mask | None, rng: np.random.Generator) -> Plane:
        """Draw the noise of a field of (H, W) px.

        Parameters
        ----------
        shape : tuple of int
        cell_mask : (H, W) bool array, optional
            Default: no cells.
        rng : numpy.random.Generator

        Returns
        -------
        (3, H, W) float32 array
            To be added to R, G and B, grey levels.
        """
        background, cells = self._table(self.background), self._table(self.cells)
        weight = None
        if cell_mask is not None and (cells != background).any():
            weight = ndimage.gaussian_filter(cell_mask.astype(np.float32), 1.0)
        planes = np.zeros((3, *shape), np.float32)
        for band in range(len(SIGMAS)):
            for channel in range(3):
                outside, inside = np.float32(background[band, channel]), np.float32(cells[band, channel])
                if outside or inside:
                    noise = _correlated_noise(shape, band, rng)
                    planes[channel] += noise * (
                        outside if weight is None else outside + (inside - outside) * weight
                    )
        mixed: Plane = np.tensordot(_TO_RGB.astype(np.float32), planes, 1)
        return mixed

    @staticmethod
    def _table(rows: tuple[_Row, ...]) -> FloatArray:
        table = np.zeros((len(SIGMAS), 3))
        if rows:
            table[: len(rows)] = rows
        return table


def estimate_texture(
    real: ImageArray,
    labels: LabelArray,
    ignored: Mask | None,
    develop: Callable[[Texture], ImageArray],
) -> FloatArray:
    """Return the standard deviations of the noise that a reconstruction of a smear lacks.

    Parameters
    ----------
    real : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    ignored : (H, W) bool array or None
    develop : callable
        Returns the reconstruction as the acquisition model changes it, with this texture.

    Returns
    -------
    (2, len(SIGMAS), 3) float64 array
        For background and cells; see `Texture`. Zeros for a region that is too small.
    """
    regions = _regions(real, labels, ignored)
    targets = [band_powers(real, region) for region in regions]
    response = _responses()
    missing: list[FloatArray | None] = [None, None]
    deviations = np.zeros((2, len(SIGMAS), 3))
    for _ in range(_ROUNDS):
        image = develop(Texture.of(deviations))
        for k, (region, target) in enumerate(zip(regions, targets, strict=True)):
            powers = band_powers(image, region)
            if target is None or powers is None:
                continue
            # The missing power before compression, corrected by what is still missing after it.
            missing[k] = target - powers + (0.0 if missing[k] is None else missing[k])  # type: ignore[operator]
            bands = len(SIGMAS) if k == 0 else _CELL_BANDS
            for channel in range(3):
                column = missing[k][:bands, channel]  # type: ignore[index]
                # Relative errors count: bands of low power are as visible as those of high power.
                scale = 1 / np.maximum(target[:bands, channel], 1e-3)
                variances = optimize.nnls(response[:bands, :bands] * scale[:, None], column * scale)[0]
                deviations[k, :bands, channel] = np.sqrt(variances)
    return deviations


def band_powers(image: ImageArray, region: Mask) -> FloatArray | None:
    """Return the mean squares of the bands of an image within a region; None for a small region.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    region : (H, W) bool array
        Pixels outside do not contribute.

    Returns
    -------
    (len(SIGMAS), 3) float64 array or None
        By band and channel (Y, Cb, Cr), in squared grey levels. The largest 5 % of the values are left out.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(128, 8, (128, 128, 1)).astype(np.uint8).repeat(3, axis=2)
    >>> powers = band_powers(noise, np.ones((128, 128), bool))
    >>> bool(powers[0, 0] > 5 * powers[2, 0]), bool(powers[0, 1] < 0.1)
    (True, True)
    """
    if region.sum() < _MIN_PIXELS:
        return None
    planes = np.tensordot(_TO_YCBCR.astype(np.float32), image.astype(np.float32), (1, 2))
    weight = region.astype(np.float32)
    previous, powers = planes, np.zeros((len(SIGMAS), 3))
    for band, edge in enumerate(_EDGES[1:]):
        if band + 1 == _FIRST_COARSE:  # longer correlations on block means of the smoothed image
            previous = np.stack([_block_means(plane, weight) for plane in previous])
            weight = _block_means(weight, np.ones_like(weight))
            planes, region = previous, weight > 0.5
        sigma = edge / _COARSE if band + 1 >= _FIRST_COARSE else edge
        smooth = _smooth(planes, weight, sigma)
        for channel in range(3):
            powers[band, channel] = _trimmed_mean_square((previous[channel] - smooth[channel])[region])
        previous = smooth
    return powers


def _smooth(planes: Plane, weight: Plane, sigma: float) -> Plane:
    """Return the planes (3, H, W) filtered with a Gaussian that sees the weighted pixels only."""
    total = np.maximum(ndimage.gaussian_filter(weight, sigma, truncate=3), 1e-3)
    return np.stack([ndimage.gaussian_filter(plane * weight, sigma, truncate=3) / total for plane in planes])


def _block_means(plane: Plane, weight: Plane) -> Plane:
    """Return the weighted means over blocks of 4×4 px; the rest of the last rows and columns is left out."""
    height, width = (side // _COARSE for side in plane.shape)

    def sums(values: Plane) -> Plane:
        blocks = values[: height * _COARSE, : width * _COARSE].reshape(height, _COARSE, width, _COARSE)
        result: Plane = blocks.sum((1, 3))
        return result

    return (sums(plane * weight) / np.maximum(sums(weight), 1e-3)).astype(np.float32)


def _regions(image: ImageArray, labels: LabelArray, ignored: Mask | None) -> tuple[Mask, Mask]:
    """Return the background away from cells and debris, and the insides of cells away from rims and neighbours."""
    occupied = labels > 0 if ignored is None else (labels > 0) | ignored
    background = ~ndimage.binary_dilation(occupied, iterations=2 * _MARGIN) & ~ndimage.binary_dilation(
        find_debris(image, labels, ignored), iterations=_MARGIN
    )
    alone = ndimage.grey_dilation(labels, 3) == labels
    cells = ndimage.binary_erosion((labels > 0) & alone, iterations=_MARGIN)
    return background, cells


def _trimmed_mean_square(values: Plane) -> float:
    if not len(values):
        return 0.0
    squares = np.square(values[:: -(-len(values) // _MAX_VALUES)], dtype=np.float64)
    return float(np.sort(squares)[: max(1, int(_TRIMMED * len(squares)))].mean())


def _correlated_noise(shape: tuple[int, int], band: int, rng: np.random.Generator) -> Plane:
    """Return Gaussian noise of standard deviation 1 with the correlation length ``SIGMAS[band]``, (H, W)."""
    step, sigma = _STEPS[band], SIGMAS[band] / _STEPS[band]
    size = (shape[0], shape[1]) if step == 1 else (-(-shape[0] // step) + 2, -(-shape[1] // step) + 2)
    noise = rng.standard_normal(size, np.float32)
    if not sigma:
        return noise
    ndimage.gaussian_filter(noise, sigma, output=noise, mode="wrap", truncate=3)
    noise *= np.float32(2 * np.sqrt(np.pi) * sigma)  # the inverse of the deviation of filtered white noise
    if step > 1:
        enlarged = Image.fromarray(noise).resize((size[1] * step, size[0] * step), Image.Resampling.BICUBIC)
        noise = np.asarray(enlarged)[step : step + shape[0], step : step + shape[1]]
    return noise


@cache
def _responses() -> FloatArray:
    """Return the power of each band (rows) of noise of variance 1 of each correlation length (columns)."""
    region, rng = np.ones((512, 512), bool), np.random.default_rng(0)
    columns = []
    for band in range(len(SIGMAS)):
        levels = 128 + 20 * _correlated_noise((512, 512), band, rng)
        image = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)
        powers = band_powers(image, region)
        assert powers is not None
        columns.append(powers[:, 0] / 400)
    return np.array(columns).T
