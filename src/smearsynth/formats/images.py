"""Reading and writing of image files: images as RGB, label images as integers.

TIFF is read by tifffile, or by Pillow if the compression needs a further package; all other formats by Pillow.
The format is detected from the first bytes of the file, not from its extension.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from smearsynth.errors import DataError
from smearsynth.files import describe_read_error
from smearsynth.smear import ImageArray

Pixels = npt.NDArray[Any]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Photometric interpretations without colour conversion: white-is-zero, black-is-zero, RGB, palette.
_PLAIN_TIFF = (0, 1, 2, 3)
_MAX_VALUES = (255, 4095, 65535)  # of 8, 12 and 16 bits
# Level 3 is more than twice as fast as the default 6, for files a tenth larger.
_PNG_LEVEL = 3


def read_rgb(path: Path) -> ImageArray:
    """Decode an image file to 8-bit RGB.

    Greyscale is repeated in three channels, and CMYK and palettes are converted. Transparent images are composited
    on white, the background of bright field. The EXIF orientation is applied. If there are several pages, the first
    is read, with a warning. Samples of more than 8 bits are scaled linearly by the maximum of the smallest bit
    depth (8, 12 or 16) that contains all values: the exposure is preserved, the contrast is not stretched. Floats
    must be in 0..1 or 0..255.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    DataError
        If the file is not an image, is truncated, or has values that cannot be mapped to 8 bits.
    """
    with _decoding(path):
        samples = _tiff_samples(path) if _is_tiff(path) else None
        if samples is None:
            samples = _pillow_rgb(path)
    return _to_rgb(samples, path)


def read_ids(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Decode a label image to integer ids.

    Supported are PNG and TIFF of 8, 16 and 32 bits, indexed PNG (the index is the id), and floats with integer
    values.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W) integer array
        0 = background.

    Raises
    ------
    DataError
        If the file is not an image, has colours, fractions or negative ids, or has lossy compression.
    """
    with _decoding(path):
        samples = _tiff_plain(path) if _is_tiff(path) else None
        if samples is None:
            samples = _pillow_ids(path)
    if samples.ndim != 2:
        raise DataError(
            f"is a colour image of {samples.shape[-1]} channels, but labels are expected; "
            "save integer labels, or use format 'palette' if colours distinguish the cells",
            path,
        )
    if samples.dtype.kind == "f":
        samples = _to_integers(samples, path)
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8)
    if samples.dtype == np.uint64:
        samples = samples.astype(np.int64)  # NumPy cannot count or index with uint64
    if samples.dtype.kind == "i" and samples.size and samples.min() < 0:
        raise DataError(
            f"contains negative ids (down to {samples.min()}), as ids above 32767 saved with signed 16 bits; "
            "save labels as uint16 or int32",
            path,
        )
    return samples


def read_colours(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a colour-palette mask; transparent pixels become background (black).

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    DataError
        If the file is not an image, has more than 8 bits per channel, or has lossy compression.
    """
    with _decoding(path):
        samples = _tiff_samples(path) if _is_tiff(path) else None
        if samples is None:
            _check_not_jpeg(path, "colours")
            samples = _pillow_rgb(path)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.dtype.kind == "b":
        samples = samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype != np.uint8 or samples.shape[2] not in (1, 2, 3, 4):
        raise DataError(
            f"is not a colour-palette mask ({samples.dtype}, {samples.shape[2]} channels); save it as 8-bit "
            "RGB, or use format 'labels' if it contains ids",
            path,
        )
    if samples.shape[2] in (2, 4):
        samples = np.where(samples[:, :, -1:] > 0, samples[:, :, :-1], 0)
    return np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)), np.uint8)


def is_coloured(path: Path) -> bool:
    """Test whether an annotation image contains colours instead of ids; only its header is read."""
    with _decoding(path):
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                return page.samplesperpixel > 1 or page.photometric == 3
        with Image.open(path) as image:
            if image.mode == "P":
                palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
                # Some programs save ids as an indexed image with a palette of greys.
                return bool((palette != np.arange(len(palette), dtype=np.uint8)[:, None]).any())
            return image.mode in ("RGB", "RGBA", "PA", "CMYK", "YCbCr")


def read_png_text(path: Path) -> dict[str, str]:
    """Return the text tags of a PNG file; empty for other formats."""
    with _decoding(path), Image.open(path) as image:
        return dict(getattr(image, "text", {}))


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Convert the exceptions of the decoders to a `DataError` with the path of the file."""
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
        struct.error, zlib.error,
    ) as error:  # fmt: skip
        if isinstance(error, DataError):
            raise
        raise DataError(_damaged(error), path) from error


def _damaged(error: Exception) -> str:
    reason = " ".join(str(error).split())[:120]
    return f"is truncated or damaged ({reason}); copy or save it again"


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF_MAGIC


