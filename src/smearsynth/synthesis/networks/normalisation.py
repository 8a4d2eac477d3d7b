"""Normalisation per pixel over the channels (generator) and per channel over the field (discriminators)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smearsynth.synthesis.networks.convolutions import AlignedConv


def pixel_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Divide each pixel of (B, C, H, W) by its root mean square over the channels, then scale and shift.

    Parameters
    ----------
    x : (B, C, H, W) float tensor
    scale, shift : (C, 1, 1) or (B, C, H, W) float tensors

    Returns
    -------
    (B, C, H, W) float tensor

    Examples
    --------
    >>> x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    >>> [round(value, 3) for value in pixel_norm(x, torch.ones(2, 1, 1), torch.zeros(2, 1, 1)).flatten().tolist()]
    [0.849, 1.131]
    """
    if x.dtype == torch.float32 and not x.is_cuda and not torch.compiler.is_compiling():
        if not torch.is_grad_enabled():
            return _pixel_norm_cpu(x, scale, shift)[0]
        if x.requires_grad and scale.dim() == 3:
            normed: Tensor = _PixelNormOnCpu.apply(x, scale, shift)
            return normed
    mean_square = (x * x).mean(1, keepdim=True, dtype=torch.float32)
    return x * torch.rsqrt(mean_square + 1e-6).to(x.dtype) * scale.to(x.dtype) + shift.to(x.dtype)


def _pixel_norm_cpu(
    x: Tensor, scale: Tensor, shift: Tensor, *, keep_normed: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result, the normalised x and one over its root mean square.

    The cost on a CPU is the number of passes over memory. Unless `keep_normed`, the result overwrites the
    normalised x.
    """
    mean_square = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_().div_(x.shape[1])
    inverse = mean_square.add_(1e-6).rsqrt_()
    normed = x * inverse
    return torch.addcmul(shift, normed, scale, out=None if keep_normed else normed), normed, inverse


class _PixelNormOnCpu(torch.autograd.Function):
    """`pixel_norm` with an explicit gradient, which needs half of autograd's passes over memory on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        result, normed, inverse = _pixel_norm_cpu(x, scale, shift, keep_normed=True)
        ctx.save_for_backward(normed, inverse, scale)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed, inverse, scale = ctx.saved_tensors
        product = gradient * normed
        # d(x / r) = (dx - n mean(n dx)) / r, with the root mean square r and n = x / r
        mean = torch.einsum("bchw,c->bhw", product, scale.flatten() / scale.numel())[:, None]
        x_gradient = (gradient * scale).addcmul_(normed, mean, value=-1).mul_(inverse)
        return x_gradient, product.sum((0, 2, 3))[:, None, None], gradient.sum((0, 2, 3))[:, None, None]


class PixelNorm(nn.Module):
    """`pixel_norm` with a learned scale and shift per channel, optionally modulated by the condition (SPADE).

    The modulation is one 3×3 convolution of the condition. It only reads the neighbouring pixels, so tiles are
    exact.

    Parameters
    ----------
    channels : int
    modulating_channels : int
        Channels of condition and styles; 0 for no modulation.
    """

    def __init__(self, channels: int, modulating_channels: int = 0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.modulate = (
            AlignedConv(modulating_channels, 2 * channels, 3, padding=1) if modulating_channels else None
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalise (B, C, H, W); the condition, if any, is (B, modulating_channels, H, W)."""
        if self.modulate is None or condition is None:
            return pixel_norm(x, self.scale, self.shift)
        scale, shift = self.modulate(condition).chunk(2, 1)
        return pixel_norm(x, self.scale.to(scale.dtype) + scale, self.shift.to(shift.dtype) + shift)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise every channel of (B, C, H, W) to mean 0 and standard deviation 1 over the field."""
    variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
    return ((x - mean) * torch.rsqrt(variance + 1e-5)).to(x.dtype)


class InstanceNorm(nn.Module):
    """`instance_norm` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        return instance_norm(x)
