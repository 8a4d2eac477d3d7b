"""The record of training smears: search, repeated fields of the data, inheritance, and damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smears import random_smear
from smearsynth.errors import DataError
from smearsynth.formats.fingerprints import Fingerprint
from smearsynth.formats.training_smears import (
    TrainingSmears,
    TrainingSource,
    check_unseen,
    read_training_smears,
)

IMAGES = [random_smear(k, (96, 128)).image for k in range(24)]
PRINTS = [Fingerprint.of_image(image, f"field-{k}") for k, image in enumerate(IMAGES)]


def copy_of(index: int, name: str) -> Fingerprint:
    """The same field, taken again a little brighter."""
    return Fingerprint.of_image(np.clip(IMAGES[index].astype(int) + 3, 0, 255).astype(np.uint8), name)


def record(*indices: int) -> TrainingSmears:
    return TrainingSmears(sources=(TrainingSource(data="mine", smears=tuple(PRINTS[k] for k in indices)),))


def test_unseen_smears_give_no_warning() -> None:
    assert check_unseen(record(0, 1, 2), PRINTS[3:6], "the model m") == ()


def test_a_repeated_field_of_the_data_is_a_warning_but_a_copy_from_elsewhere_is_refused() -> None:
    again = copy_of(0, "again")
    test, others = [*PRINTS[10:20], again], PRINTS[:10]
    (warning,) = check_unseen(record(*range(10)), test, "the model m", others=others)
    assert warning.startswith(
        "1 of 11 test smears shows the same field as a smear outside the test smears: again and"
    )
    with pytest.raises(
        DataError, match=r"1 of 11 test smears was a training smear of the model m: again \(as field-0\)"
    ):
        check_unseen(record(*range(10)), test, "the model m")  # the data do not have the training smear
    with pytest.raises(DataError, match="1 of 2 test smears was a training smear"):  # too many repeated fields
        check_unseen(record(*range(10)), [again, PRINTS[10]], "the model m", others=others)
    with pytest.raises(DataError, match="1 of 12"):  # equal pixels are never excused
        check_unseen(record(*range(10)), [*test, PRINTS[3]], "the model m", others=PRINTS[:3])


def test_the_smears_of_pretrained_models_count_and_unknown_ones_are_named() -> None:
    parent, child = record(0), record(1)
    both = TrainingSmears(sources=(*child.sources, *parent.inherited("pretrained", "f00d")))
    with pytest.raises(DataError, match="training smear of the pretrained model of the model m: field-0; name"):
        check_unseen(both, [PRINTS[0], PRINTS[5]], "the model m", remedy="name another split (--split), ")
    assert [source.hash for source in both.sources] == [None, "f00d"]
    grandchild = both.inherited("pretrained", "beef")
    assert [source.hash for source in grandchild] == ["beef", "f00d"]
    unknown = TrainingSmears(sources=(*child.sources, TrainingSource(role="pretrained", data="old", hash="1")))
    (warning,) = check_unseen(unknown, [PRINTS[5]], "the model m")
    assert warning.startswith("The training smears of the pretrained model of the model m (old) are unknown.")


def test_the_record_is_read_from_a_folder(tmp_path: Path) -> None:
    assert read_training_smears(tmp_path) is None
    path = tmp_path / "training-smears.json"
    path.write_text(record(0, 1).to_json())
    assert read_training_smears(tmp_path) == record(0, 1)
    path.write_text("{}")
    with pytest.raises(
        DataError, match=r"training-smears.json: is not a record of training smears; copy or generate"
    ):
        read_training_smears(tmp_path)


def test_held_out_smears_are_found_beside_similar_training_smears() -> None:
    again = copy_of(0, "again")
    known = record(0).model_copy(update={"held_out": (again, PRINTS[4])})
    assert known.held_out_indices([PRINTS[0], again, PRINTS[3], PRINTS[4]]) == [1, 3]
    assert known.held_out_indices([again]) == []  # nothing would be left to train on
    assert record(0).held_out_indices(PRINTS) == []
