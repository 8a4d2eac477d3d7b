"""Convolutions: filled up to what a GPU likes, and held to a gain of one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LANES = 8  # channels that the matrix units of a GPU take at a time in half precision


class AlignedConv(nn.Conv2d):
    """A convolution that takes inputs with more channels than it has weights for: those are zero, and fill up.

    Tensor cores want channels in eights (`aligned`); so on a GPU the outputs are filled up for the work, too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C or more, H, W) → (B, C', H', W')."""
        return self._padded(x, self.weight)

    def _padded(self, x: Tensor, weight: Tensor) -> Tensor:
        inputs, outputs = x.shape[1] - self.in_channels, -self.out_channels % _LANES if x.is_cuda else 0
        if inputs or outputs:
            weight = F.pad(weight, (0, 0, 0, 0, 0, inputs, 0, outputs))
        bias = F.pad(self.bias, (0, outputs)) if outputs and self.bias is not None else self.bias
        painted = self._conv_forward(x, weight, bias)
        kept: Tensor = painted[:, : self.out_channels] if outputs else painted
        return kept


def aligned(*parts: Tensor) -> Tensor:
    """Parts side by side as channels, channels last in memory; on a GPU with zeros up to a multiple of eight."""
    x = torch.cat(parts, 1)
    if x.is_cuda:
        x = F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % _LANES))
    return x.contiguous(memory_format=torch.channels_last)


class UpsamplingConv(nn.Conv2d):
    """Nearest-neighbour upsampling to twice the size and a 3×3 convolution: no checkerboard.

    Four neighbours of the finer grid at most are copies of one coarse pixel. On a CPU their weights are added up
    first: one transposed convolution of 4×4, with 4/9 of the products and no finer copy of the input.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', 2 H, 2 W)."""
        if x.is_cuda:  # not measured there
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        w = F.pad(self.weight, (1, 1, 1, 1))
        summed = w[..., 1:, 1:] + w[..., :-1, 1:] + w[..., 1:, :-1] + w[..., :-1, :-1]
        return F.conv_transpose2d(x, summed.flip(-1, -2).transpose(0, 1), self.bias, stride=2, padding=1)


class FewOutputsConv(AlignedConv):
    """A k×k convolution to a few channels; on a CPU as k rows of 1×k beside each other, shifted and added.

    Vector units hold 16 channels: three of them leave most idle, 21 do not (103 against 51 ms at 512×512 px).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C or more, H, W) → (B, C', H, W)."""
        if x.is_cuda:
            return super().forward(x)
        k, n, edge = self.kernel_size[0], self.out_channels, self.kernel_size[0] // 2
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        rows = F.conv2d(F.pad(x, (edge,) * 4, mode), self.weight.permute(2, 0, 1, 3).reshape(k * n, -1, 1, k))
        height = x.shape[2]
        painted = rows[:, :n, :height].clone()
        for row in range(1, k):
            painted += rows[:, row * n : (row + 1) * n, row : row + height]
        return painted if self.bias is None else painted.add_(self.bias[:, None, None])


class SpectralConv(AlignedConv):
    """Convolution whose matrix is divided by its largest singular value (Miyato et al. 2018).

    One power iteration a forward pass in training mode; `direction` carries it on.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.direction: Tensor
        self.register_buffer("direction", F.normalize(torch.ones(self.out_channels), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W')."""
        matrix = self.weight.flatten(1)
        # sums of products, not matrix products: those would run in bf16 under autocast
        with torch.no_grad():
            right = F.normalize((matrix * self.direction[:, None]).sum(0), dim=0)
            left = F.normalize((matrix * right).sum(1), dim=0)
            if self.training:
                self.direction.copy_(left)
        gain = (matrix * left[:, None] * right).sum()
        return self._padded(x, self.weight / gain)
