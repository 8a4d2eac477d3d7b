"""Confidence of cells: how probable it is that an outline is right, from its shape and from the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.annotation.image_cells import VisibleCells, touches_border
from smearsynth.annotation.regions import measure_shape
from smearsynth.smear import LabelArray, Mask

FloatArray = npt.NDArray[np.float64]

# Logistic regression, fitted to cells from boxes, points and images alone of the train splits of BBBC041Seg and
# Chula RBC-12 (a cell is right if its IoU with an annotated one is at least 0.5). All features are relative. Too
# few boxes there are empty to fit the weights of evidence and box_fit, which are assumptions.
_WEIGHTS = {
    "solidity": 7.0,
    "ellipse_fit": 27.5,
    "elongation": -0.3,
    "oversize": -1.0,
    "undersize": -2.2,
    "contact": -2.8,
    "edge": 5.4,
    "cut_part": -2.0,
    "unmarked": -1.9,
    "evidence": 5.0,
    "box_fit": 1.5,
}
_BIAS = -36.4
_FILLED = 0.65  # of the area of a box; an ellipse that touches its sides has 0.79
_RIM = 3  # px at working resolution


def rate_cells(
    labels: LabelArray, cells: VisibleCells, evidence: FloatArray, marked: Mask, boxes: FloatArray | None = None
) -> FloatArray:
    """Estimate the probability that each outline is right.

    Parameters
    ----------
    labels : (H, W) int32 array
        Ids 1..n at working resolution.
    cells : VisibleCells
        What is visible in the image.
    evidence : (n,) float64 array
        1 if the image shows the cell plainly, 0 if the label is only an ellipse at a box or point.
    marked : (n,) bool array
        The cell was given by a box or point.
    boxes : (n, 4) float64 array, optional
        x0, y0, x1, y1 in px of the box of each cell, NaN without a box.

    Returns
    -------
    (n,) float64 array
        0 to 1.

    Examples
    --------
    >>> from smearsynth.annotation.image_cells import find_visible_cells
    >>> image = np.full((60, 60, 3), 220, np.uint8)
    >>> y, x = np.mgrid[:60, :60]
    >>> image[(x - 30) ** 2 + (y - 30) ** 2 < 15**2] = (200, 120, 150)
    >>> cells = find_visible_cells(image, diameter=30)
    >>> half = cells.labels * (x > 30)
    >>> ratings = [rate_cells(labels, cells, np.ones(1), np.ones(1, bool)) for labels in (cells.labels, half)]
    >>> bool(ratings[0][0] > 0.9), bool(ratings[1][0] < ratings[0][0])
    (True, True)
    """
    n = len(evidence)
    if n == 0:
        return np.zeros(0, np.float64)
    features = _shape_features(labels, cells.diameter, n, boxes)
    features["contact"], features["edge"] = _boundary(labels, cells.foreground.darkness, n)
    features["unmarked"] = (~marked).astype(np.float64)
    features["evidence"] = evidence
    features["box_fit"] = np.ones(n) if boxes is None else _box_fit(labels, boxes)
    total = np.full(n, _BIAS)
    for name, weight in _WEIGHTS.items():
        total += weight * features[name]
    probability: FloatArray = 1 / (1 + np.exp(-total))
    return probability


def _shape_features(labels: LabelArray, diameter: float, n: int, boxes: FloatArray | None) -> dict[str, FloatArray]:
    cut = touches_border(labels)[1:]
    shapes = np.array(
        [
            measure_shape(labels[window] == k)
            for k, window in enumerate(ndimage.find_objects(labels, max_label=n), 1)
        ]
    )
    areas = shapes[:, 0]
    cell = np.pi / 4 * diameter**2
    # Boxes are larger than cells, and estimates can be wrong: half of the size comes from the cells themselves.
    typical = np.full(n, float(np.sqrt(cell * (np.median(areas[~cut]) if not cut.all() else cell))))
    if boxes is not None:
        # The box of a platelet or a white cell says how large it is; boxes are a few pixels larger than cells.
        in_box = _FILLED * np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1), 1)
        known = np.isfinite(in_box)
        typical[known] = in_box[known]
    size = np.log2(areas / typical)
    smaller = np.maximum(-size, 0)
    return {
        "solidity": shapes[:, 1],
        "ellipse_fit": shapes[:, 3],
        "elongation": shapes[:, 2],
        "oversize": np.maximum(size, 0),
        "undersize": np.where(cut, 0, smaller),
        "cut_part": np.where(cut, smaller, 0),
    }


def _boundary(labels: LabelArray, darkness: npt.NDArray[np.float32], n: int) -> tuple[FloatArray, FloatArray]:
    """Return for each cell the fraction of its outline at other cells, and the contrast across its outline."""
    touching, free = np.zeros(n + 1), np.zeros(n + 1)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = labels[first], labels[second]
        border = a != b
        for ids, others in ((a[border], b[border]), (b[border], a[border])):
            touching += np.bincount(ids[others > 0], minlength=n + 1)
            free += np.bincount(ids[others == 0], minlength=n + 1)
    outside, (y, x) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    ring = (outside > 1) & (outside <= _RIM)
    inside = ndimage.distance_transform_edt(labels > 0)
    rim = (inside > 1) & (inside <= _RIM + 1)
    inner = _means(labels[rim], darkness[rim], n)
    outer = _means(labels[y[ring], x[ring]], darkness[ring], n)
    return (touching / np.maximum(touching + free, 1))[1:], np.clip(inner - outer, -1, 1)


def _means(ids: LabelArray, values: npt.NDArray[np.float32], n: int) -> FloatArray:
    counts = np.bincount(ids, minlength=n + 1)[1:]
    return np.bincount(ids, weights=values, minlength=n + 1)[1:] / np.maximum(counts, 1)


def _box_fit(labels: LabelArray, boxes: FloatArray) -> FloatArray:
    """Return the IoU of the bounding box of each cell with its box, 1 without a box, (n,)."""
    height, width = labels.shape
    fit = np.ones(len(boxes))
    for k, window in enumerate(ndimage.find_objects(labels, max_label=len(boxes))):
        if np.isfinite(boxes[k]).all():
            x0, y0, x1, y1 = np.clip(boxes[k], 0, [width, height, width, height])
            rows, columns = window
            inner = max(min(x1, columns.stop) - max(x0, columns.start), 0)
            inner *= max(min(y1, rows.stop) - max(y0, rows.start), 0)
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            fit[k] = inner / ((x1 - x0) * (y1 - y0) + area - inner)
    return fit
