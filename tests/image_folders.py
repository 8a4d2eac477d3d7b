"""Folders of images and label images with any content, and the message of the error on reading one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from smears import analytic_smear
from smearsynth.errors import DataError

IMAGE = analytic_smear().image
LABELS = analytic_smear().labels
LABELS_8 = LABELS.astype(np.uint8)


def write_pair(
    root: Path,
    labels: np.ndarray = LABELS_8,
    image: np.ndarray = IMAGE,
    *,
    label_folder: str = "labels",
    image_file: str = "a.png",
    label_file: str = "a.png",
) -> Path:
    """Write `images/` and a label folder with one file each; return the root."""
    for folder, file, pixels in (("images", image_file, image), (label_folder, label_file, labels)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        if file.lower().endswith((".tif", ".tiff")):
            tifffile.imwrite(root / folder / file, pixels)
        else:
            Image.fromarray(pixels).save(root / folder / file)
    return root


def data_error(action: Callable[[], object]) -> str:
    """Return the message of the `DataError` that the action raises; it must be one line."""
    with pytest.raises(DataError) as raised:
        action()
    assert "\n" not in str(raised.value)
    return str(raised.value)
