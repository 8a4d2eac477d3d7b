"""The discriminators: multi-scale patch discriminators (pix2pixHD) and a per-pixel label discriminator (OASIS)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.networks.convolutions import AlignedConv, SpectralConv, concatenate_aligned
from smearsynth.synthesis.networks.normalisation import InstanceNorm

_FINE_CHANNELS = 8  # channels of the label discriminator at full resolution, where they cost most


class DiscriminatorOutput(NamedTuple):
    """Outputs of all discriminators for a batch of images.

    Parameters
    ----------
    scales : list of lists of tensors
        Outputs of every layer at each scale; the last one is the score map.
    pixels : (B, classes + 2, H, W) tensor or None
        Logits of every pixel: fake, background, then the classes. None without a label discriminator.
    """

    scales: list[list[Tensor]]
    pixels: Tensor | None

    def split(self) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        """Return the outputs of the first and the second half of the batch."""
        first, second = (
            DiscriminatorOutput(
                [[layer.chunk(2)[k] for layer in scale] for scale in self.scales],
                None if self.pixels is None else self.pixels.chunk(2)[k],
            )
            for k in (0, 1)
        )
        return first, second


class _PatchDiscriminator(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n, last = config.discriminator_filters, config.discriminator_layers
        spectral = config.discriminator_norm == "spectral"
        conv_type = SpectralConv if spectral else AlignedConv
        widths = [min(n << k, 8 * n) for k in range(last + 1)]
        layers: list[nn.Module] = [
            nn.Sequential(conv_type(config.condition_channels + 3, n, 4, 2, 2), nn.LeakyReLU(0.2))
        ]
        for k in range(1, last + 1):
            conv = conv_type(widths[k - 1], widths[k], 4, 2 if k < last else 1, 2)
            norm = [] if spectral else [InstanceNorm()]
            layers.append(nn.Sequential(conv, *norm, nn.LeakyReLU(0.2)))
        layers.append(conv_type(widths[last], 1, 4, 1, 2))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class LabelDiscriminator(nn.Module):
    """A discriminator that classifies every pixel of an image as fake, background or its cell class.

    It localises where an image contradicts its labels. A small U-Net as in Sushko et al. 2021, with spectral
    normalisation of all convolutions but the last, and no normalisation over the field.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n, fine = config.discriminator_filters, _FINE_CHANNELS
        widths = (3, n, 2 * n, 4 * n)
        self.down = nn.ModuleList(SpectralConv(widths[k], widths[k + 1], 4, 2, 1) for k in range(3))
        self.up = nn.ModuleList(
            [
                SpectralConv(4 * n + 2 * n, n, 3, 1, 1),
                SpectralConv(n + n, fine, 3, 1, 1),
                SpectralConv(fine + 3, fine, 3, 1, 1),
            ]
        )
        self.last = AlignedConv(fine, len(config.class_names) + 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B, classes + 2, H, W): fake, background, classes; sides multiples of 8."""
        skips = [concatenate_aligned(image)]
        for layer in self.down:
            skips.append(F.leaky_relu(layer(skips[-1]), 0.2))
        x = skips.pop()
        for layer in self.up:
            skip = skips.pop().to(x.dtype)
            if not skips:
                skip = skip[:, :3]  # the image without the channels added for alignment
            x = concatenate_aligned(F.interpolate(x, scale_factor=2.0, mode="nearest"), skip)
            x = F.leaky_relu(layer(x), 0.2)
        logits: Tensor = self.last(x)
        return logits


class Discriminators(nn.Module):
    """Patch discriminators at full resolution, half of it, and so on, and the label discriminator if there is one.

    The patch discriminators see classes, boundaries and image, but not the styles. The label discriminator sees
    only the image.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_PatchDiscriminator(config) for _ in range(config.discriminator_scales))
        self.labels = LabelDiscriminator(config) if config.label_discriminator else None

    def forward(self, condition: Tensor, image: Tensor) -> DiscriminatorOutput:
        """Return the outputs for (B, condition_channels, H, W) conditions and (B, 3, H, W) images."""
        x = concatenate_aligned(condition, image.to(condition.dtype))
        outputs = []
        for k, scale in enumerate(self.scales):
            if k:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            outputs.append(scale(x))
        return DiscriminatorOutput(outputs, None if self.labels is None else self.labels(image))
