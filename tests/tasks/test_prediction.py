from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, random_smear
from smearsynth.errors import DataError
from smearsynth.formats.images import read_ids
from smearsynth.smear import ImageArray
from smearsynth.tasks import Contours, Prediction, Segmentation
from smearsynth.tasks.pictures import prediction_picture
from smearsynth.tasks.prediction import box_rows, find_images, write_predictions

KINDS = ("red cell", "white cell")


class Known(Segmentation):
    """A model that finds the cells of an analytic smear by their colour."""

    def predict(self, image: ImageArray) -> Prediction:
        smear = analytic_smear()
        assert image.shape == smear.image.shape
        labels = smear.labels
        return Prediction(
            smear.boxes().astype(np.float32), np.full(3, 0.75, np.float32), np.array([0, 1, 1]), KINDS, labels
        )


def known() -> Known:
    return Known(Known.presets["tiny"].model_copy(update={"class_names": KINDS}))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.tif"):
        Image.fromarray(analytic_smear().image).save(folder / name)
    return folder


def test_labels_boxes_counts_and_pictures_are_written(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done: list[int] = []
    counts = write_predictions(known(), find_images(images), out, on_image=done.append)
    assert done == [1, 2]
    assert counts == [(name, {"red cell": 1, "white cell": 2}, 3) for name in ("a", "b")]
    assert rows(out / "counts.csv") == [
        {"image": name, "red cell": "1", "white cell": "2", "total": "3"} for name in ("a", "b")
    ]
    boxes = rows(out / "boxes.csv")
    assert [row["class"] for row in boxes] == ["red cell", "white cell", "white cell"] * 2
    assert [float(boxes[0][side]) for side in ("x0", "y0", "x1", "y1")] == analytic_smear().boxes()[0].tolist()
    assert (read_ids(out / "labels" / "a.png") == analytic_smear().labels).all()
    picture = np.asarray(Image.open(out / "overlays" / "b.png"))
    changed = (picture != analytic_smear().image).any(2)
    assert 0 < changed.sum() < (analytic_smear().labels > 0).sum()
    assert not changed[analytic_smear().labels == 0].any()


def test_no_box_begins_at_minus_zero() -> None:
    found = Prediction(np.array([[-0.0, -0.001, 5, 7]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
    assert [str(side) for side in box_rows("a", found)[0][4:7]] == ["0.0", "0.0", "5.0"]


def test_classes_may_have_the_names_of_other_columns(images: Path, tmp_path: Path) -> None:
    names = ("image", "total")
    write_predictions(Known(Known.presets["tiny"].for_classes(names)), find_images(images), tmp_path / "out")
    table = (tmp_path / "out" / "counts.csv").read_text().splitlines()
    assert table == ["image,image,total,total", "a,1,2,3", "b,1,2,3"]


def test_what_is_found_at_another_scale_is_given_in_px_of_the_image(images: Path, tmp_path: Path) -> None:
    """The model sees the smear at half its size; what it finds there is that of the whole one, to a pixel."""
    large = analytic_smear().resized(2)
    Image.fromarray(large.image).save(images / "a.tif")
    task = known()
    task.scale = 0.5
    write_predictions(task, {"a": images / "a.tif"}, tmp_path / "out")
    labels = read_ids(tmp_path / "out" / "labels" / "a.png")
    assert labels.shape == large.shape
    assert (labels != large.labels).mean() < 0.02
    boxes = np.array(
        [[float(row[side]) for side in ("x0", "y0", "x1", "y1")] for row in rows(tmp_path / "out" / "boxes.csv")]
    )
    assert np.abs(boxes - large.boxes()).max() <= 2
    with Image.open(tmp_path / "out" / "overlays" / "a.png") as picture:
        assert picture.size == large.shape[::-1]


@pytest.mark.parametrize("with_labels", [True, False])
def test_cells_keep_their_scores_and_classes_at_another_scale(with_labels: bool) -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[0, 1], labels[2:6, 2:6] = 1, 2  # the first owns no pixel at half the size
    scores = np.array([0.6, 0.9], np.float32)
    found = Prediction.of_labels(labels, scores, KINDS)
    if not with_labels:
        found = Prediction(found.boxes, scores, np.array([1, 0]), KINDS)
    half = found.rescaled((8, 8), (4, 4))
    assert half.boxes[-1].tolist() == [1, 1, 3, 3]
    assert half.scores[-1] == np.float32(0.9)
    assert len(half.scores) == len(half.classes) == (1 if with_labels else 2)
    if with_labels:
        assert half.labels is not None
        assert half.labels.max() == 1


def test_boxes_are_drawn_where_there_are_no_labels() -> None:
    image = np.full((20, 30, 3), 200, np.uint8)
    boxes = np.array([[2, 3, 12, 10], [15, 5, 29.6, 19.7]], np.float32)
    found = Prediction(boxes, np.ones(2, np.float32), np.array([0, 1]), KINDS)
    drawn = prediction_picture(image, found)
    y, x = np.nonzero((drawn != 200).any(2))
    assert (x.min(), x.max(), y.min(), y.max()) == (2, 29, 3, 19)
    assert (drawn[3, 2] != drawn[5, 15]).any()  # a colour per class
    assert (drawn[6, 6] == 200).all()
    assert (image == 200).all()


def test_it_can_be_run_again_and_never_among_other_files(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_predictions(known(), find_images(images), out, pictures=False)
    assert not (out / "overlays").exists()
    assert write_predictions(known(), find_images(images), out) == first
    with pytest.raises(DataError, match="predictions of another kind of model"):
        write_predictions(Contours.preset("tiny"), find_images(images), out)
    before = sorted(images.iterdir())
    with pytest.raises(DataError, match="not empty and was not written by `smearsynth predict`"):
        write_predictions(known(), find_images(images), images)
    assert sorted(images.iterdir()) == before
    with pytest.raises(DataError, match="is a file"):
        write_predictions(known(), find_images(images), images / "b.png")


def test_what_was_done_before_an_error_stays(images: Path, tmp_path: Path) -> None:
    (images / "c.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c.png"):
        write_predictions(known(), find_images(images), tmp_path / "out")
    assert [row["image"] for row in rows(tmp_path / "out" / "counts.csv")] == ["a", "b"]


def test_images_are_found_in_files_and_folders(images: Path, smear_folder: Path, tmp_path: Path) -> None:
    assert list(find_images(images)) == ["a", "b"]
    assert list(find_images(images / "a.tif")) == ["a"]
    assert len(find_images(smear_folder)) == 9
    with pytest.raises(DataError, match="does not exist; name an image"):
        find_images(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="contains no images"):
        find_images(tmp_path / "bare")
    Image.fromarray(random_smear(0).image).save(images / "a.png")
    with pytest.raises(DataError, match=r"a.tif: has the same name as a.png"):
        find_images(images)
