from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from smears import analytic_smear, disc_mask, random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.smear import Smear
from smearsynth.tasks.augment import CHANGES, AugmentName, Pixels, as_image, augment, copy_paste, named_augment


def picture(seed: int = 0) -> Pixels:
    return random_smear(seed).image.astype(np.float32)


def roughness(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean())


def mean_of(name: str, measure: Callable[[Pixels], float], draws: int = 20) -> tuple[float, float]:
    changed = [measure(CHANGES[name](picture(), np.random.default_rng(k))) for k in range(draws)]
    return float(np.mean(changed)), float(np.std(changed))


# Each change does what it is named for.


def test_blur_smooths_and_sharpening_and_noise_roughen() -> None:
    before = roughness(picture())
    assert mean_of("blur", roughness)[0] < 0.8 * before
    assert mean_of("sharpen", roughness)[0] > 1.3 * before
    assert mean_of("noise", roughness)[0] > 1.3 * before


def test_emboss_lights_one_side_of_a_step_and_darkens_the_other() -> None:
    step = np.full((32, 32, 3), 100, np.float32)
    step[8:24, 8:24] = 160  # a bright square
    changed = np.mean([CHANGES["emboss"](step, np.random.default_rng(k)) for k in range(20)], 0)
    upper_left, lower_right = changed[7, 12].mean(), changed[24, 18].mean()
    assert upper_left > 105
    assert lower_right < 95
    assert changed[16, 16] == pytest.approx(160, abs=1)


def test_inversion_gives_the_negative_of_single_channels() -> None:
    pixels = picture()
    inverted = 0
    for seed in range(200):
        changed = CHANGES["invert"](pixels, np.random.default_rng(seed))
        for channel in range(3):
            same = np.array_equal(changed[..., channel], pixels[..., channel])
            assert same or np.array_equal(changed[..., channel], 255 - pixels[..., channel])
            inverted += not same
    assert 15 < inverted < 50  # 5 % of 600


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


def test_contrast_stretches_about_medium_grey() -> None:
    spreads = []
    for seed in range(30):
        changed = CHANGES["contrast"](picture(), np.random.default_rng(seed))
        ratio = (changed - 128) / (picture() - 128 + 1e-6)
        spreads.append(float(np.median(ratio)))
    assert min(spreads) < 0.9
    assert max(spreads) > 1.3


def test_grey_lessens_the_colour_and_keeps_the_brightness() -> None:
    colour = lambda pixels: float(np.ptp(pixels, axis=2).mean())  # noqa: E731
    assert mean_of("grey", colour)[0] < 0.7 * colour(picture())
    luma = lambda pixels: float((pixels @ np.array([0.299, 0.587, 0.114])).mean())  # noqa: E731
    mean, spread = mean_of("grey", luma)
    assert mean == pytest.approx(luma(picture()), abs=0.1)
    assert spread < 0.1


# All together.


def test_flips_turn_image_and_labels_together() -> None:
    smear = random_smear(3)
    seen = set()
    for seed in range(40):
        made = augment(smear, seed, max_changes=0)
        turned = [
            (down, across)
            for down in (False, True)
            for across in (False, True)
            if np.array_equal(made.image, smear.image[:: -1 if down else 1, :: -1 if across else 1])
        ]
        assert len(turned) == 1
        down, across = turned[0]
        assert np.array_equal(made.labels, smear.labels[:: -1 if down else 1, :: -1 if across else 1])
        seen.add((down, across))
    assert len(seen) == 4


def test_every_change_is_drawn_and_labels_keep_their_instances() -> None:
    smear = random_smear(5, class_names=("red cell", "white cell"))
    different = 0
    for seed in range(30):
        made = augment(smear, seed)
        assert made.image.dtype == np.uint8
        assert made.areas().tolist() == smear.areas().tolist()
        assert made.classes.tolist() == smear.classes.tolist()
        different += not np.array_equal(np.sort(made.image, axis=None), np.sort(smear.image, axis=None))
    assert different > 15  # of six numbers of changes, from 0 to 5, five change something


