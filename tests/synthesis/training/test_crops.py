"""Training crops: they depend on (seed, step) only."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from smears import analytic_smear, partly_annotated, random_smear
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.estimation import estimate_shift
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.training.crops import AlignedSmears, CropBatch, ResizedSmears, crop_stream, draw_crops

SMEARS = [random_smear(seed) for seed in range(4)]
CONFIG = TrainingConfig(steps=12, crop=(32, 48), batch=3, seed=5)


def equal(first: CropBatch, second: CropBatch) -> bool:
    return all(a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True))


def coordinate_smear(size: tuple[int, int] = (40, 60)) -> Smear:
    """A smear whose pixels contain their row in red and their column in green."""
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, np.int32)
    labels[: size[0] // 2 + 1, : size[1] // 2 + 1] = 1
    return Smear(image, labels, np.array([0]))


def test_crops_do_not_depend_on_the_order():
    in_order = [draw_crops(SMEARS, CONFIG, step) for step in range(5)]
    for step in (3, 0, 4, 4):
        random.random(), torch.rand(1)
        assert equal(draw_crops(SMEARS, CONFIG, step), in_order[step])


def test_steps_seeds_and_streams_differ():
    base = draw_crops(SMEARS, CONFIG, 1)
    for second in (
        draw_crops(SMEARS, CONFIG, 2),
        draw_crops(SMEARS, CONFIG.model_copy(update={"seed": 6}), 1),
        draw_crops(SMEARS, CONFIG, 1, stream=1),
    ):
        assert not torch.equal(base.pixels, second.pixels)


def test_global_random_state_does_not_change():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    list(crop_stream(SMEARS, CONFIG, 10, 0, pinned=False))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


def test_shapes_and_range_of_a_batch():
    batch = draw_crops(SMEARS, CONFIG, 0)
    assert batch.pixels.shape == (3, 32, 48, 3)
    assert batch.labels.shape == (3, 32, 48)
    assert batch.labels.dtype == torch.int32
    assert batch.image.shape == (3, 3, 32, 48)
    assert -1 <= batch.image.min() < batch.image.max() <= 1
    assert batch.image[1, 2, 4, 5] == batch.pixels[1, 4, 5, 2] / 127.5 - 1
    # The table has exactly one entry per label.
    assert int(batch.labels.max()) == batch.channels_of.shape[1] - 1


def test_image_and_labels_have_the_same_position():
    smear = coordinate_smear()
    for step in range(20):
        batch = draw_crops([smear], CONFIG, step)
        rows, columns = batch.pixels[..., 0].long(), batch.pixels[..., 1].long()
        assert torch.equal(batch.labels.long(), torch.from_numpy(smear.labels).long()[rows, columns])


def test_crops_are_flipped_in_both_directions():
    directions = set()
    for step in range(30):
        for pixels in draw_crops([coordinate_smear()], CONFIG, step).pixels.int():
            down = (pixels[1:, :, 0] - pixels[:-1, :, 0]).unique().tolist()
            across = (pixels[:, 1:, 1] - pixels[:, :-1, 1]).unique().tolist()
            assert len(down) == len(across) == 1
            directions.add((down[0], across[0]))
    assert directions == {(1, 1), (1, -1), (-1, 1), (-1, -1)}

    no_flips = CONFIG.model_copy(update={"flips": False})
    for step in range(10):
        pixels = draw_crops([coordinate_smear()], no_flips, step).pixels.int()
        assert (pixels[:, 1:, :, 0] > pixels[:, :-1, :, 0]).all()
        assert (pixels[:, :, 1:, 1] > pixels[:, :, :-1, 1]).all()


def test_crops_cover_all_positions():
    tops, lefts = set(), set()
    for step in range(200):
        pixels = draw_crops([coordinate_smear()], CONFIG, step).pixels
        tops |= set(pixels[..., 0].amin((1, 2)).tolist())
        lefts |= set(pixels[..., 1].amin((1, 2)).tolist())
    assert tops == set(range(40 - 32 + 1))
    assert lefts == set(range(60 - 48 + 1))


@pytest.mark.parametrize("size", [(10, 12), (1, 1), (100, 20), (31, 48)])
def test_small_smears_are_extended_by_reflection(size):
    smear = coordinate_smear(size)
    config = CONFIG.model_copy(update={"flips": False, "batch": 1})
    for step in range(5):
        batch = draw_crops([smear], config, step)
        rows, columns = batch.pixels[0, ..., 0].long(), batch.pixels[0, ..., 1].long()

        assert batch.pixels.shape == (1, 32, 48, 3)
        assert torch.equal(batch.labels[0], torch.from_numpy(smear.labels)[rows, columns])
        for positions, side, length in ((rows[:, 0], size[0], 32), (columns[0], size[1], 48)):
            if side < length:
                reflected = [*range(side), *range(side - 1, -1, -1)]
                assert positions.tolist() == [reflected[k % len(reflected)] for k in range(length)]
            else:
                assert positions.tolist() == list(range(int(positions[0]), int(positions[0]) + length))


def test_channels_are_those_of_the_classes():
    discs = [(20.0, 20.0, 6.0), (20.0, 44.0, 6.0), (44.0, 20.0, 6.0), (44.0, 44.0, 6.0)]
    smear = analytic_smear((64, 64), discs, classes=[2, 0, 1, 2], class_names=("a", "b", "c"))
    config = TrainingConfig(crop=(24, 24), batch=2)
    shades = [set(map(tuple, smear.image[smear.labels == k].tolist())) for k in range(1, 5)]

    for step in range(20):
        batch = draw_crops([smear], config, step)
        for image, labels, channels in zip(batch.pixels, batch.labels, batch.channels_of, strict=True):
            assert channels[0] == 0
            for label in range(1, int(labels.max()) + 1):
                # The colours identify the instance.
                directions = set(map(tuple, image[labels == label].tolist()))
                (k,) = (k for k in range(4) if directions <= shades[k])
                assert channels[label] == smear.classes[k] + 1


def test_labels_are_consecutive():
    smear = analytic_smear((64, 200), [(10.0, 10.0, 4.0), (190.0, 50.0, 4.0)])
    counts = set()
    for step in range(40):
        batch = draw_crops([smear], CONFIG.model_copy(update={"batch": 1}), step)
        ids = batch.labels.unique().tolist()
        assert ids == list(range(len(ids)))
        assert batch.channels_of.tolist() == [[0] + [1] * (len(ids) - 1)]
        counts.add(len(ids) - 1)
    assert counts == {0, 1}


def test_more_than_255_cells():
    labels = np.zeros((64, 64), np.int32)
    labels[::2, ::2] = np.arange(1, 1025).reshape(32, 32)
    smear = Smear(np.zeros((64, 64, 3), np.uint8), labels, np.zeros(1024, np.int64))

    batch = draw_crops([smear], TrainingConfig(crop=(64, 64), flips=False), 0)

    assert torch.equal(batch.labels[0], torch.from_numpy(labels))
    assert batch.channels_of.shape == (1, 1025)


def test_workers_return_the_same_crops_in_order():
    sequential = list(crop_stream(SMEARS, CONFIG, 8, 0, pinned=False))
    parallel = list(crop_stream(SMEARS, CONFIG, 8, 2, pinned=False))

    assert len(sequential) == len(parallel) == 4
    assert all(equal(a, b) for a, b in zip(sequential, parallel, strict=True))
    assert all(equal(a, draw_crops(SMEARS, CONFIG, 8 + k)) for k, a in enumerate(sequential))
    assert list(crop_stream(SMEARS, CONFIG, 12, 0, pinned=False)) == []


def test_padding_adds_empty_rows_only():
    batch = draw_crops(SMEARS, CONFIG, 0, styles=[np.ones((smear.count + 1, 2), np.float32) for smear in SMEARS])
    n = batch.channels_of.shape[1] - 1
    padded = batch.padded(n + 5)
    assert padded.channels_of.shape == (3, n + 6)
    assert padded.styles.shape == (3, n + 6, 2)
    assert torch.equal(padded.channels_of[:, : n + 1], batch.channels_of)
    assert torch.equal(padded.styles[:, : n + 1], batch.styles)
    assert torch.equal(padded.labels, batch.labels)


def test_resized_smears():
    small = ResizedSmears(SMEARS, 0.5)
    assert len(small) == 4
    assert small[1].shape == (48, 48)
    assert (small[1].labels == SMEARS[1].resized(0.5).labels).all()


# Stain augmentation


def stain_augmented(fraction: float, step: int = 0, **options: object) -> CropBatch:
    config = CONFIG.model_copy(update={"batch": 6, "seed": 3, "stain_augmentation": fraction})
    return draw_crops(SMEARS, config, step, **options)


def changed_crops(fraction: float, step: int) -> list[bool]:
    pairs = zip(stain_augmented(fraction, step).pixels, stain_augmented(0, step).pixels, strict=True)
    return [not torch.equal(augmented, plain) for augmented, plain in pairs]


def test_stain_augmentation_of_no_and_of_all_crops():
    default = draw_crops(SMEARS, CONFIG.model_copy(update={"batch": 6, "seed": 3}), 5)
    assert torch.equal(stain_augmented(0.0, 5).pixels, default.pixels)
    assert all(all(changed_crops(1.0, step)) for step in range(5))


def test_stain_augmentation_changes_the_requested_fraction():
    changed = [crop for step in range(30) for crop in changed_crops(0.3, step)]
    assert 0.2 < np.mean(changed) < 0.4


def test_stain_augmentation_changes_only_the_pixels():
    for step in range(3):
        config = CONFIG.model_copy(update={"batch": 6, "discriminator_augmentation": 0.5})
        plain = draw_crops(SMEARS, config, step, debris=True)
        augmented = draw_crops(SMEARS, config.model_copy(update={"stain_augmentation": 1.0}), step, debris=True)
        assert not torch.equal(augmented.pixels, plain.pixels)
        for name in ("labels", "channels_of", "changes", "debris"):
            assert torch.equal(getattr(augmented, name), getattr(plain, name)), name


def test_stain_augmentation_depends_on_the_step_only():
    assert torch.equal(stain_augmented(0.5, 4).pixels, stain_augmented(0.5, 4).pixels)


def test_precomputed_styles_disable_stain_augmentation():
    styles = [np.zeros((smear.count + 1, 3), np.float32) for smear in SMEARS]
    assert torch.equal(stain_augmented(1.0, styles=styles).pixels, stain_augmented(0.0, styles=styles).pixels)


# Ignored pixels.


def test_crops_of_smears_without_ignored_pixels_have_none():
    assert draw_crops(SMEARS, CONFIG, 0).ignored is None
    first, n, styles = draw_crops(SMEARS, CONFIG, 0).style_regions
    assert torch.equal(first, draw_crops(SMEARS, CONFIG, 0).labels)
    assert n == draw_crops(SMEARS, CONFIG, 0).channels_of.shape[1] - 1
    assert styles is None


def test_crops_avoid_ignored_pixels_and_mark_the_others():
    coordinates = coordinate_smear((60, 120))
    ignored = np.zeros(coordinates.shape, bool)
    ignored[:, 70:] = True
    smear = Smear(coordinates.image, coordinates.labels, coordinates.classes, ignored=ignored)
    marked = 0
    for step in range(10):
        batch = draw_crops([smear], CONFIG, step)
        if batch.ignored is None:
            continue
        rows, columns = batch.pixels[..., 0].long(), batch.pixels[..., 1].long()
        assert torch.equal(batch.ignored, torch.from_numpy(ignored)[rows, columns])
        assert batch.ignored.flatten(1).float().mean(1).max() <= 0.25
        marked += int(batch.ignored.any())
    assert marked


def test_crops_larger_than_a_smear_extend_its_ignored_pixels():
    smear = partly_annotated(analytic_smear((30, 40), [(10, 15, 6)]), 25)
    batch = draw_crops([smear], TrainingConfig(crop=(64, 64), flips=False), 0)
    assert batch.ignored is not None
    assert torch.equal(batch.ignored[0, :30, :40], torch.from_numpy(smear.ignored))
    assert torch.equal(batch.ignored[0, 30:60, :40], batch.ignored[0, :30, :40].flip(0))


def test_ignored_pixels_are_a_style_region_of_their_own_and_no_debris():
    smear = partly_annotated(analytic_smear((64, 64), [(20, 20, 9), (55, 40, 8)]), 44)
    styles = [np.arange(smear.count + 1, dtype=np.float32)[:, None]]
    config = TrainingConfig(crop=(64, 64), flips=False)
    batch = draw_crops([smear], config, 0, debris=True, styles=styles)
    regions, n, vectors = batch.style_regions
    assert n == 2
    assert torch.equal(regions == 2, batch.ignored)
    assert vectors is not None
    assert vectors.flatten().tolist() == [0, 1, 0]  # precomputed: the background style
    assert not batch.debris.any()
    unmarked = Smear(smear.image, smear.labels, smear.classes)
    assert draw_crops([unmarked], config, 0, debris=True).debris.any()


def test_aligned_smears_have_no_chromatic_shift():
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.int32)
    for k, x in enumerate((30, 90), start=1):
        labels[np.hypot(rows - 48, columns - x) < 18] = k
    plain = np.where(labels[..., None] > 0, (150, 90, 130), (210, 205, 210)).astype(np.uint8)
    image = Acquisition(blur=1.0, shift=(0.6, 0.0, -0.4, 0.2)).apply(plain)
    smear = Smear(image, labels, np.array([0, 0]))
    before = estimate_shift(smear.image, labels)
    np.testing.assert_allclose(before, (0.6, 0.0, -0.4, 0.2), atol=0.1)
    aligned = AlignedSmears([smear])
    np.testing.assert_allclose(estimate_shift(aligned[0].image, labels), np.zeros(4), atol=0.1)
    assert len(aligned) == 1
    assert np.array_equal(aligned[0].image, aligned[0].image)
