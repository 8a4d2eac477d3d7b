from __future__ import annotations

import pytest

from smears import random_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.experiment.plan import Job, Settings, cache_key, smear_digests, subset_indices, task_config


def test_small_subsets_are_part_of_large_ones() -> None:
    for few, many in ((3, 10), (10, 30), (30, 50)):
        assert set(subset_indices(50, few)) < set(subset_indices(50, many))
    assert len(set(subset_indices(50, 10))) == 10


def test_a_size_larger_than_the_training_split_is_refused() -> None:
    with pytest.raises(OptionError, match="size 60: the data have 54 training smears; choose 1 to 54"):
        Settings(sizes=(60,)).train_sizes(54)


def test_jobs_cover_everything_and_begin_with_the_first_seed() -> None:
    jobs = Settings(seeds=2, sizes=(3, 10)).jobs(10)
    assert len(jobs) == len(set(jobs)) == 2 * 2 * 3 * 7
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)


def test_pool_sizes_follow_the_arms_that_use_the_stain() -> None:
    settings = Settings()
    assert (settings.pool_size(10, "original"), settings.pool_size(10, "augmented")) == (10, 150)
    assert Settings(stain="original").pool_size(10, "original") == 150
    assert Settings(arms=("RD", "SD")).pool_size(10, "original") == 10
    assert Settings(arms=("RD", "RD+aug")).pool_size(10, "augmented") == 0
    assert not Settings(arms=("RD", "RD+aug")).needs_synthetic
    assert Settings(arms=("RD", "SD")).needs_synthetic


def test_task_config_follows_settings_and_job() -> None:
    settings = Settings(preset="tiny", steps=7)
    config = task_config(settings, Job("segmentation", "RD+SD+aug", 6, 3))
    assert (config.fit.steps, config.fit.augment, config.fit.seed) == (7, "classic", 3)
    assert task_config(settings, Job("segmentation", "RD+SD+aug", 6, 3)) is config
    assert task_config(settings, Job("segmentation", "RD", 6, 3)).fit.augment == "none"
    as_paper = task_config(settings.model_copy(update={"select_by": "test"}), Job("segmentation", "RD", 6, 0))
    assert (as_paper.fit.held_out, as_paper.fit.slack) == (0, 0)


def test_digests_depend_on_the_smear() -> None:
    first, second, again = smear_digests([random_smear(0), random_smear(1), random_smear(0)], "train")
    assert first == again != second
    with pytest.raises(DataError, match="no test smears"):
        smear_digests([], "test")


def test_cache_keys_depend_on_every_part() -> None:
    keys = {
        cache_key("RD", 1, ["a"]),
        cache_key("RD", 1, ["b"]),
        cache_key("RD", 2, ["a"]),
        cache_key("SD", 1, ["a"]),
    }
    assert len(keys) == 4
    assert all(len(key) == 20 for key in keys)
