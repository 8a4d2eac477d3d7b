"""A segmentation model as a second opinion on labels."""

from __future__ import annotations

from pathlib import Path

from smearsynth.errors import ModelError
from smearsynth.labelling.image_labels import SecondOpinion
from smearsynth.runs import select_device
from smearsynth.smear import ImageArray, LabelArray
from smearsynth.tasks.prediction import predict_image
from smearsynth.tasks.registry import load_model


def load_second_opinion(folder: Path, device: str = "auto") -> SecondOpinion:
    """Load a task model that gives labels.

    Parameters
    ----------
    folder : Path
        Folder written by `train_task`.
    device : {"auto", "cpu", "cuda"}

    Raises
    ------
    ModelError
        If the folder is damaged, or the model gives boxes only.
    """
    task = load_model(folder, select_device(device))

    def labels_of(image: ImageArray) -> LabelArray:
        labels = predict_image(task, image, task.scale).labels
        if labels is None:
            raise ModelError("gives boxes without outlines; use a segmentation or contours model", folder)
        return labels

    return labels_of
