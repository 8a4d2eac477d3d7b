"""Overlaps of annotated cells: the intersection of their completed outlines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from smearsynth.geometry import Outline, fill
from smearsynth.shapes.completion import complete
from smearsynth.shapes.contours import FloatArray, trace
from smearsynth.smear import LabelArray, Mask, Smear

_REACH = 0.08  # diameters between two cells that face each other at a cut
_MIN_AREA = 0.05  # of the smaller cell: smaller overlaps may be errors of the completion
_MARGIN = 2  # px around an overlap that count neither to it nor to the single cells


class Overlap(NamedTuple):
    """Two overlapping cells.

    Parameters
    ----------
    top, left : int
        First row and column of the masks in the field, px.
    both : (h, w) bool array
        Pixels in both cells, away from the rim of the overlap.
    single : (h, w) bool array
        Pixels in one of them, away from the overlap, as deep in their cell as those in both.
    """

    top: int
    left: int
    both: Mask
    single: Mask

    def levels(self, plane: FloatArray) -> tuple[float, float]:
        """Return the means of a plane (H, W) over the pixels in both cells, and over the single cells."""
        height, width = self.both.shape
        window = plane[self.top : self.top + height, self.left : self.left + width]
        return float(window[self.both].mean()), float(window[self.single].mean())


class _Whole(NamedTuple):
    """The completed pixels of a cell: a mask with its first row and column in the field."""

    top: int
    left: int
    mask: Mask


def find_overlaps(smear: Smear, diameter: float) -> list[Overlap]:
    """Find the overlaps of cells whose whole outlines can be completed (`smearsynth.shapes.completion.complete`).

    Parameters
    ----------
    smear : Smear
        Cells cut by the border or touching an ignored pixel are left out.
    diameter : float
        Of a median cell, px.
    """
    incomplete = smear.incomplete()
    boxes = smear.boxes()
    reach = max(1, round(_REACH * diameter))
    wholes: dict[int, _Whole | None] = {}
    overlaps = []
    for pair in _facing_cells(smear.labels, reach):
        if any(incomplete[label - 1] for label in pair):
            continue
        for label in pair:
            if label not in wholes:
                wholes[label] = _complete_cell(smear, label, boxes[label - 1].tolist(), reach)
        first, second = (wholes[label] for label in pair)
        if first is not None and second is not None:
            overlap = _overlap(smear.labels, first, second, pair)
            overlaps += [] if overlap is None else [overlap]
    return overlaps


def _facing_cells(labels: LabelArray, reach: int) -> list[tuple[int, int]]:
    """Return the pairs of labels with pixels at most `reach` px apart along a row or a column."""
    n = int(labels.max(initial=0)) + 1
    codes = [np.zeros(0, np.int64)]
    for plane in (labels, labels.T):
        for step in range(1, reach + 1):
            first, second = plane[:, :-step], plane[:, step:]
            facing = (first != second) & (first > 0) & (second > 0)
            a, b = first[facing].astype(np.int64), second[facing].astype(np.int64)
            codes.append(np.unique(np.minimum(a, b) * n + np.maximum(a, b)))
    return [divmod(code, n) for code in np.unique(np.concatenate(codes)).tolist()]


def _complete_cell(smear: Smear, label: int, box: list[int], reach: int) -> _Whole | None:
    x0, y0, x1, y1 = box
    top, left = max(y0 - reach, 0), max(x0 - reach, 0)
    window = smear.labels[top : y1 + reach, left : x1 + reach]
    outline, _ = trace(window == label)
    others = (window > 0) & (window != label)
    near = ndimage.binary_dilation(others, np.ones((3, 3), bool), iterations=reach)
    columns, rows = np.rint(outline).astype(int).T
    free = ~near[rows.clip(0, near.shape[0] - 1), columns.clip(0, near.shape[1] - 1)]
    whole = complete(outline, free)
    if whole is None:
        return None
    in_field = whole + np.array([left + 0.5, top + 0.5])
    filled = fill(Outline((in_field,)), smear.shape)
    return _Whole(filled.y, filled.x, filled.mask)


def _overlap(labels: LabelArray, first: _Whole, second: _Whole, pair: tuple[int, int]) -> Overlap | None:
    top, left = min(first.top, second.top), min(first.left, second.left)
    bottom = max(cell.top + cell.mask.shape[0] for cell in (first, second))
    right = max(cell.left + cell.mask.shape[1] for cell in (first, second))
    masks = []
    for cell in (first, second):
        mask = np.zeros((bottom - top, right - left), bool)
        rows, columns = cell.mask.shape
        mask[cell.top - top :, cell.left - left :][:rows, :columns] = cell.mask
        masks.append(mask)
    lens = masks[0] & masks[1]
    if lens.sum() < _MIN_AREA * min(mask.sum() for mask in masks):
        return None
    thickness = 2 * float(ndimage.distance_transform_edt(np.pad(lens, 1)).max())
    window = labels[top:bottom, left:right]
    far = ndimage.binary_dilation(lens, iterations=_MARGIN) == 0
    single = np.zeros(lens.shape, bool)
    for label, mask in zip(pair, masks, strict=True):
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        single |= (window == label) & (depth > _MARGIN) & (depth <= max(thickness, _MARGIN + 1)) & far
    both = ndimage.binary_erosion(lens)
    return Overlap(top, left, both, single) if both.any() and single.any() else None