def test_the_seed_decides_and_the_smear_given_stays_as_it_is() -> None:
    smear = random_smear(1)
    before = smear.image.copy(), smear.labels.copy()
    one, same, other = (augment(smear, seed).image for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    copy_paste(smear, random_smear(2), 0)
    assert np.array_equal(before[0], smear.image)
    assert np.array_equal(before[1], smear.labels)


def test_pixels_are_rounded_and_clipped() -> None:
    pixels = np.array([[[-4.0, 99.6, 300.0]]], np.float32)
    assert as_image(pixels).tolist() == [[[0, 100, 255]]]


def test_a_negative_number_of_changes_is_refused() -> None:
    with pytest.raises(OptionError, match="must not be negative"):
        augment(random_smear(0), 0, max_changes=-1)


# Copy-paste.


def red_cells() -> Smear:
    """Two whole red discs and one that the border cuts, of class 1 of 2."""
    smear = analytic_smear(
        (60, 60), [(20, 20, 6), (42, 40, 8), (59, 10, 7)], classes=[1, 1, 1], class_names=("pale", "red")
    )
    image = smear.image.copy()
    image[smear.labels > 0] = (255, 0, 0)
    return Smear(image, smear.labels, smear.classes, smear.class_names)


def field(discs: list[tuple[float, float, float]]) -> Smear:
    return analytic_smear((60, 60), discs, class_names=("pale", "red"))


def test_pasted_cells_bring_their_pixels_and_their_class() -> None:
    numbers = set()
    for seed in range(25):
        made = copy_paste(field([(30, 30, 9)]), red_cells(), seed)
        red = (made.image == (255, 0, 0)).all(2)
        owners = np.flatnonzero(made.classes == 1) + 1
        assert np.array_equal(red, np.isin(made.labels, owners))
        numbers.add(len(owners))
    assert numbers == {0, 1, 2}  # 0 when they are shifted out of the field; never the one the border cuts


def test_what_lies_on_top_owns_the_pixels_and_hidden_cells_are_gone() -> None:
    big = analytic_smear((60, 60), [(30, 30, 28)], classes=[1], class_names=("pale", "red"))
    hidden, kept = field([(30, 30, 3)]), field([(30, 30, 3), (3, 3, 3)])
    gone = 0
    for seed in range(30):
        made = copy_paste(hidden, big, seed)
        pasted = made.classes == 1
        covered = disc_mask((60, 60), (30, 30, 3)) & (made.labels > 0)
        assert covered.sum() == disc_mask((60, 60), (30, 30, 3)).sum()
        gone += 0 not in made.classes
        assert pasted.sum() <= 1
        assert copy_paste(kept, big, seed).areas().min() > 0
    assert gone > 5


def test_cells_cut_by_the_border_are_not_pasted_and_without_others_nothing_is() -> None:
    cut = field([(0, 30, 8)])
    smear = field([(30, 30, 9)])
    assert copy_paste(smear, cut, 0) is smear
    assert copy_paste(smear, field([]), 0) is smear


def test_smears_of_other_sizes_lend_cells_too() -> None:
    for size in ((40, 90), (120, 30)):
        donor = analytic_smear(size, [(15, 15, 6)], class_names=("pale", "red"))
        made = [copy_paste(field([]), donor, seed) for seed in range(10)]
        assert {smear.shape for smear in made} == {(60, 60)}
        assert any(smear.count for smear in made)


def test_smears_of_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match="has the classes cell, not pale, red; read both with the same --classes"):
        copy_paste(field([]), random_smear(0), 0)


def test_names_stand_for_what_is_done_to_a_crop() -> None:
    crops = [random_smear(k) for k in range(4)]

    def made(name: AugmentName) -> list[Smear]:
        change = named_augment(name)
        assert change is not None
        return [change(crops[0], crops[1:], np.random.default_rng(seed)) for seed in range(12)]

    assert named_augment("none") is None
    assert {smear.count for smear in made("classic")} == {crops[0].count}
    pasted = made("copy-paste")
    assert sum(np.array_equal(smear.image, crops[0].image) for smear in pasted) in range(2, 11)
    assert max(smear.count for smear in made("both")) > crops[0].count
