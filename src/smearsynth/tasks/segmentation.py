"""Segmentation of cells and background: FCN-8s trained from scratch with the loss 1 − Dice (paper, section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import EllipsisType
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from smearsynth.metrics.matching import dice
from smearsynth.smear import ImageArray, Mask, Smear
from smearsynth.tasks.base import Evaluation, ImageScore, Prediction, Task, require_scores
from smearsynth.tasks.config import FcnConfig, FitConfig, TaskConfig
from smearsynth.tasks.fcn import Fcn8s, collate, collate_masks, dice_loss, probabilities


class SegmentationConfig(TaskConfig):
    """Configuration of a segmentation model with one cell class."""

    network: FcnConfig = FcnConfig()


class Segmentation(Task):
    """FCN-8s that separates cells from the background.

    Parameters
    ----------
    config : SegmentationConfig

    Examples
    --------
    >>> model = Segmentation.preset("tiny", seed=1)
    >>> matches = model.predict(np.zeros((40, 50, 3), np.uint8))
    >>> matches.labels.shape
    (40, 50)
    """

    name = "segmentation"
    config_type = SegmentationConfig
    presets: ClassVar[Mapping[str, TaskConfig]] = {
        # a quarter of VGG16's filters, on crops: about two minutes on one CPU thread
        "cpu": SegmentationConfig(network=FcnConfig(filters=16, head=256, dropout=0.1)),
        # VGG16, on whole fields
        "paper": SegmentationConfig(fit=FitConfig(steps=6000, batch=1, crop=None, learning_rate=3e-4, warm_up=200)),
        # seconds; for tests only
        "tiny": SegmentationConfig(
            network=FcnConfig(filters=4, head=8, dropout=0.0),
            fit=FitConfig(steps=20, batch=2, crop=(64, 64), validate_every=10),
        ),
    }
    config: SegmentationConfig
    network: Fcn8s

    def build(self) -> Fcn8s:
        """Build the network of `config`."""
        return Fcn8s(self.config.network)

    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """Compute 1 − Dice of the crops of one step."""
        batch = collate(smears, self.device)
        target = collate_masks([smear.labels > 0 for smear in smears], batch)
        return dice_loss(self.network(batch.images)[:, 0], target, batch.valid)

    def probability(self, image: ImageArray) -> npt.NDArray[np.float32]:
        """Return the probability (H, W) that each pixel belongs to a cell."""
        probability: npt.NDArray[np.float32] = probabilities(self.network, image)[0]
        return probability

    def predict(self, image: ImageArray) -> Prediction:
        """Segment the cells; touching cells form one instance (`Contours` separates them)."""
        probability = self.probability(image)
        labels, n = ndimage.label(probability > 0.5)
        labels = labels.astype(np.int32)
        scores = ndimage.mean(probability, labels, np.arange(1, n + 1)) if n else np.zeros(0)
        return Prediction.of_labels(labels, np.asarray(scores), self.config.class_names)

    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """Compute Dice per image (paper, equation 8) and its mean, with counts and PQ of connected components.

        Ignored pixels do not count, and components with more than half of their area in them are neither true nor
        false positives. Smears in which all pixels are ignored are skipped.
        """
        images: list[ImageScore] = []
        for smear in smears:
            if not smear.annotated_area():
                continue
            labels = self.predict(smear.image).labels
            assert labels is not None
            score = dice(*((plane > 0)[_annotated(smear)] for plane in (labels, smear.labels)))
            images.append(ImageScore.of_labels(smear, labels, score))
        require_scores(images)
        return Evaluation("dice", float(np.mean([image.score for image in images])), tuple(images))


def _annotated(smear: Smear) -> Mask | EllipsisType:
    """Return an index of the annotated pixels of a field."""
    return ... if smear.ignored is None else ~smear.ignored
