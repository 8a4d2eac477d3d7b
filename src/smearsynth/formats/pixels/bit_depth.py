"""Conversion of samples of any depth to 8 bits: the white level of 10-, 12-, 14- and 16-bit cameras."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.formats.pixels.decoding import Pixels

_DEPTHS = (8, 10, 12, 14, 16)
_STORED_DEPTHS = (8, 16)  # depths that files have anyway; others are a property of the camera
_MIN_BRIGHTNESS = 1 / 4  # of the full scale; the background of a bright field is brighter
_REMEDY = "save it with 8 bits, or write the largest value of the camera in TIFF tag 281"


@dataclass(frozen=True)
class DeclaredDepth:
    """What a file says about the depth of its samples.

    Parameters
    ----------
    largest : int, optional
        MaxSampleValue (tag 281).
    bits : int, optional
        SignificantBits of OME, or BitsPerSample if it is not a multiple of 8.
    """

    largest: int | None = None
    bits: int | None = None

    def white(self) -> int | None:
        """Return the value of white, or None if the file does not say it.

        The TIFF standard defines tag 281 as the largest value used, so it can be a property of the pixels. It is
        rounded up to the largest value of a camera.

        Examples
        --------
        >>> DeclaredDepth(largest=1023).white(), DeclaredDepth(largest=3950).white(), DeclaredDepth(bits=14).white()
        (1023, 4095, 16383)
        """
        if self.largest is not None and self.largest > 0:
            return _smallest_white(self.largest)
        return None if self.bits is None else (1 << self.bits) - 1


UNDECLARED = DeclaredDepth()


def to_8bit(samples: Pixels, path: Path, declared: DeclaredDepth = UNDECLARED) -> npt.NDArray[np.uint8]:
    """Scale samples linearly to 0..255.

    White is the largest value of the declared depth, else of the smallest depth of 8, 10, 12, 14 and 16 bits that
    contains all values. The exposure is preserved: the contrast is not stretched.

    Parameters
    ----------
    samples : array of bool, integer or float
        Floats are in 0..1 or 0..255.
    path : Path
        File, for messages.
    declared : DeclaredDepth, optional

    Returns
    -------
    uint8 array of the same shape

    Raises
    ------
    DataError
        If values are negative, not finite, or floats above 255.

    Warns
    -----
    UserWarning
        If the depth is guessed to be 10, 12 or 14 bits, or the image is far darker than its declared depth.

    Examples
    --------
    >>> to_8bit(np.array([[0, 1023]], np.uint16), Path("a.tif"), DeclaredDepth(bits=10)).tolist()
    [[0, 255]]
    """
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8) * np.uint8(255)
    low, high = (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        raise DataError(f"contains values from {low:g} to {high:g}; save it with 8 or 16 bits", path)
    if samples.dtype.kind == "f":
        if high > 255:
            raise DataError(f"contains floats up to {high:g}; save it with 8 or 16 bits", path)
        white = 1 if high <= 1 else 255
    else:
        white = _white(int(high), declared, path)
    return np.rint(samples * np.float32(255 / white)).astype(np.uint8)


def _white(high: int, declared: DeclaredDepth, path: Path) -> int:
    white = declared.white()
    if white is not None and high <= white:
        if 0 < high < _MIN_BRIGHTNESS * white:
            warnings.warn(
                f"{path}: the brightest value is {high} of {white}, so the image is dark; if the camera has fewer "
                f"bits, {_REMEDY}",
                stacklevel=5,
            )
        return white
    white = _smallest_white(high)
    bits = white.bit_length()
    # An image with saturated pixels is not dark, so its depth is certain.
    if bits not in _STORED_DEPTHS and high < white:
        warnings.warn(
            f"{path}: values up to {high} are read as {bits} bits (white is {white}); if the camera has another "
            f"depth, {_REMEDY}",
            stacklevel=5,
        )
    return white


def _smallest_white(high: int) -> int:
    return next((white for white in ((1 << bits) - 1 for bits in _DEPTHS) if high <= white), high)
