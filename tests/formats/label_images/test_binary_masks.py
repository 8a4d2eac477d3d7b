from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_images import components, discs, jpeg
from smearsynth.errors import DataError
from smearsynth.formats.label_images.binary_masks import binary_cells, cell_pixels, looks_inverted, read_binary

DISCS = discs()


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_components_of_a_mask_after_lossy_compression(quality: int) -> None:
    cells = binary_cells(jpeg(DISCS > 0, quality))
    assert (int(cells.labels.max()), cells.specks) == (components(DISCS), 0)
    assert ((cells.labels > 0) == (DISCS > 0)).mean() > 0.98


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 65535), (3, 4)])
def test_components_of_a_mask_of_two_values(values: tuple[int, int]) -> None:
    assert int(binary_cells(np.where(DISCS > 0, values[1], values[0])).labels.max()) == components(DISCS)


def test_all_levels_of_a_cell_are_above_the_threshold() -> None:
    levels = np.where(DISCS > 0, 128, 0)
    levels[10, 7] = 255
    assert (cell_pixels(levels) == (DISCS > 0)).all()
    noisy = np.clip(levels + np.random.default_rng(0).integers(-9, 10, levels.shape), 0, 255)
    assert (cell_pixels(noisy) == (DISCS > 0)).all()
    assert not cell_pixels(np.zeros((2, 2), int)).any()


def test_specks_are_left_out_except_at_the_border() -> None:
    mask = np.kron(DISCS > 0, np.ones((4, 4), bool))
    mask[0, 0] = mask[3, 3] = True
    cells = binary_cells(mask.astype(np.uint8))
    assert (int(cells.labels.max()), cells.specks) == (components(DISCS) + 1, 1)


def test_an_inverted_mask_is_refused_and_a_crowded_one_is_not() -> None:
    with pytest.raises(DataError, match="inverted"):
        binary_cells((DISCS == 0).astype(np.uint8))
    y, x = np.mgrid[:120, :120]
    crowded = (((y % 20) - 10) ** 2 + ((x % 20) - 10) ** 2) <= 104
    assert crowded.mean() > 0.75
    assert components(crowded.astype(int)) == 1
    assert not looks_inverted(crowded)


def test_jpeg_and_rgb_masks_are_decoded(tmp_path: Path) -> None:
    mask = (DISCS > 0).astype(np.uint8) * np.uint8(255)
    for name, image in (("a.jpg", Image.fromarray(mask)), ("b.png", Image.fromarray(mask).convert("RGB"))):
        image.save(tmp_path / name)
        assert int(binary_cells(read_binary(tmp_path / name)).labels.max()) == components(DISCS)
