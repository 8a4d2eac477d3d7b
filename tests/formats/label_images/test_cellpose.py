from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from smears import analytic_smear
from smearsynth.formats.label_images.cellpose import CellposeWriter
from smearsynth.formats.pixels.images import read_png_text


def test_pairs_in_the_folders_of_splits(tmp_path: Path) -> None:
    writer = CellposeWriter(tmp_path, ("cell",), {"a": "train", "b": "test"}.get)
    for name in "abc":
        writer.write(analytic_smear(name=name), {"synthetic": "true"})
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert files == ["c.png", "c_masks.png", "test/b.png", "test/b_masks.png", "train/a.png", "train/a_masks.png"]
    with Image.open(tmp_path / "train" / "a_masks.png") as mask:
        assert mask.mode == "I;16"
        assert (np.asarray(mask) == analytic_smear().labels).all()
    assert read_png_text(tmp_path / "train" / "a.png") == {"synthetic": "true"}
