"""JPEG history: quality and subsampling of files are recovered, and repeated on arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_folders import IMAGE
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.pixels.compression import (
    JpegHistory,
    common_history,
    compress,
    jpeg_history,
    nearest_quality,
)
from smearsynth.formats.pixels.images import read_rgb, save_png


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_quality_and_subsampling_are_recovered(tmp_path: Path, quality: int, subsampling: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(IMAGE).save(path, quality=quality, subsampling=subsampling)
    assert jpeg_history(path) == (quality, subsampling)


def test_the_content_of_a_file_counts_not_its_name(tmp_path: Path) -> None:
    save_png(tmp_path / "a.jpg", IMAGE)
    assert jpeg_history(tmp_path / "a.jpg") is None
    Image.fromarray(IMAGE).save(tmp_path / "a.png", "JPEG", quality=80)
    assert jpeg_history(tmp_path / "a.png") == (80, 2)
    Image.fromarray(IMAGE[..., 0]).save(tmp_path / "grey.jpg", quality=80)
    assert jpeg_history(tmp_path / "grey.jpg") == (80, 0)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg: is not an image"):
        jpeg_history(tmp_path / "text.jpg")


def test_other_tables_give_the_nearest_quality() -> None:
    qualities = [nearest_quality(np.full(64, step, np.float64)) for step in (2, 8, 40)]
    assert qualities == sorted(qualities, reverse=True)
    assert qualities[0] > 85 > 70 > qualities[-1]


def test_a_compressed_array_equals_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(IMAGE).save(path, quality=60, subsampling=2)
    history = jpeg_history(path)
    assert history is not None
    assert np.array_equal(compress(IMAGE, history), read_rgb(path))
    with pytest.raises(OptionError, match="JPEG quality 0"):
        compress(IMAGE, (0, 2))


def test_the_most_frequent_history_is_returned(tmp_path: Path) -> None:
    for k, quality in enumerate((95, 95, 70)):
        Image.fromarray(IMAGE).save(tmp_path / f"{k}.jpg", quality=quality)
    save_png(tmp_path / "3.png", IMAGE)
    paths = sorted(tmp_path.iterdir())
    assert common_history(paths) == JpegHistory(95, 2)
    assert common_history(paths[3:]) is None
