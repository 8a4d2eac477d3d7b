from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_images import discs, indexed, outlines, photograph
from smearsynth.datasets import open_smears
from smearsynth.formats.label_images.label_formats import index_is_colour, label_format
from smearsynth.formats.label_images.palette import PALETTE, PaletteReader, encode_palette

PALETTE_OF_IDS = np.random.default_rng(1).integers(30, 226, (256, 3)).astype(np.uint8)


def folder(root: Path, label: Image.Image, ids: np.ndarray) -> Path:
    for name, image in (("images", Image.fromarray(photograph(ids))), ("labels", label)):
        (root / name).mkdir()
        image.save(root / name / "a.png")
    return root


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (40, 90, 200)])
@pytest.mark.parametrize("shape", [(1, 2), (2, 2), (4, 6)])
def test_the_index_is_the_id_if_cells_have_different_ones(
    tmp_path: Path, shape: tuple[int, int], background: tuple[int, int, int]
) -> None:
    ids = discs(*shape)
    palette = PALETTE_OF_IDS.copy()
    palette[0] = background
    smears = open_smears(folder(tmp_path, indexed(ids, palette), ids))
    assert smears.format == "labels"
    assert (smears[0].labels == ids).all()


def test_indices_with_a_void_border_are_ids(tmp_path: Path) -> None:
    ids = discs()
    root = folder(tmp_path, indexed(np.where(outlines(ids), 255, ids), PALETTE_OF_IDS), ids)
    assert (label_format(root), open_smears(root)[0].count) == ("labels", ids.max())


@pytest.mark.parametrize("reduced", [False, True])
def test_the_index_is_a_colour_if_cells_share_it(tmp_path: Path, reduced: bool) -> None:
    ids = discs()
    colours = encode_palette(ids.astype(np.int32), int(ids.max()))
    if reduced:
        label = Image.fromarray(colours).quantize(12)
    else:
        table = np.zeros((256, 3), np.uint8)
        table[1 : len(PALETTE) + 1] = PALETTE
        label = indexed((colours[:, :, None] == table[:9]).all(-1).argmax(-1), table)
    smears = open_smears(folder(tmp_path, label, ids))
    assert (smears.format, smears[0].count) == ("palette", ids.max())


def test_a_palette_with_a_background_that_is_not_black(tmp_path: Path) -> None:
    ids = discs()
    table = np.full((256, 3), 255, np.uint8)
    table[1:4] = PALETTE[:3]
    root = folder(tmp_path, indexed(np.where(ids > 0, 1 + ids % 3, 0), table), ids)
    reader = PaletteReader(root)
    assert label_format(root) == "palette"
    assert reader.read(reader.entries[0]).count == ids.max()


def test_several_files_decide_together(tmp_path: Path) -> None:
    ids = discs(1, 3, touching=False)
    once, twice = tmp_path / "1.png", tmp_path / "2.png"
    indexed(ids, PALETTE_OF_IDS).save(once)
    indexed(np.where(ids == 3, 1, ids), PALETTE_OF_IDS).save(twice)
    assert index_is_colour([twice])
    assert not index_is_colour([twice, once, once, once])
