"""Decoding of images to RGB and of label images to integers, whatever the file says it is.

Pillow reads everything but TIFF; tifffile reads TIFF, with Pillow again for its rarer compressions.
The format is told by the first bytes, never by the extension.
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
# Photometric interpretations given as plain samples: white-is-zero, black-is-zero, RGB, palette.
_PLAIN_TIFF = (0, 1, 2, 3)
_DEPTHS = (255, 4095, 65535)


def read_rgb(path: Path) -> ImageArray:
    """Decode an image file to 8-bit RGB.

    Greyscale is repeated on three channels; CMYK and palettes are converted; transparent images are laid
    on white, as a bright field is; EXIF orientation is applied; of a file with several pages the first is
    read, with a warning. Samples of more than 8 bits are mapped linearly, from 0 to the top of the smallest
    of 8, 12 and 16 bits that holds the largest value: exposure is kept, not stretched. Floats must lie in
    0..1 or 0..255.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    DataError
        When the file is not an image, is truncated, or cannot be mapped.
    """
    with _decoding(path):
        samples = _tiff_samples(path) if _is_tiff(path) else None
        if samples is None:
            samples = _pillow_rgb(path)
    return _to_rgb(samples, path)


def read_ids(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Decode a label image to integer ids, (H, W), 0 for background.

    8, 16 and 32-bit PNG and TIFF, indexed PNG (the index is the id), and floats that are whole numbers.

    Raises
    ------
    DataError
        When the file is not an image, holds colours, fractions or negative ids, or was saved with loss.
    """
    with _decoding(path):
        samples = _tiff_plain(path) if _is_tiff(path) else None
        if samples is None:
            samples = _pillow_ids(path)
    if samples.ndim != 2:
        raise DataError(
            f"is a colour image of {samples.shape[-1]} channels where labels are expected; "
            "save integer labels, or read it with format 'palette' if colours stand for cells",
            path,
        )
    if samples.dtype.kind == "f":
        samples = _whole(samples, path)
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8)
    if samples.dtype == np.uint64:
        samples = samples.astype(np.int64)  # what NumPy can count and index with
    if samples.dtype.kind == "i" and samples.size and samples.min() < 0:
        raise DataError(
            f"holds negative ids (down to {samples.min()}); ids above 32767 saved as signed 16-bit do this: "
            "save labels as uint16 or int32",
            path,
        )
    return samples


