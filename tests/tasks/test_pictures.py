"""Tests of the pictures of predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from smears import analytic_smear, partly_annotated
from smearsynth.smear import ImageArray, Smear
from smearsynth.tasks.base import Prediction
from smearsynth.tasks.config import TaskName
from smearsynth.tasks.pictures import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    prediction_example,
    prediction_picture,
)


def halves(picture: ImageArray, smear: Smear) -> tuple[ImageArray, ImageArray]:
    width = smear.shape[1]
    return picture[:, :width], picture[:, -width:]


def has_colour(half: ImageArray, colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    return np.asarray((half == colour).all(2))


def perfect_prediction(smear: Smear) -> Prediction:
    return Prediction.of_labels(smear.labels, np.ones(smear.count), ("cell",))


# One prediction.


def test_boxes_are_drawn_in_the_colour_of_their_class() -> None:
    image = np.full((20, 30, 3), 200, np.uint8)
    boxes = np.array([[2, 3, 12, 10], [15, 5, 29.6, 19.7]], np.float32)
    prediction = Prediction(boxes, np.ones(2, np.float32), np.array([0, 1]), ("red cell", "white cell"))
    picture = prediction_picture(image, prediction)
    y, x = np.nonzero((picture != 200).any(2))
    assert (x.min(), x.max(), y.min(), y.max()) == (2, 29, 3, 19)
    assert (picture[3, 2] != picture[5, 15]).any()
    assert (picture[6, 6] == 200).all()
    assert (image == 200).all()


def test_outlines_are_drawn_inside_the_cells_if_there_are_labels() -> None:
    smear = analytic_smear()
    changed = (prediction_picture(smear.image, perfect_prediction(smear)) != smear.image).any(2)
    assert 0 < changed.sum() < (smear.labels > 0).sum()
    assert set(smear.labels[changed].tolist()) == {1, 2, 3}


# Errors.


def test_false_negatives_and_false_positives_have_their_colours() -> None:
    smear = analytic_smear()
    boxes = np.concatenate([smear.boxes()[1:], [[2, 40, 14, 52]]]).astype(np.float32)
    prediction = Prediction(boxes, np.ones(3, np.float32), np.zeros(3, np.int64), ("cell",))
    left, right = halves(prediction_example(smear, prediction, "detection"), smear)
    assert set(smear.labels[has_colour(left, FALSE_NEGATIVE)].tolist()) == {1}
    assert not has_colour(left, FALSE_POSITIVE).any()
    y, x = np.nonzero(has_colour(right, FALSE_POSITIVE))
    assert (x.min(), x.max(), y.min(), y.max()) == (2, 13, 40, 51)
    assert not has_colour(right, FALSE_NEGATIVE).any()


def test_a_cell_of_another_class_is_a_false_positive_and_a_false_negative() -> None:
    class_names = ("red cell", "white cell")
    smear = analytic_smear(discs=[(30, 30, 10)], classes=[0], class_names=class_names)
    boxes = smear.boxes().astype(np.float32)
    prediction = Prediction(boxes, np.ones(1, np.float32), np.array([1]), class_names)
    left, right = halves(prediction_example(smear, prediction, "detection"), smear)
    assert has_colour(left, FALSE_NEGATIVE).any()
    assert has_colour(right, FALSE_POSITIVE).any()


def test_true_positives_have_one_colour_on_both_sides() -> None:
    smear = analytic_smear()
    for half in halves(prediction_example(smear, perfect_prediction(smear), "contours"), smear):
        assert has_colour(half, TRUE_POSITIVE).any()
        assert not (has_colour(half, FALSE_NEGATIVE) | has_colour(half, FALSE_POSITIVE)).any()


def test_wrong_pixels_of_a_segmentation_are_tinted() -> None:
    smear = analytic_smear()
    labels = np.where(smear.labels == 1, 0, smear.labels > 0).astype(np.int32)
    labels[50:60, 5:15] = 2
    prediction = Prediction.of_labels(labels, np.ones(2), ("cell",))
    left, right = halves(prediction_example(smear, prediction, "segmentation"), smear)
    assert not has_colour(left, FALSE_NEGATIVE).any()
    changed = (right != smear.image).any(2)
    assert changed[smear.labels == 1].all()
    assert changed[50:60, 5:15].all()
    red, green = right[smear.labels == 1].mean(0)[:2]
    assert red - green > 90


@pytest.mark.parametrize("task", ["segmentation", "contours"])
def test_predictions_in_ignored_pixels_are_not_marked_as_errors(task: TaskName) -> None:
    whole = analytic_smear((60, 120), [(15, 20, 9), (40, 40, 9), (80, 20, 9), (105, 40, 9)])
    half = partly_annotated(whole, 60)
    prediction = Prediction.of_labels(whole.labels, np.ones(4), ("cell",))

    def errors(smear: Smear) -> int:
        picture = prediction_example(smear, prediction, task).astype(int)
        # wrong pixels of a segmentation are tinted, so their colour depends on the image
        return int((np.abs(picture - FALSE_POSITIVE).sum(2) < 120).sum())

    assert errors(half) == 0
    assert errors(replace(half, ignored=None)) > 0
