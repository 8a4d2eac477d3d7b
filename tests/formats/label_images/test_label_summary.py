from __future__ import annotations

import numpy as np
import pytest

from label_images import discs
from smearsynth.errors import DataError
from smearsynth.formats.label_images.label_summary import LabelSummary
from smearsynth.smear import relabel_sequential


@pytest.mark.parametrize("ids", [[0, 5, 5, 9], [3, 0, 0, 3], [0, 0, 0, 0], [0, 7_000_000, 1, 1]])
def test_instances_are_those_of_relabel_sequential(ids: list[int]) -> None:
    summary = LabelSummary.of(np.array([ids]))
    labels, values = relabel_sequential(np.array([ids]))
    assert (summary.labels == labels).all()
    assert summary.labels.dtype == np.int32
    assert summary.ids.tolist() == values.tolist()
    assert summary.areas.tolist() == [ids.count(value) for value in values.tolist()]


def test_negative_ids_are_rejected() -> None:
    with pytest.raises(DataError, match="negative"):
        LabelSummary.of(np.array([[-1, 0]]))


@pytest.mark.parametrize("scale", [1, 8])
def test_pieces_are_counted_if_they_are_large_and_apart(scale: int) -> None:
    ids = discs(touching=False)
    ids[0, 0] = 5  # a speck
    ids[ids == 24] = 1
    ids[ids == 21] = 14  # neighbours
    ids = np.kron(ids, np.ones((scale, scale), int))
    summary = LabelSummary.of(ids)
    twice = summary.ids[summary.pieces.counts > 1].tolist()
    assert twice == [1, 14]
    assert summary.ids[summary.repeated].tolist() == [1]


def test_pieces_of_many_scattered_ids_are_those_of_single_ids() -> None:
    ids = np.zeros((60, 60), int)
    ids[::3, ::3] = np.random.default_rng(0).integers(1, 30, (20, 20))
    summary = LabelSummary.of(ids)
    few, many = summary._pieces_of_scattered(), summary._pieces_of_all()
    assert few.keys() == many.keys()
    assert len(few) > 20
    for k, (sizes, _) in few.items():
        assert sorted(sizes.tolist()) == sorted(many[k][0].tolist())


def test_borders_and_the_surrounding_id() -> None:
    ids = np.full((6, 8), 4)
    ids[2:4, 3:5] = 9
    summary = LabelSummary.of(ids)
    assert [summary.borders(k) for k in range(2)] == [4, 0]
    assert summary.surrounded(0).tolist() == [0.0, 1.0]
