from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_folders import data_error
from label_images import discs, photograph
from smearsynth.formats.label_images.orientation import best_turn, check_turn, labels_fit, oriented_image

LABELS = discs(3, 5).astype(np.int32)
LABELS[:20, 40:] = 0
IMAGE = photograph(LABELS)


def save(path: Path, image: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(image).save(path, exif=exif, quality=95)
    return path


def test_contrast_of_cells_with_their_surroundings() -> None:
    fits = labels_fit(IMAGE, LABELS)
    assert fits["as labelled"] == pytest.approx(95, abs=0.01)
    assert max(value for name, value in fits.items() if name != "as labelled") < 60
    assert "turned by 90°" not in fits
    assert "turned by 90°" in labels_fit(IMAGE[:60, :60], LABELS[:60, :60])
    assert labels_fit(IMAGE, np.zeros_like(LABELS)) == {}


@pytest.mark.parametrize("scale", [1, 7])
def test_turned_labels_are_noted(scale: int) -> None:
    labels, image = (np.repeat(np.repeat(array, scale, 0), scale, 1) for array in (LABELS, IMAGE))
    assert check_turn(image, labels) is None
    few = np.where((labels > 0) & (labels < 4), labels, 0)
    assert "turned by 180°" in str(check_turn(np.ascontiguousarray(photograph(few)[::-1, ::-1]), few))


def test_a_weak_contrast_is_not_noted() -> None:
    assert best_turn({"as labelled": 0.5, "turned by 180°": 9.0}) is None
    assert best_turn({"as labelled": 20.0, "turned by 180°": 50.0}) is None
    assert best_turn({}) is None


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_the_orientation_that_fits_the_labels_is_used(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path / "a.jpg", IMAGE, orientation)
    stored, remark = oriented_image(path, LABELS)
    assert np.abs(stored.astype(int) - IMAGE).mean() < 3
    assert f"EXIF orientation {orientation} not applied" in str(remark)
    turned = np.asarray(Image.open(path))
    backwards = {3: LABELS[::-1, ::-1], 6: np.rot90(LABELS, -1)}.get(orientation)
    if backwards is not None:
        image, remark = oriented_image(path, backwards)
        assert image.shape[:2] == backwards.shape
        assert remark == f"EXIF orientation {orientation} applied"
    assert turned.shape == IMAGE.shape


def test_without_orientation_there_is_no_remark(tmp_path: Path) -> None:
    assert oriented_image(save(tmp_path / "a.jpg", IMAGE, 1), LABELS)[1] is None


def test_an_error_of_sizes_names_the_orientation(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", IMAGE, 6)
    message = data_error(lambda: oriented_image(path, LABELS[:50], tmp_path / "a.png"))
    for part in ("a.png: is 100×50 px", "a.jpg (EXIF orientation 6) is 60×100 px"):
        assert part in message
    turned = data_error(lambda: oriented_image(save(tmp_path / "b.jpg", IMAGE, 1), LABELS.T))
    assert "turned by 90°?" in turned
