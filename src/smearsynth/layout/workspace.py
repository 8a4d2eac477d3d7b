"""A shape library prepared for the kernels, with buffers that are reused for many layouts."""

from __future__ import annotations

import math
import weakref
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.errors import DataError, OptionError
from smearsynth.layout.kernels.bitmaps import CELL, Board, Scratch, make_scratch
from smearsynth.layout.kernels.compiled import Words, seed_state
from smearsynth.layout.kernels.packing import (
    Crowd,
    add_cells,
    count_visible,
    load_crowd,
    make_crowd,
    place_again,
    polar_radii,
    push_apart,
)
from smearsynth.layout.kernels.placement import Job, ShapeTable, place_cells
from smearsynth.layout.kernels.rings import Ring
from smearsynth.layout.kernels.sliding import Adhesion, keep_visible, place_in_contact
from smearsynth.shapes import ShapeLibrary
from smearsynth.shapes.contours import polygon_areas

_MAX_PIXELS = 1 << 32
_MAX_RADIUS = 1 << 14
_FIRST_CELLS = 1024
_MIN_CENTRE_TRIES = 2000
# Quantiles of the inscribed radius of the cells, one per level of infeasible centres. A finer level saves tests but
# costs a disc per cell: one level is updated per cell, the others only once the canvas is crowded.
_LEVELS = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)
_EAGER = 0.1
_SURPLUS = (
    0.055  # additional cells per cell beyond those placed one by one, because pushing moves cells out of the field
)
_MAX_COVERAGE = 1.0  # largest coverage that is attempted
# With a free fraction of _ROOMY the pushed cells separate, so that they do not form one huge cluster; with _TIGHT
# or less they overlap slightly.
_TIGHT, _ROOMY = 0.38, 0.42
_CLEARANCE = 0.5, 0.12  # clearance of cells: px in tight fields, diameters in roomy ones
_TOLERANCE = 0.025, 0.01  # mean missing clearance at which pushing ends, diameters
_PUSHES = 250  # largest number of pushing rounds
_ADDITIONS = 3  # largest number of times that cells are added


class ClassSizes(NamedTuple):
    """Equivalent diameters √(4·area/π) of the shapes of a library, px."""

    logs: npt.NDArray[np.float64]  # (n,) logarithm of each
    classes: npt.NDArray[np.int64]  # (n,)
    scores: npt.NDArray[np.float64]  # (n,) standard score of the logarithm within its class
    means: npt.NDArray[np.float64]  # (n_classes,) px; 1 for a class without shapes
    deviations: npt.NDArray[np.float64]  # (n_classes,) standard deviation of the logarithm


