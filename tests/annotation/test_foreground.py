from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear
from smearsynth.annotation.foreground import estimate_diameter, fill_pallor, find_foreground
from smearsynth.metrics.matching import dice

DISCS = [(30, 30, 14), (80, 34, 15), (130, 32, 14), (32, 85, 15), (84, 88, 13), (128, 84, 14)]


def smear(noise: float = 2.0):  # type: ignore[no-untyped-def]
    return analytic_smear((120, 160), DISCS, noise=noise)


def test_cells_are_found_on_an_uneven_background() -> None:
    field = smear()
    y, x = np.mgrid[-1:1:120j, -1:1:160j]
    light = 0.75 - 0.12 * x + 0.1 * y - 0.1 * x * x
    image = np.clip(field.image * light[..., None], 0, 255).astype(np.uint8)
    mask = fill_pallor(find_foreground(image).mask, 28)
    assert dice(mask, field.labels > 0) > 0.94


def test_grey_images_have_a_foreground() -> None:
    grey = smear().image.mean(2).astype(np.uint8)
    mask = fill_pallor(find_foreground(np.stack([grey] * 3, 2)).mask, 28)
    assert dice(mask, smear().labels > 0) > 0.94


def test_dark_nuclei_do_not_hide_pale_cells() -> None:
    field = smear()
    image = field.image.copy()
    image[70:100, 20:44] = (60, 20, 90)
    mask = find_foreground(image).mask
    assert all(mask[y - 10, x] for x, y, _ in DISCS)


@pytest.mark.parametrize("noise", [0.0, 3.0, 20.0])
def test_an_image_without_cells_has_no_foreground(noise: float) -> None:
    field = analytic_smear((120, 160), [], noise=noise)
    foreground = find_foreground(field.image)
    assert not foreground.mask.any()
    assert foreground.contrast == 0


def test_the_darkness_of_a_typical_cell_is_one() -> None:
    foreground = find_foreground(smear().image)
    assert np.median(foreground.darkness[foreground.mask]) == pytest.approx(1, abs=0.15)
    assert foreground.noise < 0.1


def test_the_gap_between_touching_cells_is_not_filled() -> None:
    field = analytic_smear((120, 120), [(40, 40, 20), (80, 40, 20), (40, 80, 20), (80, 80, 20)])
    mask = fill_pallor(field.labels > 0, 40)
    assert not mask[60, 60]
    assert (mask == (field.labels > 0)).mean() > 0.99


def test_a_pallor_that_the_border_cuts_is_filled() -> None:
    y, x = np.mgrid[:60, :60]
    distance = np.hypot(x - 30, y - 2)
    assert fill_pallor((distance < 20) & (distance > 7), 40)[0, 30]


@pytest.mark.parametrize("radius", [9, 20])
def test_the_diameter_is_estimated_beside_specks_and_a_clump(radius: int) -> None:
    step = 3 * radius
    discs = [(step, step, radius), (2 * step, step, radius), (step, 2 * step, radius)]
    discs += [(2 * step, 2 * step, radius), (2 * step + int(1.7 * radius), 2 * step, radius)]
    discs += [(k * step, 10, radius // 5) for k in (1, 2, 3)]
    field = analytic_smear((3 * step, 4 * step), discs)
    assert estimate_diameter(field.labels > 0) == pytest.approx(2 * radius, rel=0.12)


def test_no_diameter_without_cells() -> None:
    assert estimate_diameter(np.zeros((40, 40), bool)) is None
