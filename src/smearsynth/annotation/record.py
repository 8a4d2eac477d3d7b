"""Record of what an annotator gave for one image: shapes of cells with classes, and regions to ignore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smearsynth.geometry import Box, Outline, PixelMask, RunLengthMask, Shape

LabelsFrom = Literal["mask", "outline", "box", "point", "image"]

_IGNORED_CLASSES = frozenset(
    {"ignore", "ignored", "ignore region", "ignored region", "void", "unannotated", "not annotated"}
)


@dataclass(frozen=True, slots=True, eq=False)
class CellMark:
    """One annotated cell.

    Parameters
    ----------
    shape : Outline, PixelMask, RunLengthMask, Box or Point
    class_name : str
        Class that the annotator gave; "cell" if there is none.
    id : str, optional
        Identifier of the cell in the file.
    confidence : float, optional
        0 to 1, for cells that a program found.
    visible : Outline, PixelMask or RunLengthMask, optional
        The part that is not under other cells, if `shape` also contains a hidden part.
    """

    shape: Shape
    class_name: str = "cell"
    id: str | None = None
    confidence: float | None = None
    visible: Outline | PixelMask | RunLengthMask | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FieldAnnotation:
    """What one annotation file says about one image.

    Parameters
    ----------
    image : str
        Name or path of the image as in the file; without extension if the file has none.
    source : Path
        The annotation file.
    cells : tuple of CellMark
        In the order of the file. Where outlines overlap, the later cell is on top.
    ignored : tuple of Shape
        Regions that are not annotated.
    size : tuple of int, optional
        (H, W) of the image in px, as the file says.
    split : str, optional
        Name of the split, such as "train".
    relative : bool
        Coordinates are fractions of the width and height of the image.
    left_out : mapping of str to int
        Number of marks that were not read, by reason, such as "text annotations".
    um_per_px : float, optional
        Pixel size in µm.

    Examples
    --------
    >>> FieldAnnotation("a.png", Path("a.xml"), (CellMark(Box(0, 0, 4, 4)),)).shows_cells
    False
    """

    image: str
    source: Path
    cells: tuple[CellMark, ...] = ()
    ignored: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    split: str | None = None
    relative: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)
    um_per_px: float | None = None

    @property
    def shows_cells(self) -> bool:
        """Whether at least one mark is an outline or a mask, and not just a box or a point."""
        return any(isinstance(cell.shape, (Outline, PixelMask, RunLengthMask)) for cell in self.cells)


def kind_of(shape: Shape) -> LabelsFrom:
    """Return what labels from this shape are made of.

    Examples
    --------
    >>> from smearsynth.geometry import Point
    >>> kind_of(Point(1, 2))
    'point'
    """
    if isinstance(shape, Outline):
        return "outline"
    if isinstance(shape, (PixelMask, RunLengthMask)):
        return "mask"
    return "box" if isinstance(shape, Box) else "point"


def is_ignored_class(name: str) -> bool:
    """Test whether a class name marks a region without annotation, such as "ignore" or "void".

    Examples
    --------
    >>> is_ignored_class("Ignore*"), is_ignored_class("rbc")
    (True, False)
    """
    return name.strip().strip("*").casefold().replace("_", " ").replace("-", " ") in _IGNORED_CLASSES
