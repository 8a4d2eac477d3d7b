"""Spatial statistics of the cells of one smear: centres, clusters, nearest neighbours, pair correlation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal, sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from smearsynth.smear import LabelArray, Mask

BIN_WIDTH = 0.1  # bin width of the distance histograms, mean cell diameters
BINS = 40  # four diameters; at larger distances a field shows no structure of single cells

CONTACT_LENGTHS = (0.3, 0.5, 0.7)  # mean diameters
EMPTY_DISTANCES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # distances from the nearest cell, mean cell diameters
_EMPTY_GRID = 100
_WINDOW_GRID = 400  # points along the longer side for the intersections of a window with ignored pixels

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def cell_centres(labels: LabelArray, areas: IntArray) -> FloatArray:
    """Compute the centroid of the visible pixels of each instance.

    Parameters
    ----------
    labels : (H, W) int32 array
    areas : (n,) int64 array
        Areas of the instances, px².

    Returns
    -------
    (n, 2) float64 array
        x, y in px, pixel centres at integers.

    Examples
    --------
    >>> cell_centres(np.array([[0, 1, 1], [0, 1, 1]], np.int32), np.array([4])).tolist()
    [[1.5, 0.5]]
    """
    rows, columns = np.nonzero(labels)
    ids = labels[rows, columns]
    sums = [np.bincount(ids, weights=coordinate, minlength=len(areas) + 1)[1:] for coordinate in (columns, rows)]
    centres: FloatArray = np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None]
    return centres


def pair_correlation(
    centres: FloatArray, size: tuple[int, int], diameter: float, ignored: Mask | None = None
) -> FloatArray:
    """Compute the pair correlation g(r) of the cell centres, with translation edge correction.

    For n points in a window of area A, summed over the ordered pairs with a distance in [r0, r1),

        g = A² / (n (n - 1) π (r1² - r0²)) · Σ 1 / ((w - |dx|) (h - |dy|))

    is the translation-corrected estimator (Ohser 1983; Illian et al. 2008, *Statistical Analysis and Modelling
    of Spatial Point Patterns*, section 4.3) with bins as its kernel. The window w × h is the field without a
    margin of half a cell diameter, because a cell near the border may be cut: its visible centroid is not its
    centre, and its neighbours outside the field are missing.

    With ignored pixels the window is the part of the field farther than half a cell diameter from them, too. Its
    area replaces w·h, and its intersection with the window shifted by (dx, dy), computed on a grid of about 400
    points along the longer side, replaces (w - |dx|) (h - |dy|).

    Parameters
    ----------
    centres : (n, 2) float64 array
        x, y in px, pixel centres at integers.
    size : (W, H)
        Size of the field, px.
    diameter : float
        Mean cell diameter, px.
    ignored : (H, W) bool array, optional
        Pixels without annotation.

    Returns
    -------
    (BINS,) float64 array
        g in bins of `BIN_WIDTH` diameters. NaN if it cannot be estimated: fewer than two points, or distances above
        half of the shorter side (or of the square root of the area of a window with ignored pixels), where the
        correction is based on few pairs.

    Examples
    --------
    >>> grid = np.stack(np.meshgrid(np.arange(5.0, 200, 10), np.arange(5.0, 200, 10)), -1).reshape(-1, 2)
    >>> g = pair_correlation(grid, (200, 200), 10.0)
    >>> bool((g[:10] == 0).all()), bool(g[10] > 3)
    (True, True)
    """
    if not diameter > 0:
        return np.full(BINS, np.nan)
    sides = np.array(size, np.float64) - diameter
    low = np.full(2, diameter / 2 - 0.5)
    points = centres[((centres >= low) & (centres <= low + sides)).all(axis=1)]
    window = None
    if ignored is not None and ignored.any():
        window = _Window.of(ignored, diameter)
        points = points[window.contains(points)]
    n = len(points)
    if n < 2 or (sides <= 0).any():
        return np.full(BINS, np.nan)
    edges = np.arange(BINS + 1) * BIN_WIDTH * diameter
    pairs = cKDTree(points).query_pairs(edges[-1], output_type="ndarray")
    offsets = np.abs(points[pairs[:, 0]] - points[pairs[:, 1]])
    if window is None:
        overlap = np.prod(np.maximum(sides - offsets, 1.0), axis=1)
        area, limit = float(np.prod(sides)), float(sides.min()) / 2
    else:
        overlap, area = window.overlaps(points[pairs[:, 0]] - points[pairs[:, 1]]), window.area
        limit = min(float(sides.min()), math.sqrt(area)) / 2
    sums, _ = np.histogram(np.hypot(offsets[:, 0], offsets[:, 1]), edges, weights=2 / overlap)
    g: FloatArray = sums * area**2 / (n * (n - 1) * np.pi * np.diff(edges**2))
    g[edges[1:] > limit] = np.nan
    return g


class _Window(NamedTuple):
    """Window of the pair correlation of a field with ignored pixels.

    Parameters
    ----------
    mask : (H, W) bool array
    step : int
        Step of the grid on which intersections are computed, px.
    intersections : (2 h - 1, 2 w - 1) float64 array
        Area in px² of the intersection of the window with itself shifted by each offset of the grid.
    """

    mask: Mask
    step: int
    intersections: FloatArray

    @classmethod
    def of(cls, ignored: Mask, diameter: float) -> _Window:
        known = np.pad(~ignored, 1)  # the border is a limit as the ignored pixels are
        mask = ndimage.distance_transform_edt(known)[1:-1, 1:-1] > diameter / 2
        step = max(1, max(mask.shape) // _WINDOW_GRID)
        grid = mask[::step, ::step].astype(np.float64)
        return cls(mask, step, signal.fftconvolve(grid, grid[::-1, ::-1]) * step**2)

    @property
    def area(self) -> float:
        return float(self.mask.sum())

    def contains(self, points: FloatArray) -> Mask:
        """Test for each point (n, 2), x and y in px, whether it is in the window."""
        x, y = np.rint(points).astype(np.int64).T
        inside: Mask = self.mask[y, x]
        return inside

    def overlaps(self, offsets: FloatArray) -> FloatArray:
        """Return the area of the intersection for each offset (n, 2) in px; at least 1 px²."""
        shift = np.rint(offsets[:, ::-1] / self.step).astype(np.int64)
        centre = np.array(self.intersections.shape) // 2
        return np.asarray(np.maximum(self.intersections[tuple((centre + shift).T)], 1.0))


def cluster_sizes(n: int, pairs: IntArray) -> IntArray:
    """Return the size of the cluster of touching cells of each cell; 1 for a single cell.

    Parameters
    ----------
    n : int
        Number of cells.
    pairs : (m, 2) int64 array
        Ids 1..n of touching cells, from `touching_pairs`.

    Returns
    -------
    (n,) int64 array

    Examples
    --------
    >>> cluster_sizes(4, np.array([[1, 2], [2, 4]])).tolist()
    [3, 3, 1, 3]
    """
    graph = sparse.coo_array((np.ones(len(pairs), bool), (pairs[:, 0] - 1, pairs[:, 1] - 1)), shape=(n, n))
    if n == 0:
        return np.zeros(0, np.int64)
    _, cluster = csgraph.connected_components(graph, directed=False)
    sizes: IntArray = np.bincount(cluster)[cluster].astype(np.int64)
    return sizes


def nearest_neighbours(centres: FloatArray, selected: Mask) -> FloatArray:
    """Compute the distance from each selected cell to the nearest other cell, selected or not.

    There is no edge correction; use it to compare fields of the same size.

    Parameters
    ----------
    centres : (n, 2) float64 array
        x, y in px.
    selected : (n,) bool array
        `measure_smear` selects whole cells, because the centre of a cut cell is unknown, and leaves out cells near
        ignored pixels (`far_from`).

    Returns
    -------
    (selected cells,) float64 array
        px; empty if there is no other cell.

    Examples
    --------
    >>> nearest_neighbours(np.array([[0.0, 0], [3, 4], [3, 5]]), np.array([True, False, True])).tolist()
    [5.0, 1.0]
    """
    if len(centres) < 2 or not selected.any():
        return np.zeros(0)
    distances, _ = cKDTree(centres).query(centres[selected], k=2)
    return np.asarray(distances[:, 1], np.float64)


def far_from(ignored: Mask, centres: FloatArray, distance: float) -> Mask:
    """Test for each centre (n, 2), x and y in px, whether all ignored pixels are farther than `distance` px.

    The nearest neighbour of a cell next to an ignored region may be in it, without a label.

    Examples
    --------
    >>> ignored = np.array([[False] * 5 + [True]])
    >>> far_from(ignored, np.array([[0.0, 0], [4, 0]]), 3.0).tolist()
    [True, False]
    """
    if not ignored.any():
        return np.ones(len(centres), bool)
    x, y = np.rint(centres).astype(np.int64).T
    far: Mask = ndimage.distance_transform_edt(~ignored)[y, x] > distance
    return far


def distance_histogram(distances: FloatArray, diameter: float) -> tuple[int, ...]:
    """Count distances (n,) px in `BINS` bins of `BIN_WIDTH` diameters; larger ones are in the last bin.

    Examples
    --------
    >>> distance_histogram(np.array([10.5, 11.5, 500.0]), 10.0)[9:13]
    (0, 1, 1, 0)
    """
    if not len(distances):
        return (0,) * BINS
    bins = np.minimum(distances / (diameter * BIN_WIDTH), BINS - 1).astype(np.int64)
    return tuple(np.bincount(bins, minlength=BINS).tolist())


def contact_fractions(labels: npt.NDArray[np.integer[Any]], count: int, diameter: float) -> FloatArray:
    """Compute the fraction of cells whose longest contact with another cell exceeds each of `CONTACT_LENGTHS`.

    Two discs of the diameter D that overlap by the depth d are divided by a chord of length √(d·(2D − d)). The
    length of the contacts thus shows how deep cells overlap where annotations divide them. A contact is where two
    cells are adjacent, or one pixel apart.

    Parameters
    ----------
    labels : (H, W) int32 array
        With the cells 1..count.
    count : int
    diameter : float
        Mean diameter of the cells, px.

    Returns
    -------
    (3,) float64 array
        NaN without cells or diameter.

    Examples
    --------
    >>> labels = np.zeros((20, 30), np.int32)
    >>> labels[5:15, 5:15], labels[5:15, 15:25] = 1, 2
    >>> contact_fractions(labels, 2, 12.0).tolist()
    [1.0, 1.0, 1.0]
    """
    if not count or not diameter > 0:
        return np.full(len(CONTACT_LENGTHS), np.nan)
    squares: dict[int, int] = {}
    for plane in (labels, labels.T):
        codes, numbers = np.unique(_facing_pairs(plane, count), return_counts=True)
        for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
            squares[code] = squares.get(code, 0) + number**2
    longest = np.zeros(count + 1)
    for code, square in squares.items():
        for cell in divmod(code, count + 1):
            longest[cell] = max(longest[cell], square**0.5)
    fractions: FloatArray = (longest[1:, None] > diameter * np.array(CONTACT_LENGTHS)).mean(axis=0)
    return fractions


def _facing_pairs(labels: npt.NDArray[np.integer[Any]], count: int) -> IntArray:
    """Return a code of each pair of cells that are adjacent in a row, or one background pixel apart."""
    codes = []
    for first, second, free in (
        (labels[:, :-1], labels[:, 1:], True),
        (labels[:, :-2], labels[:, 2:], labels[:, 1:-1] == 0),
    ):
        facing = (first != second) & (first > 0) & (second > 0) & free
        a, b = first[facing].astype(np.int64), second[facing].astype(np.int64)
        codes.append(np.minimum(a, b) * (count + 1) + np.maximum(a, b))
    return np.concatenate(codes)


def empty_fractions(
    labels: npt.NDArray[np.integer[Any]], diameter: float, ignored: Mask | None = None
) -> FloatArray:
    """Compute the fraction of a field farther from any cell than each of `EMPTY_DISTANCES`.

    It measures empty areas, holes and gradients, on a grid of about 100 points along the longer side. With ignored
    pixels, each distance uses only the points that are farther than it from them, because a cell without a label
    may be nearer (reduced-sample estimator; Baddeley and Gill 1997, *Annals of Statistics* 25).

    Parameters
    ----------
    labels : (H, W) int array
    diameter : float
        Mean cell diameter in px.
    ignored : (H, W) bool array, optional
        Pixels without annotation.

    Returns
    -------
    (6,) float64 array
        NaN without a diameter or without a point far enough from the ignored pixels, 1 for a field without cells.

    Examples
    --------
    >>> labels = np.zeros((100, 100), np.int32)
    >>> labels[:, :50] = 1
    >>> empty_fractions(labels, 10.0).round(2).tolist()
    [0.48, 0.45, 0.43, 0.4, 0.35, 0.3]
    """
    if math.isnan(diameter):
        return np.full(len(EMPTY_DISTANCES), math.nan)
    distances = empty_distances(labels, _EMPTY_GRID)
    limits = np.array(EMPTY_DISTANCES) * diameter
    if ignored is None or not ignored.any():
        return np.asarray((distances[:, None] > limits).mean(axis=0))
    far, points = count_far_points(distances, ignored_distances(ignored, _EMPTY_GRID), limits)
    return np.where(points > 0, far / np.maximum(points, 1), math.nan)


def count_far_points(
    distances: FloatArray, ignored: FloatArray, limits: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the points farther from any cell than each limit, and the points for which this is known.

    Parameters
    ----------
    distances, ignored : (points,) float64 array
        Distances to the nearest cell and to the nearest ignored pixel, px.
    limits : (m,) float64 array
        px.

    Returns
    -------
    far, points : (m,) int64 array
        Both count only points farther from the ignored pixels than the limit.

    Examples
    --------
    >>> far, points = count_far_points(np.array([0.0, 3.0, 9.0]), np.array([9.0, 5.0, 1.0]), np.array([2.0, 8.0]))
    >>> far.tolist(), points.tolist()
    ([1, 0], [2, 1])
    """
    known = ignored[:, None] > limits
    far = known & (distances[:, None] > limits)
    return far.sum(axis=0), known.sum(axis=0)


