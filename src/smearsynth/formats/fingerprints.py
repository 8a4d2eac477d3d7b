"""Fingerprints of smears: a hash of the pixels, and a thumbnail for resized and recompressed images."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from smearsynth.formats.base import Entry
from smearsynth.formats.pixels.images import read_rgb
from smearsynth.smear import ImageArray

FloatArray = npt.NDArray[np.float64]

SAME_FIELD = 0.8
"""Correlation of two thumbnails from which on both images show the same field.

Measured on 240 fields of Chula RBC-12 and 90 of BBBC041Seg: different fields reach 0.31, in any pose. The same
field has at least 0.99 after JPEG compression down to quality 30 or resizing to 0.3, and 0.93 after brightening by
15 %. Chula has four fields twice, with 0.99.
"""
_SIDE = 16  # px of a thumbnail
_BLUR = 3.0  # px of a thumbnail; slower changes are illumination, which different fields have in common
_MIN_CONTRAST = 0.5  # grey levels; thumbnails of less contrast show noise
_UNIT = 32  # steps per standard deviation of a stored thumbnail
_DIGEST_LENGTH = 32  # hexadecimal digits


class Fingerprint(BaseModel):
    """Fingerprint of the image of a smear. It does not depend on annotation, scale of reading, or file format.

    Parameters
    ----------
    name : str
        Name of the smear.
    digest : str
        Hash of size and RGB values of the image as decoded, 32 hexadecimal digits.
    thumbnail : str, optional
        Normalised grey thumbnail of 16 × 16 px without its low frequencies, as base64 of int8. None for an image
        without contrast.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    digest: str
    thumbnail: str | None = None

    @classmethod
    def of_image(cls, image: ImageArray, name: str) -> Fingerprint:
        """Compute the fingerprint of an image.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
            RGB, at the size of the file.
        name : str

        Examples
        --------
        >>> image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> first, second = (Fingerprint.of_image(image, name) for name in ("a", "b"))
        >>> first.digest == second.digest, len(first.digest)
        (True, 32)
        """
        sha256 = hashlib.sha256(repr(image.shape).encode())
        sha256.update(np.ascontiguousarray(image).tobytes())
        return cls(name=name, digest=sha256.hexdigest()[:_DIGEST_LENGTH], thumbnail=_encode(_thumbnail(image)))


class Match(NamedTuple):
    """Two smears that show the same field.

    Parameters
    ----------
    smear, other : str
        Names of the smears.
    exact : bool
        Whether all pixels are equal.
    """

    smear: str
    other: str
    exact: bool


def fingerprints_of_files(entries: Iterable[Entry]) -> tuple[Fingerprint, ...]:
    """Return the fingerprint of the image file of each smear. Images are decoded one after another.

    Raises
    ------
    DataError
        If an image cannot be read.
    """
    return tuple(Fingerprint.of_image(read_rgb(entry.image), entry.name) for entry in entries)


def find_same_fields(smears: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> list[Match]:
    """Find the smears whose field one of the others shows too, also resized, recompressed, rotated or mirrored.

    Parameters
    ----------
    smears, others : sequence of Fingerprint

    Returns
    -------
    list of Match
        At most one per smear, in the order of `smears`: a smear with equal pixels, else the most similar one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image, other = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    >>> half = image.reshape(32, 2, 32, 2, 3).mean((1, 3)).astype(np.uint8)
    >>> training = [Fingerprint.of_image(image, "a"), Fingerprint.of_image(other, "b")]
    >>> find_same_fields([Fingerprint.of_image(half, "half")], training)
    [Match(smear='half', other='a', exact=False)]
    """
    if not smears or not others:
        return []
    by_digest = {other.digest: other.name for other in reversed(others)}
    similarity = _similarity(smears, others)
    best = similarity.argmax(axis=1)
    matches = []
    for k, smear in enumerate(smears):
        if smear.digest in by_digest:
            matches.append(Match(smear.name, by_digest[smear.digest], True))
        elif similarity[k, best[k]] >= SAME_FIELD:
            matches.append(Match(smear.name, others[best[k]].name, False))
    return matches


def _similarity(smears: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> FloatArray:
    """Return the largest correlation of each pair of thumbnails over the eight poses, (smears, others)."""
    thumbnails = np.stack([_decode(smear.thumbnail) for smear in smears])
    columns = _unit_rows(np.stack([_decode(other.thumbnail) for other in others])).T
    poses = [np.rot90(flipped, k, axes=(1, 2)) for flipped in (thumbnails, thumbnails[:, ::-1]) for k in range(4)]
    return np.asarray(np.max([_unit_rows(pose) @ columns for pose in poses], axis=0))


def _unit_rows(thumbnails: FloatArray) -> FloatArray:
    """Return thumbnails (n, S, S) as rows (n, S²) of unit length; those without contrast as rows of zeros."""
    rows = thumbnails.reshape(len(thumbnails), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _thumbnail(image: ImageArray) -> FloatArray:
    """Return the grey thumbnail of an image without its low frequencies, (16, 16), in grey levels."""
    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    thumbnail = np.asarray(grey, np.float64)
    return np.asarray(thumbnail - ndimage.gaussian_filter(thumbnail, _BLUR, mode="nearest"))


def _encode(thumbnail: FloatArray) -> str | None:
    deviation = float(thumbnail.std())
    if deviation < _MIN_CONTRAST:
        return None
    steps = np.rint((thumbnail - thumbnail.mean()) / deviation * _UNIT)
    return base64.b64encode(np.clip(steps, -127, 127).astype(np.int8).tobytes()).decode()


def _decode(text: str | None) -> FloatArray:
    """Return a stored thumbnail, (16, 16); zeros if there is none or its size is wrong."""
    values = np.frombuffer(base64.b64decode(text or ""), np.int8)
    if values.size != _SIDE * _SIDE:
        return np.zeros((_SIDE, _SIDE))
    return values.reshape(_SIDE, _SIDE).astype(np.float64)
