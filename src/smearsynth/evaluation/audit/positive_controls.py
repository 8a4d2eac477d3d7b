"""Positive controls of the audit: altered copies of real cells that it must detect."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.smear import ImageArray, Smear

MAX_BLUR = 0.7  # standard deviation of the blur of a copy, px
QUALITY = 85  # of JPEG compression

FloatArray = npt.NDArray[np.float64]


def make_positive_controls(smears: Sequence[Smear], n: int, rng: np.random.Generator) -> Iterator[Smear]:
    """Cut out whole cells of random smears and alter them, one cell per small smear.

    Each copy is rotated by any angle, shifted by a fraction of a pixel and recoloured; half of them are mirrored,
    half blurred, and half compressed as JPEG.

    Parameters
    ----------
    smears : sequence of Smear
    n : int
        Number of copies; fewer if a smear has no whole cell.
    rng : numpy.random.Generator

    Yields
    ------
    Smear
        With the name of the smear that contains the cell.

    Examples
    --------
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[12:28, 14:26] = 1
    >>> smear = Smear(np.full((40, 40, 3), 90, np.uint8), labels, np.array([0]), name="a")
    >>> copy, = make_positive_controls([smear], 1, np.random.default_rng(0))
    >>> copy.name, copy.count, bool(abs(copy.areas()[0] - 192) < 20)
    ('a', 1, True)
    """
    indices, counts = np.unique(rng.integers(len(smears), size=n), return_counts=True)
    for index, count in zip(indices.tolist(), counts.tolist(), strict=True):
        smear = smears[index]  # read once for all its copies
        whole = np.flatnonzero(~smear.incomplete())
        for _ in range(count if len(whole) else 0):
            yield _altered_copy(smear, int(rng.choice(whole)), rng)


def recolour(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Change the colours of an image in one of five ways, as another stain, camera or program may.

    These are gains and offsets per channel, a rotation of the hue, swapped channels, a gamma curve, and the
    photographic negative.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    rng : numpy.random.Generator

    Returns
    -------
    (H, W, 3) uint8 array

    Examples
    --------
    >>> recolour(np.full((2, 2, 3), 100, np.uint8), np.random.default_rng(0)).shape
    (2, 2, 3)
    """
    values = image.astype(np.float64)
    kind = int(rng.integers(5))
    if kind == 0:
        values = values * rng.uniform(0.7, 1.3, 3)
        # Values are kept between black and white: clipping would remove detail.
        values *= np.minimum(1, 255 / np.maximum(values.max(axis=(0, 1)), 1))
        values += np.clip(rng.uniform(-25, 25, 3), -values.min(axis=(0, 1)), 255 - values.max(axis=(0, 1)))
    elif kind == 1:
        values = values @ _hue_rotation(rng.uniform(0, 2 * np.pi))
    elif kind == 2:
        values = values[..., rng.permutation(3)]
    elif kind == 3:
        values = 255 * (values / 255) ** rng.uniform(0.6, 1.6)
    else:
        values = 255 - values
    return _to_uint8(values)


def _altered_copy(smear: Smear, k: int, rng: np.random.Generator) -> Smear:
    x0, y0, x1, y1 = smear.boxes()[k]
    half = int(np.hypot(x1 - x0, y1 - y0) / 2) + 6
    centre = (y0 + y1) // 2 + half, (x0 + x1) // 2 + half
    window = np.s_[centre[0] - half : centre[0] + half + 1, centre[1] - half : centre[1] + half + 1]
    image = np.pad(smear.image, ((half, half), (half, half), (0, 0)), mode="symmetric")[window]
    cell = np.pad(smear.labels == k + 1, half)[window]
    if rng.random() < 0.5:
        image, cell = image[::-1], cell[::-1]
    angle = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = half - matrix @ (half + rng.uniform(-0.5, 0.5, 2))

    def transform(plane: FloatArray) -> FloatArray:
        result: FloatArray = ndimage.affine_transform(plane, matrix, offset, order=1, mode="nearest")
        return result

    channels = [transform(image[..., channel].astype(np.float64)) for channel in range(3)]
    copy = recolour(_to_uint8(np.stack(channels, axis=-1)), rng)
    if rng.random() < 0.5:
        blur = rng.uniform(0.3, MAX_BLUR)
        copy = _to_uint8(ndimage.gaussian_filter(copy.astype(np.float64), (blur, blur, 0)))
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        Image.fromarray(copy).save(buffer, format="JPEG", quality=QUALITY)
        copy = np.array(Image.open(buffer))
    labels = (transform(cell.astype(np.float64)) > 0.5).astype(np.int32)
    return Smear.from_labels(copy, labels, name=smear.name)


def _to_uint8(values: FloatArray) -> ImageArray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _hue_rotation(angle: float) -> FloatArray:
    """Return the rotation matrix of RGB about the grey axis (Rodrigues' formula)."""
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    matrix: FloatArray = np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * axis @ axis
    return matrix
