from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from image_folders import data_error
from smears import analytic_smear, disc_mask
from smearsynth.formats.label_images.cell_masks import CellMaskReader, draw_masks, find_cell_masks
from smearsynth.formats.label_images.label_formats import label_format

SMEAR = analytic_smear()
# The second disc covers a part of the first.
MASKS = [disc_mask(SMEAR.shape, disc) for disc in ((20, 20, 9), (34, 20, 9), (60, 44, 12))]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_masks(folder: Path, value: int = 255, ending: str = "png") -> None:
    for k, mask in enumerate(MASKS):
        save(folder / f"{k}-hash.{ending}", mask.astype(np.uint8) * np.uint8(value))


def data_science_bowl(root: Path) -> None:
    for name in ("a", "b"):
        save(root / name / "images" / f"{name}.png", SMEAR.image)
        save_masks(root / name / "masks")


def folder_of_masks(root: Path) -> None:
    for name in ("a", "b"):
        save(root / "images" / f"{name}.png", SMEAR.image)
        save_masks(root / "masks" / name.upper(), 1)


def planes_of_tiff(root: Path) -> None:
    for name in ("a", "b"):
        save(root / "images" / f"{name}.png", SMEAR.image)
        (root / "masks").mkdir(exist_ok=True)
        tifffile.imwrite(root / "masks" / f"{name}.tif", np.array(MASKS).astype(np.uint8), photometric="minisblack")


def planes_of_array(root: Path) -> None:
    for name in ("a", "b"):
        save(root / "images" / f"{name}.png", SMEAR.image)
        (root / "masks").mkdir(exist_ok=True)
        np.save(root / "masks" / f"{name}.npy", np.array(MASKS))


@pytest.mark.parametrize("layout", [data_science_bowl, folder_of_masks, planes_of_tiff, planes_of_array])
def test_layouts_of_one_mask_per_cell(tmp_path: Path, layout: Callable[[Path], None]) -> None:
    layout(tmp_path)
    assert label_format(tmp_path) == "cell-masks"
    reader = CellMaskReader(tmp_path)
    assert [entry.name for entry in reader.entries] == ["a", "b"]
    smear = reader.read(reader.entries[0])
    assert (smear.labels == SMEAR.labels).all()
    assert (smear.image == SMEAR.image).all()
    assert reader.report.cells == 3
    assert reader.report.notes() == []
    assert reader.found == "masks of single cells in 2 smears"


def test_the_hidden_part_of_a_covered_cell_is_kept(tmp_path: Path) -> None:
    folder_of_masks(tmp_path)
    reader = CellMaskReader(tmp_path)
    outlines = reader.read(reader.entries[0]).full_outlines
    assert outlines is not None
    assert [outline is not None for outline in outlines] == [True, False, False]


def test_splits_of_folders_of_masks(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder_of_masks(tmp_path / split)
        data_science_bowl(tmp_path / "stage1" / split)
    for root in (tmp_path / "train", tmp_path / "stage1"):
        assert find_cell_masks(root) is not None
    files = find_cell_masks(tmp_path / "stage1")
    assert files is not None
    assert {(entry.name, entry.split) for entry in files.entries} == {
        (f"{split}_{name}", split) for split in ("train", "test") for name in "ab"
    }


def test_pairs_are_no_masks_of_single_cells(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", SMEAR.image)
    save(tmp_path / "masks" / "a.png", SMEAR.labels.astype(np.uint8))
    assert find_cell_masks(tmp_path) is None
    assert label_format(tmp_path) == "labels"
    assert "contains no masks of single cells" in data_error(lambda: CellMaskReader(tmp_path))


def test_empty_masks_and_covered_cells_are_counted(tmp_path: Path) -> None:
    folder_of_masks(tmp_path)
    save(tmp_path / "masks" / "A" / "9.png", np.zeros(SMEAR.shape, np.uint8))
    save(tmp_path / "masks" / "A" / "!first.png", disc_mask(SMEAR.shape, (20, 20, 4)).astype(np.uint8))
    reader = CellMaskReader(tmp_path)
    assert reader.read(reader.entries[0]).count == 3
    assert dict(reader.report.left_out) == {"masks without a pixel": 1, "cells that other cells cover": 1}


def test_images_without_masks(tmp_path: Path) -> None:
    data_science_bowl(tmp_path / "dsb")
    save(tmp_path / "dsb" / "c" / "images" / "c.png", SMEAR.image)
    files = find_cell_masks(tmp_path / "dsb")
    assert files is not None
    assert files.notes == (f"{tmp_path / 'dsb'}: 1 images without masks are not read",)
    folder_of_masks(tmp_path / "nested")
    save(tmp_path / "nested" / "images" / "c.png", SMEAR.image)
    assert "has no masks of its cells; add masks/c/" in data_error(lambda: find_cell_masks(tmp_path / "nested"))


def test_a_single_mask_of_all_cells_is_refused_without_binary(tmp_path: Path) -> None:
    grid = np.zeros((60, 200), np.uint8)
    grid[20:30, 10::40] = grid[20:30, 11::40] = grid[20:30, 12::40] = 255
    save(tmp_path / "images" / "a.png", np.full((60, 200, 3), 200, np.uint8))
    save(tmp_path / "masks" / "a" / "all.png", grid)
    reader = CellMaskReader(tmp_path)
    assert "--binary" in data_error(lambda: reader.read(reader.entries[0]))
    binary = CellMaskReader(tmp_path, binary=True)
    assert binary.read(binary.entries[0]).count == 5


def test_masks_of_different_sizes_and_classes_are_rejected(tmp_path: Path) -> None:
    assert "no masks" in data_error(lambda: draw_masks([]))
    masks = [(Path(name), np.ones(size, bool)) for name, size in (("1.png", (2, 3)), ("2.png", (3, 3)))]
    assert "2.png: is 3×3 px, but the first mask of the image is 3×2 px" in data_error(lambda: draw_masks(masks))
    folder_of_masks(tmp_path)
    assert "no classes" in data_error(lambda: CellMaskReader(tmp_path, classes="annotated"))
