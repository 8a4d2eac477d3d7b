"""Generator G, encoder E and the multi-scale discriminators D1, D2 (pix2pixHD, made local).

Two departures from the reference, both because of what it loses:

* Normalisation is per pixel over the channels, not per field over the pixels. A result then depends on its
  neighbourhood alone: any tiling gives the same image, no seams, no ripples on empty ground, and no stain lost.
* The condition (classes, boundaries, styles) enters again before the last two convolutions, which carry the
  colour; the encoder has no normalisation at all. Without both, reconstructed stains do not follow the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.synthesis.config import NetworkConfig


class PixelNorm(nn.Module):
    """Divide by the root mean square over the channels of a pixel, then scale and shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        size = (x * x).mean(1, keepdim=True, dtype=torch.float32)
        return x * torch.rsqrt(size + 1e-6).to(x.dtype) * self.scale.to(x.dtype) + self.shift.to(x.dtype)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            PixelNorm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            PixelNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        return x + self.body(x)  # type: ignore[no-any-return]


class _Stage(nn.Module):
    """Convolution, noise of its own resolution, normalisation, ReLU."""

    def __init__(self, conv: nn.Conv2d, *, noisy: bool) -> None:
        super().__init__()
        self.conv = conv
        self.norm = PixelNorm(conv.out_channels)
        self.noise_gain = nn.Parameter(torch.zeros(conv.out_channels, 1, 1)) if noisy else None

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if self.noise_gain is not None and noise is not None:
            x = x + self.noise_gain.to(x.dtype) * noise.to(x.dtype)
        return F.relu(self.norm(x))


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
        self.first = _Stage(nn.Conv2d(given, n, 7, padding=3, padding_mode="reflect"), noisy=False)
        self.down = nn.ModuleList(
            _Stage(nn.Conv2d(n << k, n << (k + 1), 3, 2, 1), noisy=False) for k in range(config.downs)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(n << config.downs) for _ in range(config.blocks)))
        # nearest-neighbour upsampling before a plain convolution: transposed ones leave checkerboards
        self.up = nn.ModuleList(
            _Stage(nn.Conv2d(n << k, n << (k - 1), 3, padding=1), noisy=True) for k in range(config.downs, 0, -1)
        )
        self.mix = nn.Conv2d(n + given, 2 * n, 1)
        self.last = nn.Conv2d(2 * n, 3, 7, padding=3, padding_mode="reflect")

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
        given = torch.cat([condition, styles.to(condition.dtype)], 1)
        x = self.first(given)
        for stage in self.down:
            x = stage(x)
        x = self.blocks(x)
        for stage, grain in zip(self.up, noise, strict=True):
            x = stage(F.interpolate(x, scale_factor=2.0, mode="nearest"), grain)
        x = F.relu(self.mix(torch.cat([x, given.to(x.dtype)], 1)))
        return torch.tanh(self.last(x))

    @property
    def reach(self) -> int:
        """Radius in px beyond which the input cannot change an output pixel, rounded up to the grid of 2**downs."""
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
            nn.Conv2d(3, n, 7, padding=3),
            nn.LeakyReLU(0.2),
            nn.Conv2d(n, 2 * n, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * n, 2 * n, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Conv2d(2 * n, config.style_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → (B, style_channels, H, W) in [-1, 1]; any size."""
        features = self.last(self.body(image))
        # interpolated after the last layer: a style is a mean, it needs no fine detail
        return torch.tanh(F.interpolate(features, size=image.shape[-2:], mode="nearest"))


class _PatchDiscriminator(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n, last = config.discriminator_filters, config.discriminator_layers
        widths = [min(n << k, 8 * n) for k in range(last + 1)]
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(config.condition_channels + 3, n, 4, 2, 2), nn.LeakyReLU(0.2))
        ]
        for k in range(1, last + 1):
            stride = 2 if k < last else 1
            conv = nn.Conv2d(widths[k - 1], widths[k], 4, stride, 2)
            layers.append(nn.Sequential(conv, nn.InstanceNorm2d(widths[k]), nn.LeakyReLU(0.2)))
        layers.append(nn.Conv2d(widths[last], 1, 4, 1, 2))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class Discriminators(nn.Module):
    """D1, D2, ...: patch discriminators at full resolution, half, and so on.

    They see classes, boundaries and image, not the styles.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_PatchDiscriminator(config) for _ in range(config.discriminator_scales))

    def forward(self, condition: Tensor, image: Tensor) -> list[list[Tensor]]:
        """Outputs of every layer per scale; the last of each is the score map."""
        x = torch.cat([condition, image.to(condition.dtype)], 1)
        outputs = []
        for k, scale in enumerate(self.scales):
            if k:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            outputs.append(scale(x))
        return outputs


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
