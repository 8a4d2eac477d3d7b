from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from image_folders import data_error
from smearsynth.formats.pixels.label_ids import as_ids

FILE = Path("a.tif")


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", ">i4", "u8", "i1", "f4", ">f8", "?"])
def test_all_types_become_native_integers(kind: str) -> None:
    ids = as_ids(np.array([[0, 1]], kind), FILE)
    assert ids.dtype.kind in "iu"
    assert ids.dtype.isnative
    assert ids.tolist() == [[0, 1]]


def test_transparent_pixels_of_a_grey_label_image_are_background() -> None:
    samples = np.array([[[5, 255], [6, 0]]], np.uint8)
    assert as_ids(samples, FILE).tolist() == [[5, 0]]
    samples[..., 1] = 0  # an unused channel
    assert as_ids(samples, FILE).tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([[[1, 2, 1]]], np.uint8), "colour image of 3 channels"),
        (np.zeros((2, 2, 5), np.uint8), "colour image of 5 channels"),
        (np.array([[0.5]]), "contains fractions"),
        (np.array([[1e30]]), "contains fractions"),
        (np.array([[np.inf]]), "contains fractions"),
        (np.array([[-3]], np.int8), "negative ids (down to -3)"),
        (np.array([[2**63]], np.uint64), "ids above 2^63"),
        (np.array([[1j]]), "values of type complex128"),
        (np.zeros(3, np.uint8), "has 1 axes"),
    ],
)
def test_other_samples_are_rejected(samples: np.ndarray, message: str) -> None:
    assert message in data_error(lambda: as_ids(samples, FILE))
