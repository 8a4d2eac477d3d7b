"""Pictures of predictions: cells drawn over an image, and a field with its errors marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from smearsynth.metrics.matching import box_ious, match
from smearsynth.metrics.panoptic import match_labels
from smearsynth.report.overlays import OUTLINE_COLOURS, cell_edges, overlay
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.tasks.base import Prediction, true_classes
from smearsynth.tasks.config import TaskName

Colour = tuple[int, int, int]

TRUE_POSITIVE: Colour = OUTLINE_COLOURS[4]
FALSE_POSITIVE: Colour = OUTLINE_COLOURS[2]
FALSE_NEGATIVE: Colour = OUTLINE_COLOURS[6]

_COLUMN = 640  # px, approximate width of a picture on a page
_GAP = 6  # px between two pictures
_TINT = 0.6  # opacity of wrong pixels


def prediction_picture(image: ImageArray, prediction: Prediction) -> ImageArray:
    """Draw a prediction over its image: outlines if there are labels, else boxes with one colour per class.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    prediction : Prediction

    Returns
    -------
    (H, W, 3) uint8 array

    Examples
    --------
    >>> image = np.full((9, 9, 3), 200, np.uint8)
    >>> box = Prediction(np.array([[2, 2, 7, 7]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
    >>> int((prediction_picture(image, box) != image).any(2).sum())
    16
    """
    if prediction.labels is not None:
        return overlay(Smear(image, prediction.labels, prediction.classes, prediction.class_names))
    colours = [OUTLINE_COLOURS[kind % len(OUTLINE_COLOURS)] for kind in prediction.classes]
    return _with_boxes(image, prediction.boxes, colours)


def prediction_example(smear: Smear, prediction: Prediction, task: TaskName) -> ImageArray:
    """Draw the annotated cells of a field (left) beside the predicted ones (right), with errors in colour.

    Parameters
    ----------
    smear : Smear
    prediction : Prediction
    task : {"segmentation", "detection", "contours"}
        Cells are matched as in the score, at IoU 0.5: by labels, or by boxes and class. False negatives are red
        (left), false positives orange (right). For segmentation false negative pixels are red and false positive
        pixels orange, both on the right. Predictions in ignored regions are left out.

    Returns
    -------
    (H, 2 W + 6, 3) uint8 array

    Examples
    --------
    >>> labels = np.zeros((9, 9), np.int32)
    >>> labels[2:7, 2:7] = 1
    >>> smear = Smear(np.full((9, 9, 3), 200, np.uint8), labels, np.array([0]))
    >>> empty = Prediction.of_labels(np.zeros((9, 9), np.int32), np.zeros(0), ("cell",))
    >>> picture = prediction_example(smear, empty, "contours")
    >>> picture.shape, bool((picture[2, 2] == FALSE_NEGATIVE).all()), bool((picture[:, 15:] == 200).all())
    ((9, 24, 3), True, True)
    """
    width = max(1, round(smear.shape[1] / _COLUMN))
    if task == "segmentation":
        assert prediction.labels is not None
        left = _with_outlines(smear.image, smear.labels, np.zeros(smear.count, np.bool_), TRUE_POSITIVE, width)
        right = _with_wrong_pixels(smear, prediction.labels, width)
    else:
        prediction = prediction.outside_ignored(smear)
        pairs = _matched_pairs(smear, prediction)
        false_positive = np.ones(len(prediction.scores), np.bool_)
        false_negative = np.ones(smear.count, np.bool_)
        false_positive[pairs[:, 0]] = false_negative[pairs[:, 1]] = False
        left = _with_outlines(smear.image, smear.labels, false_negative, FALSE_NEGATIVE, width)
        if prediction.labels is not None:
            right = _with_outlines(smear.image, prediction.labels, false_positive, FALSE_POSITIVE, width)
        else:
            colours = [TRUE_POSITIVE] * len(pairs)
            right = _with_boxes(smear.image, prediction.boxes[~false_positive], colours, width)
            colours = [FALSE_POSITIVE] * int(false_positive.sum())
            right = _with_boxes(right, prediction.boxes[false_positive], colours, 2 * width)
    gap = np.full((len(left), _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], 1)


def _matched_pairs(smear: Smear, prediction: Prediction) -> npt.NDArray[np.int64]:
    """Return the rows of the predicted and the annotated cell of each match, (m, 2)."""
    if prediction.labels is not None:
        visible = prediction.labels if smear.ignored is None else np.where(smear.ignored, 0, prediction.labels)
        return match_labels(visible, smear.labels).pairs
    same_class = prediction.classes[:, None] == true_classes(smear, prediction.class_names)
    return match(box_ious(prediction.boxes, smear.boxes()) * same_class).pairs


def _with_boxes(
    image: ImageArray, boxes: npt.NDArray[np.float32], colours: Sequence[Colour], width: int = 1
) -> ImageArray:
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box, colour in zip(np.rint(boxes).astype(int).tolist(), colours, strict=True):
        x0, y0, x1, y1 = box
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=width)
    return np.array(picture)


def _with_outlines(image: ImageArray, labels: LabelArray, wrong: Mask, colour: Colour, width: int) -> ImageArray:
    """Outline cells; the wrong cells, (n,) bool, in another colour and twice as thick."""
    wrong_pixels = np.concatenate([[False], wrong])[labels]
    picture = image.copy()
    picture[cell_edges(labels, width)] = TRUE_POSITIVE
    picture[cell_edges(labels, 2 * width) & wrong_pixels] = colour
    return picture


def _with_wrong_pixels(smear: Smear, labels: LabelArray, width: int) -> ImageArray:
    picture = smear.image.copy()
    background, predicted = smear.background(), labels > 0
    for wrong, colour in (
        ((smear.labels > 0) & ~predicted, FALSE_NEGATIVE),
        (predicted & background, FALSE_POSITIVE),
    ):
        picture[wrong] = np.rint((1 - _TINT) * picture[wrong] + _TINT * np.array(colour)).astype(np.uint8)
    picture[cell_edges(labels, width)] = TRUE_POSITIVE
    return picture
