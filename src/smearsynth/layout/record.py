"""The layout record, and the parameters that all layouts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.layout.kernels.placement import Job
from smearsynth.layout.workspace import Workspace, check_size
from smearsynth.shapes import ShapeAugmentation

Ints = npt.NDArray[np.int64]

MAX_COLOURS = 62  # one bit of a 64-bit word per colour
MAX_SCALE = 100
_SHAPE_TRIES = 20
_MIX_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions and poses of the cells of one smear, without pixels.

    Parameters
    ----------
    height, width : int
        Canvas in px.
    shape : (n,) int64 array
        Index of each cell's contour in the shape library it was drawn from.
    angle : (n,) float64 array
        Rotation in radians, from the x axis towards the y axis (clockwise on the screen).
    scale : (n,) float64 array
    mirrored : (n,) bool array
        Whether x is mirrored, before the rotation.
    x, y : (n,) int64 arrays
        Pixel of the contour's origin.
    classes : (n,) int64 array
        Class id.
    colours : (n,) int64 array
        Palette index from 1 on. Cells that touch (8-connected) have different colours.
    requested : int
        Number of cells requested. `placed` is smaller if the canvas is full.
    lines : (n,) bool array, optional
        Whether a line of background separates the cell from the cells above it. Default: nowhere.
    under : (n,) bool array, optional
        Whether the cell lies partly under later ones. Default: nowhere. The order of the cells is the stacking
        order; shape and pose give the whole outline of each cell.

    Raises
    ------
    DataError
        If the columns do not match.

    Examples
    --------
    >>> one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    >>> layout = Layout(30, 40, zero, np.zeros(1), np.ones(1), np.zeros(1, bool), 9 * one, 8 * one, zero, one, 5)
    >>> layout.placed, layout.requested, layout.first(0).placed
    (1, 5, 0)
    """

    height: int
    width: int
    shape: Ints
    angle: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    mirrored: npt.NDArray[np.bool_]
    x: Ints
    y: Ints
    classes: Ints
    colours: Ints
    requested: int
    lines: npt.NDArray[np.bool_] | None = None
    under: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        check_size((self.height, self.width))
        lengths = {name: len(getattr(self, name)) for name in self._columns}
        if len(set(lengths.values())) != 1:
            raise DataError(f"layout columns have different lengths {lengths}; give one entry per cell")
        if self.requested < self.placed:
            raise DataError(f"layout has {self.placed} cells but requested={self.requested}; increase requested")

    @property
    def placed(self) -> int:
        """Number of cells; in layouts of this package each has at least one pixel on the canvas."""
        return len(self.x)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.height, self.width

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*_COLUMNS, *(name for name in ("lines", "under") if getattr(self, name) is not None))

    def first(self, count: int) -> Layout:
        """Return the layout of the first `count` cells."""
        columns = {name: getattr(self, name)[:count] for name in self._columns}
        return replace(self, **columns, requested=min(count, self.requested))

    def cut(
        self, window: tuple[int, int, int, int], selected: npt.NDArray[np.bool_], requested: int | None = None
    ) -> Layout:
        """Return the layout of a window (top, left, height, width) px, with the selected cells only."""
        top, left, height, width = window
        columns = {name: getattr(self, name)[selected] for name in self._columns}
        columns |= {"x": columns["x"] - left, "y": columns["y"] - top}
        requested = len(columns["x"]) if requested is None else requested
        return replace(self, height=height, width=width, **columns, requested=requested)


_COLUMNS = ("shape", "angle", "scale", "mirrored", "x", "y", "classes", "colours")


def make_job(
    count: int,
    shapes: Workspace,
    n_colours: int,
    augmentation: ShapeAugmentation | None,
    mix: Sequence[float] | None,
) -> Job:
    """Check the parameters and return them as the kernels read them."""
    if count != int(count) or not 0 <= count < 1 << 31:
        raise OptionError(f"count is {count}; give a whole number of cells from 0 to 2^31 - 1")
    if not 1 <= n_colours <= MAX_COLOURS:
        raise OptionError(f"n_colours is {n_colours}; give 1 to {MAX_COLOURS}")
    augment = ShapeAugmentation() if augmentation is None else augmentation
    low, high = augment.scale_range
    if high > MAX_SCALE:
        raise OptionError(f"scale_range is {augment.scale_range}; the largest factor is {MAX_SCALE}")
    return Job(
        requested=int(count),
        n_init=1,
        n_colours=int(n_colours),
        centre_tries=1,
        shape_tries=_SHAPE_TRIES,
        odds=(odds := _class_odds(shapes, mix)),
        mix=_cumulative(odds),
        rotation=float(augment.rotation),
        scaling=float(augment.scale),
        scale_low=float(low),
        scale_high=float(high),
        flip_horizontal=float(augment.flip_horizontal),
        flip_vertical=float(augment.flip_vertical),
        sizes=shapes.unscaled,
    )


def _class_odds(shapes: Workspace, mix: Sequence[float] | None) -> npt.NDArray[np.float64]:
    """Return the probability of each class: `mix`, or the frequency in the library."""
    if mix is None:
        return shapes.odds
    odds = np.asarray(mix, np.float64)
    names = shapes.shapes.class_names
    if odds.shape != shapes.odds.shape or not (odds >= 0).all() or abs(odds.sum() - 1) > _MIX_TOLERANCE:
        raise OptionError(f"mix is {mix}; give one probability for each class of {names}, summing to 1")
    empty = [name for name, p, frequency in zip(names, odds, shapes.odds, strict=True) if p > 0 and frequency == 0]
    if empty:
        raise OptionError(f"mix includes {', '.join(empty)}, but the shape library has no such cell; set it to 0")
    return odds


def _cumulative(odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return cumulative probabilities, exactly 1 from the last class that occurs, against rounding errors."""
    cumulative = odds.cumsum()
    cumulative[odds.nonzero()[0][-1] :] = 1.0
    return cumulative


def as_layout(size: tuple[int, int], shapes: Workspace, cells: npt.NDArray[np.void], requested: int) -> Layout:
    """Create the record of the cells, an array of dtype `CELL`, that a workspace has just placed."""
    layout = Layout(
        height=size[0],
        width=size[1],
        shape=cells["shape"].astype(np.int64),
        angle=cells["angle"].copy(),
        scale=cells["scale"].copy(),
        mirrored=cells["mirrored"] != 0,
        x=cells["x"].astype(np.int64),
        y=cells["y"].astype(np.int64),
        classes=cells["klass"].astype(np.int64),
        colours=cells["colour"].astype(np.int64),
        requested=requested,
        lines=cells["line"] != 0 if cells["line"].any() else None,
        under=cells["under"] != 0 if cells["under"].any() else None,
    )
    # The workspace keeps the rasters of this layout for painting, so the record must not change.
    for name in layout._columns:
        getattr(layout, name).flags.writeable = False
    shapes.remember(layout)
    return layout
