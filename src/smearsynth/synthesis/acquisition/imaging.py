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
from smearsynth.formats.pixels.compression import compress
from smearsynth.smear import ImageArray, LabelArray
from smearsynth.synthesis.acquisition.out_of_focus import Haze
from smearsynth.synthesis.acquisition.particles import Particle, particle_absorbance
from smearsynth.synthesis.acquisition.texture import Texture

_CORRELATION_SIGMA = 0.8  # px: correlation length of the noise from the slide surface and from demosaicing

_LATER_FIELDS = ("visibility", "particles", "shift", "texture", "compression")  # added after format 1


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
    particles : tuple of Particle
        Objects in the background without annotation.
    shift : tuple of 4 floats
        Lateral chromatic aberration: shift of R down and right, and of B down and right, relative to G, px.
    texture : Texture, optional
        Noise with the spectrum of the data, in addition to that of the painted image.
    visibility : float
        Fraction of its absorbance with which the lower of two overlapping cells is visible. The synthesizer uses it
        when it paints the field.
    compression : tuple of int, optional
        JPEG quality and subsampling (`smearsynth.formats.pixels.compression.jpeg_history`). The image is saved once
        with them, as the last step.
    seed : int
        Seed of the noise and of the positions of debris and particles.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    illumination: tuple[float, ...] = Field((0.0,) * 15, min_length=15, max_length=15)
    blur: float = Field(0.0, ge=0, le=20)
    noise: float = Field(0.0, ge=0, le=100)
    correlated_noise: float = Field(0.0, ge=0, le=100)
    debris: int = Field(0, ge=0)
    haze: Haze | None = None
    particles: tuple[Particle, ...] = ()
    shift: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    texture: Texture | None = None
    visibility: float = Field(1.0, ge=0, le=2)
    compression: tuple[int, int] | None = None
    seed: int = Field(0, ge=0)

    def unused_later_fields(self) -> set[str]:
        """Return the fields that recipes of format 1 do not have and that have no effect here."""
        defaults = Acquisition()
        return {name for name in _LATER_FIELDS if getattr(self, name) == getattr(defaults, name)}

    def apply(self, image: ImageArray, labels: LabelArray | None = None) -> ImageArray:
        """Apply the acquisition to an image; the debris is painted by the generator.

        In the order of the light: particles, blur, chromatic shift, illumination and haze, noise, compression.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
        labels : (H, W) int32 array, optional
            Required if there is haze. Without labels all pixels are background.

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
        common = self._common_noise(image.shape[:2], labels)
        particles = self._particle_absorbance(image.shape[:2], labels)
        for channel in range(3):  # channel by channel, to limit the memory for large fields
            coefficients = self.illumination[5 * channel : 5 * channel + 5]
            plane = image[..., channel].astype(np.float32)
            if particles is not None:
                plane *= np.exp(-particles[channel])
            if self.blur:
                ndimage.gaussian_filter(plane, self.blur, output=plane, mode="reflect")
            if channel != 1:
                plane = shift_plane(plane, *self.shift[channel : channel + 2])
            plane *= np.exp(_illumination_polynomial(coefficients, image.shape[:2]))
            if attenuation is not None:
                plane *= np.exp(-np.float32(absorbances[channel]) * attenuation)
            if common is not None:
                plane += common[channel]
            if self.noise:
                plane += np.float32(self.noise) * rng.standard_normal(plane.shape, np.float32)
            result[..., channel] = np.clip(np.rint(plane), 0, 255)
        return result if self.compression is None else compress(result, self.compression)

    def _common_noise(self, shape: tuple[int, int], labels: LabelArray | None) -> npt.NDArray[np.float32] | None:
        """Return the noise that is correlated between pixels or channels, (3, H, W); None if there is none."""
        noise = None
        if self.texture is not None:
            cell_mask = None if labels is None else labels > 0
            noise = self.texture.draw(shape, cell_mask, np.random.default_rng([self.seed, 3]))
        if self.correlated_noise:
            grey = np.float32(self.correlated_noise) * _correlated_noise(shape, self.seed)
            noise = np.broadcast_to(grey, (3, *shape)) if noise is None else noise + grey
        return noise

    def _particle_absorbance(
        self, shape: tuple[int, int], labels: LabelArray | None
    ) -> npt.NDArray[np.float32] | None:
        if not self.particles:
            return None
        free = np.ones(shape, bool) if labels is None else labels == 0
        return particle_absorbance(self.particles, free, np.random.default_rng([self.seed, 4]))


def align_channels(image: ImageArray, shift: Sequence[float] | npt.NDArray[np.float64]) -> ImageArray:
    """Return an image without a lateral chromatic shift.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    shift : (4,) sequence of float
        As in `Acquisition`, px.

    Returns
    -------
    (H, W, 3) uint8 array
    """
    aligned = image.copy()
    for channel in (0, 2):
        plane = shift_plane(image[..., channel].astype(np.float32), -shift[channel], -shift[channel + 1])
        aligned[..., channel] = np.clip(np.rint(plane), 0, 255)
    return aligned


def shift_plane(plane: npt.NDArray[np.float32], down: float, right: float) -> npt.NDArray[np.float32]:
    """Return a plane shifted by a fraction of a pixel (cubic interpolation), (H, W) float32.

    Examples
    --------
    >>> ramp = np.arange(6, dtype=np.float32)[None].repeat(6, axis=0)
    >>> shift_plane(ramp, 0.0, 0.5)[3, 2:4].round(2).tolist()
    [1.5, 2.5]
    """
    for axis, amount in ((0, down), (1, right)):
        if amount:
            whole = round(amount)
            kernel = _cubic_kernel(amount - whole)
            if whole:
                kernel = np.pad(kernel, (max(0, 2 * whole), max(0, -2 * whole)))
            plane = ndimage.convolve1d(plane, kernel, axis=axis, mode="nearest")
    return plane


def _cubic_kernel(fraction: float) -> npt.NDArray[np.float64]:
    """Return the 5 weights of Keys' cubic convolution (1981) that shift a signal by -0.5 to 0.5 px."""
    distance = np.abs(np.arange(-2, 3) - fraction)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


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
