"""Average precision of detections as COCO defines it, also of bootstrap samples of the images."""

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

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU thresholds of COCO's AP
_RECALLS = np.linspace(0, 1, 101)  # recall levels of COCO's AP
_MAX_DETECTIONS = 10_000  # per image; a smear holds more cells than COCO's limit of 100


class Detections(NamedTuple):
    """Predicted or annotated cells of one image.

    Parameters
    ----------
    boxes : (n, 4) array
        x0, y0, x1, y1 in px, the end excluded.
    classes : (n,) integer array
        Class ids.
    scores : (n,) array, optional
        Confidence of each prediction; None for annotations.
    """

    boxes: BoxArray
    classes: npt.NDArray[np.integer]
    scores: npt.NDArray[np.floating] | None = None


class AveragePrecision(NamedTuple):
    """AP over IoU 0.50 to 0.95, and AP at IoU 0.50; NaN without annotated cells."""

    ap: float
    ap50: float


def average_precision(predictions: Sequence[Detections], annotations: Sequence[Detections]) -> AveragePrecision:
    """Compute COCO's average precision of boxes with faster-coco-eval, as the mean over the annotated classes.

    All detections of an image count, because COCO's limit of 100 is less than the number of cells in a smear.

    Parameters
    ----------
    predictions, annotations : sequence of Detections
        One element per image.

    Returns
    -------
    AveragePrecision

    Raises
    ------
    DataError
        If the numbers of images differ, or predictions have no scores.

    Examples
    --------
    >>> cells = Detections(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 0]))
    >>> average_precision([cells._replace(scores=np.array([0.9, 0.8]))], [cells])
    AveragePrecision(ap=1.0, ap50=1.0)
    """
    _check(predictions, annotations)
    classes = sorted({int(class_id) for image in annotations for class_id in image.classes})
    if not classes:
        return AveragePrecision(float("nan"), float("nan"))
    results = _coco_records(predictions)
    if not results:
        return AveragePrecision(0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(
            {
                "images": [{"id": k, "width": 1, "height": 1} for k in range(len(annotations))],
                "categories": [{"id": class_id, "name": str(class_id)} for class_id in classes],
                "annotations": [
                    {"id": k + 1, "iscrowd": 0, **record} for k, record in enumerate(_coco_records(annotations))
                ],
            }
        )
        evaluation = COCOeval_faster(reference, reference.loadRes(results), "bbox")
        evaluation.params.maxDets = [_MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (thresholds, recalls, classes, 1, 1)
    return AveragePrecision(float(precision.mean()), float(precision[0].mean()))


@dataclass(frozen=True)
class PrecisionRecord:
    """Matched detections of a set of images, from which the AP of any sample of the images is computed quickly.

    Use `PrecisionRecord.of` to create it. D is the number of detections, sorted by decreasing score, and T the
    number of IoU thresholds.

    Parameters
    ----------
    images : (D,) int64 array
        Index of the image of each detection.
    classes : (D,) int64 array
    hits : (T, D) bool array
        Whether the detection has a match at that IoU threshold, assigned greedily by score.
    annotations : (images, classes) int64 array
        Number of annotated cells.
    """

    images: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    annotations: npt.NDArray[np.int64]

    @classmethod
    def of(cls, predictions: Sequence[Detections], annotations: Sequence[Detections]) -> PrecisionRecord:
        """Match the detections of each image, class by class.

        Parameters
        ----------
        predictions, annotations : sequence of Detections
            One element per image.

        Raises
        ------
        DataError
            If the numbers of images differ, or predictions have no scores.

        Examples
        --------
        >>> cells = Detections(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 0]))
        >>> record = PrecisionRecord.of([cells._replace(scores=np.array([0.9, 0.8]))], [cells])
        >>> record.hits.shape, record.ap().ap
        ((10, 2), 1.0)
        """
        _check(predictions, annotations)
        n_classes = 1 + max(
            (int(image.classes.max()) for image in (*predictions, *annotations) if len(image.classes)), default=0
        )
        parts: list[tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = []
        for index, (predicted, annotated) in enumerate(zip(predictions, annotations, strict=True)):
            scores = _scores(predicted)
            for class_id in range(n_classes):
                rows = np.flatnonzero(predicted.classes == class_id)
                rows = rows[np.argsort(-scores[rows], kind="stable")]
                ious = box_ious(predicted.boxes[rows], annotated.boxes[annotated.classes == class_id])
                hits = np.zeros((len(THRESHOLDS), len(rows)), bool)
                for row, threshold in zip(hits, THRESHOLDS, strict=True):
                    row[match(ious, float(threshold), "greedy").pairs[:, 0]] = True
                parts.append((scores[rows], np.tile([[index], [class_id]], len(rows)), hits))
        order = np.argsort(-np.concatenate([part[0] for part in parts]), kind="stable")
        images, classes = np.concatenate([part[1] for part in parts], 1)[:, order]
        counts = np.stack([np.bincount(image.classes, minlength=n_classes) for image in annotations])
        hits = np.concatenate([part[2] for part in parts], 1)[:, order]
        return cls(images, classes, hits, counts.astype(np.int64))

    def ap(self, weights: npt.NDArray[np.int64] | None = None) -> AveragePrecision:
        """Compute the AP of a sample of the images.

        Parameters
        ----------
        weights : (images,) int64 array, optional
            Number of times each image occurs in the sample; by default once.

        Returns
        -------
        AveragePrecision
        """
        weights = np.ones(len(self.annotations), np.int64) if weights is None else weights
        values = []  # (classes, thresholds)
        for class_id in np.flatnonzero(weights @ self.annotations):
            in_class = self.classes == class_id
            repeats = weights[self.images[in_class]]
            tp = np.cumsum(self.hits[:, in_class] * repeats, 1)
            precision = tp / np.maximum(np.cumsum(repeats), 1)
            envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            recall = tp / float(weights @ self.annotations[:, class_id])
            values.append([_mean_precision(*curve) for curve in zip(recall, envelope, strict=True)])
        if not values:
            return AveragePrecision(float("nan"), float("nan"))
        means = np.mean(values, 0)
        return AveragePrecision(float(means.mean()), float(means[0]))


def _mean_precision(recall: FloatArray, precision: FloatArray) -> float:
    """Return the mean precision at COCO's 101 recall levels; it is 0 at levels that are not reached."""
    indices = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[indices].mean())


def _coco_records(images: Sequence[Detections]) -> list[dict[str, object]]:
    """Convert detections to records of COCO's JSON format."""
    records: list[dict[str, object]] = []
    for index, image in enumerate(images):
        corners = np.asarray(image.boxes, np.float64).reshape(-1, 4)
        sides = corners[:, 2:] - corners[:, :2]
        for k, class_id in enumerate(image.classes.tolist()):
            record: dict[str, object] = {
                "image_id": index,
                "category_id": class_id,
                "area": float(sides[k].prod()),
                "bbox": [*corners[k, :2].tolist(), *sides[k].tolist()],
            }
            if image.scores is not None:
                record["score"] = float(image.scores[k])
            records.append(record)
    return records


def _scores(image: Detections) -> FloatArray:
    if image.scores is None:
        raise DataError("the predictions have no scores; give one score per box")
    return np.asarray(image.scores, np.float64)


def _check(predictions: Sequence[Detections], annotations: Sequence[Detections]) -> None:
    if len(predictions) != len(annotations):
        raise DataError(
            f"predictions for {len(predictions)} images but annotations for {len(annotations)}; "
            "give one element per image for both"
        )
    for image in predictions:
        _scores(image)
