"""Shared parts of the decoders of image files: the type of a file, limits of its size, and error messages."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError

from smearsynth.errors import DataError
from smearsynth.files import describe_read_error

Pixels = npt.NDArray[Any]

MAX_PIXELS = 1 << 27  # of one plane: 11,585 × 11,585 px
# Other formats of Pillow are not opened, because some of them start a program (EPS starts Ghostscript).
_PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
_LOSSY_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG with further pictures, opened as JPEG
JPEG_TIFF = "JPEG-compressed TIFF"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY_MAGIC = b"\x93NUMPY"


def is_tiff(path: Path) -> bool:
    """Test by the first bytes whether a file is a TIFF."""
    return _first_bytes(path, 4) in _TIFF_MAGIC


def is_npy(path: Path) -> bool:
    """Test by the first bytes whether a file is a NumPy array."""
    return _first_bytes(path, len(_NPY_MAGIC)) == _NPY_MAGIC


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Convert the exceptions of the decoders to a `DataError` with the path of the file.

    Examples
    --------
    >>> try:
    ...     with decoding(Path("a.png")):
    ...         raise EOFError("no more data")
    ... except DataError as error:
    ...     print(error)
    a.png: is truncated or damaged (no more data); copy or save it again
    """
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DataError("is too large for one microscope field; split it into fields", path) from error
    except UnidentifiedImageError as error:
        raise DataError("is not an image; save it as PNG, TIFF or JPEG", path) from error
    except OSError as error:
        # Pillow raises OSError without errno for truncated data; errno is set by the operating system.
        problem = _damaged(error) if error.errno is None else describe_read_error(error)
        raise DataError(problem, path) from error
    except (
        tifffile.TiffFileError, SyntaxError, ValueError, KeyError, IndexError, TypeError, EOFError,
        OverflowError, struct.error, zlib.error,
    ) as error:  # fmt: skip
        if isinstance(error, DataError):
            raise
        raise DataError(_damaged(error), path) from error


def _damaged(error: Exception) -> str:
    reason = " ".join(str(error).split())[:120]
    return f"is truncated or damaged ({reason}); copy or save it again"


def check_pixels(shape: Sequence[int], path: Path) -> None:
    """Raise a `DataError` if a plane is too large to be one microscope field.

    Parameters
    ----------
    shape : sequence of int
        Height and width.
    path : Path
        File, for the message.

    Examples
    --------
    >>> check_pixels((1200, 1920), Path("a.tif"))
    """
    if int(np.prod(np.asarray(shape, np.float64))) > MAX_PIXELS:
        raise DataError(
            f"is {shape[1]}×{shape[0]} px, too large for one microscope field; cut fields from it, "
            "for example with smearsynth cut-fields",
            path,
        )


@contextmanager
def open_pillow(path: Path) -> Iterator[Image.Image]:
    """Open an image with Pillow; only its header is read.

    Warns if the file is an animation, of which only the first frame is decoded.

    Raises
    ------
    DataError
        If the image is too large.
    PIL.UnidentifiedImageError
        If the file is not PNG, JPEG, TIFF, BMP, WEBP or GIF.
    """
    with Image.open(path, formats=_PILLOW_FORMATS) as image:
        check_pixels((image.height, image.width), path)
        yield image


def warn_of_frames(image: Image.Image, path: Path) -> None:
    """Warn if only the first frame of an animation is read."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format in ("GIF", "WEBP", "PNG"):
        warnings.warn(f"{path}: has {frames} frames; only the first is read", stacklevel=2)


def check_lossless(path: Path, content: str) -> None:
    """Raise a `DataError` if the compression of a file is lossy.

    Parameters
    ----------
    path : Path
        A file that Pillow decodes.
    content : str
        What the compression changes, such as "ids".
    """
    with open_pillow(path) as image:
        name = "JPEG" if image.format in _LOSSY_FORMATS else image.format
        if name == "TIFF" and "jpeg" in str(image.info.get("compression")):
            name = JPEG_TIFF
    # A lossless WEBP has a chunk "VP8L".
    lossy_webp = name == "WEBP" and b"VP8 " in _first_bytes(path, 64)
    if name in ("JPEG", JPEG_TIFF) or lossy_webp:
        raise lossy_error(f"{'lossy ' if lossy_webp else ''}{name}", content, path)


def lossy_error(kind: str, content: str, path: Path) -> DataError:
    """Return the error for a file whose lossy compression changes labels."""
    return DataError(f"is a {kind}, whose compression changes {content}; save it as PNG or TIFF", path)
