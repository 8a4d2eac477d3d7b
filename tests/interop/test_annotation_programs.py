"""LabelMe's own reader, geometries of QuPath in Shapely, ROIs of ImageJ in roifile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smearsynth.smear import Smear

pytestmark = pytest.mark.slow

Written = Callable[..., Path]


def test_labelme(written: Written, smears: dict[str, Smear]) -> None:
    label_file = pytest.importorskip("labelme._label_file")
    folder = written("labelme")
    for smear in smears.values():
        content = label_file.LabelFile(str(folder / f"{smear.name}.json"))
        assert len(content.image_data) > 0
        shapes = content.shapes
        groups = {shape["group_id"] if shape["group_id"] is not None else -i for i, shape in enumerate(shapes, 1)}
        assert len(groups) == smear.count
        assert {shape["label"] for shape in shapes} == {smear.class_names[k] for k in smear.classes}
        assert {shape["shape_type"] for shape in shapes} <= {"polygon", "mask"}


def test_qupath_geometries(written: Written, smears: dict[str, Smear]) -> None:
    shapely = pytest.importorskip("shapely.geometry")
    folder = written("qupath")
    for smear in smears.values():
        content = json.loads((folder / "annotations" / f"{smear.name}.geojson").read_text())
        features = content["features"] if isinstance(content, dict) else content
        assert len(features) == smear.count
        for feature, area, kind in zip(features, smear.areas().tolist(), smear.classes.tolist(), strict=True):
            geometry = shapely.shape(feature["geometry"])
            assert geometry.is_valid
            assert geometry.area == area
            assert feature["type"] == "Feature"
            assert feature["properties"]["objectType"] in ("annotation", "detection", "cell")
            assert feature["properties"]["classification"]["name"] == smear.class_names[kind]


def test_imagej_rois(written: Written, smears: dict[str, Smear]) -> None:
    roifile = pytest.importorskip("roifile")
    folder = written("imagej")
    for smear in smears.values():
        rois = roifile.roiread(folder / "rois" / f"{smear.name}.zip")
        rois = rois if isinstance(rois, list) else [rois]
        assert len(rois) == smear.count
        for k, roi in enumerate(rois, 1):
            rows, columns = np.nonzero(smear.labels == k)
            rings = roi.coordinates(multi=True)
            corners = np.concatenate(rings)
            assert corners.min(0).tolist() == [columns.min(), rows.min()]
            assert corners.max(0).tolist() == [columns.max() + 1, rows.max() + 1]
            area = sum(x @ np.roll(y, -1) - y @ np.roll(x, -1) for x, y in (ring.T.astype(float) for ring in rings))
            assert abs(area) / 2 == len(rows)
