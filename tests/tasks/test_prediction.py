"""Tests of the application of a task model to images and of the written predictions."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.pixels.images import read_ids
from smearsynth.runs import Execution
from smearsynth.smear import ImageArray
from smearsynth.tasks.base import Prediction
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.folder import save_model
from smearsynth.tasks.prediction import (
    box_rows,
    choose_scale,
    find_images,
    images_below,
    predict,
    write_predictions,
)
from smearsynth.tasks.segmentation import Segmentation
from task_models import RecordedProgress, analytic_model, tiny_segmentation

SIDES = ("x0", "y0", "x1", "y1")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cpu(progress: RecordedProgress) -> Execution:
    return Execution("cpu", progress=progress)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder with the image of `analytic_smear()` as b.png and a.tif."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.tif"):
        Image.fromarray(analytic_smear().image).save(folder / name)
    return folder


# predict.


def test_predict_loads_the_model_and_reports_its_progress(images: Path, tmp_path: Path) -> None:
    model = tiny_segmentation()
    save_model(tmp_path / "model", model)
    progress = RecordedProgress()
    counts = predict(tmp_path / "model", images, tmp_path / "out", execution=cpu(progress))
    assert [count.image for count in counts] == ["a", "b"]
    assert counts[0].cells == model.predict(analytic_smear().image).counts()
    assert progress.items == [("finding cells", 1, 2), ("finding cells", 2, 2)]
    assert progress.messages == []


def test_predict_uses_the_training_scale_by_default(images: Path, tmp_path: Path) -> None:
    Image.fromarray(analytic_smear().resized(2).image).save(images / "b.png")
    model, progress = analytic_model(), RecordedProgress()
    model.scale = 0.5
    predict(model, images / "b.png", tmp_path / "out", execution=cpu(progress))
    assert progress.messages == ["images are resized by 0.5, the training scale of the model"]
    progress.messages.clear()
    predict(model, images / "a.tif", tmp_path / "out", scale=1, execution=cpu(progress))
    assert progress.messages == ["the model was trained at scale 0.5, images are read at scale 1"]


def test_a_damaged_image_does_not_stop_the_others(images: Path, tmp_path: Path) -> None:
    (images / "aa.png").write_bytes((images / "b.png").read_bytes()[:200])
    progress = RecordedProgress()
    with pytest.raises(DataError, match=r"1 of 3 images cannot be read \(aa\.png\)"):
        predict(analytic_model(), images, tmp_path / "out", execution=cpu(progress))
    assert [row["image"] for row in rows(tmp_path / "out" / "counts.csv")] == ["a", "b"]
    assert "aa.png" in progress.messages[0]


def test_predict_without_overlays(images: Path, tmp_path: Path) -> None:
    predict(analytic_model(), images, tmp_path / "out", overlays=False, execution=Execution("cpu"))
    assert not (tmp_path / "out" / "overlays").exists()
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 2


def test_predict_reports_ignored_subfolders_but_not_its_own_output(images: Path) -> None:
    (images / "more").mkdir()
    Image.fromarray(analytic_smear().image).save(images / "more" / "c.png")
    for _ in range(2):  # the second time the output folder has images
        progress = RecordedProgress()
        predict(analytic_model(), images, images / "out", execution=cpu(progress))
        assert progress.messages == [
            f"1 images in subfolders of {images} are ignored; name each folder to include it"
        ]


def test_ctrl_c_ends_predict_after_the_current_image(images: Path, tmp_path: Path) -> None:
    class Interrupt(RecordedProgress):
        def advance(self, stage: str, done: int, total: int | None = None) -> None:
            signal.raise_signal(signal.SIGINT)

    counts = predict(analytic_model(), images, tmp_path / "out", execution=cpu(Interrupt()))
    assert [count.image for count in counts] == ["a"]
    assert [row["image"] for row in rows(tmp_path / "out" / "counts.csv")] == ["a"]


def test_choose_scale_checks_the_range() -> None:
    progress = RecordedProgress()
    assert choose_scale(tiny_segmentation(), None, progress) == 1
    assert choose_scale(tiny_segmentation(), 1, progress) == 1
    assert progress.messages == []
    with pytest.raises(OptionError, match="scale"):
        choose_scale(tiny_segmentation(), 0, progress)


# find_images.


def test_images_are_found_in_files_and_folders(images: Path, smear_folder: Path, tmp_path: Path) -> None:
    assert list(find_images(images)) == ["a", "b"]
    assert list(find_images(images / "a.tif")) == ["a"]
    assert len(find_images(smear_folder)) == 9
    with pytest.raises(DataError, match="does not exist; name an image"):
        find_images(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no images"):
        find_images(tmp_path / "empty")
    Image.fromarray(random_smear(0).image).save(images / "a.png")
    with pytest.raises(DataError, match=r"a.tif: has the same name as a.png"):
        find_images(images)


def test_images_of_subfolders_are_counted(
    smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert images_below(smear_folder.parent, tmp_path) == 2 * 9  # images and labels
    assert images_below(smear_folder, tmp_path) == 0
    assert images_below(smear_folder.parent, smear_folder) == 0
    monkeypatch.chdir(smear_folder.parent)
    assert images_below(smear_folder.parent, Path(smear_folder.name)) == 0  # relative to the absolute path


# write_predictions.


def test_labels_boxes_counts_and_pictures_are_written(images: Path, tmp_path: Path) -> None:
    smear, out = analytic_smear(), tmp_path / "out"
    progress: list[int] = []
    counts = write_predictions(analytic_model(), find_images(images), out, on_image=progress.append)
    assert progress == [1, 2]
    assert counts == [(name, {"red cell": 1, "white cell": 2}, 3) for name in ("a", "b")]
    assert rows(out / "counts.csv") == [
        {"image": name, "red cell": "1", "white cell": "2", "total": "3"} for name in ("a", "b")
    ]
    boxes = rows(out / "boxes.csv")
    assert [row["class"] for row in boxes] == ["red cell", "white cell", "white cell"] * 2
    assert [row["score"] for row in boxes] == ["0.75"] * 6
    assert [float(boxes[0][side]) for side in SIDES] == smear.boxes()[0].tolist()
    assert (read_ids(out / "labels" / "a.png") == smear.labels).all()
    picture = np.asarray(Image.open(out / "overlays" / "b.png"))
    changed = (picture != smear.image).any(2)
    assert 0 < changed.sum() < (smear.labels > 0).sum()
    assert not changed[smear.labels == 0].any()


def test_negative_zero_is_written_as_zero() -> None:
    prediction = Prediction(np.array([[-0.0, -0.001, 5, 7]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
    assert [str(side) for side in box_rows("a", prediction)[0][4:7]] == ["0.0", "0.0", "5.0"]


def test_classes_may_have_the_names_of_other_columns(images: Path, tmp_path: Path) -> None:
    write_predictions(analytic_model(("image", "total")), find_images(images), tmp_path / "out")
    table = (tmp_path / "out" / "counts.csv").read_text().splitlines()
    assert table == ["image,image,total,total", "a,1,2,3", "b,1,2,3"]


def test_predictions_at_another_scale_are_in_px_of_the_image(images: Path, tmp_path: Path) -> None:
    """The model is applied at half the size; its cells at full size agree with the true ones to a pixel."""
    large = analytic_smear().resized(2)
    Image.fromarray(large.image).save(images / "a.tif")
    model = analytic_model()
    model.scale = 0.5
    write_predictions(model, {"a": images / "a.tif"}, tmp_path / "out")
    labels = read_ids(tmp_path / "out" / "labels" / "a.png")
    assert labels.shape == large.shape
    assert (labels != large.labels).mean() < 0.02
    boxes = np.array([[float(row[side]) for side in SIDES] for row in rows(tmp_path / "out" / "boxes.csv")])
    assert np.abs(boxes - large.boxes()).max() <= 2
    with Image.open(tmp_path / "out" / "overlays" / "a.png") as picture:
        assert picture.size == large.shape[::-1]


def test_labels_of_more_than_65535_cells_are_written_as_32_bit_tiff(tmp_path: Path) -> None:
    class CellPerPixel(Segmentation):
        def predict(self, image: ImageArray) -> Prediction:
            labels = np.arange(1, 257 * 256 + 1, dtype=np.int32).reshape(257, 256)
            empty = np.zeros(0, np.float32)
            return Prediction(empty.reshape(0, 4), empty, np.zeros(0, np.int64), ("cell",), labels)

    Image.new("RGB", (256, 257)).save(tmp_path / "a.png")
    model = CellPerPixel(CellPerPixel.presets["tiny"])
    write_predictions(model, {"a": tmp_path / "a.png"}, tmp_path / "out", pictures=False)
    assert read_ids(tmp_path / "out" / "labels" / "a.tif").max() == 257 * 256


# The output folder.


def test_a_second_call_replaces_the_files_of_the_first(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_predictions(analytic_model(), find_images(images), out, pictures=False)
    assert not (out / "overlays").exists()
    assert write_predictions(analytic_model(), find_images(images), out) == first
    assert write_predictions(analytic_model(), find_images(images / "b.png"), out, pictures=False) == first[1:]
    assert [file.name for file in (out / "labels").iterdir()] == ["b.png"]
    assert not list((out / "overlays").iterdir())
    with pytest.raises(DataError, match="predictions of another kind of model"):
        write_predictions(Contours.preset("tiny"), find_images(images), out)


def test_a_folder_with_other_files_is_refused_and_not_changed(images: Path) -> None:
    files = sorted(images.iterdir())
    with pytest.raises(DataError, match="not empty and was not written by `smearsynth predict`"):
        write_predictions(analytic_model(), find_images(images), images)
    assert sorted(images.iterdir()) == files
    with pytest.raises(DataError, match="is a file"):
        write_predictions(analytic_model(), find_images(images), images / "b.png")


def test_predictions_before_an_error_are_kept(images: Path, tmp_path: Path) -> None:
    (images / "c.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c.png"):
        write_predictions(analytic_model(), find_images(images), tmp_path / "out")
    assert [row["image"] for row in rows(tmp_path / "out" / "counts.csv")] == ["a", "b"]
