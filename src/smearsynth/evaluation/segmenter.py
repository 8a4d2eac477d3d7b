"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from smearsynth.datasets import SmearFolder
from smearsynth.tasks.registry import load_segmentation

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.evaluation.label_fidelity import Segmenter

Stage = Callable[[str, int, int], object]


def segmenter_for(known: SmearFolder, folder: Path | None, seed: int, device: str, on_stage: Stage) -> Segmenter:
    """The segmentation model of a folder, or one trained here, which takes minutes."""
    from smearsynth.tasks import FitRun, Segmentation, fit

    if folder is not None:
        return load_segmentation(folder, device)
    model = Segmentation.preset("cpu", seed=seed)
    steps = model.config.fit.steps

    def on_step(step: int, row: dict[str, float] | None) -> None:
        on_stage("training a segmenter", step, steps)

    if not fit(model, known, FitRun(device=device, on_step=on_step)).finished:
        raise KeyboardInterrupt  # a judge that has learned half is none
    return model
