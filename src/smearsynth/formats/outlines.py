"""Polygons along the pixel edges of a mask; filling them restores the mask exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int]


def trace_outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Trace the outlines of a mask along its pixel edges.

    The contours of scikit-image cut corners by half a pixel; these polygons preserve every pixel.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    list of (m, 2) int64 array
        Corners x, y of closed rings in px; (0, 0) is the upper left corner of the first pixel. Outer rings, one
        per 4-connected component, have a positive `ring_area`, holes a negative one.

    Examples
    --------
    >>> trace_outlines(np.array([[False, True, True]]))[0].tolist()
    [[3, 0], [3, 1], [1, 1], [1, 0]]
    """
    edges_from = _directed_edges(mask)
    remaining = dict.fromkeys((start, end) for start, ends in edges_from.items() for end in ends)
    rings = []
    while remaining:
        first = edge = next(iter(remaining))
        ring: list[Corner] = []
        while True:
            del remaining[edge]
            (x0, y0), (x, y) = edge
            dx, dy = x - x0, y - y0
            ends = edges_from[x, y]
            # Where two pixels meet at a corner there are two continuations: the right turn stays at this pixel.
            right = (x - dy, y + dx)
            end = right if right in ends else ends[0]
            if end != (x + dx, y + dy):
                ring.append((x, y))
            edge = ((x, y), end)
            if edge == first:
                break
        rings.append(np.array(ring, np.int64))
    return rings


def ring_area(ring: npt.NDArray[np.int64]) -> float:
    """Return the signed area of a ring in px²; it is negative for a hole.

    Examples
    --------
    >>> ring_area(np.array([[3, 0], [3, 1], [1, 1], [1, 0]]))
    2.0
    """
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _directed_edges(mask: npt.NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Return the ends of the edges that start at each corner; the mask is on the right of an edge."""
    padded = np.pad(mask, 1).astype(np.int8)
    edges_from: dict[Corner, list[Corner]] = {}

    def add(x: npt.NDArray[np.intp], y: npt.NDArray[np.intp], dx: int, dy: int) -> None:
        for start in zip(x.tolist(), y.tolist(), strict=True):
            edges_from.setdefault(start, []).append((start[0] + dx, start[1] + dy))

    vertical_change = np.diff(padded, axis=0)
    y, x = np.nonzero(vertical_change == 1)
    add(x - 1, y, 1, 0)
    y, x = np.nonzero(vertical_change == -1)
    add(x, y, -1, 0)
    horizontal_change = np.diff(padded, axis=1)
    y, x = np.nonzero(horizontal_change == 1)
    add(x, y, 0, -1)
    y, x = np.nonzero(horizontal_change == -1)
    add(x, y - 1, 0, 1)
    return edges_from
