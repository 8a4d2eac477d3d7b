"""Which predicted cell is which real one, and the scores that follow: counts and Dice.

It knows arrays only, for tasks, which come earlier, choose their weights by it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize

from smearsynth.errors import DataError, OptionError
from smearsynth.smear import LabelArray, Mask

FloatArray = npt.NDArray[np.float64]
BoxArray = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]  # (n, 4): x0, y0, x1, y1, the end excluded


class Matches(NamedTuple):
    """One-to-one matches of found cells with true ones.

    Parameters
    ----------
    pairs : (m, 2) int64 array
        Row of the found and of the true cell.
    ious : (m,) float64 array
    found, true : int
        Cells on either side.
    """

    pairs: npt.NDArray[np.int64]
    ious: FloatArray
    found: int
    true: int

    @property
    def tp(self) -> int:
        """Found cells that are true ones."""
        return len(self.pairs)

    @property
    def fp(self) -> int:
        """Found cells that are none."""
        return self.found - len(self.pairs)

    @property
    def fn(self) -> int:
        """True cells that were not found."""
        return self.true - len(self.pairs)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 when there was nothing to find and nothing was found."""
        total = self.found + self.true
        return 2 * self.tp / total if total else 1.0


def match(ious: FloatArray, threshold: float = 0.5, method: Literal["optimal", "greedy"] = "optimal") -> Matches:
    """Match found cells to true ones, one to one, where their IoU is at least `threshold`.

    Parameters
    ----------
    ious : (found, true) float64 array
    threshold : float
        In (0, 1].
    method : {"optimal", "greedy"}
        As many matches as there can be, of the largest total IoU (Hungarian method); or the found cells in the
        order of the rows, each with the best true one that is left, as COCO does for rows sorted by score.

    Examples
    --------
    >>> ious = np.array([[0.9, 0.6], [0.7, 0.0]])
    >>> match(ious).pairs.tolist(), match(ious, method="greedy").pairs.tolist()
    ([[0, 1], [1, 0]], [[0, 0]])
    """
    if not 0 < threshold <= 1:
        raise OptionError(f"an IoU threshold of {threshold} is not within 0 to 1")
    allowed = ious >= threshold
    if method == "optimal":
        # a match more is worth more than all IoU there is
        worth = np.where(allowed, ious + min(ious.shape, default=0) + 1, 0.0)
        rows, columns = optimize.linear_sum_assignment(worth, maximize=True)
        kept = allowed[rows, columns]
        pairs = np.stack([rows[kept], columns[kept]], 1).astype(np.int64)
    elif method == "greedy":
        free = np.where(allowed, ious, -1.0)
        taken = []
        for row in range(len(free) if free.size else 0):
            column = int(free[row].argmax())
            if free[row, column] >= 0:
                taken.append((row, column))
                free[:, column] = -1
        pairs = np.array(taken, np.int64).reshape(-1, 2)
    else:
        raise OptionError(f"method {method!r}: choose optimal or greedy")
    return Matches(pairs, ious[pairs[:, 0], pairs[:, 1]], *ious.shape)


def label_ious(found: LabelArray, true: LabelArray) -> FloatArray:
    """IoU of every cell of one label image with every cell of another, (n, m) for ids 1..n and 1..m.

    Examples
    --------
    >>> label_ious(np.array([[1, 1, 0, 2]]), np.array([[1, 0, 0, 0]])).tolist()
    [[0.5], [0.0]]
    """
    if found.shape != true.shape:
        raise DataError(f"labels of shape {found.shape} cannot be matched with labels of shape {true.shape}")
    n, m = int(found.max(initial=0)), int(true.max(initial=0))
    both = found.astype(np.int64).ravel() * (m + 1) + true.ravel()
    shared = np.bincount(both, minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)
    union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - shared[1:, 1:]
    ious: FloatArray = shared[1:, 1:] / np.maximum(union, 1)
    return ious


def box_ious(found: BoxArray, true: BoxArray) -> FloatArray:
    """IoU of boxes (n, 4) with boxes (m, 4), each x0, y0, x1, y1 with the end excluded, (n, m).

    Examples
    --------
    >>> box_ious(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1], [5, 5, 6, 6]])).tolist()
    [[0.5, 0.0]]
    """
    a, b = found.astype(np.float64)[:, None], true.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), -1)
    union = np.prod(a[..., 2:] - a[..., :2], -1) + np.prod(b[..., 2:] - b[..., :2], -1) - shared
    ious: FloatArray = shared / np.maximum(union, 1e-12)
    return ious


def dice(found: Mask, true: Mask) -> float:
    """Dice score of two masks, the paper's equation 8; 1 when both are empty.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0
