"""Generator G and encoder E (pix2pixHD, made local).

Two departures from the reference, both because of what it loses:

* Normalisation is per pixel over the channels, not per field over the pixels. A result then depends on its
  neighbourhood alone: any tiling gives the same image, no seams, no ripples on empty ground, and no stain lost.
* The condition (classes, boundaries, styles) enters again before the last two convolutions, which carry the
  colour; the encoder has no normalisation at all. Without both, reconstructed stains do not follow the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.synthesis.config import NetworkConfig, PaddingName
from smearsynth.synthesis.networks.convolutions import (
    AlignedConv,
    FewOutputsConv,
    SpectralConv,
    UpsamplingConv,
    aligned,
)


def pixel_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Divide (B, C, H, W) by the root mean square over the channels of a pixel, then scale and shift."""
    if x.dtype == torch.float32 and not x.is_cuda and not torch.compiler.is_compiling():
        if not torch.is_grad_enabled():
            return _pixel_normed(x, scale, shift)[0]
        if x.requires_grad and scale.dim() == 3:
            normed: Tensor = _PixelNormOnCpu.apply(x, scale, shift)
            return normed
    size = (x * x).mean(1, keepdim=True, dtype=torch.float32)
    return x * torch.rsqrt(size + 1e-6).to(x.dtype) * scale.to(x.dtype) + shift.to(x.dtype)


