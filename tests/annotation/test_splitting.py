from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.splitting import region_score, split_cells
from smearsynth.metrics.matching import label_ious, match


@pytest.mark.parametrize(
    "discs",
    [
        [(30, 30, 15)],
        [(30, 30, 15), (54, 34, 15)],
        [(30, 30, 15), (55, 30, 15), (43, 52, 15)],
        [(20, 20, 15), (44, 22, 15), (68, 24, 15), (92, 26, 15)],
    ],
)
def test_overlapping_discs_are_separated(discs: list[tuple[float, float, float]]) -> None:
    field = analytic_smear((90, 120), discs)
    labels, scores = split_cells(field.labels > 0, 30)
    assert labels.max() == len(scores) == len(discs)
    assert len(match(label_ious(labels, field.labels), 0.65).pairs) == len(discs)


def test_an_elongated_cell_is_not_divided() -> None:
    y, x = np.mgrid[:60, :90]
    labels, _ = split_cells(((x - 45) / 30) ** 2 + ((y - 30) / 12) ** 2 < 1, 36)
    assert labels.max() == 1


def test_a_cell_with_a_rough_outline_is_not_divided() -> None:
    y, x = np.mgrid[:60, :60]
    angle = np.arctan2(y - 30, x - 30)
    labels, _ = split_cells(np.hypot(x - 30, y - 30) < 19 + 1.5 * np.cos(11 * angle), 38)
    assert labels.max() == 1


def test_specks_are_removed() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:12, 10:12] = True
    assert split_cells(mask, 30)[0].max() == 0


def test_a_part_at_the_border_scores_better_than_the_same_part_inside() -> None:
    y, x = np.mgrid[:40, :40]
    part = np.hypot(x - 20, y + 8) < 15
    assert region_score(part, 700, cut=True) > region_score(part, 700) + 0.1


def test_two_cells_score_less_than_one() -> None:
    y, x = np.mgrid[:60, :90]
    one = np.hypot(x - 25, y - 30) < 15
    both = one | (np.hypot(x - 52, y - 30) < 15)
    assert region_score(both, 707) < 0.6 < region_score(one, 707)
