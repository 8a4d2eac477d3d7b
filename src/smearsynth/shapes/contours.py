"""Contours of cells: tracing from masks to a fixed number of vertices, and measurement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from smearsynth.smear import Mask

VERTICES = 64  # vertices of every stored contour, equally spaced along it

ContourArray = npt.NDArray[np.float32]  # (n, VERTICES, 2), x and y in px relative to the centroid
FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]

_DENSE = 256  # points of the curve during smoothing
_BATCH = 64  # outlines tested for self-intersection at once; each has 2,000 pairs of edges
_SMOOTHING_PX = 1.0  # σ along the outline: removes pixel steps, keeps the spicules of crenated cells


def trace(mask: Mask) -> tuple[FloatArray, int]:
    """Trace the outline of the largest connected component of a mask, holes filled, with sub-pixel positions.

    Parameters
    ----------
    mask : (H, W) bool array
        At least one pixel; the mask may touch the image border.

    Returns
    -------
    outline : (m, 2) float64 array
        x, y in px, pixel centres at integers; closed (the last point connects to the first).
    pieces : int
        Number of 4-connected components of the mask.

    Examples
    --------
    >>> outline, pieces = trace(np.ones((3, 2), bool))
    >>> float(polygon_areas(outline[None])[0]), pieces
    (5.5, 1)
    """
    padded = np.pad(mask, 1).astype(np.float32)
    loops = measure.find_contours(padded, 0.5, fully_connected="low")  # type: ignore[no-untyped-call]
    areas = np.array([signed_area(loop[:-1]) for loop in loops])
    largest = int(np.abs(areas).argmax())
    # Loops around holes have the opposite direction. Loops in the direction of the largest one are components.
    pieces = int((np.sign(areas) == np.sign(areas[largest])).sum())
    outline: FloatArray = loops[largest][:-1, ::-1] - 1.0
    return outline, pieces


def contour_of(mask: Mask) -> tuple[ContourArray, float, int]:
    """Compute the contour of a cell for a shape library.

    The traced outline is smoothed by a Gaussian of 1 px along its length, resampled to `VERTICES` equal steps
    and scaled to the area of the filled mask, because smoothing and chords would reduce the area.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    contour : (VERTICES, 2) float32 array
        x, y in px relative to the centroid of the filled shape.
    area : float
        Filled area of the largest component, px².
    pieces : int
        Number of components of the mask.

    Examples
    --------
    >>> y, x = np.mgrid[-20:21, -20:21]
    >>> contour, area, pieces = contour_of(x**2 + y**2 <= 15.0**2)
    >>> contour.shape, round(area), round(float(np.hypot(*contour.T).mean()), 1), pieces
    ((64, 2), 709, 15.0, 1)
    """
    outline, pieces = trace(mask)
    contour, area = contour_of_outline(outline)
    return contour, area, pieces


def contour_of_outline(outline: FloatArray) -> tuple[ContourArray, float]:
    """Compute the contour of a cell from its traced outline, see `contour_of`.

    Parameters
    ----------
    outline : (m, 2) float64 array
        x, y in px, closed; from `trace`.

    Returns
    -------
    contour : (VERTICES, 2) float32 array
    area : float
        px².
    """
    # A loop at level 0.5 cuts an eighth of a pixel off each convex pixel corner and adds the same at each concave
    # one. There are always four more convex than concave corners, which makes half a pixel.
    area = abs(signed_area(outline)) + 0.5
    dense = resample(outline, _DENSE)
    step = np.linalg.norm(np.roll(dense, -1, axis=0) - dense, axis=1).mean()
    dense = ndimage.gaussian_filter1d(dense, _SMOOTHING_PX / step, axis=0, mode="wrap")
    contour = resample(dense, VERTICES)
    contour = (contour - polygon_centroids(contour[None])[0]) * np.sqrt(area / abs(signed_area(contour)))
    return contour.astype(np.float32), area


def resample(outline: FloatArray, n: int) -> FloatArray:
    """Resample a closed outline at equal steps.

    Parameters
    ----------
    outline : (m, 2) float64 array
    n : int

    Returns
    -------
    (n, 2) float64 array
        Starts at the first point of the outline.

    Examples
    --------
    >>> resample(np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]]), 8)[:3].tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    """
    closed = np.concatenate([outline, outline[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    positions = np.arange(n) * length[-1] / n
    return np.stack([np.interp(positions, length, closed[:, axis]) for axis in range(2)], axis=1)


def polygon_areas(contours: npt.NDArray[np.floating]) -> FloatArray:
    """Compute the area of each polygon, (n, m, 2) px to (n,) px²."""
    x, y = contours[..., 0].astype(np.float64), contours[..., 1].astype(np.float64)
    cross = x * np.roll(y, -1, axis=-1) - y * np.roll(x, -1, axis=-1)
    return np.asarray(np.abs(cross.sum(axis=-1)) / 2)


def polygon_centroids(contours: npt.NDArray[np.floating]) -> FloatArray:
    """Compute the centroid of each filled polygon, (n, m, 2) px to (n, 2) px."""
    current = contours.astype(np.float64)
    following = np.roll(current, -1, axis=-2)
    cross = current[..., 0] * following[..., 1] - current[..., 1] * following[..., 0]
    sums = ((current + following) * cross[..., None]).sum(axis=-2)
    return np.asarray(sums / (3 * cross.sum(axis=-1)[..., None]))


def are_simple(contours: npt.NDArray[np.floating]) -> Mask:
    """Test whether each polygon has no self-intersection, (n, m, 2) to (n,); touching is allowed.

    Examples
    --------
    >>> bow_tie = np.array([[[0, 0], [1, 1], [1, 0], [0, 1]], [[0, 0], [1, 0], [1, 1], [0, 1]]], float)
    >>> are_simple(bow_tie).tolist()
    [False, True]
    """
    m = contours.shape[1]
    first, second = np.triu_indices(m, 2)
    keep = (second - first) < m - 1  # adjacent edges share a point and cannot cross
    first, second = first[keep], second[keep]
    simple = [
        ~_edges_cross(batch, first, second).any(axis=1)
        for batch in np.array_split(contours.astype(np.float64), len(contours) // _BATCH + 1)
    ]
    return np.concatenate(simple)


def _edges_cross(contours: FloatArray, first: IndexArray, second: IndexArray) -> Mask:
    """Test whether the edges from the vertices `first` and `second` cross, (n, m, 2) to (n, pairs)."""
    closed = np.concatenate([contours, contours[:, :1]], axis=1)
    step = np.diff(closed, axis=1)

    def side(edges: IndexArray, points: IndexArray) -> FloatArray:
        offset = closed[:, points] - closed[:, edges]
        return np.asarray(step[:, edges, 0] * offset[..., 1] - step[:, edges, 1] * offset[..., 0])

    separated = side(first, second) * side(first, second + 1) < 0
    return np.asarray(separated & (side(second, first) * side(second, first + 1) < 0))


def signed_area(outline: FloatArray) -> float:
    """Return the area of a polygon (m, 2), positive if it is counter-clockwise with y upwards, px²."""
    x, y = outline[:, 0], outline[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
