"""Blocks that repeat are found with their images, and joined to structures."""

import numpy as np

from smearsynth.annotation.block_clusters import BlockCluster, adjacent_groups, block_clusters


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.03, (count, 64, 96))


def test_the_images_that_show_a_structure_are_its_members():
    fields = noise(12)
    fields[[1, 3, 5, 7, 9], 20:30, 40:44] -= 0.3
    clusters = block_clusters(fields, 5)
    assert {cluster.members for cluster in clusters} == {frozenset({1, 3, 5, 7, 9})}
    rows, columns = clusters[0].window
    assert rows.start < 30
    assert columns.stop > 40
    assert len(adjacent_groups(clusters)) == 1
    assert block_clusters(fields, 6) == []


def test_two_structures_at_one_place_are_two_clusters():
    fields = noise(12)
    fields[:6, 20:30, 40:44] -= 0.3
    fields[6:, 24:27, 36:48] += 0.3
    members = {cluster.members for cluster in block_clusters(fields, 5)}
    assert frozenset(range(6)) in members
    assert frozenset(range(6, 12)) in members
    assert len(adjacent_groups(block_clusters(fields, 5))) >= 2


def test_noise_and_constant_blocks_have_no_clusters():
    assert block_clusters(noise(30), 5) == []
    assert block_clusters(np.zeros((8, 64, 96)), 5) == []


def test_copies_of_one_field_are_not_compared():
    fields = noise(1)[[0] * 8] + noise(8, 1) / 10
    assert block_clusters(fields, 5) == []


def test_blocks_with_other_images_are_not_joined():
    near = [BlockCluster(0, 0, frozenset(range(5))), BlockCluster(0, 1, frozenset(range(5, 10)))]
    assert [len(group) for group in adjacent_groups(near)] == [1, 1]
