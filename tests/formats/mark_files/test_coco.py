from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask
from PIL import Image

from image_folders import LABELS, data_error
from smears import analytic_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.formats.mark_files.coco import CocoWriter, find_coco_files
from smearsynth.formats.registry import open_writer
from smearsynth.geometry import Outline, fill
from smearsynth.smear import Smear

TWO_CLASSES = ("red", "white")


def coco_folder(root: Path, annotations: list[dict[str, object]], **image: object) -> Path:
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(root / "images" / "a.png")
    record = {"id": 7, "file_name": "a.png", "width": 30, "height": 20, **image}
    kinds = [{"id": 3, "name": "red"}, {"id": 9, "name": "white"}]
    shapes = [{"image_id": 7, "category_id": 3, "iscrowd": 0, **shape} for shape in annotations]
    content = {"images": [record], "annotations": shapes, "categories": kinds}
    (root / "anything.json").write_text(json.dumps(content))
    return root


SQUARE = [2, 2, 10, 2, 10, 10, 2, 10]


def test_polygons_and_both_kinds_of_rle(tmp_path: Path) -> None:
    # Columns first: 20 px of column 20, then 5 of column 21.
    plain = {"size": [20, 30], "counts": [400, 25, 175]}
    low = np.zeros((20, 30), np.uint8, order="F")
    low[15:, 5:9] = 1
    packed = {"size": [20, 30], "counts": mask.encode(low)["counts"].decode()}
    root = coco_folder(
        tmp_path,
        [{"segmentation": [SQUARE]}, {"segmentation": plain, "category_id": 9}, {"segmentation": packed}],
    )
    for path in (root, root / "anything.json"):
        folder = open_smears(path, classes="annotated")
        smear = folder[0]
        assert folder.class_names == ("red", "white")
        assert smear.classes.tolist() == [0, 1, 0]
        assert smear.areas().tolist() == [64, 25, 20]
        assert (smear.labels[low > 0] == 3).all()
        assert smear.labels[:, 20].tolist() == [2] * 20
        assert smear.labels[:6, 21].tolist() == [2] * 5 + [0]
    assert open_smears(root).class_names == ("cell",)


def test_later_annotations_are_on_top_and_crowds_are_ignored(tmp_path: Path) -> None:
    crowd = {"segmentation": {"size": [20, 30], "counts": [300, 300]}, "iscrowd": 1}
    over = [6, 6, 14, 6, 14, 14, 6, 14]
    root = coco_folder(tmp_path, [{"segmentation": [SQUARE]}, crowd, {"segmentation": [over]}])
    smear = open_smears(root)[0]
    assert smear.areas().tolist() == [48, 64]
    assert smear.ignored is not None
    assert smear.ignored[:, 15:].all()
    assert not smear.ignored[:, :15].any()
    assert smear.full_outlines is not None
    assert smear.full_outlines[0] is not None


def test_masks_of_single_cells_that_are_marked_as_crowds_are_cells(tmp_path: Path) -> None:
    brushed = []
    for x in (1, 9, 17):
        pixels = np.zeros((20, 30), np.uint8, order="F")
        pixels[12:18, x : x + 6] = 1
        counts = mask.encode(pixels)["counts"].decode()
        brushed.append({"segmentation": {"size": [20, 30], "counts": counts}, "iscrowd": 1})
    folder = open_smears(coco_folder(tmp_path / "some", [{"segmentation": [SQUARE]}, *brushed]))
    assert folder[0].count == 4
    assert folder[0].ignored is None
    assert "3 masks marked as a crowd" in folder.notes[0]
    assert open_smears(coco_folder(tmp_path / "all", brushed))[0].count == 3
    # Two pieces, or a region far larger than the cells, are a crowd.
    pixels = np.zeros((20, 30), np.uint8, order="F")
    pixels[0, :3] = pixels[19, 20:24] = 1
    pieces = {"segmentation": {"size": [20, 30], "counts": mask.encode(pixels)["counts"].decode()}, "iscrowd": 1}
    crowd = open_smears(coco_folder(tmp_path / "crowd", [{"segmentation": [SQUARE]}, pieces]))[0]
    assert crowd.count == 1
    assert crowd.ignored is not None
    assert crowd.ignored.sum() == 7


