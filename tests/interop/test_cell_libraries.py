"""Label images in the loaders of Cellpose and StarDist, and OME-TIFF metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from smearsynth.smear import Smear

pytestmark = pytest.mark.slow

Written = Callable[..., Path]


def test_cellpose(written: Written, smears: dict[str, Smear]) -> None:
    io = pytest.importorskip("cellpose.io")
    folder = written("cellpose")
    train, train_labels, train_names, test, test_labels, test_names = io.load_train_test_data(
        str(folder / "train"), str(folder / "val"), mask_filter="_masks"
    )
    seen = set()
    for images, labels, names in ((train, train_labels, train_names), (test, test_labels, test_names)):
        for image, ids, name in zip(images, labels, names, strict=True):
            smear = smears[Path(name).stem]
            seen.add(smear.name)
            assert (np.asarray(image) == smear.image).all()
            assert (np.asarray(ids) == smear.labels).all()
    assert seen == set(smears)


def test_stardist(written: Written, smears: dict[str, Smear]) -> None:
    pytest.importorskip("stardist")
    from csbdeep.data import RawData
    from stardist import fill_label_holes
    from stardist.matching import matching

    folder = written("stardist")
    for split, count in (("train", 3), ("val", 2)):
        raw = RawData.from_folder(folder, [f"{split}/images"], f"{split}/masks", axes="YXC")
        assert raw.size == count
        masks = sorted((folder / split / "masks").glob("*.tif"))
        for path in masks:
            smear = smears[path.stem]
            image = tifffile.imread(folder / split / "images" / path.name)
            assert (image == smear.image).all()
            labels = tifffile.imread(path)
            assert labels.dtype == np.uint16
            assert matching(smear.labels, fill_label_holes(labels), thresh=0.9).f1 == 1


def test_ome_tiff(written: Written, smears: dict[str, Smear]) -> None:
    folder = written("ome-tiff")
    for smear in smears.values():
        for kind, expected in (("images", smear.image), ("labels", smear.labels)):
            with tifffile.TiffFile(folder / kind / f"{smear.name}.ome.tif") as file:
                assert file.is_ome
                assert (file.asarray() == expected).all()
                assert ElementTree.fromstring(file.ome_metadata or "").tag.endswith("OME")
