"""Average precision of detections as COCO defines it, and its interval by bootstrap of the images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from smearsynth.errors import DataError
from smearsynth.metrics.matching import BoxArray, FloatArray, box_ious, match

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 10_000  # detections of an image that count; COCO's 100 would cut off what a blood smear holds


class Detections(NamedTuple):
    """The cells found in one image, or the true ones.

    Parameters
    ----------
    boxes : (n, 4) array
        x0, y0, x1, y1 in px, the end excluded.
    classes : (n,) integer array
    scores : (n,) array, optional
        How sure each is; the true ones have none.
    """

    boxes: BoxArray
    classes: npt.NDArray[np.integer]
    scores: npt.NDArray[np.floating] | None = None


class AveragePrecision(NamedTuple):
    """AP over IoU 0.50 to 0.95, and at 0.50; NaN when there is no true cell."""

    ap: float
    ap50: float


def average_precision(found: Sequence[Detections], true: Sequence[Detections]) -> AveragePrecision:
    """COCO's average precision of boxes, mean over the classes that occur, by faster-coco-eval.

    All detections of an image count; COCO's usual limit of 100 is less than a smear holds.

    Parameters
    ----------
    found, true : sequence of Detections
        One of each for every image.

    Raises
    ------
    DataError
        When they are not as many.

    Examples
    --------
    >>> true = Detections(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 0]))
    >>> average_precision([true._replace(scores=np.array([0.9, 0.8]))], [true])
    AveragePrecision(ap=1.0, ap50=1.0)
    """
    _check(found, true)
    classes = sorted({int(kind) for each in true for kind in each.classes})
    if not classes:
        return AveragePrecision(float("nan"), float("nan"))
    results = _as_coco(found)
    if not results:
        return AveragePrecision(0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(
            {
                "images": [{"id": k, "width": 1, "height": 1} for k in range(len(true))],
                "categories": [{"id": kind, "name": str(kind)} for kind in classes],
                "annotations": [{"id": k + 1, "iscrowd": 0, **row} for k, row in enumerate(_as_coco(true))],
            }
        )
        judge = COCOeval_faster(truth, truth.loadRes(results), "bbox")
        judge.params.maxDets = [_MOST]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"]  # (thresholds, recalls, classes, 1, 1)
    return AveragePrecision(float(precision.mean()), float(precision[0].mean()))


@dataclass(frozen=True)
class PrecisionRecord:
    """Which detections of which images are right at each threshold: AP of any sample of the images, quickly.

    Made by `PrecisionRecord.of`. D detections sorted by falling score, T thresholds.

    Parameters
    ----------
    images : (D,) int64 array
    classes : (D,) int64 array
    hits : (T, D) bool array
        Whether the detection is matched, greedily by score, at that IoU.
    true : (images, classes) int64 array
        True cells.
    """

    images: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    true: npt.NDArray[np.int64]

    @classmethod
    def of(cls, found: Sequence[Detections], true: Sequence[Detections]) -> PrecisionRecord:
        """Match the detections of every image, class by class."""
        _check(found, true)
        kinds = 1 + max((int(each.classes.max()) for each in (*found, *true) if len(each.classes)), default=0)
        rows: list[tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = []
        for index, (ours, theirs) in enumerate(zip(found, true, strict=True)):
            scores = _scores(ours)
            for kind in range(kinds):
                mine = np.flatnonzero(ours.classes == kind)
                mine = mine[np.argsort(-scores[mine], kind="stable")]
                ious = box_ious(ours.boxes[mine], theirs.boxes[theirs.classes == kind])
                hits = np.zeros((len(THRESHOLDS), len(mine)), bool)
                for row, threshold in zip(hits, THRESHOLDS, strict=True):
                    row[match(ious, float(threshold), "greedy").pairs[:, 0]] = True
                rows.append((scores[mine], np.tile([[index], [kind]], len(mine)), hits))
        order = np.argsort(-np.concatenate([row[0] for row in rows]), kind="stable")
        images, classes = np.concatenate([row[1] for row in rows], 1)[:, order]
        counts = np.stack([np.bincount(each.classes, minlength=kinds) for each in true])
        return cls(images, classes, np.concatenate([row[2] for row in rows], 1)[:, order], counts.astype(np.int64))

    def ap(self, weights: npt.NDArray[np.int64] | None = None) -> AveragePrecision:
        """AP of the images, each counted as often as `weights` (images,) says."""
        weights = np.ones(len(self.true), np.int64) if weights is None else weights
        of_classes = []
        for kind in np.flatnonzero(weights @ self.true):
            mine = self.classes == kind
            times = weights[self.images[mine]]
            right = np.cumsum(self.hits[:, mine] * times, 1)
            precision = right / np.maximum(np.cumsum(times), 1)
            best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            recall = right / float(weights @ self.true[:, kind])
            of_classes.append([_at_recalls(*curve) for curve in zip(recall, best, strict=True)])
        if not of_classes:
            return AveragePrecision(float("nan"), float("nan"))
        means = np.mean(of_classes, 0)
        return AveragePrecision(float(means.mean()), float(means[0]))


def _at_recalls(recall: FloatArray, precision: FloatArray) -> float:
    """Mean precision at COCO's 101 recalls; 0 where that recall is not reached."""
    places = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())


def _as_coco(cells: Sequence[Detections]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for index, each in enumerate(cells):
        corners = np.asarray(each.boxes, np.float64).reshape(-1, 4)
        sides = corners[:, 2:] - corners[:, :2]
        for k, kind in enumerate(each.classes.tolist()):
            row: dict[str, object] = {"image_id": index, "category_id": kind, "area": float(sides[k].prod())}
            row["bbox"] = [*corners[k, :2].tolist(), *sides[k].tolist()]
            if each.scores is not None:
                row["score"] = float(each.scores[k])
            rows.append(row)
    return rows


def _scores(found: Detections) -> FloatArray:
    if found.scores is None:
        raise DataError("detections need scores; give one for each box")
    return np.asarray(found.scores, np.float64)


def _check(found: Sequence[Detections], true: Sequence[Detections]) -> None:
    if len(found) != len(true):
        raise DataError(f"detections of {len(found)} images cannot be scored on {len(true)}; give one for each")
    for each in found:
        _scores(each)
