"""Tests of the classic augmentation and of copy-paste."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from smears import analytic_smear, disc_mask, partly_annotated, random_smear, unannotated
from smearsynth.errors import DataError, OptionError
from smearsynth.smear import Smear
from smearsynth.tasks.augment import CHANGES, AugmentName, Pixels, as_image, augment, copy_paste, named_augment


def picture(seed: int = 0) -> Pixels:
    return random_smear(seed).image.astype(np.float32)


def roughness(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean())


def mean_and_deviation(name: str, measure: Callable[[Pixels], float], draws: int = 20) -> tuple[float, float]:
    values = [measure(CHANGES[name](picture(), np.random.default_rng(k))) for k in range(draws)]
    return float(np.mean(values)), float(np.std(values))


# Single changes.


def test_blur_smooths_and_sharpening_and_noise_roughen() -> None:
    before = roughness(picture())
    assert mean_and_deviation("blur", roughness)[0] < 0.8 * before
    assert mean_and_deviation("sharpen", roughness)[0] > 1.3 * before
    assert mean_and_deviation("noise", roughness)[0] > 1.3 * before


def test_emboss_brightens_one_side_of_a_square_and_darkens_the_other() -> None:
    square = np.full((32, 32, 3), 100, np.float32)
    square[8:24, 8:24] = 160
    embossed = np.mean([CHANGES["emboss"](square, np.random.default_rng(k)) for k in range(20)], 0)
    upper_left, lower_right = embossed[7, 12].mean(), embossed[24, 18].mean()
    assert upper_left > 105
    assert lower_right < 95
    assert embossed[16, 16] == pytest.approx(160, abs=1)


def test_invert_gives_the_negative_of_single_channels() -> None:
    pixels = picture()
    inverted_channels = 0
    for seed in range(200):
        result = CHANGES["invert"](pixels, np.random.default_rng(seed))
        for channel in range(3):
            unchanged = np.array_equal(result[..., channel], pixels[..., channel])
            assert unchanged or np.array_equal(result[..., channel], 255 - pixels[..., channel])
            inverted_channels += not unchanged
    assert 15 < inverted_channels < 50  # 5 % of 600


def test_brightness_is_shifted_and_scaled() -> None:
    pixels = picture()
    for seed in range(10):
        shift = CHANGES["add brightness"](pixels, np.random.default_rng(seed)) - pixels
        assert np.ptp(shift, axis=(0, 1)).max() < 1e-3
        assert 0 < np.abs(shift).max() <= 10
        factor = CHANGES["multiply brightness"](pixels, np.random.default_rng(seed)) / pixels
        assert np.ptp(factor, axis=(0, 1)).max() < 1e-3
        assert factor.min() >= 0.5
        assert factor.max() <= 1.5


def test_contrast_is_scaled_about_medium_grey() -> None:
    factors = []
    for seed in range(30):
        result = CHANGES["contrast"](picture(), np.random.default_rng(seed))
        ratio = (result - 128) / (picture() - 128 + 1e-6)
        factors.append(float(np.median(ratio)))
    assert min(factors) < 0.9
    assert max(factors) > 1.3


def test_grey_reduces_the_colour_and_keeps_the_brightness() -> None:
    colour = lambda pixels: float(np.ptp(pixels, axis=2).mean())  # noqa: E731
    assert mean_and_deviation("grey", colour)[0] < 0.7 * colour(picture())
    luma = lambda pixels: float((pixels @ np.array([0.299, 0.587, 0.114])).mean())  # noqa: E731
    mean, deviation = mean_and_deviation("grey", luma)
    assert mean == pytest.approx(luma(picture()), abs=0.1)
    assert deviation < 0.1


def test_pixels_are_rounded_and_clipped() -> None:
    pixels = np.array([[[-4.0, 99.6, 300.0]]], np.float32)
    assert as_image(pixels).tolist() == [[[0, 100, 255]]]


# The classic augmentation.


def test_image_and_labels_are_flipped_together() -> None:
    smear = random_smear(3)
    flips = set()
    for seed in range(40):
        result = augment(smear, seed, max_changes=0)
        matches = [
            (vertical, horizontal)
            for vertical in (1, -1)
            for horizontal in (1, -1)
            if np.array_equal(result.image, smear.image[::vertical, ::horizontal])
        ]
        assert len(matches) == 1
        vertical, horizontal = matches[0]
        assert np.array_equal(result.labels, smear.labels[::vertical, ::horizontal])
        flips.add((vertical, horizontal))
    assert len(flips) == 4


def test_changes_are_drawn_and_labels_keep_their_instances() -> None:
    smear = random_smear(5, class_names=("red cell", "white cell"))
    changed_images = 0
    for seed in range(30):
        result = augment(smear, seed)
        assert result.image.dtype == np.uint8
        assert result.areas().tolist() == smear.areas().tolist()
        assert result.classes.tolist() == smear.classes.tolist()
        changed_images += not np.array_equal(np.sort(result.image, axis=None), np.sort(smear.image, axis=None))
    assert changed_images > 15  # two of the three numbers of changes, 0 to 2, are not 0


def test_the_result_depends_on_the_seed_and_the_input_is_not_changed() -> None:
    smear = random_smear(1)
    image, labels = smear.image.copy(), smear.labels.copy()
    first, same_seed, other_seed = (augment(smear, seed).image for seed in (1, 1, 2))
    assert np.array_equal(first, same_seed)
    assert not np.array_equal(first, other_seed)
    copy_paste(smear, random_smear(2), 0)
    assert np.array_equal(image, smear.image)
    assert np.array_equal(labels, smear.labels)


def test_a_negative_number_of_changes_is_an_error() -> None:
    with pytest.raises(OptionError, match="must not be negative"):
        augment(random_smear(0), 0, max_changes=-1)


# Copy-paste.

CLASS_NAMES = ("pale", "red")


def red_cells() -> Smear:
    """Return a smear of two whole red discs and one cut by the border, all of class 1 of 2."""
    smear = analytic_smear(
        (60, 60), [(20, 20, 6), (42, 40, 8), (59, 10, 7)], classes=[1, 1, 1], class_names=CLASS_NAMES
    )
    image = smear.image.copy()
    image[smear.labels > 0] = (255, 0, 0)
    return Smear(image, smear.labels, smear.classes, smear.class_names)


def pale_cells(discs: list[tuple[float, float, float]]) -> Smear:
    return analytic_smear((60, 60), discs, class_names=CLASS_NAMES)


def test_pasted_cells_have_the_pixels_and_the_class_of_the_donor() -> None:
    numbers = set()
    for seed in range(25):
        result = copy_paste(pale_cells([(30, 30, 9)]), red_cells(), seed)
        red = (result.image == (255, 0, 0)).all(2)
        pasted = np.flatnonzero(result.classes == 1) + 1
        assert np.array_equal(red, np.isin(result.labels, pasted))
        numbers.add(len(pasted))
    assert numbers == {0, 1, 2}  # 0: shifted out of the field; never 3, because one cell is cut by the border


def test_pasted_cells_lie_on_top_and_covered_cells_are_removed() -> None:
    donor = analytic_smear((60, 60), [(30, 30, 28)], classes=[1], class_names=CLASS_NAMES)
    centre, centre_and_corner = pale_cells([(30, 30, 3)]), pale_cells([(30, 30, 3), (3, 3, 3)])
    removed = 0
    for seed in range(30):
        result = copy_paste(centre, donor, seed)
        disc = disc_mask((60, 60), (30, 30, 3))
        assert (disc & (result.labels > 0)).sum() == disc.sum()
        removed += 0 not in result.classes
        assert (result.classes == 1).sum() <= 1
        assert copy_paste(centre_and_corner, donor, seed).areas().min() > 0
    assert removed > 5


def test_cells_cut_by_the_border_are_not_pasted() -> None:
    smear = pale_cells([(30, 30, 9)])
    assert copy_paste(smear, pale_cells([(0, 30, 8)]), 0) is smear
    assert copy_paste(smear, pale_cells([]), 0) is smear


def test_the_donor_may_have_another_size() -> None:
    for size in ((40, 90), (120, 30)):
        donor = analytic_smear(size, [(15, 15, 6)], class_names=CLASS_NAMES)
        results = [copy_paste(pale_cells([]), donor, seed) for seed in range(10)]
        assert {smear.shape for smear in results} == {(60, 60)}
        assert any(smear.count for smear in results)


def test_other_classes_of_the_donor_are_an_error() -> None:
    with pytest.raises(DataError, match="has the classes cell, not pale, red; read both with the same --classes"):
        copy_paste(pale_cells([]), random_smear(0), 0)


def test_named_augmentations() -> None:
    crops = [random_smear(k) for k in range(4)]

    def results(name: AugmentName) -> list[Smear]:
        function = named_augment(name)
        assert function is not None
        return [function(crops[0], crops[1:], np.random.default_rng(seed)) for seed in range(12)]

    assert named_augment("none") is None
    assert {smear.count for smear in results("classic")} == {crops[0].count}
    unchanged = sum(np.array_equal(smear.image, crops[0].image) for smear in results("copy-paste"))
    assert unchanged in range(2, 11)
    assert max(smear.count for smear in results("both")) > crops[0].count


def test_ignored_pixels_are_flipped_with_the_image() -> None:
    smear = partly_annotated(pale_cells([(8, 8, 5), (30, 20, 6)]), 20)
    assert smear.ignored is not None
    marked = replace(smear, image=np.repeat(smear.ignored[..., None] * np.uint8(255), 3, axis=2))
    flips = set()
    for seed in range(12):
        result = augment(marked, seed, max_changes=0)
        assert result.ignored is not None
        assert ((result.image[..., 0] == 255) == result.ignored).all()
        flips.add(result.ignored.tobytes())
    assert len(flips) > 1


def test_cells_at_an_ignored_region_are_not_pasted_and_pasted_cells_are_annotated() -> None:
    target, donor = red_cells(), pale_cells([(15, 15, 6)])
    ignored = np.zeros(donor.shape, bool)
    ignored[:, 22:] = True  # the disc ends at column 21
    assert copy_paste(target, replace(donor, ignored=ignored), 1) is target
    pasted = next(p for p in (copy_paste(unannotated(target), donor, k) for k in range(20)) if p.count)
    assert pasted.ignored is not None
    assert (pasted.ignored == (pasted.labels == 0)).all()
