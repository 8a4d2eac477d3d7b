from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from image_folders import IMAGE, data_error
from smearsynth.formats.pixels.decoding import check_lossless, check_pixels, decoding, is_npy, is_tiff, open_pillow


def fail(error: Exception) -> None:
    with decoding(Path("a.png")):
        raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("image file is truncated"), "truncated or damaged (image file is truncated)"),
        (PermissionError(13, "denied"), "no permission to read it"),
        (KeyError("x\ny"), "truncated or damaged"),
        (Image.DecompressionBombError("large"), "is too large for one microscope field"),
    ],
)
def test_errors_of_decoders_name_the_file(error: Exception, message: str) -> None:
    text = data_error(lambda: fail(error))
    assert text.startswith("a.png: ")
    assert message in text


def test_programming_errors_are_not_hidden() -> None:
    with pytest.raises(AttributeError):
        fail(AttributeError("bug"))


def test_types_are_found_by_content(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png", format="TIFF")
    assert is_tiff(tmp_path / "a.png")
    assert not is_npy(tmp_path / "a.png")
    (tmp_path / "b").write_bytes(b"")
    assert not is_tiff(tmp_path / "b")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_large_images_are_rejected_before_they_are_decoded(tmp_path: Path) -> None:
    check_pixels((1 << 13, 1 << 14), tmp_path)
    assert "is 16385×8192 px, too large" in data_error(lambda: check_pixels((1 << 13, (1 << 14) + 1), tmp_path))
    Image.new("1", (16000, 9000)).save(tmp_path / "a.png")
    assert "is 16000×9000 px, too large" in data_error(lambda: open_pillow(tmp_path / "a.png").__enter__())


def test_lossy_compression(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.webp", lossless=True)
    check_lossless(tmp_path / "a.webp", "ids")
    Image.fromarray(IMAGE).save(tmp_path / "a.webp")
    assert "is a lossy WEBP, whose compression changes ids" in data_error(
        lambda: check_lossless(tmp_path / "a.webp", "ids")
    )
