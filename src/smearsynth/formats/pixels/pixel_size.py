"""The size of a pixel that an image file declares."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tifffile

from smearsynth.formats.pixels.channels import ome_pixels
from smearsynth.formats.pixels.decoding import decoding, is_tiff
from smearsynth.formats.pixels.images import read_png_text
from smearsynth.formats.pixels.tiff_files import read_image_text

TAG = "um_per_px"  # of the files of smearsynth
_RANGE = (0.01, 5.0)  # µm per px of a microscope; a resolution for printing is above
_CENTIMETRE = 3  # ResolutionUnit
_UM = {
    "pm": 1e-6, "nm": 1e-3, "mm": 1e3, "cm": 1e4,
    **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "micron", "microns", "micrometer", "micrometre"), 1.0),
    "nanometer": 1e-3, "nanometre": 1e-3, "millimeter": 1e3, "millimetre": 1e3,
}  # fmt: skip


def image_pixel_size(path: Path) -> float | None:
    """Return the size of a pixel that an image file declares, in µm, or None.

    It is read from the tag ``um_per_px`` of smearsynth (PNG and TIFF), else from PhysicalSizeX of OME-TIFF, else
    from the calibration of ImageJ, else from TIFF resolution tags in pixels per centimetre. Values outside of
    0.01..5 µm and resolutions in inches are ignored: they are defaults for screens and printers.

    Parameters
    ----------
    path : Path

    Returns
    -------
    float or None

    Raises
    ------
    DataError
        If the file is not an image.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "a.tif"
    >>> tifffile.imwrite(path, np.zeros((4, 4), np.uint8), imagej=True, resolution=(8, 8), metadata={"unit": "um"})
    >>> image_pixel_size(path)
    0.125
    """
    with decoding(path):
        if not is_tiff(path):
            return _positive(read_png_text(path).get(TAG))
        if (size := _positive(read_image_text(path).get(TAG))) is not None:
            return size
        with tifffile.TiffFile(path) as file:
            if (pixels := ome_pixels(file)) is not None:
                unit = pixels.get("PhysicalSizeXUnit", "µm")
                return _plausible(_positive(pixels.get("PhysicalSizeX")), unit)
            page = file.pages.first
            per_px = _resolution(page.tags.valueof(282))
            if file.is_imagej:
                return _plausible(per_px, str((file.imagej_metadata or {}).get("unit", "")))
            if page.tags.valueof(296) == _CENTIMETRE:
                return _plausible(per_px, "cm")
    return None


def _positive(value: object) -> float | None:
    try:
        size = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return size if math.isfinite(size) and size > 0 else None


def _plausible(size: float | None, unit: str) -> float | None:
    factor = _UM.get(unit.strip().lower())
    if size is None or factor is None:
        return None
    size *= factor
    return size if _RANGE[0] <= size <= _RANGE[1] else None


def _resolution(value: Any) -> float | None:
    """Return units per pixel of an XResolution tag, a fraction of pixels per unit."""
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[1]) / float(value[0])