def _tiff_plain(path: Path) -> Pixels | None:
    """Return the samples of the first page, (H, W) or (H, W, S), or None if only Pillow can decode it."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        if len(file.pages) > 1:
            warnings.warn(f"{path}: has {len(file.pages)} pages; only the first is read", stacklevel=5)
        if page.photometric not in _PLAIN_TIFF:
            return None
        try:
            samples = np.asarray(page.asarray())
        except ValueError as error:
            if "imagecodecs" in str(error):
                return None
            raise
        axes = page.axes
        orientation = page.tags.valueof(274, 1)
    if axes == "SYX":
        samples = np.moveaxis(samples, 0, -1)
    elif axes not in ("YX", "YXS"):
        raise DataError(f"is a TIFF volume (axes {axes}); save a single plane", path)
    return _oriented(samples, orientation)


def _tiff_samples(path: Path) -> Pixels | None:
    """Return the samples as `_tiff_plain`, with the palette applied and white-is-zero inverted."""
    samples = _tiff_plain(path)
    if samples is None:
        return None
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        if page.photometric == 3 and page.colormap is not None:
            return np.moveaxis(page.colormap[:, samples] >> 8, 0, -1).astype(np.uint8)
        if page.photometric == 0 and samples.dtype.kind in "bu":
            return ~samples
    return samples


def _oriented(samples: Pixels, orientation: int) -> Pixels:
    """Apply EXIF/TIFF orientation 1..8."""
    if orientation in (5, 6, 7, 8):
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def _pillow_rgb(path: Path) -> Pixels:
    with Image.open(path) as file:
        reduced_depth = _is_deep_colour_png(path) or _is_deep_colour_tiff(file)
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode in ("LA", "PA", "La", "RGBa"):
            image = image.convert("RGBA")
        elif image.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and not image.mode.startswith("I;"):
            image = image.convert("RGB")
        samples = np.asarray(image)
    if reduced_depth and samples.max(initial=0) < 16:
        raise DataError(
            "is a 16-bit colour image with 12-bit values, which cannot be read; save it as uncompressed TIFF",
            path,
        )
    return samples


def _is_deep_colour_png(path: Path) -> bool:
    """Test whether this is a 16-bit colour PNG; Pillow reads only its upper 8 bits."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[:4] == b"\x89PNG" and len(header) == 26 and header[24] == 16 and header[25] != 0


def _is_deep_colour_tiff(image: Image.Image) -> bool:
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return len(bits) > 1 and max(bits) > 8


def _pillow_ids(path: Path) -> Pixels:
    _check_not_jpeg(path, "ids")
    with Image.open(path) as image:
        return np.asarray(image)


def _check_not_jpeg(path: Path, content: str) -> None:
    with Image.open(path) as image:
        if image.format == "JPEG":
            raise DataError(f"is a JPEG, whose compression changes {content}; save it as PNG or TIFF", path)


def _to_rgb(samples: Pixels, path: Path) -> ImageArray:
    samples = _to_8bit(samples, path)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    channels = samples.shape[2]
    if channels not in (1, 2, 3, 4):
        raise DataError(f"has {channels} channels; save it as RGB", path)
    colour = samples[:, :, : channels - 1] if channels in (2, 4) else samples
    if channels in (2, 4):
        alpha = samples[:, :, -1:].astype(np.float32) / 255
        # An alpha channel of zeros is unused.
        if alpha.any() and alpha.min() < 1:
            colour = np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)
    # A copy, because the pixels of a Pillow image are read-only and PyTorch warns about such arrays.
    return np.array(np.broadcast_to(colour, (*colour.shape[:2], 3)))


def _to_8bit(samples: Pixels, path: Path) -> npt.NDArray[np.uint8]:
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
        white = 1.0 if high <= 1 else 255.0
    else:
        white = float(next((value for value in _MAX_VALUES if high <= value), high))
    return np.rint(samples * np.float32(255 / white)).astype(np.uint8)


def _to_integers(samples: Pixels, path: Path) -> npt.NDArray[np.int64]:
    if not np.isfinite(samples).all() or (samples != np.rint(samples)).any():
        raise DataError("contains fractions, but labels are expected; save integer ids as uint16 or int32", path)
    return samples.astype(np.int64)


def save_png(path: Path, pixels: npt.NDArray[np.uint8 | np.uint16], tags: Mapping[str, str] | None = None) -> None:
    """Write a PNG of 8 or 16 bits with text tags; `path` may have any extension."""
    text = PngInfo()
    for key, value in (tags or {}).items():
        try:
            value.encode("latin-1")
            text.add_text(key, value)
        except UnicodeEncodeError:
            text.add_itxt(key, value)
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=text, compress_level=_PNG_LEVEL)


def save_tiff(path: Path, pixels: npt.NDArray[np.int32]) -> None:
    """Write an int32 TIFF with zlib compression."""
    tifffile.imwrite(path, pixels, compression="zlib", photometric="minisblack")
