"""The shipped model generates the labels, recipes and images that are stored beside this test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smearsynth

# Written by `smearsynth generate -n 3 --seed 0 --size 160x120`. Write them again after an intended change.
STORED = Path(__file__).parents[1] / "generated"
NAMES = [f"smear-{k:06d}.png" for k in range(3)]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smears of this version."""
    folder = tmp_path_factory.mktemp("generated") / "small"
    smearsynth.generate(folder, 3, size=(120, 160), seed=0, sheet=False)
    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("name", NAMES)
def test_labels_recipes_and_images_are_the_stored_ones(generated: Path, name: str) -> None:
    """Labels and recipes are equal everywhere; images but for rounding, which differs between CPUs."""
    assert (generated / "labels" / name).read_bytes() == (STORED / "labels" / name).read_bytes()
    old, new = (Image.open(folder / "images" / name).text for folder in (STORED, generated))  # type: ignore[attr-defined]
    assert new == old
    difference = np.abs(pixels(generated / "images" / name) - pixels(STORED / "images" / name))
    # A value rounded otherwise can change a coefficient of the JPEG compression by one step.
    assert difference.max() <= 12
    assert difference.mean() < 0.05


def test_the_manifest_is_the_stored_one(generated: Path) -> None:
    lines = [(folder / "manifest.jsonl").read_text() for folder in (generated, STORED)]
    assert lines[0] == lines[1]
    assert all(json.loads(line)["redrawn"] >= 0 for line in lines[0].splitlines())
