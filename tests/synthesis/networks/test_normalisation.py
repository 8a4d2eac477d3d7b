"""Normalisation: values, gradients, and equality with PyTorch where it has the same layer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from smearsynth.synthesis.networks.normalisation import InstanceNorm, PixelNorm, instance_norm, pixel_norm


def test_pixel_norm_divides_by_the_root_mean_square_of_the_pixel():
    x = torch.randn(2, 6, 5, 5) * 40
    normed = PixelNorm(6)(x)
    torch.testing.assert_close((normed**2).mean(1), torch.ones(2, 5, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(PixelNorm(6)(7 * x), normed, atol=1e-4, rtol=0)
    assert torch.equal(PixelNorm(6)(torch.zeros(1, 6, 2, 2)), torch.zeros(1, 6, 2, 2))


def reference_pixel_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6) * scale + shift


def test_pixel_norm_has_the_gradient_of_its_definition():
    x = torch.randn(2, 5, 6, 7, requires_grad=True)
    scale, shift = torch.randn(5, 1, 1, requires_grad=True), torch.randn(5, 1, 1, requires_grad=True)
    expected = reference_pixel_norm(x, scale, shift)
    upstream = torch.randn(x.shape)
    torch.testing.assert_close(pixel_norm(x, scale, shift), expected)
    for gradient, expected_gradient in zip(
        torch.autograd.grad(pixel_norm(x, scale, shift), (x, scale, shift), upstream),
        torch.autograd.grad(expected, (x, scale, shift), upstream),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixel_norm_without_gradient_does_not_change_its_input(dtype):
    x, scale, shift = torch.randn(1, 4, 3, 3, dtype=dtype), torch.randn(4, 1, 1), torch.randn(4, 1, 1)
    copy = x.clone()
    with torch.no_grad():
        result = pixel_norm(x, scale, shift)
    assert torch.equal(x, copy)
    torch.testing.assert_close(result, reference_pixel_norm(x, scale, shift).to(dtype), atol=1e-5, rtol=1e-5)


def test_modulation_adds_to_scale_and_shift():
    norm = PixelNorm(2, modulating_channels=1)
    norm.modulate.weight.data.zero_()
    norm.modulate.bias.data = torch.tensor([1.0, 1.0, 5.0, 5.0])
    x = torch.randn(1, 2, 4, 4)
    expected = pixel_norm(x, 2 * torch.ones(2, 1, 1), 5 * torch.ones(2, 1, 1))
    torch.testing.assert_close(norm(x, torch.zeros(1, 1, 4, 4)), expected)
    torch.testing.assert_close(norm(x), pixel_norm(x, torch.ones(2, 1, 1), torch.zeros(2, 1, 1)))


def test_instance_norm_equals_that_of_pytorch():
    x = torch.randn(2, 3, 9, 7) * 5 + 2
    torch.testing.assert_close(instance_norm(x), F.instance_norm(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(InstanceNorm()(x), instance_norm(x))
    assert instance_norm(x.bfloat16()).dtype == torch.bfloat16
