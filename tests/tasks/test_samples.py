"""Tests of the supply of smears and of the training crops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from torch.utils.data import IterableDataset

from smears import partly_annotated, random_smear
from smearsynth.errors import DataError
from smearsynth.smear import Smear
from smearsynth.tasks.config import FitConfig
from smearsynth.tasks.samples import WINDOW, SmearSupply, Subset, draw_samples
from task_models import SMEARS


class IndexedStream:
    """Endless stream that can be indexed; records the indices."""

    def __init__(self) -> None:
        self.indices: list[int] = []

    def __getitem__(self, index: int) -> Smear:
        self.indices.append(index)
        return random_smear(index, (64, 64))

    def __iter__(self) -> Iterator[Smear]:
        raise AssertionError("a stream that can be indexed must not be iterated")


def small_smears() -> Iterator[Smear]:
    return (random_smear(k, (64, 64)) for k in range(99))


def names(supply: SmearSupply, step: int) -> list[str]:
    return [smear.name for smear in supply.at(step)]


# The supply.


def test_a_stream_gives_one_new_smear_per_step_and_resumes_at_any_step() -> None:
    stream = IndexedStream()
    supply = SmearSupply(stream, 0)  # type: ignore[arg-type]
    windows = [names(supply, step) for step in range(3)]
    assert stream.indices == list(range(WINDOW + 2))
    assert [window[0] for window in windows] == ["smear-00", "smear-01", "smear-02"]
    resumed_stream = IndexedStream()
    assert names(SmearSupply(resumed_stream, 2), 2) == windows[2]  # type: ignore[arg-type]
    assert resumed_stream.indices[0] == 2
    assert names(SmearSupply(small_smears(), 2), 2) == windows[2]


def test_a_pytorch_dataset_that_cannot_be_indexed_is_iterated() -> None:
    class Stream(IterableDataset[Smear]):
        def __iter__(self) -> Iterator[Smear]:
            return small_smears()

    assert names(SmearSupply(Stream(), 3), 3)[:2] == ["smear-03", "smear-04"]


def test_a_sequence_is_available_as_a_whole_at_every_step() -> None:
    assert SmearSupply(SMEARS, 0).at(5) is SMEARS


def test_no_smears_and_streams_that_end_are_errors() -> None:
    with pytest.raises(DataError, match="no smears to train on"):
        SmearSupply([], 0)
    with pytest.raises(DataError, match="the stream of smears ended after 3; give an endless stream"):
        SmearSupply(iter(SMEARS[:3]), 0).at(0)


def test_a_subset_reads_the_smears_on_access() -> None:
    stream = IndexedStream()
    subset = Subset(stream, [7, 2, 5])  # type: ignore[arg-type]
    assert len(subset) == 3
    assert [smear.name for smear in subset[1:]] == ["smear-02", "smear-05"]
    assert stream.indices == [2, 5]
    assert subset[0].name == "smear-07"


# The crops.


def test_crops_depend_on_seed_and_step_only() -> None:
    config = FitConfig(batch=3, crop=(48, 40), seed=4)
    first, same_step, other_step = (draw_samples(SMEARS, config, step) for step in (7, 7, 8))
    assert all(
        (a.image == b.image).all() and (a.labels == b.labels).all() for a, b in zip(first, same_step, strict=True)
    )
    assert not all((a.image == b.image).all() for a, b in zip(first, other_step, strict=True))
    other_seed = draw_samples(SMEARS, config.model_copy(update={"seed": 5}), 7)
    assert not all((a.image == b.image).all() for a, b in zip(first, other_seed, strict=True))
    assert all(crop.shape == (48, 40) for crop in first)


def test_a_crop_is_at_most_as_large_as_the_smear() -> None:
    crops = draw_samples([random_smear(0, (40, 96))], FitConfig(batch=3, crop=(48, 40)), 0)
    assert [crop.shape for crop in crops] == [(40, 40)] * 3
    whole_fields = draw_samples(SMEARS, FitConfig(crop=None, batch=1), 0)
    assert whole_fields[0].shape == (96, 96)


def test_augment_receives_all_crops_and_the_generator_of_the_step() -> None:
    calls: list[tuple[int, float]] = []

    def invert(crop: Smear, others: object, rng: np.random.Generator) -> Smear:
        calls.append((len(others), rng.random()))  # type: ignore[arg-type]
        return Smear(255 - crop.image, crop.labels, crop.classes)

    config = FitConfig(batch=2, crop=(48, 48))
    plain, inverted = draw_samples(SMEARS, config, 1), draw_samples(SMEARS, config, 1, invert)
    assert all((a.image == 255 - b.image).all() for a, b in zip(plain, inverted, strict=True))
    assert [size for size, _ in calls] == [2, 2]
    assert calls[0] != calls[1]


def test_crops_avoid_ignored_pixels() -> None:
    smear = partly_annotated(random_smear(0, (64, 200)), 60)
    config = FitConfig(crop=(32, 32), batch=8)
    for step in range(5):
        for crop in draw_samples([smear], config, step):
            assert crop.annotated_area() >= 0.75 * 32 * 32
