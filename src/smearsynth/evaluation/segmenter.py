"""The segmenter that checks labels: load it from a folder, or train one on real smears."""

from __future__ import annotations

from pathlib import Path

from smearsynth.datasets import SmearFolder
from smearsynth.runs import Execution, select_device
from smearsynth.tasks.fitting import FitRun, fit
from smearsynth.tasks.registry import load_segmentation
from smearsynth.tasks.segmentation import Segmentation


def load_or_train_segmenter(
    smears: SmearFolder, folder: Path | str | None = None, *, seed: int = 0, execution: Execution = Execution()
) -> Segmentation:
    """Load a segmentation model, or train one with the preset "cpu", which takes minutes.

    Parameters
    ----------
    smears : SmearFolder
        Real smears to train on.
    folder : Path or str, optional
        Folder of a segmentation model; no model is trained then.
    seed : int
        Random seed of the training.
    execution : Execution
        Its device, time limit and progress are used.

    Raises
    ------
    ModelError
        If the folder is not that of a segmentation model.
    KeyboardInterrupt
        If the training was stopped: a partly trained segmenter would report wrong labels.
    """
    device = select_device(execution.device)
    if folder is not None:
        return load_segmentation(Path(folder), device)
    model = Segmentation.preset("cpu", seed=seed)
    steps = model.config.fit.steps

    def on_step(step: int, row: dict[str, float] | None) -> None:
        execution.progress.advance("training a segmenter", step, steps)

    run = FitRun(device=device, time_limit=execution.time_limit, on_step=on_step)
    if not fit(model, smears, run).finished:
        raise KeyboardInterrupt
    return model
