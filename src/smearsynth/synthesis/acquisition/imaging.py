"""Image acquisition of one field: illumination, defocus, haze and sensor noise, applied to a painted image.

The generator paints from instance styles and local neighbourhoods, so it cannot model what varies over a whole
field, and it paints too little of what its losses penalise. These effects are therefore measured on real smears,
drawn for each synthetic smear and stored in its recipe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from smearsynth.errors import OptionError
from smearsynth.smear import ImageArray, LabelArray
from smearsynth.synthesis.acquisition.out_of_focus import Haze

_CORRELATION_SIGMA = 0.8  # px: correlation length of the noise from the slide surface and from demosaicing


class Acquisition(BaseModel):
    """Acquisition parameters of one field.

    Parameters
    ----------
    illumination : tuple of 15 floats
        Logarithm of the illumination as a polynomial in x and y from -1 to 1: coefficients of x, y, x², xy, y² for
        R, then G, then B. The mean over the field is subtracted.
    blur : float
        Standard deviation of the defocus in px, in addition to the blur of the painted image.
    noise : float
        Standard deviation of the sensor noise in grey levels, in addition to that of the painted image. Independent
        for every pixel and channel.
    correlated_noise : float
        Standard deviation in grey levels of the noise that neighbouring pixels and all channels have in common, in
        addition to that of the painted image.
    debris : int
        Number of debris blobs in the background.
    haze : Haze, optional
        Out-of-focus objects.
    seed : int
        Seed of the noise and of the positions of the debris.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    illumination: tuple[float, ...] = Field((0.0,) * 15, min_length=15, max_length=15)
    blur: float = Field(0.0, ge=0, le=20)
    noise: float = Field(0.0, ge=0, le=100)
    correlated_noise: float = Field(0.0, ge=0, le=100)
    debris: int = Field(0, ge=0)
    haze: Haze | None = None
    seed: int = Field(0, ge=0)

    def apply(self, image: ImageArray, labels: LabelArray | None = None) -> ImageArray:
        """Apply illumination, blur, haze and noise to an image; the debris is painted by the generator.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
        labels : (H, W) int32 array, optional
            Required if there is haze.

        Returns
        -------
        (H, W, 3) uint8 array

        Raises
        ------
        OptionError
            If there is haze and `labels` is None.

        Examples
        --------
        >>> image = np.full((64, 64, 3), 150, np.uint8)
        >>> round(float(Acquisition(noise=4.0).apply(image).std()))
        4
        """
        attenuation, absorbances = None, (0.0, 0.0, 0.0)
        if self.haze is not None:
            if labels is None:
                raise OptionError("an acquisition with haze needs the labels of the image; pass labels")
            attenuation, absorbances = self.haze.attenuation(image, labels)
        result = np.empty_like(image)
        rng = np.random.default_rng([self.seed, 1])
        correlated = None
        if self.correlated_noise:
            correlated = self.correlated_noise * _correlated_noise(image.shape[:2], self.seed)
        for channel in range(3):  # channel by channel, to limit the memory for large fields
            coefficients = self.illumination[5 * channel : 5 * channel + 5]
            light = np.exp(_illumination_polynomial(coefficients, image.shape[:2]))
            plane = image[..., channel].astype(np.float32)
            if self.blur:
                ndimage.gaussian_filter(plane, self.blur, output=plane, mode="reflect")
            plane *= light
            if attenuation is not None:
                plane *= np.exp(-np.float32(absorbances[channel]) * attenuation)
            if correlated is not None:
                plane += correlated
            if self.noise:
                plane += np.float32(self.noise) * rng.standard_normal(plane.shape, np.float32)
            result[..., channel] = np.clip(np.rint(plane), 0, 255)
        return result


def _correlated_noise(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Return noise of standard deviation 1 with correlated neighbours, (H, W)."""
    noise = np.random.default_rng([seed, 2]).standard_normal(shape, np.float32)
    ndimage.gaussian_filter(noise, _CORRELATION_SIGMA, output=noise, mode="wrap")
    noise /= max(float(noise.std()), 1e-6)
    return noise


def _illumination_polynomial(coefficients: Sequence[float], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the logarithm of the illumination of one channel with mean 0, (H, W)."""
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) if side > 1 else np.zeros(1, np.float32) for side in shape)
    a, b, c, d, e = (np.float32(value) for value in coefficients)
    field = (a * x + c * x * x)[None] + (b * y + e * y * y)[:, None] + d * y[:, None] * x[None]
    centred: npt.NDArray[np.float32] = field - field.mean(dtype=np.float64).astype(np.float32)
    return centred
