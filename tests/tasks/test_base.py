"""Tests of predictions, scores, and the interface of task models."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from smears import analytic_smear, partly_annotated, random_smear, unannotated
from smearsynth.errors import DataError, OptionError
from smearsynth.smear import Smear
from smearsynth.tasks.base import Evaluation, ImageScore, Prediction, Task, torch_seed, true_classes
from smearsynth.tasks.config import TaskConfig
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.registry import TASKS
from smearsynth.tasks.segmentation import Segmentation
from task_models import CLASS_NAMES, same_weights, tiny_segmentation

# Predictions.


def test_counts_include_classes_without_cells() -> None:
    prediction = Prediction(np.zeros((3, 4), "f4"), np.ones(3, "f4"), np.array([2, 0, 2]), ("a", "b", "c"))
    assert prediction.counts() == {"a": 1, "b": 0, "c": 2}


def test_a_prediction_of_labels_has_their_boxes_and_the_first_class() -> None:
    smear = analytic_smear()
    prediction = Prediction.of_labels(smear.labels, np.array([0.5, 0.75, 1.0]), CLASS_NAMES)
    assert prediction.boxes.tolist() == smear.boxes().tolist()
    assert prediction.scores.tolist() == [0.5, 0.75, 1.0]
    assert prediction.counts() == {"red cell": 3, "white cell": 0}


@pytest.mark.parametrize("with_labels", [True, False])
def test_rescaled_cells_keep_their_scores_and_classes(with_labels: bool) -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[0, 1], labels[2:6, 2:6] = 1, 2  # the first cell has no pixel at half the size
    scores = np.array([0.6, 0.9], np.float32)
    prediction = Prediction.of_labels(labels, scores, CLASS_NAMES)
    if not with_labels:
        prediction = Prediction(prediction.boxes, scores, np.array([1, 0]), CLASS_NAMES)
    half = prediction.rescaled((8, 8), (4, 4))
    assert half.boxes[-1].tolist() == [1, 1, 3, 3]
    assert half.scores[-1] == np.float32(0.9)
    assert len(half.scores) == len(half.classes) == (1 if with_labels else 2)
    if with_labels:
        assert half.labels is not None
        assert half.labels.max() == 1


# Scores.


def test_classes_are_matched_by_name() -> None:
    smear = analytic_smear((70, 90), [(25, 30, 10), (60, 40, 10)], classes=[0, 1], class_names=CLASS_NAMES)
    reversed_order = replace(smear, classes=1 - smear.classes, class_names=CLASS_NAMES[::-1])
    unused_class = replace(smear, class_names=(*CLASS_NAMES, "platelet"))
    for equivalent in (smear, reversed_order, unused_class):
        assert true_classes(equivalent, CLASS_NAMES).tolist() == [0, 1]
    with pytest.raises(DataError, match="not platelet; read both with the same --classes"):
        true_classes(replace(unused_class, classes=np.array([0, 2])), CLASS_NAMES)


def test_a_model_of_one_class_is_scored_on_cells_of_any_class() -> None:
    smear = random_smear(2, class_names=CLASS_NAMES)
    assert true_classes(smear, ("cell",)).tolist() == [0] * smear.count
    prediction = Prediction(
        smear.boxes().astype(np.float32), np.ones(smear.count, np.float32), 0 * smear.classes, ("cell",)
    )
    assert Evaluation.of_boxes([(smear, prediction)]).value == pytest.approx(1)


def test_boxes_of_another_class_are_no_matches() -> None:
    smear = analytic_smear(classes=[0, 1, 1], class_names=CLASS_NAMES)
    boxes = smear.boxes().astype(np.float32)
    correct = Prediction(boxes, np.ones(3, np.float32), smear.classes, CLASS_NAMES)
    other_classes = Prediction(boxes, np.ones(3, np.float32), 1 - smear.classes, CLASS_NAMES)
    low_score = Prediction(boxes, np.array([0.9, 0.9, 0.2], np.float32), smear.classes, CLASS_NAMES)
    evaluations = [Evaluation.of_boxes([(smear, p)], 0.5) for p in (correct, other_classes, low_score)]
    assert [evaluation.value for evaluation in evaluations] == [pytest.approx(value) for value in (1, 0, 1)]
    assert [evaluation.counts for evaluation in evaluations] == [(3, 0, 0), (0, 3, 3), (2, 0, 1)]
    assert [evaluation.ap50 for evaluation in evaluations] == [pytest.approx(value) for value in (1, 0, 1)]
    assert evaluations[0].images[0].score == 1.0


def test_counts_of_all_images_are_added() -> None:
    images = (ImageScore("a", 0.5, 1, 2, 3), ImageScore("b", 1.0, 4, 0, 1))
    assert Evaluation("dice", 0.75, images).counts == (5, 2, 4)
    assert Evaluation("dice", 0.0, ()).counts == (0, 0, 0)


def test_only_labels_have_panoptic_quality() -> None:
    smear = analytic_smear()
    labels = np.array([0, 1, 2, 2], np.int32)[smear.labels]  # two cells as one
    prediction = Prediction.of_labels(labels, np.ones(2), ("cell",))
    merged = Evaluation.of_boxes([(smear, prediction), (smear, prediction)])
    assert merged.pq is not None
    assert 1 / 3 < merged.pq < 0.8
    assert merged.resampled("pq").value == merged.pq
    assert merged.resampled("tp").value == merged.tp
    boxes = Evaluation.of_boxes([(smear, replace(prediction, labels=None))])
    assert boxes.pq is None
    with pytest.raises(DataError, match="boxes have no panoptic quality"):
        boxes.resampled("pq")


def test_bootstrap_samples_are_those_of_the_metric() -> None:
    dice = Evaluation("dice", 0.75, (ImageScore("a", 0.5, 1, 0, 0), ImageScore("b", 1.0, 1, 0, 0))).resampled()
    assert (dice.value, dice.images) == (0.75, 2)
    assert set(dice.draws.tolist()) == {0.5, 0.75, 1.0}
    smear = analytic_smear()
    half = Prediction(smear.boxes()[:2].astype(np.float32), np.ones(2, np.float32), np.zeros(2, int), ("cell",))
    evaluation = Evaluation.of_boxes([(smear, half), (smear, half)])
    assert evaluation.value == pytest.approx(67 / 101)  # 101 recall levels, of which 0 to 0.66 are reached
    assert evaluation.resampled().value == pytest.approx(evaluation.value)
    assert evaluation.resampled().draws == pytest.approx(evaluation.value)


# Task models.


@pytest.mark.parametrize("task", TASKS.values())
def test_scoring_no_smears_is_an_error(task: type[Task]) -> None:
    with pytest.raises(DataError, match="no smears to score"):
        task.preset("tiny").evaluate([])


@pytest.mark.parametrize("task", TASKS.values())
def test_only_8_bit_rgb_images_are_accepted(task: type[Task]) -> None:
    model = task.preset("tiny")
    for image in (
        np.zeros((40, 50), "u1"),
        np.zeros(7, "u1"),
        np.zeros((40, 50, 4), "u1"),
        np.zeros((40, 50, 3)),
        np.zeros((0, 0, 3), "u1"),
    ):
        with pytest.raises(DataError, match=r"image must be \(H, W, 3\) uint8|no pixels"):
            model.predict(image)  # type: ignore[arg-type]


def test_unknown_presets_and_configurations_of_other_tasks_are_errors() -> None:
    with pytest.raises(OptionError, match="unknown preset 'gpu' of segmentation; choose one of cpu, paper, tiny"):
        Segmentation.preset("gpu")
    with pytest.raises(OptionError, match="takes a SegmentationConfig, not TaskConfig"):
        Segmentation(TaskConfig())


def test_the_initial_weights_depend_on_the_seed_only() -> None:
    torch.manual_seed(1)
    first = tiny_segmentation(seed=4)
    torch.manual_seed(2)
    assert same_weights(first, tiny_segmentation(seed=4))
    assert not same_weights(first, tiny_segmentation(seed=5))


def test_torch_seed_restores_the_generator_after_an_error() -> None:
    state = torch.random.get_rng_state()
    with suppress(ZeroDivisionError), torch_seed(3):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(state, torch.random.get_rng_state())


# Partial annotation.


def half_annotated() -> tuple[Smear, Smear]:
    """Return a smear of four cells, and the same with only the left two annotated."""
    smear = analytic_smear((60, 120), [(15, 20, 9), (40, 40, 9), (80, 20, 9), (105, 40, 9)])
    return smear, partly_annotated(smear, 60)


@pytest.mark.parametrize("with_labels", [True, False])
def test_predictions_in_ignored_pixels_are_neither_true_nor_false_positives(with_labels: bool) -> None:
    whole, half = half_annotated()
    prediction = Prediction.of_labels(whole.labels, np.linspace(0.6, 0.9, 4), ("cell",))
    if not with_labels:
        prediction = replace(prediction, labels=None)
    evaluation = Evaluation.of_boxes([(half, prediction)])
    assert evaluation.counts == (2, 0, 0)
    assert evaluation.value == evaluation.images[0].score == evaluation.resampled().value == 1
    unmarked = Evaluation.of_boxes([(replace(half, ignored=None), prediction)])
    assert unmarked.counts == (2, 2, 0)
    assert unmarked.value < 1


def test_a_prediction_that_matches_a_cell_is_kept_in_an_ignored_surrounding() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = 1
    smear = Smear.from_labels(np.zeros((40, 40, 3), np.uint8), labels, ignored=np.ones((40, 40), bool))
    boxes = np.array([[10, 10, 22, 25], [25, 25, 35, 35]], np.float32)
    prediction = Prediction(boxes, np.ones(2, np.float32), np.array([0, 0]), ("cell",))
    assert prediction.outside_ignored(smear).boxes.tolist() == boxes[:1].tolist()


def test_dropped_labels_are_renumbered() -> None:
    whole, half = half_annotated()
    mirrored = Prediction.of_labels(whole.labels[:, ::-1].copy(), np.linspace(0.6, 0.9, 4), ("cell",))
    kept = mirrored.outside_ignored(half)
    assert kept.labels is not None
    assert kept.scores.tolist() == mirrored.scores[2:].tolist()
    assert [int((kept.labels == k).sum()) for k in (1, 2)] == whole.areas()[2:].tolist()


@pytest.mark.parametrize("task", [Segmentation, Detection, Contours])
def test_unannotated_smears_are_not_scored(task: type[Task]) -> None:
    model = task.preset("tiny")
    whole, half = half_annotated()
    evaluation = model.evaluate([unannotated(whole), half])
    assert len(evaluation.images) == 1
    with pytest.raises(DataError, match="no smears to score"):
        model.evaluate([unannotated(whole)])


@pytest.mark.parametrize("task", [Segmentation, Detection, Contours])
def test_ignored_pixels_give_no_loss(task: type[Task]) -> None:
    model = task.preset("tiny", seed=1)
    whole, half = half_annotated()

    def loss_and_gradient(smear: Smear) -> tuple[float, float]:
        model.network.train()
        model.network.zero_grad()
        with torch_seed(0):
            loss = model.loss([smear])
        loss.backward()  # type: ignore[no-untyped-call]
        squares = [p.grad.square().sum() for p in model.network.parameters() if p.grad is not None]
        return loss.item(), torch.stack(squares).sum().item()

    assert loss_and_gradient(half)[0] != loss_and_gradient(replace(half, ignored=None))[0]
    loss, gradient = loss_and_gradient(unannotated(whole))
    assert np.isfinite(loss)
    assert gradient == 0
