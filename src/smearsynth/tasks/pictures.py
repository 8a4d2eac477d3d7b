"""TODO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from smearsynth.metrics.matching import box_ious, match
from smearsynth.report.overlays import OUTLINE_COLOURS, cell_edges, overlay
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.tasks.base import Prediction, true_classes
from smearsynth.tasks.config import TaskName

_COLUMN = 640  # px, about the width of a picture on a page

_GAP = 6  # px between two pictures

_TINT = 0.6  # opacity of wrong pixels

Colour = tuple[int, int, int]

RIGHT: Colour = OUTLINE_COLOURS[4]

INVENTED: Colour = OUTLINE_COLOURS[2]

MISSED: Colour = OUTLINE_COLOURS[6]


def prediction_picture(image: ImageArray, found: Prediction) -> ImageArray:
    """The image with what was found: outlines where there are labels, else boxes in a colour per class.

    Examples
    --------
    >>> image = np.full((9, 9, 3), 200, np.uint8)
    >>> one = Prediction(np.array([[2, 2, 7, 7]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
    >>> int((prediction_picture(image, one) != image).any(2).sum())
    16
    """
    if found.labels is not None:
        return overlay(Smear(image, found.labels, found.classes, found.class_names))
    return _boxed(image, found.boxes, [OUTLINE_COLOURS[kind % len(OUTLINE_COLOURS)] for kind in found.classes])


def prediction_example(smear: Smear, found: Prediction, task: TaskName) -> ImageArray:
    """A field with its true cells on the left and what a model found on the right, faults in colours of their own.

    Parameters
    ----------
    smear : Smear
    found : Prediction
    task : {"segmentation", "detection", "contours"}
        Cells are matched as its score does, by boxes at IoU 0.5 and by class: true ones that were missed are red,
        found ones that are none orange. Segmentation is scored by pixels: missed ones are red, invented ones
        orange, both on the right.

    Returns
    -------
    (H, 2 W + 6, 3) uint8 array

    Examples
    --------
    >>> labels = np.zeros((9, 9), np.int32)
    >>> labels[2:7, 2:7] = 1
    >>> smear = Smear(np.full((9, 9, 3), 200, np.uint8), labels, np.array([0]))
    >>> none = Prediction.of_labels(np.zeros((9, 9), np.int32), np.zeros(0), ("cell",))
    >>> picture = prediction_example(smear, none, "contours")
    >>> picture.shape, bool((picture[2, 2] == MISSED).all()), bool((picture[:, 15:] == 200).all())
    ((9, 24, 3), True, True)
    """
    width = max(1, round(smear.shape[1] / _COLUMN))
    if task == "segmentation":
        assert found.labels is not None
        left = _outlined(smear.image, smear.labels, np.zeros(smear.count, np.bool_), RIGHT, width)
        right = _wrong_pixels(smear, found.labels, width)
    else:
        same = found.classes[:, None] == true_classes(smear, found.class_names)
        pairs = match(box_ious(found.boxes, smear.boxes()) * same).pairs
        invented, missed = np.ones(len(found.scores), np.bool_), np.ones(smear.count, np.bool_)
        invented[pairs[:, 0]] = missed[pairs[:, 1]] = False
        left = _outlined(smear.image, smear.labels, missed, MISSED, width)
        if found.labels is not None:
            right = _outlined(smear.image, found.labels, invented, INVENTED, width)
        else:
            right = _boxed(smear.image, found.boxes[~invented], [RIGHT] * len(pairs), width)
            right = _boxed(right, found.boxes[invented], [INVENTED] * int(invented.sum()), 2 * width)
    gap = np.full((len(left), _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], 1)


def _boxed(
    image: ImageArray, boxes: npt.NDArray[np.float32], colours: Sequence[Colour], width: int = 1
) -> ImageArray:
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box, colour in zip(np.rint(boxes).astype(int).tolist(), colours, strict=True):
        x0, y0, x1, y1 = box
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=width)
    return np.array(picture)


def _outlined(image: ImageArray, labels: LabelArray, wrong: Mask, colour: Colour, width: int) -> ImageArray:
    """Cells in one colour; the wrong ones (n,) in another and twice as thick, to be seen among hundreds."""
    faulty = np.concatenate([[False], wrong])[labels]
    picture = image.copy()
    picture[cell_edges(labels, width)] = RIGHT
    picture[cell_edges(labels, 2 * width) & faulty] = colour
    return picture


def _wrong_pixels(smear: Smear, found: LabelArray, width: int) -> ImageArray:
    picture = smear.image.copy()
    true, mask = smear.labels > 0, found > 0
    for wrong, colour in ((true & ~mask, MISSED), (mask & ~true, INVENTED)):
        picture[wrong] = np.rint((1 - _TINT) * picture[wrong] + _TINT * np.array(colour)).astype(np.uint8)
    picture[cell_edges(found, width)] = RIGHT
    return picture
