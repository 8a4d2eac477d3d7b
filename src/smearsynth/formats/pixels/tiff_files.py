"""TIFF files of images with text tags, and OME-TIFF files with a physical size."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from smearsynth.formats.pixels.decoding import decoding
from smearsynth.formats.pixels.images import read_png_text
from smearsynth.smear import ImageArray


def save_rgb_tiff(path: Path, image: ImageArray, tags: Mapping[str, str] | None = None) -> None:
    """Write an RGB TIFF with zlib compression; the tags are stored as JSON in ImageDescription."""
    text = json.dumps(dict(tags), ensure_ascii=True) if tags else None
    tifffile.imwrite(path, image, photometric="rgb", compression="zlib", description=text, metadata=None)


def save_label_tiff(path: Path, labels: npt.NDArray[np.uint16]) -> None:
    """Write a label image as TIFF with zlib compression."""
    tifffile.imwrite(path, labels, photometric="minisblack", compression="zlib", metadata=None)


def save_ome_tiff(
    path: Path,
    pixels: npt.NDArray[Any],
    um_per_px: float | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write an OME-TIFF of one plane with zlib compression; the tags are stored as JSON in the Description.

    Parameters
    ----------
    path : Path
        Any extension.
    pixels : (H, W, 3) uint8 or (H, W) integer array
    um_per_px : float, optional
        Written as PhysicalSizeX and PhysicalSizeY.
    tags : mapping of str to str, optional
    """
    colour = pixels.ndim == 3
    # A UUID of the content, so that the same smear gives the same bytes.
    identity = uuid.UUID(bytes=hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()[:16], version=4)
    metadata: dict[str, Any] = {"axes": "YXS" if colour else "YX", "UUID": str(identity)}
    if um_per_px is not None:
        metadata |= {
            "PhysicalSizeX": um_per_px, "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": um_per_px, "PhysicalSizeYUnit": "µm",
        }  # fmt: skip
    if tags:
        metadata["Description"] = json.dumps(dict(tags), ensure_ascii=True)
    photometric = "rgb" if colour else "minisblack"
    # From a file object, because tifffile derives the UUID and the format from the name of a path.
    with path.open("wb") as file:
        tifffile.imwrite(file, pixels, photometric=photometric, compression="zlib", ome=True, metadata=metadata)


def read_image_text(path: Path) -> dict[str, str]:
    """Return the text tags of a PNG, TIFF or OME-TIFF file that smearsynth wrote; empty for other files.

    Raises
    ------
    DataError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.tif"
    >>> save_rgb_tiff(path, np.zeros((2, 2, 3), np.uint8), {"synthetic": "true"})
    >>> read_image_text(path)
    {'synthetic': 'true'}
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return read_png_text(path)
    with decoding(path), tifffile.TiffFile(path) as file:
        description = file.ome_metadata or str(file.pages.first.tags.valueof(270, ""))
    if description.lstrip().startswith("<"):
        description = _ome_description(description)
    try:
        record = json.loads(description)
    except ValueError:
        return {}
    if not isinstance(record, dict):
        return {}
    return {str(key): value for key, value in record.items() if isinstance(value, str)}


def _ome_description(xml: str) -> str:
    try:
        elements = ElementTree.fromstring(xml).iter()
    except ElementTree.ParseError:
        return ""
    texts = (element.text for element in elements if element.tag.endswith("}Description"))
    return next((text for text in texts if text), "")
