from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, same_instances
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.formats.label_images.palette import (
    colour_indices,
    decode_palette,
    encode_palette,
    palette_colours,
)
from smearsynth.smear import touching_pairs

RED, GREEN = (255, 0, 0), (0, 255, 0)


def palette_folder(folder: Path, content: np.ndarray | Image.Image, ending: str = "png") -> Path:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    mask = content if isinstance(content, Image.Image) else Image.fromarray(content)
    Image.new("RGB", mask.size, (200, 190, 195)).save(folder / "images" / "a.png")
    mask.save(folder / "masks" / f"a.{ending}")
    return folder


def colour_mask() -> np.ndarray:
    mask = np.zeros((20, 30, 3), np.uint8)
    mask[2:8, 2:8] = RED
    mask[2:8, 8:14] = GREEN
    mask[2:8, 20:26] = RED
    return mask


def test_components_of_one_colour_are_instances(tmp_path: Path) -> None:
    smear = open_smears(palette_folder(tmp_path, colour_mask()))[0]
    assert smear.areas().tolist() == [36, 36, 36]
    assert smear.labels[5, 5] != smear.labels[5, 22]


def test_pixels_that_meet_at_a_corner_are_one_component() -> None:
    mask = np.zeros((4, 4, 3), np.uint8)
    mask[0, 0] = mask[1, 1] = RED
    mask[3, 3] = RED
    assert decode_palette(mask).max() == 2


def test_indexed_png_is_read_by_its_colours(tmp_path: Path) -> None:
    indexed = Image.fromarray(colour_mask()).quantize(3)
    assert indexed.mode == "P"
    folder = open_smears(palette_folder(tmp_path, indexed))
    assert (folder.format, folder[0].count) == ("palette", 3)


def test_transparent_pixels_are_background(tmp_path: Path) -> None:
    alpha = np.full((20, 30, 1), 255, np.uint8)
    alpha[:, 15:] = 0
    smear = open_smears(palette_folder(tmp_path, np.concatenate([colour_mask(), alpha], axis=2)))[0]
    assert smear.count == 2


def test_touching_cells_have_different_colours() -> None:
    rng = np.random.default_rng(0)
    # Voronoi cells: every cell has neighbours.
    seeds = rng.uniform(0, 120, (200, 2))
    grid = np.stack(np.mgrid[:120, :120], axis=-1)[:, :, None]
    labels = (((grid - seeds) ** 2).sum(-1).argmin(-1) + 1).astype(np.int32)
    pairs = touching_pairs(labels)
    colours = colour_indices(labels, 200)
    assert len(pairs) > 400
    assert (colours[pairs[:, 0] - 1] != colours[pairs[:, 1] - 1]).all()
    assert colours.max() < 8
    # Control: with a random permutation of the colours, some touching cells have the same colour.
    assert np.ptp(rng.permutation(colours)[pairs - 1], axis=1).min() == 0


def test_more_than_eight_colours_if_needed() -> None:
    # Every pair of cells touches, in a separate row; connected cells in a plane cannot do this.
    n = 10
    rows = [(a, b) for a in range(1, n + 1) for b in range(1, a)]
    labels = np.array([[a, b, 0] for a, b in rows for _ in (0, 1)], np.int32)
    labels[1::2] = 0
    colours = colour_indices(labels, n)
    assert sorted(colours.tolist()) == list(range(n))
    mask = encode_palette(labels, n)
    assert len(np.unique(mask.reshape(-1, 3), axis=0)) == n + 1


def test_colours_are_distinct_and_not_black() -> None:
    colours = palette_colours(200)
    assert len(np.unique(colours, axis=0)) == 200
    assert colours.any(axis=1).all()


def test_encoding_and_decoding_preserves_instances() -> None:
    smear = analytic_smear()
    decoded = decode_palette(encode_palette(smear.labels, smear.count))
    assert same_instances(smear, type(smear).from_labels(smear.image, decoded))


@pytest.mark.parametrize(
    ("change", "ending", "message"),
    [
        (lambda a: np.where(a.any(2, keepdims=True), a, 255).astype(np.uint8), "png", "no black background"),
        (lambda a: a, "jpg", "JPEG"),
        (lambda a: np.repeat(a.any(2, keepdims=True) * np.uint8(255), 3, axis=2), "png", "--binary"),
    ],
)
def test_masks_without_a_palette_are_rejected(tmp_path: Path, change: object, ending: str, message: str) -> None:
    folder = open_smears(palette_folder(tmp_path, change(colour_mask()), ending), format="palette")  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as raised:
        folder[0]
    assert str(tmp_path / "masks" / f"a.{ending}") in str(raised.value)


def test_smoothed_colours_are_rejected(tmp_path: Path) -> None:
    resized = Image.fromarray(colour_mask()).resize((97, 83), Image.Resampling.BICUBIC)
    with pytest.raises(DataError, match="mixed colours"):
        open_smears(palette_folder(tmp_path, resized))[0]


def test_grey_mask_with_binary_is_split_into_components(tmp_path: Path) -> None:
    white = np.repeat(colour_mask().any(2, keepdims=True) * np.uint8(255), 3, axis=2)
    assert open_smears(palette_folder(tmp_path, white), binary=True)[0].count == 2