class Workspace:
    """A prepared shape library with buffers that are reused from layout to layout.

    Layout functions accept it in place of a `ShapeLibrary`. Repeated calls then allocate no large arrays. It does
    not change the result. Use one per thread.

    Parameters
    ----------
    shapes : ShapeLibrary
        Its arrays must not be modified afterwards.

    Raises
    ------
    DataError
        If the library is empty, or a contour is far larger than a field.

    Examples
    --------
    >>> from smearsynth.layout import uniform_layout
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> warm = Workspace(ShapeLibrary(disc, np.zeros(1, np.int64)))
    >>> [uniform_layout((90, 120), 9, warm, rng=seed).placed for seed in range(3)]
    [9, 9, 9]
    """

    def __init__(self, shapes: ShapeLibrary) -> None:
        self.shapes = shapes
        self.table = shape_table(shapes)
        self.unscaled = np.ones(len(self.table.points))
        counts = np.diff(self.table.first)
        self.odds: npt.NDArray[np.float64] = counts / counts.sum()  # (n_classes,) frequency of each class
        self._largest = float(self.table.outer.max())
        self._bits = np.empty(0, np.uint64)
        self._buckets = np.empty(0, np.int64)
        self._cells = np.empty(0, CELL)
        self._arena = np.empty(0, np.uint64)
        self._scratch: tuple[int, Scratch] | None = None
        self._crowd: Crowd | None = None
        self._last_layout: weakref.ref[object] | None = None
        self._placed = self._cells
        self._level_cache: dict[bytes, tuple[npt.NDArray[np.float64], int]] = {}

    def scratch(self, scale: float) -> Scratch:
        """Return buffers for one cell, large enough for the largest shape at `scale` times its size."""
        side = 2 * _reach(self._largest * scale) + 4
        if self._scratch is None or self._scratch[0] < side:
            self._scratch = side, make_scratch(self.table.points.shape[2], ((side + 63) // 64 + 1) * side)
        return self._scratch[1]

    @cached_property
    def sizes(self) -> ClassSizes:
        """Sizes of the shapes of each class."""
        areas = np.maximum(polygon_areas(self.shapes.contours), 1.0)
        logs, classes = 0.5 * np.log(4 * areas / math.pi), np.asarray(self.shapes.classes, np.int64)
        of_class = [logs[classes == k] for k in range(len(self.odds))]
        means = np.array(
            [np.exp(logs_of_class).mean() if len(logs_of_class) else 1.0 for logs_of_class in of_class]
        )
        middles = np.array([logs_of_class.mean() if len(logs_of_class) else 0.0 for logs_of_class in of_class])
        deviations = np.array([logs_of_class.std() if len(logs_of_class) else 0.0 for logs_of_class in of_class])
        scores = (logs - middles[classes]) / np.maximum(deviations, 1e-6)[classes]
        return ClassSizes(logs, classes, scores, means, deviations)

    @cached_property
    def polar(self) -> npt.NDArray[np.float64]:
        """Radii of the shapes in `DIRECTIONS` directions, (n, DIRECTIONS) px."""
        return polar_radii(self.table.points)

    def remember(self, layout: object) -> None:
        """Store that the cells placed last belong to `layout`."""
        self._last_layout = weakref.ref(layout)

    def rasters(self, layout: object) -> tuple[npt.NDArray[np.void], Words] | None:
        """Return the cells of `layout` and their words if it is the last layout created here, else None."""
        if self._last_layout is None or self._last_layout() is not layout:
            return None
        return self._placed, self._arena

    def place(
        self, size: tuple[int, int], job: Job, ring: Ring, generator: np.random.Generator
    ) -> npt.NDArray[np.void]:
        """Place the cells of `job` on a canvas; return the placed cells, an array of dtype `CELL`."""
        height, width = size
        board = self._board(height, width, job)
        job = job._replace(centre_tries=_centre_tries(height, width))
        if len(self._cells) == 0:
            self._cells = np.empty(min(job.requested, _FIRST_CELLS), CELL)
        self._last_layout = None
        state = seed_state(generator)
        scratch = self._scratch_for(job)
        placed = 0
        while True:
            placed, full = place_cells(
                job, self.table, ring, board, self._cells, self._arena, scratch, state, placed
            )
            if not full:
                self._placed = self._cells[:placed]
                return self._placed
            self._make_room(placed, job.requested, scratch)

    def place_contact(
        self, size: tuple[int, int], job: Job, contact: Adhesion, generator: np.random.Generator
    ) -> npt.NDArray[np.void]:
        """Place cells by contact on a canvas and its margin; return the visible cells, the last one first.

        The array of dtype `CELL` is a view of the buffers. Centres are relative to the canvas without the margin.
        """
        height, width = (side + 2 * contact.margin for side in size)
        board = self._board(height, width, job)
        self._last_layout = None
        state = seed_state(generator)
        scratch = self._scratch_for(job)
        tally = np.zeros(2, np.int64)
        if len(self._cells) == 0:
            self._cells = np.empty(_FIRST_CELLS, CELL)
        while place_in_contact(job, contact, self.table, board, self._cells, self._arena, scratch, state, tally):
            self._make_room(int(tally[0]), height * width, scratch)
        if tally[1] < job.requested and tally[0] > 0:
            self._pack(job, contact, board, (state, scratch), tally)
        visible = keep_visible(self._cells, tally[0], contact.margin)
        self._placed = self._cells[:visible][::-1]  # in a layout later cells lie on top
        return self._placed

    def _pack(
        self,
        job: Job,
        contact: Adhesion,
        board: Board,
        drawing: tuple[Words, Scratch],
        tally: npt.NDArray[np.int64],
    ) -> None:
        """Add the cells that could not be placed one by one, and push all cells apart."""
        state, scratch = drawing
        placed, cells_per_visible = int(tally[0]), tally[0] / max(int(tally[1]), 1)  # ratio of all cells
        max_cells = max(
            math.ceil(_MAX_COVERAGE * board.height * board.width / (math.pi * contact.diameter**2 / 4)), placed
        )
        surplus = 1 + _SURPLUS * (job.requested / max(int(tally[1]), 1) - 1)
        n, target = placed, min(math.ceil(surplus * cells_per_visible * job.requested), max_cells)
        for _ in range(_ADDITIONS):
            self._room_for(target, n)
            add_cells(job, self.table, board, self._cells, scratch, state, n, target)
            n = target
            if self._crowd is None or len(self._crowd.outer) < n:
                self._crowd = make_crowd(max(n, _FIRST_CELLS))
            crowd = self._crowd.first(n)
            load_crowd(self.polar, self._cells, crowd)
            free = 1 - n * math.pi * contact.diameter**2 / 4 / (board.height * board.width)
            room = min(max((free - _TIGHT) / (_ROOMY - _TIGHT), 0.0), 1.0)
            clearance = _CLEARANCE[0] * (1 - room) + _CLEARANCE[1] * contact.diameter * room
            tolerance = contact.diameter * (_TOLERANCE[0] * (1 - room) + _TOLERANCE[1] * room)
            push_apart(board, self._cells, crowd, contact.diameter, (clearance, tolerance), _PUSHES)
            missing = job.requested - count_visible(contact, board, crowd)
            target = min(n + math.ceil(cells_per_visible * missing), max_cells)
            if target <= n:
                break
        # Cells cut by the border were selected when they were placed first.
        contact = contact._replace(border=0.0)
        while True:
            board.bits[0] = board.bits[board.eager] = 0
            board.marked[:] = -1
            board.marked[0] = board.marked[board.eager] = 0
            board.buckets[:] = -1
            tally[:] = n, 0
            if not place_again(job, contact, self.table, board, self._cells, self._arena, scratch, state, tally):
                return
            self._arena = np.empty(2 * len(self._arena) + len(scratch.words), np.uint64)

    def _room_for(self, count: int, placed: int) -> None:
        """Enlarge the buffer to `count` cells and keep the first `placed`."""
        if count > len(self._cells):
            cells = np.empty(count, CELL)
            cells[:placed] = self._cells[:placed]
            self._cells = cells

    def reach(self, job: Job) -> int:
        """Return the largest distance, px, of a pixel from the centre of a cell of `job`."""
        scale = max(1.0, job.scale_high)  # a cell that is not scaled has scale 1, outside the range too
        largest = self._largest if job.sizes is self.unscaled else float((self.table.outer * job.sizes).max())
        return _reach(largest * scale)

    def _scratch_for(self, job: Job) -> Scratch:
        return self.scratch((self.reach(job) + 1) / self._largest)

    def _make_room(self, placed: int, count: int, scratch: Scratch) -> None:
        """Enlarge the full buffer and keep the placed cells."""
        if placed == len(self._cells):
            self._room_for(min(count, max(2 * placed, _FIRST_CELLS)), placed)
        else:
            mean = len(self._arena) / max(placed, 1)
            room = int(max(mean, 64.0) * min(count, max(2 * placed, _FIRST_CELLS)))
            arena = np.empty(max(room, 2 * len(self._arena)) + len(scratch.words), np.uint64)
            arena[: len(self._arena)] = self._arena
            self._arena = arena

    def _board(self, height: int, width: int, job: Job) -> Board:
        """Create an empty canvas on the reused buffers."""
        reach = self.reach(job)
        pad = (reach + 2 + 63) // 64 * 64
        stride = height + 2 * pad
        words = ((width + 63) // 64 + 2 * (pad // 64) + 1) * stride
        radii, eager = self._levels(job)
        if len(self._bits) < len(radii) * words:
            self._bits = np.empty(len(radii) * words, np.uint64)
        bits = self._bits[: len(radii) * words].reshape(len(radii), words)
        marked = np.full(len(radii), -1)
        marked[0] = marked[eager] = 0
        bits[0] = bits[eager] = 0
        side = 2 * reach + 2
        across, down = (width - 1) // side + 1, (height - 1) // side + 1
        if len(self._buckets) < across * down:
            self._buckets = np.empty(across * down, np.int64)
        buckets = self._buckets[: across * down]
        buckets[:] = -1
        half = np.empty(2 * math.ceil(float(radii[-1]) + reach) + 1, np.int64)
        return Board(height, width, pad, stride, bits, radii, half, marked, eager, buckets, side, across, reach)

    def _levels(self, job: Job) -> tuple[npt.NDArray[np.float64], int]:
        """Return the inscribed radii of the levels of infeasible centres: quantiles over the cells to draw."""
        smallest = min(1.0, job.scale_low)
        key = job.odds.tobytes() + np.float64(smallest).tobytes()
        if key not in self._level_cache:
            self._level_cache.clear()
            self._level_cache[key] = self._find_levels(job.odds, smallest)
        return self._level_cache[key]

    def _find_levels(self, odds: npt.NDArray[np.float64], scale: float) -> tuple[npt.NDArray[np.float64], int]:
        table = self.table
        sizes = np.diff(table.first)
        weights = np.repeat(odds / np.maximum(sizes, 1), sizes)
        inner = table.inner[table.order] * scale
        usable = (weights > 0) & (inner > 2.0)
        if not usable.any():
            return np.zeros(1), 0
        quantiles = np.quantile(inner[usable], _LEVELS, weights=weights[usable], method="inverted_cdf")
        radii = np.concatenate([[0.0], np.unique(quantiles)])
        return radii, int(np.searchsorted(radii, quantiles[_LEVELS.index(_EAGER)]))


def _centre_tries(height: int, width: int) -> int:
    """Return the number of draws of a centre that takes about as long as scanning the whole bitmap."""
    return max(_MIN_CENTRE_TRIES, height * (width + 63) // 64 // 12)


def _reach(radius: float) -> int:
    return math.ceil(radius) + 1


def as_workspace(shapes: ShapeLibrary | Workspace) -> Workspace:
    """Return the library as a workspace; a workspace is returned unchanged."""
    return shapes if isinstance(shapes, Workspace) else Workspace(shapes)


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the canvas as (height, width) px, or raise an `OptionError`."""
    height, width = (int(side) for side in size)
    if (height, width) != tuple(size) or height < 1 or width < 1 or height * width > _MAX_PIXELS:
        raise OptionError(f"canvas of {size} px; give (height, width), each at least 1, of at most 2^32 px")
    return height, width


def shape_table(shapes: ShapeLibrary) -> ShapeTable:
    """Sort a library by class and measure the largest disc inside each contour.

    Raises
    ------
    DataError
        If the library is empty, or a contour is far larger than a field.
    """
    contours = np.asarray(shapes.contours, np.float64)
    if contours.ndim != 3 or contours.shape[0] == 0 or contours.shape[1] < 3 or contours.shape[2] != 2:
        raise DataError(f"the shape library has contours of shape {contours.shape}; it needs at least one cell")
    if np.abs(contours).max() > _MAX_RADIUS:
        raise DataError(f"the shape library has contours of more than {_MAX_RADIUS} px; extract them again")
    classes = np.asarray(shapes.classes, np.int64)
    order = np.argsort(classes, kind="stable")
    first = np.searchsorted(classes[order], np.arange(len(shapes.class_names) + 1))
    points = np.ascontiguousarray(contours.transpose(0, 2, 1))
    outer = np.sqrt((points**2).sum(1).max(1))
    return ShapeTable(points, _inscribed(contours), outer, order, first.astype(np.int64))


def _inscribed(contours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distance of the origin to each contour, (n,) px; 0 if the origin is outside (a crescent)."""
    start = np.roll(contours, 1, axis=1)
    edge = contours - start
    length2 = (edge**2).sum(2)
    along = -(start * edge).sum(2) / np.where(length2 > 0, length2, 1.0)
    nearest = start + np.clip(along, 0.0, 1.0)[..., None] * edge
    distance = np.sqrt((nearest**2).sum(2).min(1))
    # Even-odd rule: count the edges that the ray to the right of the origin crosses.
    crosses = (start[..., 1] > 0) != (contours[..., 1] > 0)
    rise = np.where(crosses, edge[..., 1], 1.0)
    right = start[..., 0] - start[..., 1] * edge[..., 0] / rise > 0
    inside = (crosses & right).sum(1) % 2 == 1
    return np.where(inside, distance, 0.0)
