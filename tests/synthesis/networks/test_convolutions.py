"""Convolutions: equal to their plain form, and spectral normalisation to a gain of one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from smearsynth.synthesis.networks.convolutions import (
    AlignedConv,
    FewOutputsConv,
    SpectralConv,
    UpsamplingConv,
    concatenate_aligned,
)
from smearsynth.synthesis.networks.generator import initialise


def test_zero_channels_do_not_change_the_result():
    layer = AlignedConv(5, 3, 3, padding=1)
    x = torch.randn(1, 5, 9, 9)
    torch.testing.assert_close(layer(F.pad(x, (0, 0, 0, 0, 0, 3))), layer(x))


def test_concatenation_is_channels_last():
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    x = concatenate_aligned(first, second)
    assert torch.equal(x, torch.cat([first, second], 1))  # no channels are added on the CPU
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_upsampling_convolution_equals_upsampling_and_convolution():
    layer, x = UpsamplingConv(5, 3), torch.rand(2, 5, 6, 7)
    upsampled = F.interpolate(x, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(layer(x), F.conv2d(upsampled, layer.weight, layer.bias, padding=1))


@pytest.mark.parametrize("mode", ["reflect", "zeros"])
def test_convolution_by_rows_equals_the_convolution(mode):
    layer, x = FewOutputsConv(5, 3, 7, padding=3, padding_mode=mode), torch.rand(2, 5, 9, 12)
    torch.testing.assert_close(layer(x), torch.nn.Conv2d.forward(layer, x))


def test_spectral_convolutions_have_a_gain_of_one():
    layer = SpectralConv(5, 7, 3, 1, 1)
    initialise(layer, torch.Generator().manual_seed(0))
    layer.weight.data.mul_(30)
    for _ in range(60):
        layer(torch.zeros(1, 5, 8, 8))
    direction = layer.direction.clone()
    impulses = torch.eye(45).view(45, 5, 3, 3)  # one input of the centre pixel each
    matrix = layer.eval()(impulses)[..., 1, 1] - layer.bias
    assert torch.linalg.matrix_norm(matrix.detach(), 2).item() == pytest.approx(1, rel=0.02)
    assert torch.equal(layer.direction, direction)  # evaluation does not change it
