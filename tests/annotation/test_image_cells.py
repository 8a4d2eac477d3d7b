from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.image_cells import (
    find_visible_cells,
    resize_image,
    tighten_outlines,
    touches_border,
    visible_diameter,
    working_scale,
)
from smearsynth.metrics.matching import label_ious, match

DISCS = [(40, 40, 17), (100, 42, 18), (50, 110, 17), (84, 112, 17), (150, 120, 18), (150, 45, 4)]


def test_pale_and_dark_cells_are_found_in_one_image() -> None:
    field = analytic_smear((160, 200), DISCS[:5], noise=1.0)
    image = field.image.astype(float)
    background = image[2, 2]
    for k, strength in ((1, 0.25), (5, 2.0)):
        image[field.labels == k] = background + strength * (image[field.labels == k] - background)
    cells = find_visible_cells(np.clip(image, 0, 255).astype(np.uint8), 34)
    assert match(label_ious(cells.labels, field.labels), 0.7).tp == 5
    assert len(cells.scores) == 5


def test_specks_and_slivers_at_the_border_are_not_cells() -> None:
    field = analytic_smear((160, 200), [*DISCS, (30, -13, 17)])
    assert find_visible_cells(field.image, 34).labels.max() == 5


def test_a_stripe_across_the_field_is_not_a_cell() -> None:
    image = np.full((60, 90, 3), 220, np.uint8)
    image[20:45] = (190, 120, 150)
    assert find_visible_cells(image, 30).labels.max() == 0


def test_outlines_are_tightened_to_the_dark_part() -> None:
    field = analytic_smear((90, 90), [(45, 45, 20)])
    cells = find_visible_cells(field.image, 40)
    wide = np.zeros((90, 90), np.int32)
    y, x = np.mgrid[:90, :90]
    wide[np.hypot(x - 45, y - 45) < 22] = 1
    tight = tighten_outlines(wide, cells, np.array([True]))
    assert abs(tight.sum() / (field.labels == 1).sum() - 1) < 0.08
    assert wide.sum() > 1.15 * (field.labels == 1).sum()
    assert (tighten_outlines(wide, cells, np.array([False])) == wide).all()


@pytest.mark.parametrize("diameter", [30, 60])
def test_the_visible_diameter(diameter: int) -> None:
    scale = diameter / 34
    field = analytic_smear((160, 200), DISCS).resized(scale)
    assert visible_diameter(field.image) == pytest.approx(diameter, rel=0.1)


def test_cells_near_the_working_size_are_not_resized() -> None:
    assert working_scale(40) == 1
    image = np.zeros((5, 5, 3), np.uint8)
    assert resize_image(image, 1.0) is image
    assert resize_image(image, 0.01).shape == (1, 1, 3)


def test_contact_with_the_border() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[2, 2], labels[4, 1] = 1, 2
    assert touches_border(labels).tolist() == [True, False, True]
