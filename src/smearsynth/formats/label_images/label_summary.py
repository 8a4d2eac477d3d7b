"""Figures of a label image by which the checks tell instance ids from other values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from smearsynth.smear import LabelArray, Mask, relabel_sequential

Ids = npt.NDArray[np.integer[Any]]  # (H, W)

# A disc fills 0.79 of its bounding box and a thin ellipse on the diagonal 0.4. Rings and discs apart fill less.
_MIN_EXTENT = 0.5
_LARGE_BOX = 0.1  # of the image
# Smaller pieces are specks of tracing and resizing.
_MIN_PIECE = 0.2  # of the median cell
# Between the lobes of a nucleus there are up to 3 cell sides (square root of the area), between two cells more.
_MIN_DISTANCE = 4.0  # cell sides
_MAX_PIXELS = 100_000  # of the sample in which ids are located
_EIGHT = np.ones((3, 3), bool)


class Pieces(NamedTuple):
    """Separate pieces (8-connectivity) of each id.

    Parameters
    ----------
    largest : (n,) int64 array
        Area of the largest piece, px².
    counts : (n,) int64 array
        Number of pieces of at least a fifth of a typical cell.
    apart : (n,) bool array
        Whether some of these are too far apart for parts of one cell.
    """

    largest: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    apart: Mask


@dataclass(frozen=True, eq=False)
class LabelSummary:
    """Ids of a label image, with their areas, boxes and pieces; the last are computed on demand.

    Parameters
    ----------
    labels : (H, W) int32 array
        Instances 1..n.
    ids : (n,) int64 array
        ``ids[k]`` is the id of instance ``k + 1`` in the file, in ascending order.
    areas : (n,) int64 array
        Number of pixels of each instance.

    Examples
    --------
    >>> summary = LabelSummary.of(np.array([[7, 0, 0, 9, 0, 0, 9]]))
    >>> summary.ids.tolist(), summary.areas.tolist(), summary.pieces.counts.tolist()
    ([7, 9], [1, 2], [1, 2])
    """

    labels: LabelArray
    ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]

    @classmethod
    def of(cls, ids: Ids) -> LabelSummary:
        """Return the summary of a label image.

        Raises
        ------
        DataError
            If an id is negative.
        """
        if not ids.size or int(ids.min()) < 0 or int(ids.max()) > max(ids.size, 1 << 16):
            labels, values = relabel_sequential(ids)
            return cls(labels, values, np.bincount(labels.ravel(), minlength=len(values) + 1)[1:])
        # As relabel_sequential does, but the counts are the areas: another count would take a tenth of the reading.
        counts = np.bincount(ids.ravel())
        values = np.flatnonzero(counts[1:]) + 1
        table = np.zeros(len(counts), np.int32)
        table[values] = np.arange(1, len(values) + 1)
        return cls(table[ids], values.astype(np.int64), counts[values])

    @property
    def count(self) -> int:
        """Number of ids."""
        return len(self.ids)

    @property
    def zeros(self) -> int:
        """Number of pixels with the value 0."""
        return self.labels.size - int(self.areas.sum())

    @cached_property
    def boxes(self) -> npt.NDArray[np.int64]:
        """Window around each id, (n, 4): y0, y1, x0, x1. In large images it is found from a part of the pixels.

        It may lack specks of an id that are thinner than two or three pixels, and is empty for an id that has only
        such specks.
        """
        step = max(1, round((self.labels.size / _MAX_PIXELS) ** 0.5))
        windows = ndimage.find_objects(self.labels[::step, ::step], max_label=self.count)
        boxes = np.array(
            [(1, 0, 1, 0) if window is None else
             (window[0].start, window[0].stop, window[1].start, window[1].stop) for window in windows],
            np.int64,
        ).reshape(-1, 4)  # fmt: skip
        height, width = self.labels.shape
        # Between the pixels of the sample are step - 1 others.
        boxes[:, ::2] = np.maximum(step * (boxes[:, ::2] - 1) + 1, 0)
        boxes[:, 1::2] = np.minimum(step * boxes[:, 1::2], (height, width))
        return boxes

    def window(self, index: int) -> tuple[slice, slice]:
        """Return the window around an id."""
        y0, y1, x0, x1 = self.boxes[index].tolist()
        return slice(y0, y1), slice(x0, x1)

    @cached_property
    def scattered(self) -> npt.NDArray[np.intp]:
        """Indices of the ids that may have several pieces: they fill little of their box, or it is large."""
        sizes = self._box_areas()
        return np.flatnonzero((self.areas < _MIN_EXTENT * sizes) | (sizes > _LARGE_BOX * self.labels.size))

    def _box_areas(self) -> npt.NDArray[np.int64]:
        y0, y1, x0, x1 = self.boxes.T
        areas: npt.NDArray[np.int64] = np.maximum(y1 - y0, 0) * np.maximum(x1 - x0, 0)
        return areas

    @cached_property
    def pieces(self) -> Pieces:
        """Separate pieces of each id."""
        # ids are looked at one by one if they are few, which is the usual case, else all at once.
        area = int(self._box_areas()[self.scattered].sum())
        found = self._pieces_of_all() if area > 3 * self.labels.size else self._pieces_of_scattered()
        largest = self.areas.copy()
        for k, (sizes, _) in found.items():
            largest[k] = sizes.max()
        typical = float(np.median(largest)) if self.count else 0.0
        count, apart = np.ones(self.count, np.int64), np.zeros(self.count, bool)
        for k, (sizes, centres) in found.items():
            large = sizes >= min(_MIN_PIECE * typical, float(largest[k]))
            count[k] = large.sum()
            span = np.ptp(centres[large], axis=0)
            apart[k] = count[k] > 1 and np.hypot(*span) > _MIN_DISTANCE * np.sqrt(largest[k])
        return Pieces(largest, count, apart)

    def _pieces_of_scattered(self) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        found = {}
        for k in self.scattered.tolist():
            parts, n = ndimage.label(self.labels[self.window(k)] == k + 1, _EIGHT)
            if n > 1:
                sizes, centres = _sizes_and_centres(parts, n)
                found[k] = (sizes[1:], centres[1:])
        return found

    def _pieces_of_all(self) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        parts, n = measure.label(self.labels, background=0, connectivity=2, return_num=True)  # type: ignore[no-untyped-call]
        owner = np.zeros(n + 1, np.int64)
        owner[parts] = self.labels
        sizes, centres = _sizes_and_centres(parts, n)
        order = np.argsort(owner[1:], kind="stable") + 1
        ends = np.searchsorted(owner[order], np.arange(1, self.count + 2))
        spans = ((k, order[ends[k] : ends[k + 1]]) for k in range(self.count))
        return {k: (sizes[chosen], centres[chosen]) for k, chosen in spans if len(chosen) > 1}

    @cached_property
    def repeated(self) -> Mask:
        """Ids that mark several objects: their pieces are far apart, (n,) bool."""
        return self.pieces.apart

    def borders(self, index: int) -> int:
        """Return the number of sides of the image, 0 to 4, that an id reaches."""
        sides = (self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1])
        return sum(bool((side == index + 1).any()) for side in sides)

    def surrounded(self, index: int) -> npt.NDArray[np.float64]:
        """Return for each id the fraction of its outline that faces the id `index`, (n,); 0 for that id itself.

        Examples
        --------
        >>> LabelSummary.of(np.array([[1, 1, 1], [1, 2, 1], [1, 1, 0]])).surrounded(0).tolist()
        [0.0, 1.0]
        """
        total, facing = np.zeros(self.count + 1), np.zeros(self.count + 1)
        for first, second in (
            (self.labels[:-1], self.labels[1:]),
            (self.labels[:, :-1], self.labels[:, 1:]),
        ):
            differ = first != second
            a, b = first[differ], second[differ]
            for inner, outer in ((a, b), (b, a)):
                total += np.bincount(inner, minlength=self.count + 1)
                facing += np.bincount(inner[outer == index + 1], minlength=self.count + 1)
        fractions: npt.NDArray[np.float64] = facing[1:] / np.maximum(total[1:], 1)
        return fractions


def _sizes_and_centres(
    parts: npt.NDArray[np.integer[Any]], n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the areas (n + 1,) and centres y, x (n + 1, 2) of components; the first row is the background."""
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    rows, columns = np.ogrid[: parts.shape[0], : parts.shape[1]]
    sums = [
        np.bincount(parts.ravel(), np.broadcast_to(axis, parts.shape).ravel(), minlength=n + 1)
        for axis in (rows, columns)
    ]
    return sizes, np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
