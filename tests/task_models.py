"""Small task models for tests, and a record of progress."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from smears import analytic_smear, random_smear
from smearsynth.runs import Progress
from smearsynth.smear import ImageArray
from smearsynth.tasks.base import Prediction, Task
from smearsynth.tasks.segmentation import Segmentation

SMEARS = [random_smear(k) for k in range(10)]
CLASS_NAMES = ("red cell", "white cell")


def tiny_segmentation(**settings: object) -> Segmentation:
    """Return a segmentation model of the preset "tiny" for 6 training steps, changed by `settings`."""
    return Segmentation.preset("tiny", **({"steps": 6, "validate_every": 2, "batch": 1} | settings))


class AnalyticModel(Segmentation):
    """Model that returns the three cells of `analytic_smear()` for its image, two of them of the second class."""

    def predict(self, image: ImageArray) -> Prediction:
        smear = analytic_smear()
        assert image.shape == smear.image.shape
        return Prediction(
            smear.boxes().astype(np.float32),
            np.full(3, 0.75, np.float32),
            np.array([0, 1, 1]),
            self.config.class_names,
            smear.labels,
        )


def analytic_model(class_names: tuple[str, ...] = CLASS_NAMES) -> AnalyticModel:
    """Return an `AnalyticModel` of two classes."""
    return AnalyticModel(AnalyticModel.presets["tiny"].for_classes(class_names))


def same_weights(first: Task, second: Task) -> bool:
    """Test whether the weights of two models are identical."""
    weights = second.network.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in first.network.state_dict().items())


class RecordedProgress(Progress):
    """Records messages, items (stage, done, total) and steps (step, total)."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.items: list[tuple[str, int, int | None]] = []
        self.steps: list[tuple[int, int]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        self.items.append((stage, done, total))

    def step(self, step: int, total: int, losses: Mapping[str, float] | None = None) -> None:
        self.steps.append((step, total))
