"""The discriminators: multi-scale patches (pix2pixHD), and one that names the class of every pixel (OASIS)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.networks.convolutions import AlignedConv, SpectralConv, aligned

_FINE = 8  # channels of the label-aware discriminator at full resolution


class Judgement(NamedTuple):
    """What the discriminators say of images.

    Parameters
    ----------
    scales : list of lists of tensors
        Outputs of every layer per scale; the last of each is the score map.
    pixels : (B, classes + 2, H, W) tensor or None
        Logits of every pixel: fake, background, then the classes; None without a label-aware discriminator.
    """

    scales: list[list[Tensor]]
    pixels: Tensor | None

    def split(self) -> tuple[Judgement, Judgement]:
        """The two halves of the batch."""
        halves = (
            Judgement(
                [[layer.chunk(2)[k] for layer in scale] for scale in self.scales],
                None if self.pixels is None else self.pixels.chunk(2)[k],
            )
            for k in (0, 1)
        )
        return next(halves), next(halves)


def instance_norm(x: Tensor) -> Tensor:
    """Bring every channel of (B, C, H, W) to mean 0 and deviation 1 over the field."""
    variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
    return ((x - mean) * torch.rsqrt(variance + 1e-5)).to(x.dtype)


class InstanceNorm(nn.Module):
    """`instance_norm` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        return instance_norm(x)


class _PatchDiscriminator(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n, last = config.discriminator_filters, config.discriminator_layers
        spectral = config.discriminator_norm == "spectral"
        conv = SpectralConv if spectral else AlignedConv
        widths = [min(n << k, 8 * n) for k in range(last + 1)]
        layers: list[nn.Module] = [
            nn.Sequential(conv(config.condition_channels + 3, n, 4, 2, 2), nn.LeakyReLU(0.2))
        ]
        for k in range(1, last + 1):
            own = conv(widths[k - 1], widths[k], 4, 2 if k < last else 1, 2)
            norm = [] if spectral else [InstanceNorm()]
            layers.append(nn.Sequential(own, *norm, nn.LeakyReLU(0.2)))
        layers.append(conv(widths[last], 1, 4, 1, 2))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class LabelDiscriminator(nn.Module):
    """Image alone → class of every pixel, or fake: what contradicts its labels is found out where it does.

    A small U-Net after Sushko et al. 2021; spectral norms throughout, none over the field.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n = config.discriminator_filters
        widths, fine = (3, n, 2 * n, 4 * n), _FINE
        self.down = nn.ModuleList(SpectralConv(widths[k], widths[k + 1], 4, 2, 1) for k in range(3))
        # few channels at full resolution, where they cost most
        self.up = nn.ModuleList(
            [
                SpectralConv(4 * n + 2 * n, n, 3, 1, 1),
                SpectralConv(n + n, fine, 3, 1, 1),
                SpectralConv(fine + 3, fine, 3, 1, 1),
            ]
        )
        self.last = AlignedConv(fine, len(config.class_names) + 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, classes + 2, H, W) logits: fake, background, classes; sides multiples of 8."""
        passed = [aligned(image)]
        for layer in self.down:
            passed.append(F.leaky_relu(layer(passed[-1]), 0.2))
        x = passed.pop()
        for layer in self.up:
            beside = passed.pop().to(x.dtype)
            x = aligned(F.interpolate(x, scale_factor=2.0, mode="nearest"), beside[:, :3] if not passed else beside)
            x = F.leaky_relu(layer(x), 0.2)
        logits: Tensor = self.last(x)
        return logits


class Discriminators(nn.Module):
    """D1, D2, ...: patch discriminators at full resolution, half, and so on; and the label-aware one, if any.

    They see classes, boundaries and image, not the styles; the label-aware one the image alone.

    Parameters
    ----------
    config : NetworkConfig
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_PatchDiscriminator(config) for _ in range(config.discriminator_scales))
        self.labels = LabelDiscriminator(config) if config.label_discriminator else None

    def forward(self, condition: Tensor, image: Tensor) -> Judgement:
        """Judge (B, condition_channels, H, W) conditions with (B, 3, H, W) images."""
        x = aligned(condition, image.to(condition.dtype))
        outputs = []
        for k, scale in enumerate(self.scales):
            if k:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            outputs.append(scale(x))
        return Judgement(outputs, None if self.labels is None else self.labels(image))
