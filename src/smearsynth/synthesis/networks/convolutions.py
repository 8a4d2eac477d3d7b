"""Convolution layers: channel alignment for GPUs, fast upsampling on CPUs, and spectral normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHANNEL_MULTIPLE = 8  # tensor cores process channels in groups of 8 in half precision


class AlignedConv(nn.Conv2d):
    """A convolution that accepts inputs with additional zero channels, as from `concatenate_aligned`.

    Tensor cores need multiples of eight channels, so on a GPU the outputs are padded during the computation, too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C or more, H, W) to (B, C', H', W')."""
        return self._padded_conv(x, self.weight)

    def _padded_conv(self, x: Tensor, weight: Tensor) -> Tensor:
        inputs = x.shape[1] - self.in_channels
        outputs = -self.out_channels % _CHANNEL_MULTIPLE if x.is_cuda else 0
        if inputs or outputs:
            weight = F.pad(weight, (0, 0, 0, 0, 0, inputs, 0, outputs))
        bias = F.pad(self.bias, (0, outputs)) if outputs and self.bias is not None else self.bias
        padded = self._conv_forward(x, weight, bias)
        result: Tensor = padded[:, : self.out_channels] if outputs else padded
        return result


def concatenate_aligned(*parts: Tensor) -> Tensor:
    """Concatenate (B, C, H, W) tensors as channels in channels-last memory format.

    On a GPU, zero channels are added up to a multiple of eight.
    """
    x = torch.cat(parts, 1)
    if x.is_cuda:
        x = F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % _CHANNEL_MULTIPLE))
    return x.contiguous(memory_format=torch.channels_last)


class UpsamplingConv(nn.Conv2d):
    """Nearest-neighbour upsampling by 2 and a 3×3 convolution, which causes no checkerboard artefacts.

    Up to four neighbours on the finer grid are copies of one coarse pixel. On a CPU their weights are summed first:
    one 4×4 transposed convolution, with 4/9 of the products and no upsampled copy of the input.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', 2 H, 2 W)."""
        if x.is_cuda:  # the transposed form was not measured on GPUs
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        w = F.pad(self.weight, (1, 1, 1, 1))
        summed = w[..., 1:, 1:] + w[..., :-1, 1:] + w[..., 1:, :-1] + w[..., :-1, :-1]
        return F.conv_transpose2d(x, summed.flip(-1, -2).transpose(0, 1), self.bias, stride=2, padding=1)


class FewOutputsConv(AlignedConv):
    """A k×k convolution with few output channels; on a CPU k shifted convolutions of 1×k.

    Vector units process 16 channels at a time: 3 output channels leave most lanes idle, 21 do not (103 against 51
    ms at 512×512 px).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C or more, H, W) to (B, C', H, W)."""
        if x.is_cuda:
            return super().forward(x)
        k, n, edge = self.kernel_size[0], self.out_channels, self.kernel_size[0] // 2
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        rows = F.conv2d(F.pad(x, (edge,) * 4, mode), self.weight.permute(2, 0, 1, 3).reshape(k * n, -1, 1, k))
        height = x.shape[2]
        result = rows[:, :n, :height].clone()
        for row in range(1, k):
            result += rows[:, row * n : (row + 1) * n, row : row + height]
        return result if self.bias is None else result.add_(self.bias[:, None, None])


class SpectralConv(AlignedConv):
    """A convolution with spectral normalisation: its matrix divided by its largest singular value.

    See Miyato et al. 2018. Each forward pass does one power iteration; in training mode it updates the buffer
    `direction`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.direction: Tensor
        self.register_buffer("direction", F.normalize(torch.ones(self.out_channels), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        matrix = self.weight.flatten(1)
        # sums of products instead of matrix products, which autocast would run in bf16
        with torch.no_grad():
            right = F.normalize((matrix * self.direction[:, None]).sum(0), dim=0)
            left = F.normalize((matrix * right).sum(1), dim=0)
            if self.training:
                self.direction.copy_(left)
        singular_value = (matrix * left[:, None] * right).sum()
        return self._padded_conv(x, self.weight / singular_value)
