"""Scores of labels against a true annotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import DataError
from smearsynth.formats.listing import image_files, image_name
from smearsynth.formats.pixels.images import read_ids
from smearsynth.labelling.record import LabelledCell
from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import LabelArray, relabel_sequential

IOU = 0.5
DOUBTFUL_FRACTION = 0.05  # fraction of the cells


@dataclass(frozen=True)
class LabelScore:
    """Agreement of labels with a true annotation, summed over the images.

    Parameters
    ----------
    f1_50 : float
        F1 score of cells that match at an IoU of 0.5.
    matched_iou : float
        Mean IoU of the matched cells.
    tp, fp, fn : int
        True positives, false positives and false negatives.
    images : int
    errors_in_least_certain : float or None
        Fraction of the false positives among the 5 % of the cells with the lowest confidence; None without a false
        positive.
    """

    f1_50: float
    matched_iou: float
    tp: int
    fp: int
    fn: int
    images: int
    errors_in_least_certain: float | None

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dictionary for JSON."""
        return asdict(self)


def score_labels(smears: SmearFolder, cells: Mapping[str, Sequence[LabelledCell]], truth: Path | str) -> LabelScore:
    """Compare labels with the true annotation of the same images.

    Parameters
    ----------
    smears : SmearFolder
        Smears with the labels to score.
    cells : mapping of str to sequence of LabelledCell
        Confidence of the cells, by smear.
    truth : Path or str
        Annotated smears, or a folder of label images, with the same names.

    Raises
    ------
    DataError
        If no image of the true annotation has the name of a smear, or sizes differ.
    """
    true_labels = _true_labels(Path(truth))
    confidences: list[float] = []
    errors: list[bool] = []
    ious: list[float] = []
    missed = images = 0
    for index, name in enumerate(smears.names):
        if name not in true_labels:
            continue
        images += 1
        smear = smears[index]
        matches = match(label_ious(smear.labels, true_labels[name]()), IOU)
        matched = np.zeros(smear.count, bool)
        matched[matches.pairs[:, 0]] = True
        confidence = {cell.instance: cell.confidence for cell in cells.get(name, ())}
        confidences += [confidence.get(k, 1.0) for k in range(1, smear.count + 1)]
        errors += (~matched).tolist()
        ious += matches.ious.tolist()
        missed += matches.fn
    if not images:
        raise DataError("contains no annotation of these images; names must be the same", truth)
    tp, fp = len(ious), sum(errors)
    total = 2 * tp + fp + missed
    return LabelScore(
        f1_50=2 * tp / total if total else 1.0,
        matched_iou=float(np.mean(ious)) if ious else 0.0,
        tp=tp,
        fp=fp,
        fn=missed,
        images=images,
        errors_in_least_certain=doubtful_errors(np.array(confidences), np.array(errors, bool)),
    )


def doubtful_errors(confidences: np.ndarray, errors: np.ndarray) -> float | None:
    """Return the fraction of the errors among the 5 % of the cells with the lowest confidence.

    Examples
    --------
    >>> confidences = np.linspace(0, 1, 40)
    >>> doubtful_errors(confidences, confidences < 0.06)
    0.6666666666666666
    """
    if not errors.any():
        return None
    count = max(1, round(DOUBTFUL_FRACTION * len(confidences)))
    lowest = np.argsort(confidences, kind="stable")[:count]
    return float(errors[lowest].sum() / errors.sum())


def _true_labels(truth: Path) -> dict[str, Callable[[], LabelArray]]:
    """Return functions that read the true labels, by the name of the smear."""
    try:
        smears = open_smears(truth)
    except DataError:
        files = image_files(truth) if truth.is_dir() else []
        if not files:
            raise
        return {image_name(file.name): _reader_of(file) for file in files}
    return {name: _reader_at(smears, index) for index, name in enumerate(smears.names)}


def _reader_of(file: Path) -> Callable[[], LabelArray]:
    return lambda: relabel_sequential(read_ids(file))[0]


def _reader_at(smears: SmearFolder, index: int) -> Callable[[], LabelArray]:
    return lambda: smears[index].labels
