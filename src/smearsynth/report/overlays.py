"""Labels drawn over the image they belong to: an outline per cell, no two touching cells of one colour."""

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
from smearsynth.formats.images import save_png
from smearsynth.formats.palette import colour_indices, palette_colours
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear

# The annotation palette is made for a black ground. These stand out from stained cells and pale plasma alike.
OUTLINE_COLOURS = (
    (0, 72, 214), (0, 132, 61), (255, 106, 0), (0, 168, 204),
    (17, 17, 17), (106, 190, 0), (214, 0, 28), (98, 0, 190),
)  # fmt: skip
_MOST = 255  # colours of an indexed PNG beside the transparent one
_NEAR = 5  # px, the window in which two cells are neighbours that the eye must keep apart


def overlay(smear: Smear, *, fill: float = 0.0, width: int = 1) -> ImageArray:
    """Draw the outline of every cell over the image.

    An outline is the cell's own outermost pixels, so where two cells touch both outlines are seen, side by
    side in two colours. A cell cut by the border of the field stays open there.

    Parameters
    ----------
    smear : Smear
    fill : float
        Opacity, 0 to 1, of the colour laid over the whole cell.
    width : int
        Of the outlines in px, grown into the cell.

    Returns
    -------
    (H, W, 3) uint8 array
        RGB; the smear itself is left as it is.

    Raises
    ------
    OptionError
        For an opacity outside 0 to 1, or a width below 1.

    Examples
    --------
    >>> labels = np.zeros((5, 5), np.int32)
    >>> labels[1:4, 1:4] = 1
    >>> smear = Smear(np.full((5, 5, 3), 200, np.uint8), labels, np.array([0]))
    >>> (overlay(smear) != 200).any(axis=2).astype(int).tolist()
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    if not 0 <= fill <= 1:
        raise OptionError(f"an opacity of {fill} is not within 0 to 1")
    edge = cell_edges(smear.labels, width)
    painted = smear.image.copy()
    colours = _colours(_indices(smear))
    if fill:
        cells = smear.labels > 0
        mixed = (1 - fill) * painted[cells] + fill * colours[smear.labels[cells]]
        painted[cells] = np.rint(mixed).astype(np.uint8)
    painted[edge] = colours[smear.labels[edge]]
    return painted


def write_overlay_png(
    path: Path | str,
    smear: Smear,
    *,
    fill: float = 0.0,
    width: int = 1,
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Write `overlay` as a PNG, whole or not at all.

    Parameters
    ----------
    path : Path or str
        The file to write; its folder is made when missing.
    smear : Smear
    fill, width
        As in `overlay`.
    tags : mapping of str to str, optional
        Text tags of the PNG, such as ``{"synthetic": "true"}``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        When the file cannot be written.
    OptionError
        As for `overlay`.

    Examples
    --------
    >>> import tempfile
    >>> empty = Smear(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.int32), np.array([], int))
    >>> written = write_overlay_png(Path(tempfile.mkdtemp()) / "empty.png", empty)
    >>> Image.open(written).size
    (6, 4)
    """
    path = Path(path)
    painted = overlay(smear, fill=fill, width=width)
    with atomic_write(path) as temporary:
        save_png(temporary, painted, tags)
    return path


def overlay_layers(smear: Smear, width: int = 1) -> tuple[bytes, bytes]:
    """Give outlines and filled cells as two transparent pictures to be laid over the image.

    Parameters
    ----------
    smear : Smear
    width : int
        Of the outlines, px.

    Returns
    -------
    outlines, cells : bytes
        Indexed PNGs of the smear's size. Labels that need more than 255 colours, which only noise does,
        use some of them again.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]], np.int32)
    >>> outlines, cells = overlay_layers(Smear(np.zeros((3, 4, 3), np.uint8), labels, np.array([0])))
    >>> np.asarray(Image.open(io.BytesIO(outlines))).tolist()
    [[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    >>> np.asarray(Image.open(io.BytesIO(cells))).tolist()
    [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    """
    indices = _indices(smear) % _MOST
    table = np.concatenate([[0], indices + 1]).astype(np.uint8)
    cells = table[smear.labels]
    palette = _palette(int(indices.max(initial=-1)) + 1).tobytes()
    edge = cell_edges(smear.labels, width)
    return _indexed_png(np.where(edge, cells, 0), palette), _indexed_png(cells, palette)


def cell_edges(labels: LabelArray, width: int = 1) -> Mask:
    """Pixels of cells within `width` steps, up, down or aside, of another cell or of the background.

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
        For a width below 1.

    Examples
    --------
    >>> cell_edges(np.array([[1, 1, 2, 0], [1, 1, 2, 0]], np.int32)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    if width < 1:
        raise OptionError(f"an outline {width} px wide cannot be seen; give a width of at least 1")
    edge = np.zeros(labels.shape, np.bool_)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    if width > 1:
        # What lies across a contact is an edge pixel already, so growing never leaves the cell.
        edge = ndimage.binary_dilation(edge & (labels > 0), iterations=width - 1)
    edge &= labels > 0
    return edge


def _indices(smear: Smear) -> npt.NDArray[np.int64]:
    """Give the colour of each instance, (n,), as an index; cells that nearly touch differ too."""
    grown = ndimage.maximum_filter(smear.labels, size=_NEAR)
    return colour_indices(np.where(smear.labels > 0, smear.labels, grown), smear.count)


def _palette(count: int) -> npt.NDArray[np.uint8]:
    """Give (count, 3) RGB: the outline colours, then ever new hues."""
    return np.concatenate([np.array(OUTLINE_COLOURS, np.uint8), palette_colours(count)[len(OUTLINE_COLOURS) :]])


def _colours(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Give the RGB of each label, (n + 1, 3); row 0, the background's, is not for use."""
    chosen = _palette(int(indices.max(initial=-1)) + 1)[indices]
    return np.concatenate([np.zeros((1, 3), np.uint8), chosen])


def _indexed_png(pixels: npt.NDArray[np.uint8], palette: bytes) -> bytes:
    image = Image.fromarray(pixels)
    image.putpalette(b"\0\0\0" + palette)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    return buffer.getvalue()
