"""Decoding of TIFF files: planes, pages and channels, with what their tags say about the samples.

Files are decoded by tifffile. The functions return None for files that only Pillow can decode, such as those with a
compression for which tifffile needs a further package.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from smearsynth.errors import DataError
from smearsynth.formats.pixels.bit_depth import DeclaredDepth, to_8bit
from smearsynth.formats.pixels.channels import Colour, channel_info, merge_channels, ome_pixels
from smearsynth.formats.pixels.decoding import JPEG_TIFF, Pixels, check_pixels, lossy_error, open_pillow

# Photometric interpretations without colour conversion: white-is-zero, black-is-zero, RGB, palette.
_PLAIN = (0, 1, 2, 3)
_WHITE_IS_ZERO, _PALETTE = 0, 3
_JPEG = (6, 7)  # compressions
_ORIENTATION, _MAX_SAMPLE_VALUE = 274, 281  # tags
_MAX_CHANNELS = 4
_STACK_NAMES = {"Z": "Z planes", "T": "time points"}


@dataclass(frozen=True)
class TiffImage:
    """The first image of a TIFF file as stored.

    Parameters
    ----------
    samples : (H, W), (H, W, S) or (H, W, C) array
        Samples of one page, or the channels of a composite.
    orientation : int
        Tag 274, 1..8.
    inverted : bool
        Whether zero is white.
    palette : (N, 3) uint8 array, optional
        Colours, if the samples are indices.
    colours : list of (int, int, int)
        RGB colour of each channel of a composite; empty for other images.
    depth : DeclaredDepth
    jpeg : bool
        Whether the compression is JPEG.
    """

    samples: Pixels
    orientation: int = 1
    inverted: bool = False
    palette: npt.NDArray[np.uint8] | None = None
    colours: list[Colour] = field(default_factory=list)
    depth: DeclaredDepth = field(default_factory=DeclaredDepth)
    jpeg: bool = False

    def oriented(self, samples: Pixels) -> Pixels:
        """Apply the orientation of the image to an array of its size."""
        return orient(samples, self.orientation)

    def ids(self, path: Path) -> Pixels:
        """Return the samples of a label image: indices of a palette, and bits as they are displayed."""
        if self.jpeg:
            raise lossy_error(JPEG_TIFF, "ids", path)
        # With more bits, zero stays the background: ImageJ writes masks with an inverting lookup table so.
        samples = ~self.samples if self.inverted and self.samples.dtype.kind == "b" else self.samples
        return self.oriented(samples)

    def unscaled(self) -> Pixels:
        """Return the samples with the palette applied and white-is-zero inverted, (H, W) or (H, W, S)."""
        samples = self.samples
        if self.palette is not None:
            samples = self.palette[samples]
        elif self.inverted and samples.dtype.kind in "bu":
            samples = ~samples
        return self.oriented(samples)

    def to_8bit(self, path: Path, *, oriented: bool = True) -> npt.NDArray[np.uint8]:
        """Return 8-bit samples, (H, W) or (H, W, S); channels are merged to RGB.

        Raises
        ------
        DataError
            If the samples cannot be mapped to 8 bits.
        """
        if self.palette is not None:
            samples = self.palette[self.samples]
        else:
            samples = to_8bit(self.samples, path, self.depth)
            if self.inverted:
                samples = ~samples
        if self.colours:
            samples = merge_channels(list(np.moveaxis(samples, -1, 0)), self.colours)
        return orient(samples, self.orientation) if oriented else samples


def orient(samples: Pixels, orientation: int) -> Pixels:
    """Apply EXIF/TIFF orientation 1..8; other values are ignored.

    Examples
    --------
    >>> orient(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    """
    if orientation in (5, 6, 7, 8):
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def read_tiff(path: Path, *, merge: bool = False) -> TiffImage | None:
    """Decode the first image of a TIFF file, or return None if only Pillow can decode it.

    Parameters
    ----------
    path : Path
    merge : bool
        Read 2 to 4 grey planes that are channels as one colour image.

    Returns
    -------
    TiffImage or None

    Raises
    ------
    DataError
        If the image is a volume, too large, or a composite of more than 4 channels.

    Warns
    -----
    UserWarning
        If there are planes or pages that are not read.
    """
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        if page.photometric not in _PLAIN:
            return None
        check_pixels((page.imagelength, page.imagewidth), path)
        try:
            samples, colours = _channels(file, path) if merge else (None, [])
            if samples is None:
                samples = np.asarray(page.asarray())
        except ValueError as error:
            if "imagecodecs" in str(error):
                return None
            raise
        axes = "YXS" if colours else page.axes
        if axes == "SYX":
            samples = np.moveaxis(samples, 0, -1)
        elif axes not in ("YX", "YXS"):
            raise DataError(f"is a TIFF volume (axes {axes}); save a single plane", path)
        _warn_of_pages(file, path, len(colours) or 1)
        return TiffImage(
            samples.astype(samples.dtype.newbyteorder("="), copy=False),
            tiff_orientation(page),
            page.photometric == _WHITE_IS_ZERO,
            _palette(page) if not colours else None,
            colours,
            _declared_depth(file),
            page.compression in _JPEG,
        )


def tiff_orientation(page: tifffile.TiffPage) -> int:
    """Return tag 274 of a page if it is valid, else 1."""
    value = page.tags.valueof(_ORIENTATION, 1)
    return int(value) if value in range(1, 9) else 1


def _palette(page: tifffile.TiffPage) -> npt.NDArray[np.uint8] | None:
    if page.photometric != _PALETTE or page.colormap is None:
        return None
    colours = np.moveaxis(np.asarray(page.colormap), 0, -1)
    # Some programs write colours of 8 instead of 16 bits.
    return (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)


def _declared_depth(file: tifffile.TiffFile) -> DeclaredDepth:
    page = file.pages.first
    largest = page.tags.valueof(_MAX_SAMPLE_VALUE)
    bits: Any = None
    if (pixels := ome_pixels(file)) is not None:
        bits = pixels.get("SignificantBits")
    if bits is None and isinstance(page.bitspersample, int) and page.bitspersample % 8:
        bits = page.bitspersample
    try:
        bits = None if bits is None else int(bits)
        largest = None if largest is None else int(np.max(largest))
    except (TypeError, ValueError):
        return DeclaredDepth()
    return DeclaredDepth(largest, bits if bits and 8 <= bits <= 32 else None)


def _channels(file: tifffile.TiffFile, path: Path) -> tuple[Pixels | None, list[Colour]]:
    """Return the first channels of a composite, (H, W, C), and their colours; None and empty if there are none."""
    series = _first_series(file)
    if series is None or file.pages.first.axes != "YX":
        return None, []
    axes, sizes = _stack_axes(series)
    if axes in ("I", "Q") and sizes == [3] and file.pages.first.photometric != _PALETTE:
        warnings.warn(
            f"{path}: has 3 grey pages, which are read as red, green and blue; if they are not, save one page",
            stacklevel=4,
        )
        axes = "C"
    if axes.count("C") != 1:
        return None, []
    at = axes.index("C")
    count = sizes[at]
    if count > _MAX_CHANNELS:
        raise DataError(f"has {count} channels; save it as RGB", path)
    if count == _MAX_CHANNELS:
        warnings.warn(f"{path}: has {count} channels; see that the colours are right", stacklevel=4)
    step = math.prod(sizes[at + 1 :])
    planes = [_plane(series, k * step) for k in range(count)]
    return np.stack(planes, axis=-1), channel_info(file).rgb(count)


def _first_series(file: tifffile.TiffFile) -> tifffile.TiffPageSeries | None:
    # The layout of pages comes from metadata of other programs. If it is damaged, the first page still counts.
    try:
        series = file.series[0]
        return series if series.keyframe.index == 0 else None
    except (tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error):
        return None


def _stack_axes(series: tifffile.TiffPageSeries) -> tuple[str, list[int]]:
    """Return the axes of the stack of pages and their sizes, without axes of length 1."""
    sizes = [
        (axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS" and size > 1
    ]
    return "".join(axis for axis, _ in sizes), [size for _, size in sizes]


def _plane(series: tifffile.TiffPageSeries, index: int) -> Pixels:
    """Return a grey plane of a series, by its number in the order of the axes."""
    if index < len(series.pages) and not series.is_truncated:
        page = series.pages[index]
        if page is None:
            raise ValueError("a plane is missing")
        return np.asarray(page.asarray())
    # ImageJ writes large stacks with a single page; the other planes follow it in the file.
    stack = series.asarray(out="memmap")
    return np.array(stack.reshape(-1, *stack.shape[-2:])[index])


def _warn_of_pages(file: tifffile.TiffFile, path: Path, planes: int) -> None:
    """Warn of planes or pages that are not read; pages of a lower resolution do not count."""
    series = _first_series(file)
    axes, sizes = ("", []) if series is None else _stack_axes(series)
    kept = [(axis, size) for axis, size in zip(axes, sizes, strict=True) if planes == 1 or axis != "C"]
    if planes > 1 and kept and axes not in ("I", "Q"):
        axis, size = kept[0]
        text = f"{size} {_STACK_NAMES.get(axis, 'planes')}"
    else:
        pages = page_count(file)
        if pages <= planes:
            return
        text = f"{pages} pages"
    warnings.warn(f"{path}: has {text}; only the first is read", stacklevel=4)


def page_count(file: tifffile.TiffFile, *, samples: bool = False) -> int:
    """Return the number of planes of full resolution; planes that ImageJ writes without a page count.

    With `samples`, the planar samples of a single page count, too: tifffile writes 3 or 4 planes so by default.
    """
    first = file.pages.first
    if samples and first.axes == "SYX" and len(file.pages) == 1:
        return int(first.samplesperpixel)
    pages = sum(not int(getattr(page, "subfiletype", 0) or 0) & 1 for page in file.pages)
    series = _first_series(file)
    if series is None or not series.is_truncated:
        return pages
    return max(pages, math.prod(_stack_axes(series)[1]))


def tiff_planes(path: Path) -> Iterator[Pixels]:
    """Yield the planes of a stack of grey pages, (H, W) each, with the orientation applied.

    Raises
    ------
    DataError
        If a page has colours, is too large, or has lossy compression.
    """
    with tifffile.TiffFile(path) as file:
        first = file.pages.first
        check_pixels((first.imagelength, first.imagewidth), path)
        if first.compression in _JPEG:
            raise lossy_error(JPEG_TIFF, "ids", path)
        orientation = tiff_orientation(first)
        series = _first_series(file)
        if series is not None and series.is_truncated:
            planes: Iterator[Pixels] = (_plane(series, k) for k in range(page_count(file)))
        else:
            planes = _page_planes(file, path)
        try:
            for plane in planes:
                yield orient(plane, orientation)
            return
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
    yield from _pillow_planes(path)


def _page_planes(file: tifffile.TiffFile, path: Path) -> Iterator[Pixels]:
    for number, page in enumerate(file.pages, 1):
        if int(getattr(page, "subfiletype", 0) or 0) & 1:
            continue
        full = page.aspage()
        if full.axes not in ("YX", "SYX"):
            raise DataError(f"page {number} is not a grey image; save one label image per page", path)
        check_pixels((full.imagelength, full.imagewidth), path)
        samples = np.asarray(full.asarray())
        if full.photometric == _WHITE_IS_ZERO and samples.dtype.kind == "b":
            samples = ~samples
        # tifffile writes a stack of 3 or 4 planes as the samples of one page.
        yield from samples if samples.ndim == 3 else (samples,)


def _pillow_planes(path: Path) -> Iterator[Pixels]:
    with open_pillow(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            check_pixels((image.height, image.width), path)
            yield np.asarray(image)
