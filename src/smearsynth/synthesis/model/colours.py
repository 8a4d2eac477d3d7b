"""Colours of tissue: a check that a painted field has no colour that no training smear has.

A generator that has seen a burned-in scale bar or a crystal of dye may paint its colour into cells. The colours are
compared as absorbances relative to the background of their field, so that they do not depend on the lamp.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.errors import DataError
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

_STEP = 0.1  # of the absorbance per bin, natural logarithm of intensity
_LOWEST = -0.6  # absorbance of the first bin: brighter than the background
_BINS = 36  # per channel
_MIN_PIXELS = 3  # of a smear in a bin; fewer are noise
_REACH = 2  # bins around those of the training smears that count as tissue, too
_LIMIT = 5e-5  # fraction of the pixels of a field: 15 px of 640 × 480
_REAL_QUANTILE = 0.9  # of the fractions of the training smears, which the limit is not below
_BACKGROUND_SAMPLE = 50_000  # pixels used for the median
_INVALID = "not the colours of a model; train the model again or copy its folder again"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TissueColours:
    """Colours of the training smears, as absorbances of R, G and B relative to the background.

    Parameters
    ----------
    tissue : (36, 36, 36) bool array
        Bins of 0.1 from -0.6 on that training smears have, and those next to them.
    limit : float
        Largest fraction of the pixels of a field that may have other colours.

    Examples
    --------
    >>> labels = np.zeros((60, 60), np.int32)
    >>> labels[20:40, 20:40] = 1
    >>> image = np.where(labels[..., None] > 0, (190, 120, 140), (210, 205, 210)).astype(np.uint8)
    >>> colours = TissueColours.fit([Smear(image, labels, np.array([0]))])
    >>> colours.is_tissue(image, labels)
    True
    >>> image[25:30, 25:30] = (40, 250, 60)
    >>> colours.is_tissue(image, labels)
    False
    """

    tissue: npt.NDArray[np.bool_]
    limit: float = _LIMIT

    @classmethod
    def fit(cls, smears: Iterable[Smear], on_smear: Callable[[int], object] | None = None) -> TissueColours:
        """Collect the colours of smears, without ignored pixels.

        The limit is at least the 90 % quantile of the fractions of each smear that no other smear has.
        """
        counts = []
        for k, smear in enumerate(smears):
            counts.append(np.bincount(_bins(smear.image, smear.labels, smear.ignored), minlength=_BINS**3))
            if on_smear:
                on_smear(k + 1)
        grown = [_grow(row) for row in counts]
        total = np.sum(grown, axis=0, dtype=np.int64)
        alone = [float(row[total == own].sum() / max(row.sum(), 1)) for row, own in zip(counts, grown, strict=True)]
        limit = max(_LIMIT, round(float(np.quantile(alone, _REAL_QUANTILE)), 6)) if len(alone) > 1 else _LIMIT
        return cls((total > 0).reshape(_BINS, _BINS, _BINS), limit)

    def with_smears(self, smears: Iterable[Smear]) -> TissueColours:
        """Return colours to which those of further smears belong."""
        tissue = self.tissue.ravel().copy()
        for smear in smears:
            row = np.bincount(_bins(smear.image, smear.labels, smear.ignored), minlength=_BINS**3)
            tissue |= _grow(row)
        return TissueColours(tissue.reshape(self.tissue.shape), self.limit)

    def other_fraction(self, image: ImageArray, labels: LabelArray) -> float:
        """Return the fraction of the pixels of a field with colours that no training smear has."""
        return float(1 - self.tissue.ravel()[_bins(image, labels, None)].mean())

    def is_tissue(self, image: ImageArray, labels: LabelArray) -> bool:
        """Test whether a field (H, W, 3) uint8 has the colours of the training smears, up to `limit`."""
        return self.other_fraction(image, labels) <= self.limit

    def to_json(self) -> str:
        """Return JSON text, the inverse of `from_json`; the bins are bits, compressed and in base64."""
        bits = base64.b64encode(zlib.compress(np.packbits(self.tissue).tobytes(), 9)).decode()
        return json.dumps({"format": 1, "limit": self.limit, "tissue": bits})

    @classmethod
    def from_json(cls, text: str) -> TissueColours:
        """Read JSON text.

        Raises
        ------
        DataError
            If it is not the text of `to_json`.
        """
        try:
            record = json.loads(text)
            size = -(-(_BINS**3) // 8)
            content = zlib.decompressobj().decompress(base64.b64decode(record["tissue"]), size + 1)
            bits = np.unpackbits(np.frombuffer(content, np.uint8), count=_BINS**3).astype(bool)
            limit = float(record["limit"])
            if record["format"] != 1 or len(content) != size or not 0 <= limit <= 1:
                raise ValueError
            return cls(bits.reshape(_BINS, _BINS, _BINS), limit)
        except (ValueError, KeyError, TypeError, zlib.error):
            raise DataError(_INVALID) from None


def _bins(image: ImageArray, labels: LabelArray, ignored: Mask | None) -> Counts:
    """Return the bin of each pixel that is not ignored, of the image smoothed over 3×3 px."""
    background = labels == 0 if ignored is None else (labels == 0) & ~ignored
    pixels = image[background] if background.any() else image.reshape(-1, 3)
    middle = np.median(pixels[:: -(-len(pixels) // _BACKGROUND_SAMPLE)], axis=0)
    index = np.zeros(labels.shape, np.int64)
    for channel in range(3):
        smooth = ndimage.uniform_filter(image[..., channel].astype(np.float32), 3)
        absorbance = np.log(np.float32(max(middle[channel], 1.0)) / np.maximum(smooth, 1.0))
        index = index * _BINS + np.clip((absorbance - _LOWEST) / _STEP, 0, _BINS - 1).astype(np.int64)
    return index.ravel() if ignored is None else index[~ignored]


def _grow(counts: Counts) -> npt.NDArray[np.bool_]:
    """Return the bins with enough pixels and those within reach, flat."""
    bins = (counts >= _MIN_PIXELS).reshape(_BINS, _BINS, _BINS)
    grown = ndimage.binary_dilation(bins, ndimage.generate_binary_structure(3, 1), iterations=_REACH)
    flat: npt.NDArray[np.bool_] = grown.ravel()
    return flat
