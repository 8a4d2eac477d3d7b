"""Outlines of a mask along pixel edges: the polygons that fill to exactly the same mask again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int]


def trace_outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Trace a mask along its pixel edges.

    scikit-image's contours cut corners at half a pixel; COCO's polygons must give back every pixel.

    Parameters
    ----------
    mask : (H, W) bool array

    Returns
    -------
    list of (m, 2) int64 array
        Corners x, y of closed rings, in px from the outer corner of the first pixel. Outer rings, one per
        4-connected piece, have a positive `ring_area`, holes a negative one.

    Examples
    --------
    >>> trace_outlines(np.array([[False, True, True]]))[0].tolist()
    [[3, 0], [3, 1], [1, 1], [1, 0]]
    """
    steps = _edges(mask)
    left = dict.fromkeys((start, end) for start, ends in steps.items() for end in ends)
    rings = []
    while left:
        first = edge = next(iter(left))
        ring: list[Corner] = []
        while True:
            del left[edge]
            (x0, y0), (x, y) = edge
            dx, dy = x - x0, y - y0
            ends = steps[x, y]
            # Where two pixels meet at a corner two ways go on: turning right keeps to this pixel.
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
    """Area within a ring in px², negative when it runs round a hole."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _edges(mask: npt.NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Directed unit edges, by their start, with the mask always on the right hand."""
    padded = np.pad(mask, 1).astype(np.int8)
    steps: dict[Corner, list[Corner]] = {}

    def add(x: npt.NDArray[np.intp], y: npt.NDArray[np.intp], dx: int, dy: int) -> None:
        for start in zip(x.tolist(), y.tolist(), strict=True):
            steps.setdefault(start, []).append((start[0] + dx, start[1] + dy))

    down = np.diff(padded, axis=0)
    y, x = np.nonzero(down == 1)
    add(x - 1, y, 1, 0)
    y, x = np.nonzero(down == -1)
    add(x, y, -1, 0)
    across = np.diff(padded, axis=1)
    y, x = np.nonzero(across == 1)
    add(x, y, 0, -1)
    y, x = np.nonzero(across == -1)
    add(x, y - 1, 0, 1)
    return steps
