"""Comparison of the labels of generated smears with a segmentation of their images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from smearsynth.datasets import SmearFolder, exclude_overlays, open_smears
from smearsynth.errors import error_location
from smearsynth.evaluation.comparability import median_diameter
from smearsynth.evaluation.label_fidelity import Segmenter, calibrate_limits, labels_fit
from smearsynth.evaluation.segmenter import load_or_train_segmenter
from smearsynth.evaluation.splits import split_for_comparison
from smearsynth.runs import Execution
from smearsynth.smear import Smear

_CACHE_MB = 2000  # the segmenter reads the real smears many times


def label_check(
    data: SmearFolder | Path | str,
    *,
    segmenter: Segmenter | Path | str | None = None,
    scale: float = 1.0,
    seed: int = 0,
    execution: Execution = Execution(),
) -> Callable[[Smear], bool]:
    """Return a test whether the labels of a smear fit its image, for the argument `accept` of `SyntheticSmears`.

    The limits of the test are set on real smears that the segmenter was not trained on.

    Parameters
    ----------
    data : SmearFolder or Path or str
        Annotated real smears. A path is read at `scale`.
    segmenter : Segmenter or Path or str, optional
        Segmentation model, or its folder. By default one is trained on the real smears, which takes minutes.
    scale : float
        Scale of the model that generates the smears.
    seed : int
        Seed of the training of the segmenter, and of the simulated label errors.
    execution : Execution
        Device and progress.

    Returns
    -------
    callable
        Takes a smear and returns whether it has at most as many disagreements as 95 % of real smears with its
        number of cells.

    Raises
    ------
    DataError
        If the real smears cannot be read or contain no whole cell.
    """
    progress = execution.progress
    if isinstance(data, SmearFolder):
        smears = data
    else:
        smears = open_smears(data, scale=scale, classes="one", cache_mb=_CACHE_MB)
        for note in smears.notes:
            progress.message(note)
    smears = exclude_overlays(smears, progress)
    split = split_for_comparison(smears)
    with error_location(smears.root):
        model: Segmenter
        if segmenter is None or isinstance(segmenter, (Path, str)):
            model = load_or_train_segmenter(split.training, segmenter, seed=seed, execution=execution)
        else:
            model = segmenter
        diameter = median_diameter(split.unseen)
        limits = calibrate_limits(
            split.unseen,
            model,
            diameter,
            rng=seed,
            on_smear=lambda done: progress.advance("real labels", done, len(split.unseen)),
        )
    return lambda smear: labels_fit(smear, model, limits, diameter)
