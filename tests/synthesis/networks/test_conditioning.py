"""Conditioning: boundaries, one-hot classes, and pooling and painting of styles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smearsynth.synthesis.networks.conditioning import (
    condition,
    instance_boundaries,
    paint_styles,
    pool_instances,
    pool_sums,
)


def looped_means(features: torch.Tensor, labels: torch.Tensor, n: int) -> torch.Tensor:
    """Reference implementation of instance-wise pooling with one mask per instance."""
    means = torch.zeros(len(features), n + 1, features.shape[1], dtype=torch.float64)
    for b in range(len(features)):
        for k in range(n + 1):
            inside = labels[b] == k
            if inside.any():
                means[b, k] = features[b].double()[:, inside].mean(1)
    return means


def random_labels(n: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, n + 1, shape).astype(np.int32))


def test_boundaries_are_on_both_sides_of_four_neighbours():
    labels = torch.zeros(1, 5, 6, dtype=torch.int32)
    labels[0, 2, 2] = 1
    labels[0, 2:, 4:] = 2

    assert instance_boundaries(labels)[0].int().tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 1, 1],  # above both instances, but not diagonal to the single pixel
        [0, 1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
    ]


def test_touching_cells_have_a_boundary_and_the_image_border_has_none():
    touching = torch.tensor([[[1, 1, 1, 2, 2, 2]]], dtype=torch.int32)
    single = torch.full((1, 4, 4), 7, dtype=torch.int32)

    assert instance_boundaries(touching)[0, 0].tolist() == [False, False, True, True, False, False]
    assert not instance_boundaries(single).any()


def test_boundaries_of_ids_that_are_equal_in_eight_or_sixteen_bits():
    labels = torch.tensor([[[1, 257, 65793]]], dtype=torch.int32)

    assert instance_boundaries(labels).all()


def test_condition_has_one_hot_classes_and_boundaries():
    labels = torch.tensor([[[0, 1, 2, 3]], [[0, 0, 1, 1]]], dtype=torch.int32)
    channels_of = torch.tensor([[0, 2, 1, 2], [0, 1, 0, 0]])

    result = condition(labels, channels_of, 2)

    assert result.dtype == torch.float32
    assert result.shape == (2, 4, 1, 4)
    assert result[0, :3, 0].argmax(0).tolist() == [0, 2, 1, 2]
    assert result[1, :3, 0].argmax(0).tolist() == [0, 0, 1, 1]
    assert torch.equal(result[:, :3].sum(1), torch.ones(2, 1, 4))
    assert result[:, 3, 0].tolist() == [[1, 1, 1, 1], [0, 1, 1, 0]]


def test_debris_is_the_last_channel():
    labels = torch.tensor([[[0, 1, 0]]])
    debris = torch.tensor([[[False, False, True]]])
    result = condition(labels, torch.tensor([[0, 1]]), 1, debris)
    assert result.shape == (1, 4, 1, 3)
    assert result[0, 3, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("n", [5, 300, 1200])
def test_pooling_equals_a_loop_over_instances(n):
    labels = random_labels(n, (2, 40, 57))
    features = torch.randn(2, 3, 40, 57, generator=torch.Generator().manual_seed(n))

    torch.testing.assert_close(
        pool_instances(features, labels, n).double(), looped_means(features, labels, n), atol=1e-6, rtol=0
    )


def test_items_of_a_batch_do_not_mix():
    labels = torch.stack([torch.full((4, 4), 1), torch.full((4, 4), 3)]).int()
    features = torch.stack([torch.full((1, 4, 4), 2.0), torch.full((1, 4, 4), 5.0)])

    assert pool_instances(features, labels, 3)[..., 0].tolist() == [[0, 2, 0, 0], [0, 0, 0, 5]]


def test_labels_without_pixels_have_zero_means():
    labels = torch.tensor([[[0, 4], [4, 4]]], dtype=torch.int32)
    features = torch.full((1, 2, 2, 2), 3.0)

    # Freed memory with NaN would show uninitialised rows.
    for _ in range(20):
        torch.full((1, 900, 2), float("nan"))
        pooled = pool_instances(features, labels, 900)[0]
        assert torch.equal(pooled[[0, 4]], torch.full((2, 2), 3.0))
        assert torch.count_nonzero(pooled) == 4


@pytest.mark.parametrize("largest", [255, 256, 999, 1000, 32767, 32768, 65535, 65536, 70000])
def test_large_ids_have_separate_styles(largest):
    labels = torch.zeros(1, 6, 8, dtype=torch.int32)
    labels[0, 1:3, 1:4], labels[0, 4:, 5:] = largest - 1, largest
    features = torch.zeros(1, 1, 6, 8)
    features[0, 0][labels[0] == largest - 1], features[0, 0][labels[0] == largest] = -0.5, 0.75

    pooled = pool_instances(features, labels, largest)

    assert pooled.shape == (1, largest + 1, 1)
    assert torch.equal(paint_styles(pooled, labels), features)


def test_sums_and_areas_cover_all_pixels():
    labels = random_labels(9, (3, 20, 30))
    features = torch.randn(3, 2, 20, 30)

    sums, areas = pool_sums(features, labels, 9)

    torch.testing.assert_close(sums.sum(1), features.sum((2, 3)), atol=1e-4, rtol=0)
    assert areas.sum(1).flatten().tolist() == [600] * 3


def test_painting_is_the_inverse_of_pooling():
    labels = random_labels(12, (2, 24, 24))
    styles = torch.randn(2, 13, 4)

    painted = paint_styles(styles, labels)

    assert painted.shape == (2, 4, 24, 24)
    assert torch.equal(painted[1, :, 5, 7], styles[1, labels[1, 5, 7]])
    torch.testing.assert_close(pool_instances(painted, labels, 12), styles, atol=1e-6, rtol=1e-6)


def test_gradients_flow_through_pooling_and_painting():
    labels = random_labels(3, (1, 5, 6))
    features = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)

    painted = paint_styles(pool_instances(features, labels, 3), labels)
    painted[0, 0, 2, 2].backward()

    # Every pixel of the instance has the weight 1 / area; other pixels have none.
    mask = labels[0] == labels[0, 2, 2]
    torch.testing.assert_close(features.grad[0, 0], mask.double() / mask.sum(), atol=1e-6, rtol=0)
    assert not features.grad[0, 1].any()


def test_pooling_of_a_large_field_is_accurate():
    # A single float32 sum over a million equal values has an error of up to 1 %.
    labels = torch.zeros(1, 1000, 1000, dtype=torch.int32)
    features = torch.full((1, 1, 1000, 1000), 0.3)

    assert pool_instances(features, labels, 0).item() == pytest.approx(0.3, abs=2e-5)


def test_bf16_features_are_pooled_in_float32():
    labels = torch.zeros(1, 64, 64, dtype=torch.int32)
    features = torch.full((1, 1, 64, 64), 0.5, dtype=torch.bfloat16)

    pooled = pool_instances(features, labels, 1)

    assert pooled.dtype == torch.float32
    assert pooled[0, 0, 0] == 0.5
