"""Overlays of labels on images: one outline per cell, with different colours for touching cells."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.errors import OptionError
from smearsynth.files import atomic_write
from smearsynth.formats.label_images.palette import colour_indices, palette_colours
from smearsynth.formats.pixels.images import save_png
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

# The annotation palette is for a black background. These colours contrast with stained cells and pale plasma.
OUTLINE_COLOURS = (
    (0, 72, 214), (0, 132, 61), (255, 106, 0), (0, 168, 204),
    (17, 17, 17), (106, 190, 0), (214, 0, 28), (98, 0, 190),
)  # fmt: skip
_MAX_COLOURS = 255  # colours of an indexed PNG, apart from the transparent one
_NEIGHBOURHOOD = 5  # px; cells within this window have different colours


def overlay(smear: Smear, *, fill: float = 0.0, width: int = 1) -> ImageArray:
    """Draw the outline of each cell over the image.

    The outline consists of the outermost pixels of the cell, so that both outlines of two touching cells are
    visible. There is no outline along the image border.

    Parameters
    ----------
    smear : Smear
    fill : float
        Opacity of the colour over the whole cell, 0 to 1.
    width : int
        Width of the outlines, px, inside the cell.

    Returns
    -------
    (H, W, 3) uint8 array
        RGB.

    Raises
    ------
    OptionError
        If the opacity is outside 0 to 1, or the width is below 1 px.

    Examples
    --------
    >>> labels = np.zeros((5, 5), np.int32)
    >>> labels[1:4, 1:4] = 1
    >>> smear = Smear(np.full((5, 5, 3), 200, np.uint8), labels, np.array([0]))
    >>> (overlay(smear) != 200).any(axis=2).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    if not 0 <= fill <= 1:
        raise OptionError(f"opacity {fill}; it must be from 0 to 1")
    edge = cell_edges(smear.labels, width)
    image = smear.image.copy()
    colours = _colours(_indices(smear))
    if fill:
        cells = smear.labels > 0
        blend = (1 - fill) * image[cells] + fill * colours[smear.labels[cells]]
        image[cells] = np.rint(blend).astype(np.uint8)
    image[edge] = colours[smear.labels[edge]]
    return image


def write_overlay_png(
    path: Path | str,
    smear: Smear,
    *,
    fill: float = 0.0,
    width: int = 1,
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Write `overlay` as a PNG file, atomically.

    Parameters
    ----------
    path : Path or str
        File to write; its folder is created if missing.
    smear : Smear
    fill, width
        See `overlay`.
    tags : mapping of str to str, optional
        Text tags of the PNG, such as ``{"synthetic": "true"}``.

    Returns
    -------
    Path
        The written file.

    Raises
    ------
    DataError
        If the file cannot be written.
    OptionError
        See `overlay`.

    Examples
    --------
    >>> import tempfile
    >>> empty = Smear(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int32), np.array([], int))
    >>> path = write_overlay_png(Path(tempfile.mkdtemp()) / "empty.png", empty)
    >>> Image.open(path).size
    (6, 4)
    """
    path = Path(path)
    image = overlay(smear, fill=fill, width=width)
    with atomic_write(path) as temporary:
        save_png(temporary, image, tags)
    return path


def overlay_layers(smear: Smear, width: int = 1) -> tuple[bytes, bytes]:
    """Draw outlines and filled cells as two transparent images of the smear's size.

    Parameters
    ----------
    smear : Smear
    width : int
        Width of the outlines, px.

    Returns
    -------
    outlines, cells : bytes
        Indexed PNG files. Colours repeat if the labels need more than 255 of them, as labels of pure noise do.

    Raises
    ------
    OptionError
        If the width is below 1 px.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]], np.int32)
    >>> outlines, cells = overlay_layers(Smear(np.zeros((3, 4, 3), np.uint8), labels, np.array([0])))
    >>> np.asarray(Image.open(io.BytesIO(outlines))).tolist()
    [[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    >>> np.asarray(Image.open(io.BytesIO(cells))).tolist()
    [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    """
    indices = _indices(smear) % _MAX_COLOURS
    table = np.concatenate([[0], indices + 1]).astype(np.uint8)
    cells = table[smear.labels]
    palette = _palette(int(indices.max(initial=-1)) + 1).tobytes()
    edge = cell_edges(smear.labels, width)
    return _indexed_png(np.where(edge, cells, 0), palette), _indexed_png(cells, palette)


def cell_edges(labels: LabelArray, width: int = 1) -> Mask:
    """Find the pixels of cells within `width` px of another cell or of the background, in 4-connected steps.

    Parameters
    ----------
    labels : (H, W) int32 array
    width : int

    Returns
    -------
    (H, W) bool array

    Raises
    ------
    OptionError
        If the width is below 1 px.

    Examples
    --------
    >>> cell_edges(np.array([[1, 1, 2, 0], [1, 1, 2, 0]], np.int32)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    if width < 1:
        raise OptionError(f"outline width {width} px; it must be at least 1 px")
    edge = np.zeros(labels.shape, np.bool_)
    horizontal, vertical = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    edge[1:] |= vertical
    edge[:-1] |= vertical
    if width > 1:
        # Pixels across a contact line are edge pixels themselves, so that the dilation stays inside the cell.
        edge = ndimage.binary_dilation(edge & (labels > 0), iterations=width - 1)
    edge &= labels > 0
    return edge


def _indices(smear: Smear) -> npt.NDArray[np.int64]:
    """Return the colour index of each instance, (n,); cells that almost touch have different colours."""
    dilated = ndimage.maximum_filter(smear.labels, size=_NEIGHBOURHOOD)
    return colour_indices(np.where(smear.labels > 0, smear.labels, dilated), smear.count)


def _palette(count: int) -> npt.NDArray[np.uint8]:
    """Return (count, 3) RGB: the outline colours, followed by further hues."""
    return np.concatenate([np.array(OUTLINE_COLOURS, np.uint8), palette_colours(count)[len(OUTLINE_COLOURS) :]])


def _colours(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the RGB of each label, (n + 1, 3); row 0, the background, is not used."""
    rgb = _palette(int(indices.max(initial=-1)) + 1)[indices]
    return np.concatenate([np.zeros((1, 3), np.uint8), rgb])


def _indexed_png(pixels: npt.NDArray[np.uint8], palette: bytes) -> bytes:
    """Encode palette indices as a PNG, with 0 transparent."""
    image = Image.fromarray(pixels)
    image.putpalette(b"\0\0\0" + palette)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    return buffer.getvalue()
