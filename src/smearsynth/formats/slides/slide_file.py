"""Whole-slide images: levels, pixel size and regions at a given resolution, read by the package tiffslide."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from smearsynth.errors import DataError, OptionError
from smearsynth.files import describe_read_error
from smearsynth.formats.pixels.bit_depth import to_8bit
from smearsynth.formats.pixels.pixel_size import image_pixel_size
from smearsynth.smear import ImageArray

_RANGE = (0.02, 10.0)  # µm per px; a resolution for printing is above
_MARGIN = 4  # px of the level around a region, for the filter of the resampling
_STRIP = 1 << 25  # px of a level that are decoded at once
_GENERIC = "generic-tiff"


class Slide:
    """A whole-slide image, opened for reading; use it as a context manager.

    Parameters
    ----------
    path : Path
        SVS, NDPI, SCN, BIF, Philips TIFF, OME-TIFF or another TIFF, with or without a pyramid.
    um_per_px : float, optional
        Pixel size of the full resolution. By default it is read from the file.

    Attributes
    ----------
    size : (int, int)
        Width and height at full resolution, px.
    um_per_px : float
        Pixel size at full resolution.

    Raises
    ------
    OptionError
        If the package tiffslide is not installed, or the pixel size is neither in the file nor given.
    DataError
        If the file is not a slide that tiffslide can read.
    """

    def __init__(self, path: Path, um_per_px: float | None = None) -> None:
        if importlib.util.find_spec("tiffslide") is None:
            raise OptionError("reading slides needs the package tiffslide: pip install 'smearsynth[slides]'")
        if um_per_px is not None and not (math.isfinite(um_per_px) and um_per_px > 0):
            raise OptionError(f"--slide-um-per-px {um_per_px:g}; it must be positive")
        self.path = path
        with _reading(path):
            from tiffslide import TiffSlide  # imported here because it is an optional package

            self._slide = TiffSlide(path)
            try:
                self.size: tuple[int, int] = self._slide.dimensions
                self._levels: tuple[tuple[int, int], ...] = self._slide.level_dimensions
                size = um_per_px or self._declared_um_per_px()
            except BaseException:
                self._slide.close()
                raise
        if size is None:
            self._slide.close()
            raise OptionError(f"{path}: has no pixel size; give it with --slide-um-per-px, such as 0.25 at 40x")
        self.um_per_px = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slide.close()

    def _declared_um_per_px(self) -> float | None:
        properties = self._slide.properties
        # The metadata of a scanner count first. In other files, resolution tags can be those of a printer.
        values = [properties.get("tiffslide.mpp-x"), image_pixel_size(self.path)]
        if properties.get("tiffslide.vendor") in (None, _GENERIC):
            values.reverse()
        for value in values:
            try:
                size = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if _RANGE[0] <= size <= _RANGE[1]:
                return size
        return None

    def read(self, x: float, y: float, scale: float, size: tuple[int, int]) -> ImageArray:
        """Read a region, resampled with antialiasing from the nearest level that is not coarser.

        Parameters
        ----------
        x, y : float
            Upper left corner at full resolution, px.
        scale : float
            Pixels of full resolution per pixel of the result.
        size : (int, int)
            Height and width of the result, px. The region must lie within the slide.

        Returns
        -------
        (H, W, 3) uint8 array

        Raises
        ------
        DataError
            If the file is damaged.
        """
        height, width = size
        level, factors = self._level(scale)
        columns, rows = self._levels[level]
        x0, y0 = x / factors[0], y / factors[1]
        x1, y1 = min(x0 + width * scale / factors[0], columns), min(y0 + height * scale / factors[1], rows)
        left, top = max(0, math.floor(x0) - _MARGIN), max(0, math.floor(y0) - _MARGIN)
        right, bottom = min(columns, math.ceil(x1) + _MARGIN), min(rows, math.ceil(y1) + _MARGIN)
        pixels = self._read_level(level, left, top, (bottom - top, right - left))
        box = (x0 - left, y0 - top, x1 - left, y1 - top)
        if pixels.shape[:2] == size and np.array_equal(box, (0, 0, width, height)):
            return pixels
        filtered = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS, box=box)
        return np.array(filtered)

    def overview(self, scale: float) -> ImageArray:
        """Read the whole slide at low resolution.

        Parameters
        ----------
        scale : float
            Pixels of full resolution per pixel of the result.
        """
        width, height = (max(1, int(side / scale)) for side in self.size)
        _, factors = self._level(scale)
        rows = max(1, int(_STRIP / (self.size[0] / factors[0]) / (scale / factors[1])))
        strips = [
            self.read(0, top * scale, scale, (min(rows, height - top), width)) for top in range(0, height, rows)
        ]
        return np.concatenate(strips)

    def _level(self, scale: float) -> tuple[int, tuple[float, float]]:
        """Return the coarsest level that is not coarser than a scale, and its factors in x and y."""
        best = (0, (1.0, 1.0))
        for level, (width, height) in enumerate(self._levels):
            factors = self.size[0] / width, self.size[1] / height
            if best[1][0] < max(factors) <= scale * 1.01:
                best = (level, factors)
        return best

    def _read_level(self, level: int, left: int, top: int, size: tuple[int, int]) -> ImageArray:
        # tiffslide divides a location at full resolution by the mean factor of the level and rounds down. The
        # small addition keeps rounding errors of the division from falling below the whole number.
        factor = float(self._slide.level_downsamples[level])
        location = [side if factor < 1.01 else math.ceil(side * factor + 0.01) for side in (left, top)]
        with _reading(self.path):
            samples: npt.NDArray[Any] = np.asarray(
                self._slide.read_region((location[0], location[1]), level, size[::-1], as_array=True)
            )
            channels = samples.shape[2]
            if channels not in (1, 3, 4):
                raise DataError(f"has {channels} channels; save it as RGB", self.path)
            pixels = to_8bit(samples[:, :, :3], self.path)
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert the exceptions of tiffslide to a `DataError`, and drop its warnings on incomplete metadata."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:
        raise DataError(describe_read_error(error), path) from error
    except (
        tifffile.TiffFileError, NotImplementedError, ValueError, KeyError, IndexError, TypeError, AssertionError,
        AttributeError, RuntimeError,
    ) as error:  # fmt: skip
        if isinstance(error, (DataError, OptionError)):
            raise
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        problem = f"cannot be read as a slide ({reason})"
        raise DataError(f"{problem}; convert it to SVS, NDPI or a pyramidal TIFF", path) from error
