"""Splits: what is compared, what trains a segmenter, what an audit holds out."""

import pytest

from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.splits import split_for_audit, split_for_comparison


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Open five smears in alternating splits with these names; none without names."""
    smears = [random_smear(k) for k in range(5)]

    def open_folder(*splits):
        return open_smears(write_folder(tmp_path_factory.mktemp("data") / "d", smears, splits=splits))

    return open_folder


def names(smears):
    return None if smears is None else tuple(int(name[-2:]) for name in smears.names)


def test_the_test_split_is_compared_and_the_training_split_trains(folders):
    smears = folders("train", "test")
    assert [names(part) for part in split_for_comparison(smears)] == [(1, 3), (0, 2, 4), (1, 3)]


def test_without_both_splits_smears_are_divided_in_two(folders):
    for smears in (folders(), folders("train", "val"), folders("test")):
        assert [names(part) for part in split_for_comparison(smears)] == [(0, 1, 2, 3, 4), (0, 2, 4), (1, 3)]
    parts = split_for_comparison(folders("train", "test"), "train")
    assert [names(part) for part in parts] == [(0, 2, 4), (0, 4), (2,)]
    with pytest.raises(DataError, match="no split 'x'"):
        split_for_comparison(folders("train"), "x")


def test_an_audit_divides_training_from_held_out_smears(folders):
    smears = folders("old", "test")

    def parts(*options):
        return [names(part) for part in split_for_audit(smears, *options)]

    # `train` uses all smears if there is no split "train": no smear is held out then
    assert parts() == [(0, 1, 2, 3, 4), None]
    assert parts("test") == [(1, 3), None]
    assert parts("old") == [(0, 2, 4), (1, 3)]
    assert parts(None, "test") == [(0, 2, 4), (1, 3)]
    assert [names(part) for part in split_for_audit(folders("train", "test"))] == [(0, 2, 4), (1, 3)]


def test_an_audit_refuses_splits_that_leave_nothing(folders):
    with pytest.raises(OptionError, match=r"'test' cannot be both.*--held-out"):
        split_for_audit(folders("old", "test"), "test", "test")
    with pytest.raises(OptionError, match="all smears are in split 'test'"):
        split_for_audit(folders("test"), None, "test")
