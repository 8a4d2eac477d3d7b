from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile

from image_folders import IMAGE, data_error
from slide_files import UM_PER_PX, slide_pixels, write_slide
from smearsynth.errors import OptionError
from smearsynth.formats.slides.slide_file import Slide

needs_tiffslide = pytest.mark.skipif(
    importlib.util.find_spec("tiffslide") is None, reason="tiffslide is not installed (extra slides)"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide") / "s.tif")


@needs_tiffslide
def test_regions_of_full_resolution_are_exact(path: Path) -> None:
    pixels = slide_pixels()
    with Slide(path) as slide:
        assert slide.size == (2048, 1024)
        assert slide.um_per_px == pytest.approx(UM_PER_PX)
        assert (slide.read(130, 70, 1.0, (96, 128)) == pixels[70:166, 130:258]).all()
        assert (slide.read(0, 0, 1.0, (8, 8)) == pixels[:8, :8]).all()
        assert (slide.read(2040, 1016, 1.0, (8, 8)) == pixels[-8:, -8:]).all()


@needs_tiffslide
@pytest.mark.parametrize("scale", [2.0, 3.0, 4.0, 5.3])
def test_reduced_regions_are_at_the_right_place_without_aliasing(path: Path, scale: float) -> None:
    y, x = np.mgrid[:1024, :2048]
    # One grey level is 3.2 px in x and 2 px in y.
    ramp = np.stack([(x - 300) / 3.2, (y - 150) / 2, ((x + y) % 2) * 200], axis=-1)
    ramp = np.rint(np.clip(ramp, 0, 255)).astype(np.uint8)
    ramp_path = write_slide(path.parent / f"ramp{scale}.tif", pixels=ramp)
    with Slide(ramp_path) as slide:
        image = slide.read(400, 200, scale, (80, 120)).astype(float)
    columns = 400 + (np.arange(120) + 0.5) * scale
    rows = 200 + (np.arange(80) + 0.5) * scale
    for channel, expected in ((0, (columns - 300) / 3.2), (1, (rows[:, None] - 150) / 2)):
        # Each level and the result are rounded; the mean shows a shift of a pixel.
        assert np.abs(image[..., channel] - expected).max() < 1.7
        assert abs((image[..., channel] - expected).mean()) < 0.3
    assert np.abs(image[..., 2] - 100).max() < 4  # a chessboard becomes grey


@needs_tiffslide
def test_the_overview_is_the_whole_slide(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Slide(path) as slide:
        whole = slide.overview(8.0)
        monkeypatch.setattr("smearsynth.formats.slides.slide_file._STRIP", 2048 * 32)
        strips = slide.overview(8.0)
    assert whole.shape == (128, 256, 3)
    assert np.abs(whole.astype(int) - strips).max() <= 2
    means = slide_pixels().reshape(128, 8, 256, 8, 3).mean(axis=(1, 3))
    assert np.abs(whole - means).mean() < 2


@needs_tiffslide
def test_the_pixel_size_is_given_if_the_file_has_none(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tif", None)
    with pytest.raises(OptionError, match=r"s\.tif: has no pixel size; give it with --slide-um-per-px"):
        Slide(path)
    with Slide(path, 0.5) as slide:
        assert slide.um_per_px == 0.5
    with pytest.raises(OptionError, match="must be positive"):
        Slide(path, 0.0)


@needs_tiffslide
def test_a_resolution_for_printing_is_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="rgb", resolution=(300, 300), resolutionunit="INCH")
    with pytest.raises(OptionError, match="has no pixel size"):
        Slide(tmp_path / "a.tif")


@needs_tiffslide
def test_the_pixel_size_of_an_ome_tiff_is_read(tmp_path: Path) -> None:
    metadata = {"PhysicalSizeX": 220, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, photometric="rgb", metadata=metadata)
    with Slide(tmp_path / "a.ome.tif") as slide:
        assert slide.um_per_px == pytest.approx(0.22)


@needs_tiffslide
def test_other_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").write_text("not a TIFF")
    assert "cannot be read as a slide" in data_error(lambda: Slide(tmp_path / "a.mrxs"))
    assert "does not exist" in data_error(lambda: Slide(tmp_path / "b.svs"))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'smearsynth\[slides\]'"):
        Slide(tmp_path / "a.svs")
