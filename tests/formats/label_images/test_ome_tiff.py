from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from smears import analytic_smear
from smearsynth.formats.label_images.ome_tiff import OmeTiffWriter
from smearsynth.formats.pixels.tiff_files import read_image_text
from smearsynth.smear import Smear


@pytest.mark.parametrize("size", [None, 0.25])
def test_images_and_labels_with_the_physical_size(tmp_path: Path, size: float | None) -> None:
    writer = OmeTiffWriter(tmp_path, ("cell",))
    writer.write(analytic_smear(name="a", um_per_px=size), {"synthetic": "true"})
    for folder, dtype in (("images", np.uint8), ("labels", np.uint16)):
        with tifffile.TiffFile(tmp_path / folder / "a.ome.tif") as file:
            assert file.is_ome
            assert ('PhysicalSizeX="0.25"' in str(file.ome_metadata)) == (size is not None)
            pixels = file.asarray()
        assert pixels.dtype == dtype
    assert (pixels == analytic_smear().labels).all()
    assert read_image_text(tmp_path / "images" / "a.ome.tif")["synthetic"] == "true"


def test_more_than_65535_cells_are_written_as_int32(tmp_path: Path) -> None:
    labels = np.arange(1, 65537, dtype=np.int32).reshape(256, 256)
    smear = Smear.from_labels(np.zeros((256, 256, 3), np.uint8), labels, name="many")
    OmeTiffWriter(tmp_path, ("cell",)).write(smear)
    assert (tifffile.imread(tmp_path / "labels" / "many.ome.tif") == labels).all()
