"""Checks of label images: whether the values are instance ids, and what to do if they are something else.

The functions take the `LabelSummary` of one label image and, where the folder helps to decide, those of a sample of
the others. Thresholds are relative to the cells of the image, so that the magnification does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.formats.label_images.label_summary import LabelSummary
from smearsynth.smear import LabelArray, Mask

BINARY_REMEDY = "pass --binary (binary=True) to use its connected components as instances"
BINARY_PROBLEM = f"looks like a binary mask (one value for all cells); {BINARY_REMEDY}"
_ID_REMEDY = "pass --binary (binary=True) to use connected components as instances, or save one id per cell"
_FULL_8_BIT = 255
_MIN_CLIPPED = 1.6  # area of id 255, of the median cell
# A background without 0 covers this fraction of the image or more, and is larger than any cell.
_MIN_BACKGROUND = 0.2
_MIN_GAPS = 0.05  # of the image, if no pixel is 0: the gaps between crowded cells
# Lines between the regions of a watershed may have the value 0; a background of 0 is thicker than such a line.
_MAX_LINES = 0.05  # of the pixels of value 0 that are not next to another value
_MIN_SURROUNDED = 0.6  # of the outline of a cell, and of the cells
_MIN_GIVEN = 3.0  # px; void this near to a cell is given to it
_MAX_VOID_WIDTH = 5.0  # px; the width in PASCAL VOC
_MAX_VOID_TO_RADIUS = 0.35  # of the width to the radius of a cell, for small cells
# Real labels have a few cells in two pieces: below 2 % of the ids in the data sets that were measured.
_MIN_REPEATED = 0.3  # of the ids
_MIN_EXTRA_PIECES = 3
_MAX_PIECES = 5  # of one id; a segmented nucleus has up to five lobes
_MAX_LEVELS = 4  # values of the parts of a cell, such as nucleus and cytoplasm
_MIN_GREY_VALUES = 8


class CleanLabels(NamedTuple):
    """Labels without values that are no cells.

    Parameters
    ----------
    summary : LabelSummary
    ignored : (H, W) bool array or None
        Pixels without annotation.
    remarks : tuple of str
        What was changed.
    """

    summary: LabelSummary
    ignored: Mask | None = None
    remarks: tuple[str, ...] = ()


def clean_labels(summary: LabelSummary, ignore_value: int | None = None) -> CleanLabels:
    """Remove the values of the background, of ignored pixels and of void borders from a label image.

    Parameters
    ----------
    summary : LabelSummary
    ignore_value : int, optional
        Id of pixels without annotation.

    Returns
    -------
    CleanLabels

    Examples
    --------
    >>> ids = np.ones((9, 9), int)
    >>> ids[3:6, 3:6] = 2
    >>> clean = clean_labels(LabelSummary.of(ids))
    >>> clean.summary.ids.tolist(), clean.remarks
    ([2], ('id 1 is read as the background: it surrounds the cells, and no pixel is 0',))
    """
    ignored: Mask | None = None
    remarks: list[str] = []
    if ignore_value is not None and (chosen := np.flatnonzero(summary.ids == ignore_value)).size:
        ignored = summary.labels == chosen[0] + 1
        summary = _without(summary, int(chosen[0]))
    if (background := background_index(summary, ignored)) is not None:
        zeros = "no pixel" if summary.zeros == 0 else "no more than a line"
        remarks.append(
            f"id {summary.ids[background]} is read as the background: it surrounds the cells, and {zeros} is 0"
        )
        summary = _without(summary, background)
    if (void := void_index(summary)) is not None:
        summary, void_ignored, remark = _without_void(summary, void)
        ignored = void_ignored if ignored is None else ignored | void_ignored
        remarks.append(remark)
    return CleanLabels(summary, ignored if ignored is not None and ignored.any() else None, tuple(remarks))


def background_index(summary: LabelSummary, ignored: Mask | None = None) -> int | None:
    """Return the index of the id that is the background although it is not 0, as in labels of a watershed.

    Its pixels are more than those of any cell and reach at least three sides of the image, and 0 is absent or marks
    only the lines between cells.

    Examples
    --------
    >>> ids = np.array([[3, 3, 3], [3, 8, 3], [3, 3, 3]])
    >>> background_index(LabelSummary.of(ids)), background_index(LabelSummary.of(ids - 3))
    (0, None)
    """
    if summary.count == 0:
        return None
    largest = int(summary.areas.argmax())
    if summary.areas[largest] < (_MIN_BACKGROUND if summary.zeros else _MIN_GAPS) * summary.labels.size:
        return None
    if summary.areas[largest] == summary.labels.size:
        return largest
    others = np.delete(summary.areas, largest)
    if not len(others) or summary.areas[largest] < 2 * others.max() or summary.borders(largest) < 3:
        return None
    zero = summary.labels == 0
    if ignored is not None:
        zero &= ~ignored
    if not zero.any():
        return largest
    # The zeros outside of the image are not counted, so that lines at the border are lines.
    inner = ndimage.binary_erosion(zero, np.ones((3, 3), bool), border_value=1)
    return largest if inner.sum() <= _MAX_LINES * zero.sum() else None


def void_index(summary: LabelSummary) -> int | None:
    """Return the index of the id that is no cell but a thin border around the others, such as void in PASCAL VOC.

    Examples
    --------
    >>> ids = np.zeros((14, 14), int)
    >>> ids[2:12, 2:12] = 255
    >>> ids[3:11, 3:11] = 1
    >>> void_index(LabelSummary.of(ids)), void_index(LabelSummary.of(np.minimum(ids, 1)))
    (1, None)
    """
    if summary.count < 2:
        return None
    for index in summary.scattered.tolist():
        if not _spans_most(summary, index):
            continue
        fractions = summary.surrounded(index)
        inner = np.flatnonzero(fractions >= _MIN_SURROUNDED)
        # Nuclei of one value inside cytoplasm are no cells with a border.
        if len(inner) < _MIN_SURROUNDED * (summary.count - 1) or summary.repeated[inner].mean() >= _MIN_REPEATED:
            continue
        near = _near_others(summary, index, _void_width(summary, inner))[0]
        if near.sum() >= 0.5 * summary.areas[index]:
            return int(index)
    return None


def _spans_most(summary: LabelSummary, index: int) -> bool:
    """Test whether the box of an id contains most of the boxes of the others."""
    y0, y1, x0, x1 = summary.boxes.T
    inside = (y0[index] <= y0) & (y1 <= y1[index]) & (x0[index] <= x0) & (x1 <= x1[index])
    return bool(inside.sum() - 1 >= _MIN_SURROUNDED * (summary.count - 1))


def _void_width(summary: LabelSummary, inner: npt.NDArray[np.intp]) -> float:
    radius = float(np.sqrt(np.median(summary.areas[inner]) / np.pi))
    return float(np.clip(_MAX_VOID_TO_RADIUS * radius, 1.5, _MAX_VOID_WIDTH))


def _near_others(summary: LabelSummary, index: int, width: float) -> tuple[Mask, LabelArray]:
    """Return the pixels of an id within `width` px of another id, and for each pixel the nearest other id."""
    others = np.where(summary.labels == index + 1, 0, summary.labels)
    distance, nearest = ndimage.distance_transform_edt(others == 0, return_indices=True)
    near: Mask = (summary.labels == index + 1) & (distance <= width)
    return near, others[tuple(nearest)]


def _without_void(summary: LabelSummary, index: int) -> tuple[LabelSummary, Mask, str]:
    inner = np.flatnonzero(summary.surrounded(index) >= _MIN_SURROUNDED)
    near, nearest = _near_others(summary, index, max(_MIN_GIVEN, _void_width(summary, inner)))
    void = summary.labels == index + 1
    labels = np.where(near, nearest, summary.labels)
    left = int(void.sum() - near.sum())
    remark = f"id {summary.ids[index]} is a thin border around the other ids (void): it is given to the cell inside"
    if left:
        remark += "; further from a cell it is ignored"
    cleaned = LabelSummary.of(np.concatenate([[0], summary.ids])[np.where(void & ~near, 0, labels)])
    return cleaned, void & ~near, remark


def _without(summary: LabelSummary, index: int) -> LabelSummary:
    """Return the summary without one id, whose pixels become 0."""
    table = np.arange(summary.count + 1, dtype=np.int32)
    table[index + 1 :] -= 1
    table[index + 1] = 0
    return LabelSummary(table[summary.labels], np.delete(summary.ids, index), np.delete(summary.areas, index))


def label_problem(summary: LabelSummary, others: Callable[[], Sequence[LabelSummary]]) -> str | None:
    """Return what is wrong with a label image and what to do, or None if its values are instance ids.

    Parameters
    ----------
    summary : LabelSummary
        Of the cleaned labels.
    others : callable
        Returns a sample of the label images of the folder; called only if this one is suspicious.

    Returns
    -------
    str or None

    Examples
    --------
    >>> codes = np.zeros((40, 80), int)
    >>> for k in range(8):
    ...     codes[18:22, 10 * k : 10 * k + 4] = 1 + k % 2
    >>> label_problem(LabelSummary.of(codes), list).split(";")[0]
    'the values 1, 2 lie in separate pieces (1 in 4), as classes do and instance ids do not'
    """
    return overflow_problem(summary) or class_problem(summary, others) or level_problem(summary, others)


def overflow_problem(summary: LabelSummary) -> str | None:
    """Return the problem of labels of more than 255 cells that were saved with 8 bits, or None.

    Ids above 255 became 255, which then lies in many pieces, or began again at 0, so that the first ids occur
    twice.

    Examples
    --------
    >>> cells = np.zeros((81, 81), int)
    >>> cells[::3, ::3] = np.arange(1, 730).reshape(27, 27)
    >>> overflow_problem(LabelSummary.of(cells)) is None
    True
    >>> overflow_problem(LabelSummary.of(cells.astype(np.uint8))).split(";")[0]
    '255 ids lie in several pieces, as if more than 255 cells were saved with 8 bits'
    """
    if summary.count < _FULL_8_BIT // 2 or summary.ids[-1] != _FULL_8_BIT:
        return None
    repeated = summary.repeated
    pieces = summary.pieces.counts
    remedy = "save the ids as uint16"
    # The pieces of a split cell are smaller than a cell, those of id 255 are cells.
    whole = summary.areas[-1] >= _MIN_CLIPPED * np.median(summary.areas)
    if pieces[-1] > 1 and whole and repeated[:-1].mean() < _MIN_REPEATED:
        return f"id 255 lies in {pieces[-1]} pieces, as if more than 255 cells were saved with 8 bits; {remedy}"
    if summary.count < 0.9 * _FULL_8_BIT or not repeated.any():
        return None
    # The ids that occur again are the first ones; split cells have any id. Grey values lie in far more pieces.
    last = int(np.flatnonzero(repeated)[-1]) + 1
    count = int(repeated.sum())
    if count < (0.6 if count > 2 else 1.0) * last or np.median(pieces[repeated]) > 2 * _MAX_PIECES:
        return None
    ids = "id lies" if count == 1 else "ids lie"
    return f"{count} {ids} in several pieces, as if more than 255 cells were saved with 8 bits; {remedy}"


def overflow_remark(summary: LabelSummary) -> str | None:
    """Return a remark if all ids of 8 bits are used, so that a cell 256 may be missing, or None.

    Examples
    --------
    >>> overflow_remark(LabelSummary.of(np.arange(256)[None]))
    'all ids from 1 to 255 are used; check that no cells are missing, or save the ids as uint16'
    >>> overflow_remark(LabelSummary.of(np.arange(300)[None])) is None
    True
    """
    if summary.count != _FULL_8_BIT or summary.ids[-1] != _FULL_8_BIT:
        return None
    return "all ids from 1 to 255 are used; check that no cells are missing, or save the ids as uint16"


def class_problem(summary: LabelSummary, others: Callable[[], Sequence[LabelSummary]]) -> str | None:
    """Return the problem of values that mark many objects each (classes, grey values, a lossy mask), or None."""
    if not summary.repeated.any():
        return None
    if not _marks_many(summary) and not (
        summary.repeated.mean() >= _MIN_REPEATED and _mark_many_together([summary, *others()])
    ):
        return None
    if summary.count == 1:
        return BINARY_PROBLEM
    if looks_lossy(summary):
        return (
            "many different values in small pieces, most near 0 or near the maximum, as in a mask changed by lossy "
            f"compression or smoothing; save it as PNG without smoothing, or {BINARY_REMEDY}"
        )
    if summary.count > _MIN_GREY_VALUES and summary.repeated.mean() >= _MIN_REPEATED:
        return (
            f"{summary.count} different values lie in separate pieces, as grey values do and instance ids do not; "
            f"{_ID_REMEDY}"
        )
    most = int(np.where(summary.repeated, summary.pieces.counts, 0).argmax())
    value, count = int(summary.ids[most]), int(summary.pieces.counts[most])
    if summary.count > _MIN_GREY_VALUES:
        return (
            f"id {value} lies in {count} separate pieces; save one id per cell, or pass --ignore-value {value} if "
            "it marks pixels without annotation"
        )
    values = ", ".join(map(str, summary.ids.tolist()))
    return (
        f"the values {values} lie in separate pieces ({value} in {count}), as classes do and instance ids do not; "
        f"{_ID_REMEDY}"
    )


def _marks_many(summary: LabelSummary) -> bool:
    """Test whether an id has more pieces than a cell can have, or many ids have several."""
    repeated = summary.repeated
    counts = summary.pieces.counts[repeated]
    return bool(
        counts.max(initial=0) > _MAX_PIECES
        or (repeated.mean() >= _MIN_REPEATED and (counts - 1).sum() >= _MIN_EXTRA_PIECES)
    )


def _mark_many_together(summaries: Sequence[LabelSummary]) -> bool:
    counts = [summary.pieces.counts[summary.repeated] for summary in summaries]
    ids = sum(summary.count for summary in summaries)
    repeated = sum(len(count) for count in counts)
    extra = sum(int((count - 1).sum()) for count in counts)
    return repeated >= _MIN_REPEATED * ids and extra >= _MIN_EXTRA_PIECES


def looks_lossy(summary: LabelSummary) -> bool:
    """Test whether nearly all pixels have a value near 0 or near the maximum, with several values near these.

    Examples
    --------
    >>> looks_lossy(LabelSummary.of(np.array([[0, 2, 1, 250, 255, 253, 0, 1]])))
    True
    >>> looks_lossy(LabelSummary.of(np.array([[0, 1, 0, 2, 0, 3, 0, 4]])))
    False
    """
    if summary.count < 3 or summary.ids[-1] < 100:
        return False
    levels = summary.ids / summary.ids[-1]
    low, high = levels <= 0.25, levels >= 0.75
    background = summary.zeros + int(summary.areas[low].sum())
    cells = int(summary.areas[high].sum())
    near = background + cells >= 0.9 * summary.labels.size
    return near and min(background, cells) >= 0.01 * summary.labels.size and int((low | high).sum()) >= 3


def level_problem(summary: LabelSummary, others: Callable[[], Sequence[LabelSummary]]) -> str | None:
    """Return the problem of values that mark parts of one cell, one inside another in all files, or None.

    Examples
    --------
    >>> cell = np.zeros((9, 9), int)
    >>> cell[1:8, 1:8] = 128
    >>> cell[3:6, 3:6] = 255
    >>> level_problem(LabelSummary.of(cell), list).split(";")[0]
    'the values 128, 255 lie inside one another, as parts of one cell do and instance ids do not'
    """
    if not 2 <= summary.count <= _MAX_LEVELS or not nested(summary):
        return None
    sample = [summary, *others()]
    values = sorted({int(value) for other in sample for value in other.ids})
    consecutive = values == list(range(1, len(values) + 1))
    # In a single file, ids 1 and 2 may be a cell and a platelet on it.
    if len(values) > _MAX_LEVELS or (consecutive and len(sample) < 3):
        return None
    if not all(nested(other) for other in sample if other.count > 1):
        return None
    listed = ", ".join(map(str, values))
    return (
        f"the values {listed} lie inside one another, as parts of one cell do and instance ids do not; {_ID_REMEDY}"
    )


def nested(summary: LabelSummary) -> bool:
    """Test whether all ids but one lie inside another id, such as nucleus and cytoplasm.

    Examples
    --------
    >>> ring = np.array([[1, 1, 1, 0], [1, 2, 1, 0], [1, 1, 1, 0]])
    >>> nested(LabelSummary.of(ring)), nested(LabelSummary.of(np.array([[1, 1, 0, 2, 2]])))
    (True, False)
    """
    inside = np.max([summary.surrounded(k) for k in range(summary.count)], axis=0, initial=0)
    return int((inside >= _MIN_SURROUNDED).sum()) == summary.count - 1
