from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from image_folders import IMAGE
from smearsynth.datasets import open_smears
from smearsynth.formats.pixels.images import save_png
from smearsynth.formats.pixels.pixel_size import image_pixel_size

OME: dict[str, Any] = {"ome": True, "photometric": "rgb"}
IMAGEJ: dict[str, Any] = {"imagej": True, "photometric": "rgb"}


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (OME | {"metadata": {"PhysicalSizeX": 0.11}}, 0.11),
        (OME | {"metadata": {"PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm"}}, 0.065),
        (OME | {"metadata": {"PhysicalSizeX": 0.0002, "PhysicalSizeXUnit": "mm"}}, 0.2),
        (OME | {"metadata": {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel"}}, None),
        (OME | {"metadata": {"PhysicalSizeX": 0}}, None),
        (OME, None),
        (IMAGEJ | {"resolution": (8, 8), "metadata": {"unit": "micron"}}, 0.125),
        (IMAGEJ | {"resolution": (8, 8), "metadata": {"unit": "\\u00B5m"}}, 0.125),
        (IMAGEJ | {"resolution": (10000, 10000), "metadata": {"unit": "mm"}}, 0.1),
        (IMAGEJ | {"resolution": (8, 8)}, None),
        (IMAGEJ | {"resolution": (96, 96), "metadata": {"unit": "inch"}}, None),
        ({"resolution": (50000, 50000), "resolutionunit": "CENTIMETER"}, 0.2),
        ({"resolution": (118, 118), "resolutionunit": "CENTIMETER"}, None),  # 300 dpi
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (50000, 50000), "resolutionunit": "INCH"}, None),
        ({"description": '{"um_per_px": "0.3"}', "metadata": None}, 0.3),
        ({}, None),
    ],
)
def test_sizes_of_tiff_files(tmp_path: Path, options: dict[str, Any], size: float | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, **{"photometric": "rgb"} | options)
    assert image_pixel_size(tmp_path / "a.tif") == (None if size is None else pytest.approx(size))


def test_sizes_of_png_and_jpeg_files(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", IMAGE, {"um_per_px": "0.25"})
    save_png(tmp_path / "b.png", IMAGE, {"um_per_px": "nan"})
    Image.fromarray(IMAGE).save(tmp_path / "c.png", dpi=(72, 72))
    Image.fromarray(IMAGE).save(tmp_path / "d.jpg", dpi=(300, 300))
    sizes = [image_pixel_size(path) for path in sorted(tmp_path.iterdir())]
    assert sizes == [0.25, None, None, None]


def test_the_size_of_an_ome_tiff_reaches_the_smear(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    labels = np.zeros(IMAGE.shape[:2], np.uint8)
    labels[4:9, 4:9], labels[14:19, 4:9] = 1, 2
    tifffile.imwrite(tmp_path / "images" / "a.tif", IMAGE, **OME, metadata={"PhysicalSizeX": 0.11})
    save_png(tmp_path / "labels" / "a.png", labels)
    assert open_smears(tmp_path)[0].um_per_px == pytest.approx(0.11)
