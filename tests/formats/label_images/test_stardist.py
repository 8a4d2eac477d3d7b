from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from smears import analytic_smear
from smearsynth.formats.label_images.stardist import StarDistWriter
from smearsynth.formats.pixels.tiff_files import read_image_text


def test_folders_of_splits(tmp_path: Path) -> None:
    writer = StarDistWriter(tmp_path, ("cell",), {"a": "train", "b": "test"}.get)
    for name in "abc":
        writer.write(analytic_smear(name=name, um_per_px=0.25), {"synthetic": "true"})
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tif"))
    assert files == sorted(
        f"{split}{folder}/{name}.tif"
        for split, name in (("train/", "a"), ("test/", "b"), ("", "c"))
        for folder in ("images", "masks")
    )
    mask, image = (tifffile.imread(tmp_path / "train" / folder / "a.tif") for folder in ("masks", "images"))
    assert mask.dtype == np.uint16
    assert (mask == analytic_smear().labels).all()
    assert image.shape == (64, 80, 3)
    assert read_image_text(tmp_path / "train" / "images" / "a.tif") == {"um_per_px": "0.25", "synthetic": "true"}
