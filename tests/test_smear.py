from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from smears import analytic_smear, disc_mask, partly_annotated, random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.smear import Smear, check_image, check_scale, digest, relabel_sequential, touching_pairs


def field(height: int = 6, width: int = 8) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_areas_and_boxes_of_visible_parts() -> None:
    smear = analytic_smear((64, 80), [(20, 20, 9), (34, 20, 9)])
    first, second = disc_mask((64, 80), (20, 20, 9)), disc_mask((64, 80), (34, 20, 9))
    assert smear.areas().tolist() == [(first & ~second).sum(), second.sum()]
    assert smear.boxes()[1].tolist() == [25, 11, 44, 30]


def test_instances_that_touch_the_border() -> None:
    smear = analytic_smear((40, 40), [(0, 20, 5), (20, 20, 5), (34, 34, 4)])
    assert smear.cut_by_border().tolist() == [True, False, False]
    smear = analytic_smear((41, 41), [(36, 36, 4)])
    assert smear.cut_by_border().tolist() == [True]


@pytest.mark.parametrize(
    ("image", "labels", "classes", "message"),
    [
        (field(5), np.zeros((6, 8), np.int32), [], "8×5 and labels are 8×6"),
        (field().astype(float), np.zeros((6, 8), np.int32), [], "uint8"),
        (field(), np.zeros((6, 8), np.uint16), [], "int32"),
        (field(), np.full((6, 8), 2, np.int32), [0], "labels range from 2 to 2, but 1 classes"),
        (field(), np.full((6, 8), -1, np.int32), [0], "-1"),
        (field(), np.full((6, 8), 2, np.int32), [0, 0], "instance 1 has no pixel"),
        (field(), np.full((6, 8), 1, np.int32), [1], "1 class names"),
        (field(0), np.zeros((0, 8), np.int32), [], "no pixels"),
    ],
)
def test_inconsistent_arrays_are_rejected(
    image: np.ndarray, labels: np.ndarray, classes: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Smear(image, labels, np.array(classes, np.int64), name="a")


def test_from_labels_rejects_16_bit_images() -> None:
    with pytest.raises(DataError, match="uint16"):
        Smear.from_labels(field().astype(np.uint16) + 300, np.zeros((6, 8), int))


def test_from_labels_assigns_classes_by_original_id() -> None:
    labels = np.zeros((6, 8), np.uint16)
    labels[1, 1], labels[3, 3] = 2, 5
    smear = Smear.from_labels(field(), labels, np.array([0, 1, 0, 0, 2]), class_names=("a", "b", "c"))
    assert smear.labels[1, 1] == 1
    assert smear.labels[3, 3] == 2
    assert smear.classes.tolist() == [1, 2]
    with pytest.raises(DataError, match="range up to 5, but 2 classes"):
        Smear.from_labels(field(), labels, np.array([0, 1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_relabel_sequential_for_all_integer_types(dtype: type) -> None:
    largest = min(np.iinfo(dtype).max, 4_000_000_000)
    labels = np.array([[0, 3, largest], [3, 0, 0]], dtype)
    instances, ids = relabel_sequential(labels)
    assert instances.dtype == np.int32
    assert instances.tolist() == [[0, 1, 2], [1, 0, 0]]
    assert ids.tolist() == [3, largest]


def test_resizing_scales_areas_and_pixel_size() -> None:
    smear = analytic_smear((64, 80), um_per_px=0.1)
    half = smear.resized(0.5)
    assert half.shape == (32, 40)
    assert half.um_per_px == pytest.approx(0.2)
    np.testing.assert_allclose(half.areas() * 4, smear.areas(), rtol=0.1)


def test_resizing_removes_instances_without_pixels() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[0, 0], labels[10:30, 10:30] = 1, 2
    smear = Smear(field(40, 40), labels, np.array([0, 1]), ("a", "b"))
    assert smear.resized(0.25).classes.tolist() == [1]


def test_a_crop_has_renumbered_instances() -> None:
    smear = analytic_smear((64, 80), um_per_px=0.1)
    crop = smear.cropped(30, 45, 30, 30)
    assert crop.count == 1
    assert crop.areas().tolist() == [smear.areas()[2]]
    assert (crop.image == smear.image[30:60, 45:75]).all()
    assert crop.um_per_px == 0.1


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, 0, 0, 4), (61, 0, 4, 4), (0, 77, 4, 4)])
def test_crops_outside_the_field_are_rejected(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(OptionError, match="is not inside the field of 80×64"):
        analytic_smear((64, 80)).cropped(*window)


def test_ignored_pixels_never_overlap_cells() -> None:
    smear = analytic_smear((64, 80))
    everything = np.ones(smear.shape, bool)
    made = Smear.from_labels(smear.image, smear.labels, ignored=everything)
    assert made.ignored is not None
    assert (made.ignored == (smear.labels == 0)).all()
    assert not made.background().any()
    assert made.annotated_area() == smear.areas().sum()
    assert everything.all()  # the argument is not modified
    with pytest.raises(DataError, match=r"a: \d+ ignored pixels belong to cells"):
        replace(smear, ignored=everything, name="a")


@pytest.mark.parametrize("ignored", [np.zeros((64, 79), bool), np.zeros((64, 80), np.uint8)])
def test_ignored_pixels_of_another_shape_or_type_are_rejected(ignored: np.ndarray) -> None:
    smear = analytic_smear((64, 80))
    with pytest.raises(DataError, match=r"ignored pixels must be \(64, 80\) bool"):
        replace(smear, ignored=ignored)
    with pytest.raises(DataError, match=r"ignored pixels must be \(64, 80\) bool"):
        Smear.from_labels(smear.image, smear.labels, ignored=ignored)


def test_an_empty_ignored_region_is_none() -> None:
    smear = analytic_smear()
    assert Smear.from_labels(smear.image, smear.labels, ignored=np.zeros(smear.shape, bool)).ignored is None
    assert Smear.from_labels(smear.image, smear.labels, ignored=smear.labels > 0).ignored is None
    assert replace(smear, ignored=np.zeros(smear.shape, bool)).ignored is None
    assert smear.annotated_area() == smear.labels.size
    assert (smear.background() == (smear.labels == 0)).all()


def test_cells_at_an_ignored_region_are_incomplete() -> None:
    smear = analytic_smear((60, 90), [(15, 15, 6), (40, 15, 6), (70, 40, 6), (3, 40, 6)])
    assert smear.incomplete().tolist() == smear.cut_by_border().tolist() == [False, False, False, True]
    ignored = np.zeros(smear.shape, bool)
    ignored[:, 47:60] = True  # the second disc ends at column 46
    assert replace(smear, ignored=ignored).incomplete().tolist() == [False, True, False, True]
    ignored[:, 47] = False
    assert replace(smear, ignored=ignored).incomplete().tolist() == [False, False, False, True]


def test_ignored_pixels_follow_size_and_window() -> None:
    smear = partly_annotated(analytic_smear((64, 80)), 48)
    assert smear.ignored is not None
    half = smear.resized(0.5)
    assert half.ignored is not None
    assert (half.ignored == smear.ignored[1::2, 1::2]).all()
    crop = smear.cropped(2, 40, 30, 30)
    assert crop.ignored is not None
    assert (crop.ignored == smear.ignored[2:32, 40:70]).all()
    assert smear.cropped(0, 0, 64, 40).ignored is None
    copy = pickle.loads(pickle.dumps(smear))
    assert (copy.ignored == smear.ignored).all()


def test_the_digest_includes_ignored_pixels() -> None:
    smear = analytic_smear()
    first, second = np.zeros(smear.shape, bool), np.zeros(smear.shape, bool)
    assert digest(replace(smear, ignored=first)) == digest(smear)
    first[0, 0], second[0, 1] = True, True
    digests = {digest(smear), digest(replace(smear, ignored=first)), digest(replace(smear, ignored=second))}
    assert len(digests) == 3


def test_the_digest_depends_only_on_image_labels_and_classes() -> None:
    smear = analytic_smear(class_names=("a", "b"))
    brighter, other_label = smear.image.copy(), smear.labels.copy()
    brighter[0, 0, 0] += 1
    other_label[20, 20] = 0
    changes = (
        {"image": brighter},
        {"labels": other_label},
        {"classes": np.array([0, 0, 1])},
        {"class_names": ("a", "c")},
    )
    digests = [digest(smear), *(digest(replace(smear, **change)) for change in changes)]  # type: ignore[arg-type]
    assert len(set(digests)) == 5
    assert digest(replace(smear, name="other", um_per_px=0.1)) == digests[0]
    assert digest(replace(smear, image=np.asfortranarray(smear.image))) == digests[0]


def test_the_digest_stays_the_same() -> None:
    # Cached results have the digest in their key.
    assert digest(analytic_smear()) == "34131e835890a34c"
    assert digest(random_smear(3, class_names=("a", "b"))) == "c0c37311dfc0317d"


def test_negative_ids_are_rejected() -> None:
    with pytest.raises(DataError, match="labels must not be negative, but the smallest is -2"):
        relabel_sequential(np.array([[0, -2]]))


def test_touching_pairs_include_corners_and_each_pair_once() -> None:
    labels = np.array([[3, 3, 0, 4], [0, 1, 2, 0], [1, 1, 2, 0]], np.int32)
    assert touching_pairs(labels).tolist() == [[1, 2], [1, 3], [2, 3], [2, 4]]
    assert touching_pairs(np.zeros((3, 3), np.int32)).shape == (0, 2)


@pytest.mark.parametrize("scale", [0, -1, 16.1, float("nan")])
def test_scales_out_of_range_are_rejected(scale: float) -> None:
    check_scale(16)
    with pytest.raises(OptionError, match="scale must be above 0 and at most 16"):
        check_scale(scale)


@pytest.mark.parametrize("image", [field().astype(float), field()[..., :2], field()[..., 0], field(0)])
def test_arrays_that_are_no_rgb_images_are_rejected(image: np.ndarray) -> None:
    check_image(field())
    with pytest.raises(DataError, match=r"a: (image must be \(H, W, 3\) uint8|the image has no pixels)"):
        check_image(image, "a")