def test_the_parent_category_of_roboflow_is_no_class(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, [{"segmentation": [SQUARE]}])
    content = json.loads((root / "anything.json").read_text())
    content["categories"] = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 3, "name": "red", "supercategory": "cells"},
        {"id": 9, "name": "white", "supercategory": "cells"},
    ]
    (root / "anything.json").write_text(json.dumps(content))
    assert open_smears(root, classes="annotated").class_names == ("red", "white")


def test_ids_may_be_text(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, [{"segmentation": [SQUARE], "image_id": "7", "category_id": "3"}])
    assert open_smears(root)[0].count == 1


def test_cells_outside_hidden_or_in_fractions_are_reported(tmp_path: Path) -> None:
    shifted = [{"segmentation": [[v - 40 if k % 2 == 0 else v for k, v in enumerate(SQUARE)]]}]
    folder = open_smears(coco_folder(tmp_path / "shifted", [{"segmentation": [SQUARE]}, *shifted]))
    assert folder[0].count == 1
    assert folder.report.left_out == {"cells outside the image": 1}
    fractions = [v / (30, 20)[k % 2] for k, v in enumerate(SQUARE)]
    scaled = open_smears(coco_folder(tmp_path / "fractions", [{"segmentation": [fractions]}]))
    assert (scaled[0].labels == folder[0].labels).all()
    assert "fractions" in scaled.notes[0]


def test_boxes_alone_show_no_cells(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, [{"segmentation": [], "bbox": [2, 2, 8, 8]}, {"bbox": [12, 2, 8, 8]}])
    message = data_error(lambda: open_smears(root))
    assert "COCO boxes, 2 in 1 image" in message
    assert "smearsynth annotate" in message
    # Beside outlines, the cell in a box is not labelled; its pixels are no background.
    mixed = coco_folder(tmp_path / "mixed", [{"segmentation": [SQUARE]}, {"bbox": [12, 2, 8, 8]}])
    folder = open_smears(mixed)
    assert folder[0].ignored is not None
    assert folder[0].ignored.sum() == 64
    assert folder.report.left_out == {"boxes and points without an outline": 1}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "finite x, y"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "finite x, y"),
        ({"bbox": [1, 2, 3]}, "annotation 1 of image a"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "size"),
        ({"segmentation": {"size": [20, 30], "counts": [0, 60000]}}, "annotation 1 of image a"),
        ({"segmentation": {"size": [20, 30], "counts": "0"}}, "annotation 1 of image a"),
        ({"segmentation": 5}, "annotation 1 of image a"),
        ({"segmentation": [SQUARE], "category_id": 4}, "does not define 4"),
        ({"segmentation": [SQUARE], "image_id": 8}, "does not define 8"),
    ],
)
def test_invalid_annotations_are_rejected(tmp_path: Path, shape: dict[str, object], expected: str) -> None:
    root = coco_folder(tmp_path, [shape])
    message = data_error(lambda: open_smears(root)[0])
    assert expected in message
    assert "anything.json" in message


