"""COCO and Pascal VOC in pycocotools, faster-coco-eval, torchvision and Datumaro."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from smearsynth.smear import Smear

pytestmark = pytest.mark.slow

Written = Callable[..., Path]
SameCells = Callable[[list[np.ndarray], Smear], bool]


def coco_files(folder: Path) -> list[Path]:
    """Return the COCO files: one, or one per split."""
    files = [*folder.glob("annotations.json"), *folder.glob("annotations/instances_*.json")]
    assert files
    return sorted(files)


@pytest.mark.parametrize("library", ["pycocotools.coco", "faster_coco_eval"])
def test_coco_masks(written: Written, smears: dict[str, Smear], same_cells: SameCells, library: str) -> None:
    module: ModuleType = pytest.importorskip(library)
    seen = set()
    for file in coco_files(written("coco")):
        coco = module.COCO(str(file))
        assert [kind["name"] for kind in coco.loadCats(coco.getCatIds())] == ["red", "white"]
        for image in coco.loadImgs(coco.getImgIds()):
            smear = smears[Path(image["file_name"]).stem]
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            assert same_cells([coco.annToMask(annotation) for annotation in annotations], smear)
            seen.add(smear.name)
    assert seen == set(smears)


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
def test_coco_boxes_score_1_against_themselves(written: Written, library: str) -> None:
    pytest.importorskip(library)
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    truth = COCO(str(coco_files(written("coco"))[0]))
    records = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0}
        for annotation in truth.loadAnns(truth.getAnnIds())
    ]
    evaluation = Evaluation(truth, truth.loadRes(records), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1, abs=1e-6)


def test_coco_in_torchvision(written: Written, smears: dict[str, Smear]) -> None:
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    pytest.importorskip("pycocotools")
    folder = written("coco")
    count = 0
    for file in coco_files(folder):
        # The folder of the images is that of the annotation file, or `images`, or one per split.
        name = CocoDetection(folder, file).coco.loadImgs(1)[0]["file_name"]
        root = next(path.parent for path in sorted(folder.rglob(Path(name).name)))
        root = root if "/" not in name else root.parent
        dataset = wrap_dataset_for_transforms_v2(
            CocoDetection(root, file), target_keys=("boxes", "masks", "labels")
        )
        for image, target in dataset:
            assert image.size == (128, 96)
            assert target["masks"].shape == (len(target["boxes"]), 96, 128)
            count += len(target["boxes"])
    assert count == sum(smear.count for smear in smears.values())


def test_voc_in_torchvision(written: Written, smears: dict[str, Smear]) -> None:
    from torchvision.datasets import VOCDetection

    folder = written("voc")
    # torchvision expects this folder below its root.
    root = folder.parent / "root"
    (root / "VOCdevkit").mkdir(parents=True)
    (root / "VOCdevkit" / "VOC2012").symlink_to(folder, target_is_directory=True)
    for split, count in (("train", 3), ("val", 2)):
        dataset = VOCDetection(root, image_set=split)
        assert len(dataset) == count
        # It opens images only with the extension .jpg, so that only its annotations are compared.
        for path in dataset.annotations:
            record = dataset.parse_voc_xml(ElementTree.parse(path).getroot())["annotation"]
            smear = smears[Path(record["filename"]).stem]
            boxes = [
                [int(item["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")] for item in record["object"]
            ]
            assert boxes == smear.boxes().tolist()
            assert [item["name"] for item in record["object"]] == [smear.class_names[k] for k in smear.classes]


@pytest.mark.parametrize(
    ("format", "name"),
    [("voc", "voc"), ("coco", "coco"), ("cvat", "cvat"), ("yolo-detect", "yolo")],
)
def test_datumaro(written: Written, smears: dict[str, Smear], format: str, name: str) -> None:
    datumaro = pytest.importorskip("datumaro")
    # Of a CVAT file with subsets, Datumaro reads only the subset with the name of the file.
    folder = written(format, splits=format != "cvat")
    dataset = datumaro.Dataset.import_from(str(folder), name)
    kinds = {datumaro.AnnotationType.bbox, datumaro.AnnotationType.polygon, datumaro.AnnotationType.mask}
    counts = {}
    for item in dataset:
        groups = {(mark.group or f"single {i}") for i, mark in enumerate(item.annotations) if mark.type in kinds}
        counts[Path(item.id).stem] = len(groups)
    assert counts == {smear.name: smear.count for smear in smears.values()}
