"""Tissue, focus and spread of the fields of a slide, on images with known content."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from smears import analytic_smear
from smearsynth.formats.slides.tissue import field_grid, measure_field, spread_order, tissue_mask

BACKGROUND, STAIN = (235, 230, 233), (215, 170, 185)


def overview(noise: float = 2.0) -> np.ndarray:
    pixels = np.full((60, 80, 3), BACKGROUND, float)
    pixels[10:50, 20:60] = STAIN
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    return np.clip(pixels, 0, 252).astype(np.uint8)


def expected() -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    return mask


def test_stained_area_is_found_beside_padding() -> None:
    padded = np.pad(overview(), ((0, 0), (30, 30), (0, 0)))
    padded[:, -30:] = 255
    assert (tissue_mask(padded) == np.pad(expected(), ((0, 0), (30, 30)))).mean() > 0.99
    assert not tissue_mask(padded)[:, :30].any()
    assert not tissue_mask(padded)[:, -30:].any()


def test_faint_stain_is_found_and_an_empty_slide_has_no_classes() -> None:
    faint = overview(0.5)
    faint[10:50, 20:60] = np.array(BACKGROUND) - (4, 14, 10)
    assert (tissue_mask(faint) == expected()).mean() > 0.99
    empty = np.full((20, 20, 3), 240, np.uint8)
    assert tissue_mask(empty).all()
    assert not tissue_mask(np.zeros((20, 20, 3), np.uint8)).any()


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_focus_falls_with_blur_and_not_with_the_number_of_cells(noise: float) -> None:
    discs = [(40.0 + 60 * (k % 4), 40.0 + 60 * (k // 4), 14.0) for k in range(16)]
    few, many = (analytic_smear((256, 256), discs[:count]) for count in (4, 16))
    generator = np.random.default_rng(0)

    def focus(image: np.ndarray, blur: float) -> float:
        taken = ndimage.gaussian_filter(image.astype(float), (blur, blur, 0)) + generator.normal(
            0, noise, image.shape
        )
        return measure_field(np.clip(taken, 0, 255).astype(np.uint8)).focus

    sharp = [focus(few.image, 0.7), focus(many.image, 0.7)]
    assert sharp[0] == pytest.approx(sharp[1], rel=0.25)
    assert focus(many.image, 1) > focus(many.image, 2) > focus(many.image, 4)
    assert focus(many.image, 4) < 0.3 * sharp[1]
    # The noise of an empty field is no edge.
    empty = measure_field(np.clip(generator.normal(230, noise, (256, 256, 3)), 0, 255).astype(np.uint8))
    assert empty.tissue < 0.02


def test_the_grid_has_the_fields_with_tissue() -> None:
    mask = np.zeros((10, 12), bool)
    mask[5:10, 4:8] = True
    assert field_grid(mask, (5, 4), 0.9).tolist() == [[1, 1]]
    assert field_grid(mask, (2.5, 2), 0.9).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert len(field_grid(mask, (5, 4), 0)) == 1  # a field without any tissue does not count
    assert len(field_grid(mask, (11, 4), 0.1)) == 0
    assert len(field_grid(~mask & False, (5, 4), 0)) == 0


@pytest.mark.parametrize("count", [4, 16])
def test_the_first_places_are_spread_over_all(count: int) -> None:
    places = np.argwhere(np.ones((32, 32), bool))
    for seed in range(5):
        order = spread_order(places, np.random.default_rng(seed))
        assert sorted(order.tolist()) == list(range(1024))
        first = places[order[:count]]
        distances = np.linalg.norm(first[:, None] - first[None], axis=2)[~np.eye(count, dtype=bool)]
        assert distances.min() >= 0.3 * 32 / np.sqrt(count)
        # Each quarter of the slide has its part.
        assert np.bincount((first // 16) @ [2, 1], minlength=4).tolist() == [count // 4] * 4


def test_the_order_depends_on_the_seed_only() -> None:
    places = np.argwhere(np.ones((9, 7), bool))
    orders = [spread_order(places, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert spread_order(places[:0], np.random.default_rng(0)).tolist() == []
    assert spread_order(places[:1], np.random.default_rng(0)).tolist() == [0]
