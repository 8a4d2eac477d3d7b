"""Generator G and encoder E: those of pix2pixHD with a local receptive field.

They differ from the reference in two points:

* Normalisation is per pixel over the channels, not per channel over the field. The output at a pixel then depends
  on its neighbourhood only: any tiling gives the same image without seams, empty background has no ripples, and no
  stain is lost.
* The condition (classes, boundaries, styles) is also an input of the last two convolutions, which determine the
  colour, and the encoder has no normalisation. Without both, reconstructed stains do not follow the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.synthesis.config import NetworkConfig, PaddingName
from smearsynth.synthesis.networks.convolutions import (
    AlignedConv,
    FewOutputsConv,
    SpectralConv,
    UpsamplingConv,
    concatenate_aligned,
)
from smearsynth.synthesis.networks.normalisation import PixelNorm


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with normalisation and a skip connection.

    Parameters
    ----------
    channels : int
    padding : {"reflect", "zeros"}
    modulating_channels : int
        Channels of condition and styles that modulate the normalisation; 0 for no modulation.
    """

    def __init__(self, channels: int, padding: PaddingName, modulating_channels: int = 0) -> None:
        super().__init__()
        # the indices are keys in the weight files
        self.body = nn.ModuleList(
            [
                nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding),
                PixelNorm(channels, modulating_channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding),
                PixelNorm(channels, modulating_channels),
            ]
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to the same shape; the condition, if any, is (B, modulating_channels, H, W)."""
        first_conv, first_norm, relu, second_conv, second_norm = self.body
        inner: Tensor = second_norm(second_conv(relu(first_norm(first_conv(x), condition))), condition)
        return x + inner


class _Stage(nn.Module):
    """Convolution, added noise of the output resolution, normalisation, ReLU."""

    def __init__(self, conv: nn.Conv2d, *, noisy: bool, modulating_channels: int = 0) -> None:
        super().__init__()
        self.conv = conv
        self.norm = PixelNorm(conv.out_channels, modulating_channels)
        self.noise_gain = nn.Parameter(torch.zeros(conv.out_channels, 1, 1)) if noisy else None

    def forward(self, x: Tensor, noise: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        x = self.conv(x)
        if self.noise_gain is not None and noise is not None:
            x = torch.addcmul(x, self.noise_gain.to(x.dtype), noise.to(x.dtype))
        return F.relu(self.norm(x, condition), inplace=True)


class Generator(nn.Module):
    """The global generator: condition, styles and noise to image.

    Height and width must be multiples of ``2 ** downs`` and at least twice that; `paint_field` pads and crops.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.downs = config.downs
        n, inputs = config.filters, config.condition_channels + config.style_channels
        self.first = _Stage(AlignedConv(inputs, n, 7, padding=3, padding_mode=config.padding), noisy=False)
        self.down = nn.ModuleList(
            _Stage(nn.Conv2d(n << k, n << (k + 1), 3, 2, 1), noisy=False) for k in range(config.downs)
        )
        modulating, coarse = inputs if config.modulation else 0, n << config.downs
        self.blocks = nn.ModuleList(ResidualBlock(coarse, config.padding, modulating) for _ in range(config.blocks))
        self.up = nn.ModuleList(
            _Stage(UpsamplingConv(n << k, n << (k - 1)), noisy=True, modulating_channels=modulating)
            for k in range(config.downs, 0, -1)
        )
        self.mix = AlignedConv(n + inputs, 2 * n, 1)
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
        inputs = concatenate_aligned(condition, styles.to(condition.dtype))
        x = self.first(inputs)
        for stage in self.down:
            x = stage(x)
        # the condition at every resolution, from coarse to fine
        conditions = [
            F.avg_pool2d(inputs, 1 << k) if self.config.modulation else None for k in range(self.downs, 0, -1)
        ]
        conditions.append(inputs if self.config.modulation else None)
        for block in self.blocks:
            x = block(x, conditions[0])
        for stage, level_noise, level_condition in zip(self.up, noise, conditions[1:], strict=True):
            x = stage(x, level_noise, level_condition)
        x = F.relu(self.mix(torch.cat([x, inputs.to(x.dtype)], 1)), inplace=True)
        return torch.tanh(self.last(x))

    @property
    def reach(self) -> int:
        """Radius of the receptive field in px, rounded up to a multiple of 2**downs.

        The modulation enters at later layers than the first convolution, so it does not increase the radius.
        """
        grid = 1 << self.downs
        radius = 3 + 3  # the two 7×7 layers
        radius += 2 * sum(1 << k for k in range(self.downs))  # down and up, 3×3 at every resolution
        radius += (2 * len(self.blocks) + 1) * grid  # residual blocks, and the coarse pixel itself
        return -(-radius // grid) * grid


class Encoder(nn.Module):
    """Feature encoder E: image to features, whose mean over an instance is its style (`pool_instances`).

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
        """Map images (B, 3, H, W) in [-1, 1] to features (B, style_channels, H, W) in [-1, 1], of any size."""
        features = self.last(self.body(concatenate_aligned(image)))
        # Upsampled after the last layer: styles are means and need no fine detail.
        return torch.tanh(F.interpolate(features, size=image.shape[-2:], mode="nearest"))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of all convolutions: N(0, 0.02), or He initialisation for an encoder (no normalisation)."""
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