def empty_distances(labels: npt.NDArray[np.integer[Any]], points: int) -> FloatArray:
    """Compute the distance of grid points to the nearest cell, px; infinite for a field without cells.

    Parameters
    ----------
    labels : (H, W) int array
    points : int
        Approximate number of grid points along the longer side.

    Returns
    -------
    (grid points,) float64 array
        0 on a cell.

    Examples
    --------
    >>> empty_distances(np.array([[1, 0, 0, 0]]), 4).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    step = max(1, max(labels.shape) // points)
    background = labels[::step, ::step] == 0
    if background.all():
        return np.full(background.size, math.inf)
    return np.asarray(ndimage.distance_transform_edt(background).ravel() * step)


def ignored_distances(ignored: Mask, points: int) -> FloatArray:
    """Compute the distance of the grid points of `empty_distances` to the nearest ignored pixel, px.

    Parameters
    ----------
    ignored : (H, W) bool array
    points : int
        Approximate number of grid points along the longer side.

    Returns
    -------
    (grid points,) float64 array
        0 on an ignored pixel; infinite without one.

    Examples
    --------
    >>> ignored_distances(np.array([[True, False, False, False]]), 4).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    step = max(1, max(ignored.shape) // points)
    if not ignored.any():
        return np.full(ignored[::step, ::step].size, math.inf)
    return np.asarray(ndimage.distance_transform_edt(~ignored)[::step, ::step].ravel())
