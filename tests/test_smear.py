from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smears import analytic_smear, disc_mask, random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.smear import Smear, relabel_sequential, digest


def field(height: int = 6, width: int = 8) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_areas_and_boxes_are_those_of_the_visible_parts() -> None:
    smear = analytic_smear((64, 80), [(20, 20, 9), (34, 20, 9)])
    first, second = disc_mask((64, 80), (20, 20, 9)), disc_mask((64, 80), (34, 20, 9))
    assert smear.areas().tolist() == [(first & ~second).sum(), second.sum()]
    assert smear.boxes()[1].tolist() == [25, 11, 44, 30]


def test_border_cut_instances() -> None:
    smear = analytic_smear((40, 40), [(0, 20, 5), (20, 20, 5), (34, 34, 4)])
    assert smear.cut_by_border().tolist() == [True, False, False]
    smear = analytic_smear((41, 41), [(36, 36, 4)])
    assert smear.cut_by_border().tolist() == [True]


@pytest.mark.parametrize(
    ("image", "labels", "classes", "says"),
    [
        (field(5), np.zeros((6, 8), np.int32), [], "8×5 and labels are 8×6"),
        (field().astype(float), np.zeros((6, 8), np.int32), [], "uint8"),
        (field(), np.zeros((6, 8), np.uint16), [], "int32"),
        (field(), np.full((6, 8), 2, np.int32), [0], "labels run from 2 to 2 for 1"),
        (field(), np.full((6, 8), -1, np.int32), [0], "-1"),
        (field(), np.full((6, 8), 2, np.int32), [0, 0], "instance 1 has no pixel"),
        (field(), np.full((6, 8), 1, np.int32), [1], "1 class names"),
        (field(0), np.zeros((0, 8), np.int32), [], "no pixels"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    image: np.ndarray, labels: np.ndarray, classes: list[int], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        Smear(image, labels, np.array(classes, np.int64), name="a")


def test_from_labels_never_wraps_pixels_round() -> None:
    with pytest.raises(DataError, match="uint16"):
        Smear.from_labels(field().astype(np.uint16) + 300, np.zeros((6, 8), int))


def test_from_labels_keeps_each_instance_with_its_class() -> None:
    labels = np.zeros((6, 8), np.uint16)
    labels[1, 1], labels[3, 3] = 2, 5
    smear = Smear.from_labels(field(), labels, np.array([0, 1, 0, 0, 2]), class_names=("a", "b", "c"))
    assert smear.labels[1, 1] == 1
    assert smear.labels[3, 3] == 2
    assert smear.classes.tolist() == [1, 2]
    with pytest.raises(DataError, match="run to 5 for 2"):
        Smear.from_labels(field(), labels, np.array([0, 1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_close_ids_in_every_type(dtype: type) -> None:
    top = min(np.iinfo(dtype).max, 4_000_000_000)
    labels = np.array([[0, 3, top], [3, 0, 0]], dtype)
    closed, ids = relabel_sequential(labels)
    assert closed.dtype == np.int32
    assert closed.tolist() == [[0, 1, 2], [1, 0, 0]]
    assert ids.tolist() == [3, top]


def test_resized_keeps_area_share_and_pixel_size() -> None:
    smear = analytic_smear((64, 80), um_per_px=0.1)
    half = smear.resized(0.5)
    assert half.shape == (32, 40)
    assert half.um_per_px == pytest.approx(0.2)
    np.testing.assert_allclose(half.areas() * 4, smear.areas(), rtol=0.1)


def test_resized_leaves_out_what_vanishes() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[0, 0], labels[10:30, 10:30] = 1, 2
    smear = Smear(field(40, 40), labels, np.array([0, 1]), ("a", "b"))
    assert smear.resized(0.25).classes.tolist() == [1]


def test_cropped_is_the_window_with_ids_closed() -> None:
    smear = analytic_smear((64, 80), um_per_px=0.1)
    crop = smear.cropped(30, 45, 30, 30)
    assert crop.count == 1
    assert crop.areas().tolist() == [smear.areas()[2]]
    assert (crop.image == smear.image[30:60, 45:75]).all()
    assert crop.um_per_px == 0.1


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, 0, 0, 4), (61, 0, 4, 4), (0, 77, 4, 4)])
def test_crops_outside_the_field_are_refused(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(OptionError, match="does not lie in a field of 80×64"):
        analytic_smear((64, 80)).cropped(*window)


def test_the_digest_tells_smears_apart_by_content_alone() -> None:
    smear = analytic_smear(class_names=("a", "b"))
    brighter, other_label = smear.image.copy(), smear.labels.copy()
    brighter[0, 0, 0] += 1
    other_label[20, 20] = 0
    changed = (
        {"image": brighter},
        {"labels": other_label},
        {"classes": np.array([0, 0, 1])},
        {"class_names": ("a", "c")},
    )
    found = [digest(smear), *(digest(replace(smear, **one)) for one in changed)]  # type: ignore[arg-type]
    assert len(set(found)) == 5
    assert digest(replace(smear, name="other", um_per_px=0.1)) == found[0]
    assert digest(replace(smear, image=np.asfortranarray(smear.image))) == found[0]


def test_the_digest_that_stored_results_are_kept_under_stays() -> None:
    assert digest(analytic_smear()) == "34131e835890a34c"
    assert digest(random_smear(3, class_names=("a", "b"))) == "c0c37311dfc0317d"
