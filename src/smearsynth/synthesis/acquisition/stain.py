"""Other stains of the same field: for training crops, and for synthetic smears unlike any that was learned from.

Ten smears come in ten colours at most. G is told the colour of every instance by its style, and E reads it off
the crop: restained together, crops teach both to carry over stains that no smear of the training split has.
A painted field is restained by the same law, so that whoever learns from it meets more stains than the ten.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from smearsynth.smear import ImageArray

StainName = Literal["original", "augmented"]

_Row = tuple[float, float, float]

# standard deviations, in natural logarithms of the absorbance and in absorbance
_STRENGTH = (0.25, 0.15)  # of the dye: all channels together, each its own
_LIGHT = (0.10, 0.06)  # of lamp and white balance: together, each
_MIXING = 0.08  # of one channel's absorbance in another's: another dye


class Stain(BaseModel):
    """A stain, lamp and white balance, as what they change in those at hand.

    Absorbance is linear in the amount of dye (Beer and Lambert), so it is scaled, mixed and shifted there, as stain
    augmentation in histology does (Tellez et al. 2019).

    Parameters
    ----------
    mixing : three rows of three floats
        Absorbance of red, green and blue by that of the field at hand.
    shift : three floats
        What is added to it, in natural logarithms of intensity.

    Examples
    --------
    >>> thin = Stain(mixing=((0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)), shift=(0, 0, 0))
    >>> thin.applied(np.full((1, 1, 3), 63, np.uint8)).tolist()
    [[[127, 127, 127]]]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mixing: tuple[_Row, _Row, _Row]
    shift: _Row

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A stain that no smear needs to have."""
        gain = np.exp(_STRENGTH[0] * rng.standard_normal() + _STRENGTH[1] * rng.standard_normal(3))
        shift = _LIGHT[0] * rng.standard_normal() + _LIGHT[1] * rng.standard_normal(3)
        mixing = np.eye(3) * gain + _MIXING * rng.standard_normal((3, 3)) * (1 - np.eye(3))
        return cls.model_validate({"mixing": _rounded(mixing), "shift": _rounded(shift)})

    def applied(self, pixels: ImageArray) -> ImageArray:
        """The same field, (h, w, 3) uint8 RGB, under this stain."""
        absorbance = -np.log((pixels.astype(np.float32) + 1) / 256)
        changed = absorbance @ np.asarray(self.mixing, np.float32).T + np.asarray(self.shift, np.float32)
        levels: ImageArray = np.clip(np.rint(256 * np.exp(-changed) - 1), 0, 255).astype(np.uint8)
        return levels


def stain_augmentation(pixels: ImageArray, rng: np.random.Generator) -> ImageArray:
    """The same field under a stain drawn anew.

    Parameters
    ----------
    pixels : (h, w, 3) uint8 array
        RGB.
    rng : numpy.random.Generator

    Returns
    -------
    (h, w, 3) uint8 array

    Examples
    --------
    >>> plain = np.full((2, 2, 3), (200, 150, 160), np.uint8)
    >>> bool((stain_augmentation(plain, np.random.default_rng(0)) == plain).all())
    False
    """
    return Stain.draw(rng).applied(pixels)


def _rounded(values: npt.NDArray[np.float64]) -> list[object]:
    """Few enough digits for a recipe to be read."""
    rounded: list[object] = np.round(values, 4).tolist()
    return rounded
