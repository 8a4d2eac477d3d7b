"""Stain augmentation: random stains and white balances for training crops and synthetic smears.

Ten training smears have at most ten stains. G gets the colour of every instance from its style vector, and E reads
that style from the crop. Stain-augmented crops therefore teach both networks to reproduce stains that no training
smear has. Synthetic smears use the same distribution, so that a model trained on them sees more stains than the
training smears have.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from smearsynth.smear import ImageArray

StainName = Literal["original", "augmented"]

_Row = tuple[float, float, float]

# Standard deviations: (common to all channels, independent per channel).
_GAIN = (0.25, 0.15)  # log factor of the absorbance: amount of dye
_SHIFT = (0.10, 0.06)  # natural logarithm of intensity: lamp and white balance
_MIXING = 0.08  # absorbance of one channel added to another: a different dye


class Stain(BaseModel):
    """A change of stain, lamp and white balance relative to the original image.

    Absorbance is linear in the amount of dye (Beer-Lambert), so it is scaled, mixed between the channels and
    shifted, as in stain augmentation for histology (Tellez et al. 2019).

    Parameters
    ----------
    mixing : three rows of three floats
        Matrix from the original to the new absorbance of R, G and B.
    shift : three floats
        Added to the absorbance, in natural logarithms of intensity.

    Examples
    --------
    >>> thin = Stain(mixing=((0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)), shift=(0, 0, 0))
    >>> thin.apply(np.full((1, 1, 3), 63, np.uint8)).tolist()
    [[[127, 127, 127]]]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mixing: tuple[_Row, _Row, _Row]
    shift: _Row

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a random stain."""
        gain = np.exp(_GAIN[0] * rng.standard_normal() + _GAIN[1] * rng.standard_normal(3))
        shift = _SHIFT[0] * rng.standard_normal() + _SHIFT[1] * rng.standard_normal(3)
        mixing = np.eye(3) * gain + _MIXING * rng.standard_normal((3, 3)) * (1 - np.eye(3))
        return cls.model_validate({"mixing": _rounded(mixing), "shift": _rounded(shift)})

    def apply(self, pixels: ImageArray) -> ImageArray:
        """Return the (H, W, 3) uint8 RGB image in this stain."""
        absorbance = -np.log((pixels.astype(np.float32) + 1) / 256)
        changed = absorbance @ np.asarray(self.mixing, np.float32).T + np.asarray(self.shift, np.float32)
        levels: ImageArray = np.clip(np.rint(256 * np.exp(-changed) - 1), 0, 255).astype(np.uint8)
        return levels


def augment_stain(pixels: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Return an image in a random stain.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 array
        RGB.
    rng : numpy.random.Generator

    Returns
    -------
    (H, W, 3) uint8 array

    Examples
    --------
    >>> plain = np.full((2, 2, 3), (200, 150, 160), np.uint8)
    >>> bool((augment_stain(plain, np.random.default_rng(0)) == plain).all())
    False
    """
    return Stain.draw(rng).apply(pixels)


def _rounded(values: npt.NDArray[np.float64]) -> list[object]:
    """Round to four decimals, so that recipes stay readable."""
    rounded: list[object] = np.round(values, 4).tolist()
    return rounded
