"""YOLO files in Ultralytics: its checks of the labels, and one epoch of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smearsynth.smear import Smear

pytestmark = pytest.mark.slow


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep Ultralytics from the network, and from settings of the user."""
    for name, value in (
        ("YOLO_CONFIG_DIR", str(tmp_path)),
        ("YOLO_OFFLINE", "true"),
        ("YOLO_AUTOINSTALL", "false"),
    ):
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("format", "task"), [("yolo-detect", "detect"), ("yolo-segment", "segment")])
def test_labels_as_ultralytics_reads_them(
    written: Callable[..., Path], smears: dict[str, Smear], format: str, task: str
) -> None:
    data_utils = pytest.importorskip("ultralytics.data.utils")
    from ultralytics.data.dataset import YOLODataset

    folder = written(format)
    data = data_utils.check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    assert data["names"] == {0: "red", 1: "white"}
    seen = set()
    for split in ("train", "val"):
        dataset = YOLODataset(img_path=data[split], data=data, task=task, imgsz=64, augment=False)
        for label in dataset.labels:
            smear = smears[Path(label["im_file"]).stem]
            seen.add(smear.name)
            assert label["cls"].ravel().tolist() == smear.classes.tolist()
            x, y, width, height = (label["bboxes"] * [128, 96, 128, 96]).T
            boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
            # For segments, the box is that of the polygon.
            assert np.abs(boxes - smear.boxes()).max() < 0.01
            if task == "segment":
                masks = data_utils.polygons2masks((96, 128), [s * [128, 96] for s in label["segments"]], 1)
                overlap = [(mask > 0) & (smear.labels == k) for k, mask in enumerate(masks, 1)]
                # OpenCV fills the pixels under the outline too.
                assert all(part.sum() == area for part, area in zip(overlap, smear.areas(), strict=True))
    assert seen == set(smears)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize(
    ("format", "model"), [("yolo-detect", "yolo11n.yaml"), ("yolo-segment", "yolo11n-seg.yaml")]
)
def test_one_epoch_of_training(
    written: Callable[..., Path], tmp_path: Path, format: str, model: str, splits: bool
) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    network = ultralytics.YOLO(model)
    results = network.train(
        data=str(written(format, splits=splits) / "data.yaml"),
        epochs=1,
        imgsz=64,
        batch=2,
        device="cpu",
        workers=0,
        amp=False,
        plots=False,
        pretrained=False,
        project=str(tmp_path / "runs"),
        exist_ok=True,
    )
    assert results is not None
    assert (Path(network.trainer.save_dir) / "weights" / "last.pt").exists()
