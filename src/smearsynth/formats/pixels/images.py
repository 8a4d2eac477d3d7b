"""Reading and writing of image files: images as RGB, label images as integers.

TIFF is read by tifffile, or by Pillow if the compression needs a further package; all other formats by Pillow.
The format is detected from the first bytes of the file, not from its extension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from smearsynth.errors import DataError
from smearsynth.formats.pixels.arrays import npy_planes, npy_shape, read_npy_ids
from smearsynth.formats.pixels.bit_depth import to_8bit
from smearsynth.formats.pixels.decoding import (
    JPEG_TIFF,
    Pixels,
    check_lossless,
    decoding,
    is_npy,
    is_tiff,
    lossy_error,
    open_pillow,
    warn_of_frames,
)
from smearsynth.formats.pixels.label_ids import as_ids
from smearsynth.formats.pixels.tiff import orient, page_count, read_tiff, tiff_orientation, tiff_planes
from smearsynth.smear import ImageArray

_ORIENTATION = 274  # tag
_INVERSE = {6: 8, 8: 6}  # the other orientations are their own inverse
# Level 3 is more than twice as fast as the default 6, for files a tenth larger.
_PNG_LEVEL = 3


def read_rgb(path: Path, *, oriented: bool = True) -> ImageArray:
    """Decode an image file to 8-bit RGB.

    Greyscale is repeated in three channels, and CMYK and palettes are converted. Transparent images are composited
    on white, the background of bright field. Channels that a TIFF stores as grey planes are merged. If there are
    several other pages, the first is read, with a warning. Samples of more than 8 bits are scaled linearly by the
    largest value of the camera: the exposure is preserved, the contrast is not stretched. The file declares this
    value (TIFF tag 281, SignificantBits of OME), else it is that of the smallest depth (8, 10, 12, 14 or 16 bits)
    that contains all values. Floats must be in 0..1 or 0..255.

    Parameters
    ----------
    path : Path
    oriented : bool
        Apply the EXIF orientation. False: the pixels as they are stored.

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    DataError
        If the file is not an image, is truncated, or has values that cannot be mapped to 8 bits.

    Warns
    -----
    UserWarning
        If further pages are not read, or the bit depth is uncertain.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> save_png(path, np.full((2, 3), 7, np.uint8))
    >>> read_rgb(path).shape
    (2, 3, 3)
    """
    with decoding(path):
        image = read_tiff(path, merge=True) if is_tiff(path) else None
        if image is not None:
            return _to_rgb(image.to_8bit(path, oriented=oriented), path)
        return _to_rgb(to_8bit(_pillow_rgb(path, oriented=oriented), path), path)


def exif_orientation(path: Path) -> int:
    """Return the orientation of an image in EXIF, or in TIFF tag 274: 1..8, and 1 if there is none.

    Raises
    ------
    DataError
        If the file is not an image.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> save_png(path, np.zeros((2, 2), np.uint8))
    >>> exif_orientation(path)
    1
    """
    with decoding(path):
        if is_tiff(path):
            with tifffile.TiffFile(path) as file:
                return tiff_orientation(file.pages.first)
        with open_pillow(path) as image:
            return _orientation(image)


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def read_ids(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Decode a label image to integer ids.

    Supported are PNG and TIFF of 1 to 64 bits, indexed PNG and TIFF (the index is the id), grey saved as RGB,
    floats with whole values, and NumPy arrays (`.npy`): label arrays, and the masks of Cellpose (`_seg.npy`).

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

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.array([[0, 2]], np.uint16))
    >>> read_ids(path).tolist()
    [[0, 2]]
    """
    with decoding(path):
        if is_npy(path):
            return read_npy_ids(path)
        image = read_tiff(path) if is_tiff(path) else None
        samples = _pillow_ids(path) if image is None else image.ids(path)
    return as_ids(samples, path)