def read_colours(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a colour-palette mask to (H, W, 3) uint8; transparent pixels become black, the background.

    Raises
    ------
    DataError
        When the file is not an image, has more than 8 bits a channel, or was saved with loss.
    """
    with _decoding(path):
        samples = _tiff_samples(path) if _is_tiff(path) else None
        if samples is None:
            _refuse_jpeg(path, "colours")
            samples = _pillow_rgb(path)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.dtype.kind == "b":
        samples = samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype != np.uint8 or samples.shape[2] not in (1, 2, 3, 4):
        raise DataError(
            f"is no colour-palette mask ({samples.dtype}, {samples.shape[2]} channels); save it as 8-bit "
            "RGB, or read it with format 'labels' if it holds ids",
            path,
        )
    if samples.shape[2] in (2, 4):
        samples = np.where(samples[:, :, -1:] > 0, samples[:, :, :-1], 0)
    return np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)), np.uint8)


def is_coloured(path: Path) -> bool:
    """Whether an annotation image holds colours rather than ids, told from its header."""
    with _decoding(path):
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                return page.samplesperpixel > 1 or page.photometric == 3
        with Image.open(path) as image:
            if image.mode == "P":
                palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
                # A ramp of greys is how some programs save plain ids.
                return bool((palette != np.arange(len(palette), dtype=np.uint8)[:, None]).any())
            return image.mode in ("RGB", "RGBA", "PA", "CMYK", "YCbCr")


def read_png_text(path: Path) -> dict[str, str]:
    """Text tags of a PNG file, empty for any other."""
    with _decoding(path), Image.open(path) as image:
        return dict(getattr(image, "text", {}))


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn what decoders raise on damaged files into one line that names the file."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DataError("is too large to be one microscope field; cut it into fields", path) from error
    except UnidentifiedImageError as error:
        raise DataError("is not an image; save it as PNG, TIFF or JPEG", path) from error
    except OSError as error:
        # Pillow raises plain OSError for truncated data; errno is set only by the system.
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
    """First page as (H, W) or (H, W, S) samples; None where only Pillow can decode it."""
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
        raise DataError(f"is a TIFF volume (axes {axes}); save one plane", path)
    return _oriented(samples, orientation)


def _tiff_samples(path: Path) -> Pixels | None:
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
    with Image.open(path) as opened:
        narrowed = _is_deep_colour_png(path) or _is_deep_colour_tiff(opened)
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode in ("LA", "PA", "La", "RGBa"):
            image = image.convert("RGBA")
        elif image.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and not image.mode.startswith("I;"):
            image = image.convert("RGB")
        samples = np.asarray(image)
    if narrowed and samples.max(initial=0) < 16:
        raise DataError(
            "is a 16-bit colour image of 12-bit values, which come out black; save it as uncompressed TIFF",
            path,
        )
    return samples


def _is_deep_colour_png(path: Path) -> bool:
    """Whether this is a 16-bit colour PNG, of which Pillow keeps the upper 8 bits."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[:4] == b"\x89PNG" and len(head) == 26 and head[24] == 16 and head[25] != 0


def _is_deep_colour_tiff(image: Image.Image) -> bool:
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return len(bits) > 1 and max(bits) > 8


def _pillow_ids(path: Path) -> Pixels:
    _refuse_jpeg(path, "ids")
    with Image.open(path) as image:
        return np.asarray(image)


def _refuse_jpeg(path: Path, what: str) -> None:
    with Image.open(path) as image:
        if image.format == "JPEG":
            raise DataError(f"is a JPEG, whose compression changes {what}; save it as PNG or TIFF", path)


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
        # An alpha channel that is zero all over is an unused one.
        if alpha.any() and alpha.min() < 1:
            colour = np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)
    # A copy, because Pillow's pixels are read-only, which PyTorch warns of.
    return np.array(np.broadcast_to(colour, (*colour.shape[:2], 3)))


def _to_8bit(samples: Pixels, path: Path) -> npt.NDArray[np.uint8]:
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8) * np.uint8(255)
    low, high = (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        raise DataError(f"holds values from {low:g} to {high:g}; save it with 8 or 16 bits", path)
    if samples.dtype.kind == "f":
        if high > 255:
            raise DataError(f"holds floats up to {high:g}; save it with 8 or 16 bits", path)
        top = 1.0 if high <= 1 else 255.0
    else:
        top = float(next((depth for depth in _DEPTHS if high <= depth), high))
    return np.rint(samples * np.float32(255 / top)).astype(np.uint8)


def _whole(samples: Pixels, path: Path) -> npt.NDArray[np.int64]:
    if not np.isfinite(samples).all() or (samples != np.rint(samples)).any():
        raise DataError(
            "holds fractions where labels are expected; save whole instance ids as uint16 or int32", path
        )
    return samples.astype(np.int64)


# Level 3 writes more than twice as fast as the default 6, for files a tenth larger.
_PNG_LEVEL = 3


def save_png(path: Path, pixels: npt.NDArray[np.uint8 | np.uint16], tags: Mapping[str, str] | None = None) -> None:
    """Write an 8-bit or 16-bit PNG with text tags; `path` may have any extension."""
    text = PngInfo()
    for key, value in (tags or {}).items():
        try:
            value.encode("latin-1")
            text.add_text(key, value)
        except UnicodeEncodeError:
            text.add_itxt(key, value)
    Image.fromarray(pixels).save(path, format="PNG", pnginfo=text, compress_level=_PNG_LEVEL)


def save_tiff(path: Path, pixels: npt.NDArray[np.int32]) -> None:
    """Write a compressed integer TIFF."""
    tifffile.imwrite(path, pixels, compression="zlib", photometric="minisblack")