def _pixel_normed(x: Tensor, scale: Tensor, shift: Tensor, *, keep: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The result, x over its size, and one over that size, in few passes over memory: the cost on a CPU.

    Where x over its size is not kept, the result takes its place.
    """
    size = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_().div_(x.shape[1])
    inverse = size.add_(1e-6).rsqrt_()
    normed = x * inverse
    return torch.addcmul(shift, normed, scale, out=None if keep else normed), normed, inverse


class _PixelNormOnCpu(torch.autograd.Function):
    """`pixel_norm` with its gradient written out: half the passes over memory that PyTorch makes of it on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        result, normed, inverse = _pixel_normed(x, scale, shift, keep=True)
        ctx.save_for_backward(normed, inverse, scale)
        return result

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed, inverse, scale = ctx.saved_tensors
        product = slope * normed
        # d(x / r) = (dx − n mean(n dx)) / r, for the root mean square r and n = x / r
        mean = torch.einsum("bchw,c->bhw", product, scale.flatten() / scale.numel())[:, None]
        inner = (slope * scale).addcmul_(normed, mean, value=-1).mul_(inverse)
        return inner, product.sum((0, 2, 3))[:, None, None], slope.sum((0, 2, 3))[:, None, None]


class PixelNorm(nn.Module):
    """`pixel_norm` with a scale and a shift per channel, and with those that the condition adds (SPADE).

    The modulation comes from one 3×3 convolution of the condition: it sees its neighbours alone, so that tiles stay
    exact.

    Parameters
    ----------
    channels : int
    given : int
        Channels of the condition and the styles that modulate; 0 for none.
    """

    def __init__(self, channels: int, given: int = 0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.modulate = AlignedConv(given, 2 * channels, 3, padding=1) if given else None

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B, given, H, W) → the shape of the first."""
        if self.modulate is None or given is None:
            return pixel_norm(x, self.scale, self.shift)
        scale, shift = self.modulate(given).chunk(2, 1)
        return pixel_norm(x, self.scale.to(scale.dtype) + scale, self.shift.to(shift.dtype) + shift)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside an identity."""

    def __init__(self, channels: int, padding: PaddingName, given: int = 0) -> None:
        super().__init__()
        # numbered as in a sequence, for the files of older models
        self.body = nn.ModuleList(
            [
                nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding),
                PixelNorm(channels, given),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding),
                PixelNorm(channels, given),
            ]
        )

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, C, H, W) → the same shape."""
        conv, norm, relu, conv_too, norm_too = self.body
        inner: Tensor = norm_too(conv_too(relu(norm(conv(x), given))), given)
        return x + inner


class _Stage(nn.Module):
    """Convolution, noise of its own resolution, normalisation, ReLU."""

    def __init__(self, conv: nn.Conv2d, *, noisy: bool, given: int = 0) -> None:
        super().__init__()
        self.conv = conv
        self.norm = PixelNorm(conv.out_channels, given)
        self.noise_gain = nn.Parameter(torch.zeros(conv.out_channels, 1, 1)) if noisy else None

    def forward(self, x: Tensor, noise: Tensor | None = None, given: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if self.noise_gain is not None and noise is not None:
            x = torch.addcmul(x, self.noise_gain.to(x.dtype), noise.to(x.dtype))
        return F.relu(self.norm(x, given), inplace=True)


class Generator(nn.Module):
    """The global generator: condition, styles and noise → image.

    Field sizes must be multiples of ``2 ** downs`` and at least twice that; `sampling` pads and crops.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.downs = config.downs
        n, given = config.filters, config.condition_channels + config.style_channels
        self.first = _Stage(AlignedConv(given, n, 7, padding=3, padding_mode=config.padding), noisy=False)
        self.down = nn.ModuleList(
            _Stage(nn.Conv2d(n << k, n << (k + 1), 3, 2, 1), noisy=False) for k in range(config.downs)
        )
        modulating, coarse = given if config.modulation else 0, n << config.downs
        self.blocks = nn.ModuleList(ResidualBlock(coarse, config.padding, modulating) for _ in range(config.blocks))
        self.up = nn.ModuleList(
            _Stage(UpsamplingConv(n << k, n << (k - 1)), noisy=True, given=modulating)
            for k in range(config.downs, 0, -1)
        )
        self.mix = AlignedConv(n + given, 2 * n, 1)
        self.last = FewOutputsConv(2 * n, 3, 7, padding=3, padding_mode=config.padding)

    def forward(self, condition: Tensor, styles: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Paint an image.

        Parameters
        ----------
        condition : (B, condition_channels, H, W) float tensor
        styles : (B, style_channels, H, W) float tensor
        noise : sequence of (B, 1, H / 2**k, W / 2**k) float tensors
            Standard normal, for k = downs - 1, ..., 0.

        Returns
        -------
        (B, 3, H, W) float tensor
            RGB in [-1, 1].
        """
        given = aligned(condition, styles.to(condition.dtype))
        x = self.first(given)
        for stage in self.down:
            x = stage(x)
        coarse = [F.avg_pool2d(given, 1 << k) if self.config.modulation else None for k in range(self.downs, 0, -1)]
        for block in self.blocks:
            x = block(x, coarse[0])
        finer = (*coarse[1:], given if self.config.modulation else None)
        for stage, grain, own in zip(self.up, noise, finer, strict=True):
            x = stage(x, grain, own)
        x = F.relu(self.mix(torch.cat([x, given.to(x.dtype)], 1)), inplace=True)
        return torch.tanh(self.last(x))

    @property
    def reach(self) -> int:
        """Radius in px beyond which the input cannot change an output pixel, rounded up to the grid of 2**downs.

        The modulation enters later than the image of the condition, and reaches less far.
        """
        grid = 1 << self.downs
        radius = 3 + 3  # the two 7×7 layers
        radius += 2 * sum(1 << k for k in range(self.downs))  # down and up, 3×3 at every resolution
        radius += (2 * len(self.blocks) + 1) * grid  # residual blocks, and the coarse pixel itself
        return -(-radius // grid) * grid


class Encoder(nn.Module):
    """Feature encoder E: image → features, which `pool_instances` turns into one style per instance.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n = config.filters
        self.body = nn.Sequential(
            AlignedConv(3, n, 7, padding=3),
            nn.LeakyReLU(0.2),
            nn.Conv2d(n, 2 * n, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * n, 2 * n, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.last = AlignedConv(2 * n, config.style_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → (B, style_channels, H, W) in [-1, 1]; any size."""
        features = self.last(self.body(aligned(image)))
        # interpolated after the last layer: a style is a mean, it needs no fine detail
        return torch.tanh(F.interpolate(features, size=image.shape[-2:], mode="nearest"))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of all convolutions: N(0, 0.02), and He's law for an encoder, which has no norm."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if isinstance(module, Encoder):
                nn.init.kaiming_normal_(layer.weight, a=0.2, generator=generator)
            else:
                nn.init.normal_(layer.weight, 0.0, 0.02, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            if isinstance(layer, SpectralConv):
                layer.direction.normal_(generator=generator).div_(layer.direction.norm())


def draw_noise(
    shape: tuple[int, int, int], downs: int, generator: torch.Generator, device: torch.device | None = None
) -> list[Tensor]:
    """Noise inputs of G for (B, H, W), coarse to fine, drawn on the device of the random generator."""
    b, h, w = shape
    return [
        torch.randn(b, 1, h >> k, w >> k, generator=generator, device=generator.device).to(
            device or generator.device
        )
        for k in range(downs - 1, -1, -1)
    ]


def field_noise(seed: int, downs: int, rows: slice, columns: slice, device: torch.device) -> list[Tensor]:
    """Noise inputs of G for a window of a field, coarse to fine: a pure function of seed, resolution and place.

    A pixel gets the same noise in whatever window it lies and on whatever device, and no memory is needed beyond
    the window. Hash: SplitMix64 (Steele et al. 2014); normal law: Box and Muller.

    Parameters
    ----------
    seed : int
        From 0 to 2**63 - 1.
    downs : int
    rows, columns : slice
        Window in px of the full resolution, on the grid of ``2 ** downs``.
    device : torch.device

    Returns
    -------
    list of (1, 1, h, w) float32 tensors
    """
    levels = []
    for k in range(downs - 1, -1, -1):
        y = torch.arange(rows.start >> k, rows.stop >> k, device=device)[:, None]
        x = torch.arange(columns.start >> k, columns.stop >> k, device=device)[None]
        # 2**30 px a side and 2**4 resolutions keep apart; products wrap around as they must
        bits = _mixed(_mixed(((y << 30) + x) + (k << 60)) ^ seed)
        radius = torch.sqrt(-2 * torch.log(((bits >> 40 & 0xFFFFFF).float() + 0.5) / 2**24))
        angle = (bits >> 16 & 0xFFFFFF).float() * (2 * math.pi / 2**24)
        levels.append((radius * torch.cos(angle))[None, None])
    return levels


def _mixed(z: Tensor) -> Tensor:
    """The output function of SplitMix64 on 64-bit integers; shifts are made logical by masks."""
    z = z + -0x61C8864680B583EB
    z = (z ^ (z >> 30 & 0x3_FFFF_FFFF)) * -0x40A7B892E31B1A47
    z = (z ^ (z >> 27 & 0x1F_FFFF_FFFF)) * -0x6B2FB644ECCEEE15
    return z ^ (z >> 31 & 0x1_FFFF_FFFF)
