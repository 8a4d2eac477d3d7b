"""Tests of overlays: outlines, colours and transparent layers."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, crowded_smear, empty_smear, random_smear
from smearsynth.errors import OptionError
from smearsynth.report.overlays import OUTLINE_COLOURS, cell_edges, overlay, overlay_layers, write_overlay_png
from smearsynth.smear import Smear, touching_pairs


def test_outlines_are_the_outermost_pixels_of_the_cells() -> None:
    smear = analytic_smear()
    image = smear.image.copy()
    changed = (overlay(smear) != smear.image).any(axis=2)
    assert (smear.image == image).all()
    assert not changed[smear.labels == 0].any()
    interior = smear.labels.copy()
    for axis in (0, 1):
        for shift in (1, -1):
            interior[np.roll(smear.labels, shift, axis) != smear.labels] = 0
    assert (changed == ((smear.labels > 0) & (interior == 0))).all()
    assert (changed == cell_edges(smear.labels)).all()


def test_a_wide_outline_extends_into_the_cell() -> None:
    labels = np.zeros((9, 16), np.int32)
    labels[1:8, 1:8], labels[1:8, 8:15] = 1, 2
    smear = Smear(np.full((9, 16, 3), 200, np.uint8), labels, np.array([0, 0]))
    left = (overlay(smear, width=2) != 200).any(axis=2)[:, :8]
    expected = np.zeros((9, 8), bool)
    expected[1:8, 1:8] = True
    expected[3:6, 3:6] = False
    assert (left == expected).all()
    with pytest.raises(OptionError, match="width"):
        overlay(smear, width=0)


def test_the_outline_of_a_cut_cell_is_open_at_the_border() -> None:
    labels = np.zeros((6, 6), np.int32)
    labels[1:5, :3] = 1
    changed = (overlay(Smear(np.full((6, 6, 3), 200, np.uint8), labels, np.array([0]))) != 200).any(axis=2)
    assert changed[1, 0]
    assert not changed[2:4, 0].any()


@pytest.mark.parametrize("seed", range(3))
def test_touching_and_almost_touching_cells_have_different_colours(seed: int) -> None:
    smear = crowded_smear((300, 400), 150, radius=14, seed=seed)
    image = overlay(smear, fill=1.0)
    _, first = np.unique(smear.labels, return_index=True)
    colours = image.reshape(-1, 3)[first[1:]]
    touching = touching_pairs(smear.labels)
    # One column of background between two cells is hardly visible.
    columns = np.stack([smear.labels[:, :-2].ravel(), smear.labels[:, 2:].ravel()], axis=1)
    almost_touching = columns[(columns > 0).all(axis=1) & (columns[:, 0] != columns[:, 1])]
    assert len(touching) > 50
    for a, b in np.unique(np.concatenate([touching, almost_touching]), axis=0):
        assert (colours[a - 1] != colours[b - 1]).any(), f"{a} and {b}"


def test_fill_blends_the_colour_into_the_cell_only() -> None:
    labels = np.zeros((7, 7), np.int32)
    labels[1:6, 1:6] = 1
    image = overlay(Smear(np.full((7, 7, 3), 100, np.uint8), labels, np.array([0])), fill=0.25)
    colour = np.array(OUTLINE_COLOURS[0])
    assert image[3, 3].tolist() == np.rint(0.75 * 100 + 0.25 * colour).tolist()
    assert image[1, 1].tolist() == colour.tolist()
    assert (image[labels == 0] == 100).all()


@pytest.mark.parametrize("fill", [-0.1, 1.5, float("nan")])
def test_opacity_out_of_range_is_rejected(fill: float) -> None:
    with pytest.raises(OptionError, match="opacity"):
        overlay(empty_smear(), fill=fill)


def test_a_field_of_669_cells_takes_less_than_200_ms() -> None:
    smear = crowded_smear((1200, 1920), 669)
    overlay(smear)
    durations = []
    for _ in range(3):
        # Processor time, which other work on the machine does not lengthen.
        start = time.process_time()
        overlay(smear)
        durations.append(time.process_time() - start)
    assert min(durations) < 0.2


def test_layers_agree_with_the_overlay() -> None:
    smear = crowded_smear((120, 160), 30, radius=12)
    outlines, cells = (np.asarray(Image.open(io.BytesIO(layer)).convert("RGBA")) for layer in overlay_layers(smear))
    image = overlay(smear)
    edge = outlines[..., 3] > 0
    assert (outlines[edge][:, :3] == image[edge]).all()
    assert (smear.image[~edge] == image[~edge]).all()
    assert ((cells[..., 3] > 0) == (smear.labels > 0)).all()


def test_layers_of_random_labels_reuse_colours() -> None:
    """Each label touches all others, which needs more colours than an indexed image has."""
    labels = np.random.default_rng(0).integers(0, 300, (300, 400)).astype(np.int32)
    smear = Smear.from_labels(np.zeros((300, 400, 3), np.uint8), labels)
    assert all(Image.open(io.BytesIO(layer)).size == (400, 300) for layer in overlay_layers(smear))
    assert overlay(smear).shape == (300, 400, 3)


def test_overlays_are_written_atomically_with_their_tags(tmp_path: Path) -> None:
    smear = random_smear(1)
    path = write_overlay_png(tmp_path / "new" / "a.png", smear, tags={"synthetic": "true"})
    with Image.open(path) as image:
        assert image.info["synthetic"] == "true"  # type: ignore[attr-defined,unused-ignore]
        assert (np.asarray(image) == overlay(smear)).all()
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]
