from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from image_folders import data_error
from smearsynth.formats.pixels.bit_depth import DeclaredDepth, to_8bit

FILE = Path("a.tif")


@pytest.mark.parametrize(
    ("high", "declared", "white"),
    [
        (200, DeclaredDepth(), 255),
        (1023, DeclaredDepth(), 1023),
        (900, DeclaredDepth(bits=12), 4095),
        (900, DeclaredDepth(largest=1023, bits=16), 1023),
        (3000, DeclaredDepth(largest=3000), 4095),  # a property of the pixels, not of the camera
        (3000, DeclaredDepth(largest=1023), 4095),  # wrong
        (70000, DeclaredDepth(), 70000),
    ],
)
@pytest.mark.filterwarnings("ignore:a.tif")
def test_white_is_the_declared_or_the_smallest_depth(high: int, declared: DeclaredDepth, white: int) -> None:
    samples = np.array([[0, high]], np.uint32)
    assert to_8bit(samples, FILE, declared).tolist() == [[0, round(high * 255 / white)]]


@pytest.mark.parametrize(
    ("high", "declared", "message"),
    [
        (1000, DeclaredDepth(), "values up to 1000 are read as 10 bits (white is 1023); if the camera has another"),
        (5000, DeclaredDepth(), "values up to 5000 are read as 14 bits (white is 16383)"),
        (1000, DeclaredDepth(largest=65535), "the brightest value is 1000 of 65535, so the image is dark"),
        (1000, DeclaredDepth(bits=12), "the brightest value is 1000 of 4095"),
        (1000, DeclaredDepth(bits=10), None),
        (1023, DeclaredDepth(), None),  # saturated
        (40000, DeclaredDepth(), None),
        (200, DeclaredDepth(), None),
    ],
)
def test_an_uncertain_exposure_is_reported(high: int, declared: DeclaredDepth, message: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_8bit(np.array([[high]], np.uint16), FILE, declared)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == (message is not None)
    if message is not None:
        assert texts[0].startswith(f"a.tif: {message}")
        assert "TIFF tag 281" in texts[0]
        assert "\n" not in texts[0]


def test_negative_values_and_large_floats_are_rejected() -> None:
    assert "values from -1 to 3" in data_error(lambda: to_8bit(np.array([[-1, 3]], np.int16), FILE))
    assert "floats up to 256" in data_error(lambda: to_8bit(np.array([[256.0]]), FILE))
    assert "values from nan" in data_error(lambda: to_8bit(np.array([[np.nan]]), FILE))
