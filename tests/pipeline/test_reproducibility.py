"""The shipped model generates the bytes that it generated at f25f8b7."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smearsynth

FORMAT_1 = Path(__file__).parents[1] / "format_1"

# SHA-256 of the files of `smearsynth generate -n 3 --seed 0` at f25f8b7, one thread, AMD EPYC.
FULL_SIZE = {
    "images/smear-000000.png": "40cf3bae74e40c85f834f84e4f01fad00a391b6b9ab59ed227f2ce55eb71bb56",
    "images/smear-000001.png": "5a83c0e6c153afb7a2e3381da2d60c6503ac3a83c954a5118fb63c87dce0261b",
    "images/smear-000002.png": "7fea66da73fc4c2c94c6944c613aa543b7af0ee58c7cd28388cc1e8ff3e66922",
    "labels/smear-000000.png": "4275a986a9521fa718f67567ff9c182ba1cda50839a77b4bdbd1343aeb233a84",
    "labels/smear-000001.png": "fb46d90a4febe93ac613be100332e5dc17cb7c52d2cfab45238aa9b2ad4617b7",
    "labels/smear-000002.png": "5500eb52e97dfc6554bc268c6dbcb4f9611c7f748df1481460b1f5430d543125",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`smearsynth generate -n 3 --seed 0 --size 160x120` by this version."""
    folder = tmp_path_factory.mktemp("generated") / "small"
    smearsynth.generate(folder, 3, size=(120, 160), seed=0, sheet=False)
    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("name", [f"smear-{k:06d}.png" for k in range(3)])
def test_labels_recipes_and_images_are_those_of_format_1(small: Path, name: str) -> None:
    """Labels and recipes are equal everywhere; images but for rounding, which differs between CPUs."""
    former = FORMAT_1 / "shipped"
    assert (small / "labels" / name).read_bytes() == (former / "labels" / name).read_bytes()
    old, new = (Image.open(folder / "images" / name).text for folder in (former, small))  # type: ignore[attr-defined]
    assert new == old
    difference = np.abs(pixels(small / "images" / name) - pixels(former / "images" / name))
    assert difference.max() <= 2
    assert difference.mean() < 0.01


def test_the_manifest_is_that_of_format_1(small: Path) -> None:
    lines = [(folder / "manifest.jsonl").read_text() for folder in (small, FORMAT_1 / "shipped")]
    assert lines[0] == lines[1]
    assert all(json.loads(line)["stain"] == "own" for line in lines[0].splitlines())


def test_files_of_full_size_have_the_recorded_hashes(small: Path, tmp_path: Path) -> None:
    for name in (f"smear-{k:06d}.png" for k in range(3)):
        if (pixels(small / "images" / name) != pixels(FORMAT_1 / "shipped" / "images" / name)).any():
            pytest.skip("this CPU rounds some values otherwise than the one that the hashes are from")
    smearsynth.generate(tmp_path / "out", 3, seed=0, sheet=False)
    for name, digest in FULL_SIZE.items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest, name
