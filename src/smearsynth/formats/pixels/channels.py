"""Colour images that are stored as one grey plane per channel: composites of ImageJ and of OME-TIFF."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
import numpy.typing as npt
import tifffile
from defusedxml.common import DefusedXmlException

Colour = tuple[int, int, int]
_PRIMARIES: dict[str, Colour] = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
_DEFAULT = tuple(_PRIMARIES.values())
_NAME = re.compile(
    r"(?<![a-z])(?:(r|red|rot|rouge|rojo)|(g|green|gr[uü]n|vert|verde)|(b|blue|blau|bleu|azul))(?![a-z])"
)


@dataclass(frozen=True)
class ChannelInfo:
    """What a TIFF file says about its channels.

    Parameters
    ----------
    names : list of str
        Empty if unknown.
    colours : list of (int, int, int)
        RGB, 0..255. Empty if unknown.
    """

    names: list[str] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)

    def rgb(self, count: int) -> list[Colour]:
        """Return the RGB colour of each of the first `count` channels.

        The channels are red, green and blue in this order, unless their names or their colours say otherwise.

        Examples
        --------
        >>> ChannelInfo(names=["Blue", "Green", "Red"]).rgb(3)
        [(0, 0, 255), (0, 255, 0), (255, 0, 0)]
        >>> ChannelInfo(colours=[(255, 255, 255)] * 3).rgb(3)
        [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
        """
        default = [*_DEFAULT, *[(0, 0, 0)] * count][:count]
        named = [_PRIMARIES.get(_primary(name), (0, 0, 0)) for name in self.names[:count]]
        if set(named) >= set(_DEFAULT):
            return named
        colours = self.colours[:count]
        # Programs that store no colours leave the default, which is white for all channels.
        if len(colours) < count or len(set(colours)) < count or all(len(set(colour)) == 1 for colour in colours):
            return default
        return colours


def _primary(name: str) -> str:
    match = _NAME.search(name.lower())
    return "" if match is None or match.lastindex is None else list(_PRIMARIES)[match.lastindex - 1]


def merge_channels(planes: Sequence[npt.NDArray[np.uint8]], colours: Sequence[Colour]) -> npt.NDArray[np.uint8]:
    """Return the RGB image of grey planes: the sum of their colours, as ImageJ displays a composite.

    Parameters
    ----------
    planes : sequence of (H, W) uint8 array
    colours : sequence of (int, int, int)
        RGB colour of each plane.

    Returns
    -------
    (H, W, 3) uint8 array

    Examples
    --------
    >>> merge_channels([np.full((1, 1), 9, np.uint8), np.full((1, 1), 7, np.uint8)], [(0, 0, 255), (255, 0, 0)])
    array([[[7, 0, 9]]], dtype=uint8)
    """
    total = np.zeros((*planes[0].shape, 3), np.float32)
    for plane, colour in zip(planes, colours, strict=True):
        for k in range(3):
            if colour[k]:
                total[..., k] += plane * np.float32(colour[k] / 255)
    return np.rint(np.minimum(total, 255)).astype(np.uint8)


def channel_info(file: tifffile.TiffFile) -> ChannelInfo:
    """Read the names and colours of the channels of an OME-TIFF or ImageJ TIFF; empty for other files."""
    if (pixels := ome_pixels(file)) is not None:
        channels = [element for element in pixels if element.tag.endswith("Channel")]
        names = [element.get("Name", "") for element in channels]
        declared = [_ome_colour(element.get("Color")) for element in channels]
        return ChannelInfo(names, [colour for colour in declared if colour is not None])
    metadata = (file.imagej_metadata if file.is_imagej else None) or {}
    tables = metadata.get("LUTs") if metadata.get("mode") != "grayscale" else None
    labels = metadata.get("Labels")
    table_colours: list[Colour] = []
    for table in tables or []:
        if np.shape(table) == (3, 256):
            red, green, blue = (int(value) for value in table[:, 255])
            table_colours.append((red, green, blue))
    return ChannelInfo([str(label) for label in labels] if isinstance(labels, list) else [], table_colours)


def _ome_colour(text: str | None) -> Colour | None:
    """Return the RGB of an OME colour, a signed 32-bit integer with the bytes R, G, B, A."""
    try:
        value = int(text or "")
    except ValueError:
        return None
    return (value >> 24) & 255, (value >> 16) & 255, (value >> 8) & 255


def ome_pixels(file: tifffile.TiffFile) -> Element | None:
    """Return the Pixels element of the first image of an OME-TIFF, or None for other files."""
    if not file.is_ome or not file.ome_metadata:
        return None
    try:
        root: Element = defusedxml.ElementTree.fromstring(file.ome_metadata)
    except (ParseError, DefusedXmlException, ValueError):
        return None
    return next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)
