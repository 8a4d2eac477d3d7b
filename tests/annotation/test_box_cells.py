from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.box_cells import border_cells, cells_in_boxes, usable_boxes
from smearsynth.annotation.image_cells import find_visible_cells
from smearsynth.metrics.matching import label_ious

DISCS = [(40, 40, 17), (64, 44, 17), (110, 50, 17), (110, 4, 17)]


def test_overlapping_cells_share_their_pixels_by_distance() -> None:
    field = analytic_smear((90, 150), DISCS)
    boxes = np.array([[x - r, y - r, x + r, y + r] for x, y, r in DISCS[:2]], float)
    result = cells_in_boxes(find_visible_cells(field.image, 34), boxes)
    assert (np.diag(label_ious(result.labels, field.labels))[:2] > 0.75).all()
    assert result.quality.tolist() == [1, 1]
    assert result.labels.max() == 2


def test_visible_cells_without_a_box_are_unclaimed_and_keep_their_pixels() -> None:
    field = analytic_smear((90, 150), DISCS)
    cells = find_visible_cells(field.image, 34)
    result = cells_in_boxes(cells, np.array([[23.0, 23, 57, 57]]))
    assert result.unclaimed.sum() == 3
    assert not result.labels[:, 70:].any()
    (cut,) = border_cells(cells, result.unclaimed)
    assert cells.labels[2, 110] == cut


@pytest.mark.parametrize("box", [[30.0, 30, 31.2, 31.1], [39.0, 39, 41, 41]])
def test_a_box_inside_a_cell_gives_a_cell(box: list[float]) -> None:
    field = analytic_smear((90, 90), [(40, 40, 17)])
    boxes = np.array([[23.0, 23, 57, 57], box])
    labels = cells_in_boxes(find_visible_cells(field.image, 34), boxes).labels
    assert 0 < (labels == 2).sum() < 20
    assert (labels == 1).sum() > 700


def test_boxes_with_a_small_overlap_are_all_usable() -> None:
    boxes = np.array([[0.0, 0, 20, 20], [5, 0, 25, 20], [1, 0, 21, 20]])
    assert usable_boxes(boxes, (40, 40)).tolist() == [True, True, False]