def id_plane_count(path: Path) -> int:
    """Return the number of planes of a label file: pages of a TIFF, or N of an array (N, H, W); else 1.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    with decoding(path):
        if is_npy(path):
            shape = npy_shape(path)
            return shape[0] if len(shape) == 3 else 1
        if is_tiff(path):
            with tifffile.TiffFile(path) as file:
                return page_count(file, samples=True)
    return 1


def read_id_planes(path: Path) -> Iterator[npt.NDArray[np.bool_]]:
    """Decode a stack with one cell per plane: the pages of a TIFF, or an array (N, H, W) in a `.npy` file.

    Cells may overlap. Each plane is decoded when it is requested.

    Parameters
    ----------
    path : Path

    Yields
    ------
    (H, W) bool array
        Mask of one cell; it is empty if the plane is empty.

    Raises
    ------
    DataError
        If the file is not such a stack, a plane has several ids, or planes differ in size.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.array([[[0, 1]], [[255, 255]]], np.uint8))
    >>> [mask.tolist() for mask in read_id_planes(path)]
    [[[False, True]], [[True, True]]]
    """
    size: tuple[int, ...] | None = None
    with decoding(path):
        if is_npy(path):
            planes = npy_planes(path)
        elif is_tiff(path):
            planes = tiff_planes(path)
        else:
            planes = iter([_pillow_ids(path)])
        for number, plane in enumerate(planes, 1):
            ids = as_ids(plane, path)
            size = ids.shape if size is None else size
            if ids.shape != size:
                raise DataError(f"plane {number} has another size than plane 1; save planes of one size", path)
            largest = ids.max(initial=0)
            if not ((ids == 0) | (ids == largest)).all():
                raise DataError(
                    f"plane {number} has several ids, but one cell per plane is expected; save one label image",
                    path,
                )
            yield ids != 0


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
    with decoding(path):
        image = read_tiff(path) if is_tiff(path) else None
        if image is None:
            check_lossless(path, "colours")
            samples = _pillow_rgb(path, oriented=True)
        elif image.jpeg:
            raise lossy_error(JPEG_TIFF, "colours", path)
        else:
            samples = image.unscaled()
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
    """Test whether an annotation image contains colours instead of ids.

    Only the header is read, except for RGB images: their channels are equal if a program saved ids as RGB.
    """
    with decoding(path):
        if is_npy(path):
            return False
        if is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                if page.samplesperpixel == 1:
                    return bool(page.photometric == 3)
        else:
            with open_pillow(path) as image:
                if image.mode == "P":
                    palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
                    # Some programs save ids as an indexed image with a palette of greys.
                    return bool((palette != np.arange(len(palette), dtype=np.uint8)[:, None]).any())
                if image.mode not in ("RGB", "RGBA"):
                    return image.mode in ("PA", "CMYK", "YCbCr")
        pixels = read_rgb(path)
    return bool((pixels != pixels[:, :, :1]).any())


def read_png_text(path: Path) -> dict[str, str]:
    """Return the text tags of a PNG file; empty for other formats."""
    with decoding(path), open_pillow(path) as image:
        return dict(getattr(image, "text", {}))


def _pillow_rgb(path: Path, *, oriented: bool) -> Pixels:
    with open_pillow(path) as file:
        warn_of_frames(file, path)
        reduced_depth = _is_deep_colour_png(path) or _is_deep_colour_tiff(file)
        orientation = _orientation(file)
        image = ImageOps.exif_transpose(file)
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode in ("LA", "PA", "La", "RGBa"):
            image = image.convert("RGBA")
        elif image.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and not image.mode.startswith("I;"):
            image = image.convert("RGB")
        samples = np.asarray(image)
    if reduced_depth and samples.max(initial=0) < 64:
        raise DataError(
            "is a 16-bit colour image with values of 14 bits or less, which cannot be read; save it as "
            "uncompressed TIFF",
            path,
        )
    # Pillow applies the orientation of a TIFF when it decodes it, so it is always applied and then undone.
    return samples if oriented else orient(samples, _INVERSE.get(orientation, orientation))


def _is_deep_colour_png(path: Path) -> bool:
    """Test whether this is a 16-bit colour PNG; Pillow reads only its upper 8 bits."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[:4] == b"\x89PNG" and len(header) == 26 and header[24] == 16 and header[25] != 0


def _is_deep_colour_tiff(image: Image.Image) -> bool:
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return len(bits) > 1 and max(bits) > 8


def _pillow_ids(path: Path) -> Pixels:
    check_lossless(path, "ids")
    with open_pillow(path) as image:
        warn_of_frames(image, path)
        return np.asarray(image)


def _to_rgb(samples: npt.NDArray[np.uint8], path: Path) -> ImageArray:
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
