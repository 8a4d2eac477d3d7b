"""Other stains of the same crop, so that a synthesizer learns stains in general and not those of a few slides.

Ten smears come in ten colours at most. G is told the colour of every instance by its style, and E reads it off
the crop: restained together, crops teach both to carry over stains that no smear of the training split has.
"""

from __future__ import annotations

import numpy as np

from smearsynth.smear import ImageArray

# standard deviations, in natural logarithms of the absorbance and in absorbance
_STRENGTH = (0.25, 0.15)  # of the dye: all channels together, each its own
_LIGHT = (0.10, 0.06)  # of lamp and white balance: together, each
_MIXING = 0.08  # of one channel's absorbance in another's: another dye


def restain(pixels: ImageArray, rng: np.random.Generator) -> ImageArray:
    """The same field under another stain, lamp and white balance, drawn anew.

    Absorbance is linear in the amount of dye (Beer and Lambert), so it is scaled, mixed and shifted there, as stain
    augmentation in histology does (Tellez et al. 2019).

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
    >>> bool((restain(plain, np.random.default_rng(0)) == plain).all())
    False
    """
    gain = np.exp(_STRENGTH[0] * rng.standard_normal() + _STRENGTH[1] * rng.standard_normal(3))
    shift = _LIGHT[0] * rng.standard_normal() + _LIGHT[1] * rng.standard_normal(3)
    mixing = np.eye(3) * gain + _MIXING * rng.standard_normal((3, 3)) * (1 - np.eye(3))
    absorbance = -np.log((pixels.astype(np.float32) + 1) / 256)
    changed = 256 * np.exp(-(absorbance @ mixing.T.astype(np.float32) + shift.astype(np.float32))) - 1
    levels: ImageArray = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    return levels
