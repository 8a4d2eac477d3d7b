"""Tests of average precision against COCO's implementation and on scenes with known scores."""

from __future__ import annotations

import numpy as np
import pytest

from smearsynth.errors import DataError
from smearsynth.metrics.average_precision import Detections, PrecisionRecord, average_precision


def scene(
    seed: int, images: int = 12, n_classes: int = 2, jitter: float = 2.0
) -> tuple[list[Detections], list[Detections]]:
    """Return predictions with all kinds of errors, and annotations.

    Predictions are shifted or missing, false positives, of the wrong class, and have tied scores.
    """
    rng = np.random.default_rng(seed)
    predictions, annotations = [], []
    for _ in range(images):
        n = int(rng.integers(0, 30))
        corners = rng.uniform(0, 200, (n, 2))
        boxes = np.hstack([corners, corners + rng.uniform(15, 30, (n, 2))])
        classes = rng.integers(0, n_classes, n)
        annotations.append(Detections(boxes, classes))
        detected = rng.random(n) < 0.85
        false_corners = rng.uniform(0, 200, (3, 2))
        false_positives = np.hstack([false_corners, false_corners + 20])
        true_positives = boxes[detected] + rng.normal(0, jitter, (int(detected.sum()), 4))
        predicted_boxes = np.vstack([true_positives, false_positives])
        predicted_classes = np.append(classes[detected], rng.integers(0, n_classes, 3))
        wrong_class = rng.random(len(predicted_boxes)) < 0.05
        scores = np.round(rng.beta(5, 2, len(predicted_boxes)), 2)
        predictions.append(Detections(predicted_boxes, np.where(wrong_class, 0, predicted_classes), scores))
    return predictions, annotations


@pytest.mark.parametrize("seed", range(4))
def test_unit_weights_give_the_ap_of_coco(seed: int) -> None:
    predictions, annotations = scene(seed)
    coco, ap = average_precision(predictions, annotations), PrecisionRecord.of(predictions, annotations).ap()
    assert 0.1 < coco.ap < coco.ap50 < 1
    assert ap.ap == pytest.approx(coco.ap, abs=1e-6)
    assert ap.ap50 == pytest.approx(coco.ap50, abs=1e-6)


def test_weights_equal_repetition_of_images() -> None:
    predictions, annotations = scene(1)
    record = PrecisionRecord.of(predictions, annotations)
    weights = np.random.default_rng(0).integers(0, 3, len(annotations))
    indices = np.repeat(np.arange(len(annotations)), weights)
    repetition = average_precision([predictions[k] for k in indices], [annotations[k] for k in indices])
    assert record.ap(weights).ap == pytest.approx(repetition.ap, abs=0.01)


def test_less_precise_boxes_have_lower_ap() -> None:
    precise, annotations = scene(3, jitter=0.5)
    rough, same_annotations = scene(3, jitter=3.0)
    assert all((a.boxes == b.boxes).all() for a, b in zip(annotations, same_annotations, strict=True))
    assert average_precision(precise, annotations).ap > average_precision(rough, annotations).ap + 0.2


def test_more_than_a_hundred_cells_per_image_count() -> None:
    corners = np.stack(np.meshgrid(np.arange(15) * 20, np.arange(15) * 20), -1).reshape(-1, 2)
    cells = Detections(np.hstack([corners, corners + 15]), np.zeros(225, int))
    assert average_precision([cells._replace(scores=np.linspace(1, 0.5, 225))], [cells]).ap == 1.0


def test_images_without_predictions_or_annotations() -> None:
    box = np.array([[0.0, 0, 9, 9]])
    empty = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    single = Detections(box, np.array([0]), np.array([0.9]))
    assert average_precision([empty], [single]) == PrecisionRecord.of([empty], [single]).ap() == (0.0, 0.0)
    assert np.isnan(average_precision([single], [empty])).all()
    assert np.isnan(PrecisionRecord.of([single], [empty]).ap()).all()
    with pytest.raises(DataError, match="predictions for 1 images but annotations for 2"):
        average_precision([single], [single, single])
    with pytest.raises(DataError, match="no scores"):
        average_precision([single._replace(scores=None)], [single])
