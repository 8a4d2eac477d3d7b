from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from image_folders import data_error
from smearsynth.formats.pixels.images import read_rgb, save_png
from smearsynth.formats.pixels.tiff_files import read_image_text, save_ome_tiff, save_rgb_tiff

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
TAGS = {"synthetic": "true", "note": "µ <&> \u4e2d"}


def test_tags_and_pixels_are_read_as_written(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", IMAGE, TAGS)
    save_rgb_tiff(tmp_path / "a.tif", IMAGE, TAGS)
    save_ome_tiff(tmp_path / "a.ome.tif", IMAGE, 0.5, TAGS)
    for path in tmp_path.iterdir():
        assert read_image_text(path) == TAGS
        assert (read_rgb(path) == IMAGE).all()


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_ome_tiff(tmp_path / f"{name}.ome.tif", IMAGE, 0.5, TAGS)
        save_rgb_tiff(tmp_path / f"{name}.tif", IMAGE, TAGS)
    for ending in ("ome.tif", "tif"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize("description", ["", "a photograph", "[1]", "<xml", "<OME/>"])
def test_descriptions_of_other_programs(tmp_path: Path, description: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="rgb", description=description, metadata=None)
    assert read_image_text(tmp_path / "a.tif") == {}


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    assert "damaged" in data_error(lambda: read_image_text(tmp_path / "a.tif"))
    assert "does not exist" in data_error(lambda: read_image_text(tmp_path / "b.tif"))
