"""The JPEG compression that image files went through, and the same compression of an array."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from smearsynth.errors import OptionError
from smearsynth.formats.pixels.decoding import decoding, open_pillow
from smearsynth.smear import ImageArray

_JPEG_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG with further pictures
_OTHER_SAMPLING = 2  # chroma reduced in another way than Pillow offers: 4:2:0 is the nearest

Table = npt.NDArray[np.float64]  # (64,), luminance


class JpegHistory(NamedTuple):
    """Settings of Pillow that repeat the compression of a JPEG file.

    Parameters
    ----------
    quality : int
        1..100, as in libjpeg.
    subsampling : int
        Resolution of the chroma: 0 = full (4:4:4), 1 = half the width (4:2:2), 2 = half of both sides (4:2:0).
    """

    quality: int
    subsampling: int


def jpeg_history(path: Path) -> JpegHistory | None:
    """Return the compression of a JPEG file, from its quantisation table and its sampling factors.

    The format is recognised from the content of the file, not from its extension. Tables that libjpeg does not
    write, as those of cameras, give the quality with the nearest luminance table.

    Parameters
    ----------
    path : Path

    Returns
    -------
    JpegHistory or None
        (quality, subsampling). None for other formats, also for a TIFF with JPEG compression.

    Raises
    ------
    DataError
        If the file is not an image.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.jpg"
    >>> Image.new("RGB", (32, 32)).save(path, quality=87, subsampling=2)
    >>> tuple(jpeg_history(path))
    (87, 2)
    """
    with decoding(path), open_pillow(path) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
        if image.format not in _JPEG_FORMATS or not tables:
            return None
        subsampling = 0 if len(image.getbands()) == 1 else int(get_sampling(image))
        quality = nearest_quality(np.array(tables[min(tables)], np.float64))
        return JpegHistory(quality, subsampling if subsampling >= 0 else _OTHER_SAMPLING)


def common_history(paths: Iterable[Path]) -> JpegHistory | None:
    """Return the most frequent compression of image files; None if most of them are not JPEG or there are none.

    Raises
    ------
    DataError
        As for `jpeg_history`.

    Examples
    --------
    >>> common_history([]) is None
    True
    """
    counts = Counter(jpeg_history(path) for path in paths)
    return max(counts, key=counts.__getitem__) if counts else None


def compress(image: ImageArray, history: JpegHistory | tuple[int, int]) -> ImageArray:
    """Return an image as it is read after it was saved once as JPEG.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    history : JpegHistory or (int, int)
        Quality and subsampling, from `jpeg_history`.

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    OptionError
        If the quality is not in 1..100 or the subsampling not in 0..2.

    Examples
    --------
    >>> compress(np.full((8, 8, 3), 90, np.uint8), JpegHistory(95, 2))[0, 0].tolist()
    [90, 90, 90]
    """
    quality, subsampling = history
    if not 1 <= quality <= 100 or subsampling not in (0, 1, 2):
        raise OptionError(
            f"JPEG quality {quality}, subsampling {subsampling}: choose a quality of 1..100, subsampling 0, 1 or 2"
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.array(Image.open(buffer))  # a copy: that of Pillow is read-only


def nearest_quality(table: Table) -> int:
    """Return the quality of libjpeg with the nearest luminance table, by mean absolute log ratio.

    Parameters
    ----------
    table : (64,) float64 array
        Quantisation table of the luminance in the order of Pillow.

    Examples
    --------
    >>> nearest_quality(np.ones(64))
    100
    """
    tables = _libjpeg_tables()
    distance = np.abs(np.log(tables) - np.log(np.maximum(table, 1))).mean(axis=1)
    return int(distance.argmin()) + 1


@cache
def _libjpeg_tables() -> Table:
    """Return the luminance tables of qualities 1..100, (100, 64)."""
    tables = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        tables.append(Image.open(buffer).quantization[0])  # type: ignore[attr-defined]
    return np.array(tables, np.float64)
