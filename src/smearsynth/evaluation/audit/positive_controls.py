"""Copies of real cells, disguised: what an audit must find, planted to see whether it does."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.smear import ImageArray, Smear

BLUR = 0.7  # px, the most a copy is blurred
QUALITY = 85  # of the JPEG compression of every second copy


def make_positive_controls(smears: Sequence[Smear], n: int, rng: np.random.Generator) -> Iterator[Smear]:
    """Cut out whole cells of random smears and disguise them, one cell to a small smear.

    Each is turned by any angle, shifted by a part of a pixel, in half of the cases mirrored, recoloured, in half
    of the cases blurred, and in half of them compressed as JPEG.

    Parameters
    ----------
    smears : sequence of Smear
    n : int
        How many, fewer where a smear has no whole cell; they are handed out one at a time.
    rng : numpy.random.Generator

    Yields
    ------
    Smear
        Named as the smear that the cell is from.

    Examples
    --------
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[12:28, 14:26] = 1
    >>> smear = Smear(np.full((40, 40, 3), 90, np.uint8), labels, np.array([0]), name="a")
    >>> copy, = make_positive_controls([smear], 1, np.random.default_rng(0))
    >>> copy.name, copy.count, bool(abs(copy.areas()[0] - 192) < 20)
    ('a', 1, True)
    """
    for k, count in zip(*np.unique(rng.integers(len(smears), size=n), return_counts=True), strict=True):
        smear = smears[int(k)]  # read once for all its copies
        whole = np.flatnonzero(~smear.cut_by_border())
        for _ in range(int(count) if len(whole) else 0):
            yield _disguised(smear, int(rng.choice(whole)), rng)


def recoloured(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Change the colours as another stain, camera or program would, in one of five ways.

    Gains and offsets of each channel, a turn of the hue about grey, swapped channels, a gamma curve, or the
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
    >>> recoloured(np.full((2, 2, 3), 100, np.uint8), np.random.default_rng(0)).shape
    (2, 2, 3)
    """
    values = image.astype(np.float64)
    kind = int(rng.integers(5))
    if kind == 0:
        values = values * rng.uniform(0.7, 1.3, 3)
        # not beyond black and white, where nothing would be left to see
        values *= np.minimum(1, 255 / np.maximum(values.max(axis=(0, 1)), 1))
        values += np.clip(rng.uniform(-25, 25, 3), -values.min(axis=(0, 1)), 255 - values.max(axis=(0, 1)))
    elif kind == 1:
        values = values @ _hue_turn(rng.uniform(0, 2 * np.pi))
    elif kind == 2:
        values = values[..., rng.permutation(3)]
    elif kind == 3:
        values = 255 * (values / 255) ** rng.uniform(0.6, 1.6)
    else:
        values = 255 - values
    return _rounded(values)


def _disguised(smear: Smear, k: int, rng: np.random.Generator) -> Smear:
    x0, y0, x1, y1 = smear.boxes()[k]
    half = int(np.hypot(x1 - x0, y1 - y0) / 2) + 6
    centre = (y0 + y1) // 2 + half, (x0 + x1) // 2 + half
    window = np.s_[centre[0] - half : centre[0] + half + 1, centre[1] - half : centre[1] + half + 1]
    image = np.pad(smear.image, ((half, half), (half, half), (0, 0)), mode="symmetric")[window]
    cell = np.pad(smear.labels == k + 1, half)[window]
    if rng.random() < 0.5:
        image, cell = image[::-1], cell[::-1]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = half - turn @ (half + rng.uniform(-0.5, 0.5, 2))

    def moved(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        result: npt.NDArray[np.float64] = ndimage.affine_transform(plane, turn, offset, order=1, mode="nearest")
        return result

    turned = np.stack([moved(image[..., channel].astype(np.float64)) for channel in range(3)], axis=-1)
    copy = recoloured(_rounded(turned), rng)
    if rng.random() < 0.5:
        blur = rng.uniform(0.3, BLUR)
        copy = _rounded(ndimage.gaussian_filter(copy.astype(np.float64), (blur, blur, 0)))
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        Image.fromarray(copy).save(buffer, format="JPEG", quality=QUALITY)
        copy = np.array(Image.open(buffer))
    labels = (moved(cell.astype(np.float64)) > 0.5).astype(np.int32)
    return Smear.from_labels(copy, labels, name=smear.name)


def _rounded(values: npt.NDArray[np.float64]) -> ImageArray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _hue_turn(angle: float) -> npt.NDArray[np.float64]:
    """Rotation of RGB about the grey axis (Rodrigues' formula)."""
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn: npt.NDArray[np.float64] = np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * axis @ axis
    return turn