def test_wrong_sizes_missing_images_and_damaged_files_are_rejected(tmp_path: Path) -> None:
    root = coco_folder(tmp_path, [], width=31)
    assert "lists the size 31×20 px" in data_error(lambda: open_smears(root)[0])
    (root / "images" / "a.png").unlink()
    assert "1 image that does not exist" in data_error(lambda: open_smears(root))
    (root / "anything.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert "lists no images" in data_error(lambda: open_smears(root))
    (root / "anything.json").write_text('{"images": [')
    assert "not valid JSON" in data_error(lambda: open_smears(root / "anything.json"))


def test_several_files_are_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        written = write_folder(tmp_path / split, [analytic_smear(name=f"{split}-1")], format="coco")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (written / "annotations.json").rename(tmp_path / "annotations" / f"instances_{split}.json")
        for image in (written / "images").iterdir():
            image.rename(written / image.name)
    folder = open_smears(tmp_path)
    assert folder.splits == {"test": 1, "train": 1}
    assert open_smears(tmp_path, split="train").names == ("train-1",)
    assert (folder[0].labels == LABELS).all()


def test_the_written_file_has_the_fields_of_coco(tmp_path: Path) -> None:
    smear = analytic_smear((40, 50), [(20, 15, 6)], classes=[1], class_names=TWO_CLASSES, name="a")
    with open_writer(tmp_path, format="coco", class_names=TWO_CLASSES) as writer:
        writer.write(smear)
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert [(kind["id"], kind["name"], kind["supercategory"]) for kind in content["categories"]] == [
        (1, "red", "cell"),
        (2, "white", "cell"),
    ]
    assert content["images"] == [{"id": 1, "file_name": "a.png", "width": 50, "height": 40, "license": 1}]
    assert content["licenses"][0]["id"] == 1
    (annotation,) = content["annotations"]
    assert (annotation["category_id"], annotation["image_id"], annotation["iscrowd"]) == (2, 1, 0)
    assert annotation["bbox"] == [14, 9, 13, 13]
    assert annotation["area"] == smear.areas()[0]


@pytest.mark.parametrize("segmentation", ["polygon", "rle"])
def test_written_holes_corners_and_pieces_are_read_exactly(tmp_path: Path, segmentation: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((60, 60), np.int32)
    labels[5:20, 5:20] = 1
    labels[9:12, 9:12] = 0
    labels[30:50, 5:50] = 2 * (rng.random((20, 45)) > 0.4)
    labels[25, 55], labels[26, 56], labels[50, 59] = 3, 3, 3
    smear = Smear.from_labels(np.zeros((60, 60, 3), np.uint8), labels, name="a")
    with CocoWriter(tmp_path, segmentation=segmentation) as writer:  # type: ignore[arg-type]
        writer.write(smear)
    assert (open_smears(tmp_path)[0].labels == smear.labels).all()


def test_coco_files_are_found_by_their_keys(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    keys = '{"images": [], "annotations": [], "categories": []}'
    for name, text in (("a.json", keys), ("b.json", "{}"), (".c.json", keys), ("annotations/d.json", keys)):
        (tmp_path / name).write_text(text)
    assert find_coco_files(tmp_path) == [tmp_path / "a.json", tmp_path / "annotations" / "d.json"]
    assert find_coco_files(tmp_path / "a.json") == [tmp_path / "a.json"]
    assert find_coco_files(tmp_path / "b.json") == []


def test_hidden_outlines_ignored_regions_and_splits_are_written_and_read(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[2:10, 2:10], labels[6:14, 6:14] = 1, 2
    ignored = np.zeros((20, 30), bool)
    ignored[16:, 20:] = True
    square = Outline((np.reshape(SQUARE, (4, 2)).astype(float),))
    smears = [
        Smear.from_labels(
            np.zeros((20, 30, 3), np.uint8), labels, name=name, ignored=ignored, full_outlines=[square, None]
        )
        for name in ("a", "b", "c")
    ]
    with CocoWriter(tmp_path, split_of={"a": "train", "b": "train", "c": "test"}.get) as writer:
        for smear in smears:
            writer.write(smear)
    assert sorted(path.name for path in tmp_path.glob("annotations/*.json")) == [
        "instances_test.json",
        "instances_train.json",
    ]
    folder = open_smears(tmp_path)
    assert folder.splits == {"train": 2, "test": 1}
    for smear in folder:
        assert (smear.labels == labels).all()
        assert smear.ignored is not None
        assert (smear.ignored == ignored).all()
        assert smear.full_outlines is not None
        full, none = smear.full_outlines
        assert none is None
        assert full is not None
        assert fill(full, (20, 30)).mask.sum() == 64
