from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.labelling.record import LabelledCell
from smearsynth.labelling.score import doubtful_errors, score_labels

CELLS = [(20, 20, 9), (50, 20, 9), (70, 40, 9), (20, 45, 8)]


def test_a_worse_answer_scores_worse(tmp_path: Path) -> None:
    truth = write_folder(tmp_path / "truth", [analytic_smear((60, 90), CELLS, name="a")])
    same = open_smears(write_folder(tmp_path / "same", [analytic_smear((60, 90), CELLS, name="a")]))
    perfect = score_labels(same, {}, truth)
    assert (perfect.f1_50, perfect.matched_iou, perfect.errors_in_least_certain) == (1.0, 1.0, None)
    worse_cells = [(20, 20, 7), (50, 20, 9), (80, 10, 9)]
    worse = open_smears(write_folder(tmp_path / "worse", [analytic_smear((60, 90), worse_cells, name="a")]))
    rows = [
        LabelledCell("a", k, "cell", confidence, "image", (0, 0, 1, 1))
        for k, confidence in enumerate((0.9, 0.8, 0.1), 1)
    ]
    result = score_labels(worse, {"a": rows}, truth)
    assert (result.tp, result.fp, result.fn) == (2, 1, 2)
    assert result.f1_50 == pytest.approx(4 / 7)
    assert 0.7 < result.matched_iou < 0.9
    assert result.errors_in_least_certain == 1.0


def test_the_truth_can_be_a_folder_of_label_images(tmp_path: Path) -> None:
    smear = analytic_smear((60, 90), CELLS, name="a")
    smears = open_smears(write_folder(tmp_path / "smears", [smear]))
    (tmp_path / "instances").mkdir()
    Image.fromarray(smear.labels.astype(np.uint16) * 7).save(tmp_path / "instances" / "a.png")
    assert score_labels(smears, {}, tmp_path / "instances").f1_50 == 1.0
    (tmp_path / "instances" / "a.png").rename(tmp_path / "instances" / "b.png")
    with pytest.raises(DataError, match="names must be the same"):
        score_labels(smears, {}, tmp_path / "instances")


def test_the_share_of_errors_among_the_least_certain() -> None:
    confidences = np.arange(100.0)
    errors = np.zeros(100, bool)
    errors[[0, 1, 2, 50]] = True
    assert doubtful_errors(confidences, errors) == 0.75
    assert doubtful_errors(confidences[::-1], errors) == 0.0
