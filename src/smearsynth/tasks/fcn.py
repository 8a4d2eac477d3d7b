"""FCN-8s (Long, Shelhamer, Darrell 2015) on the layers of VGG16, and the paper's loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from smearsynth.smear import ImageArray, Smear, check_image
from smearsynth.tasks.config import FcnConfig

# Filters of VGG16's stages relative to those of the first, and convolutions in each (Simonyan, Zisserman 2015).
_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
_STRIDE = 32


class Fcn8s(nn.Module):
    """FCN-8s: convolutions of VGG16, its classifier as two convolutions, and scores of pool4 and pool3.

    When trained from scratch, every convolution needs normalisation. Batch normalisation would see few fields per
    step; group normalisation treats each field alone in training and in use.

    Parameters
    ----------
    config : FcnConfig
    outputs : int
        Number of output maps.

    Examples
    --------
    >>> network = Fcn8s(FcnConfig(filters=8, head=16), 2)
    >>> tuple(network(torch.zeros(1, 3, 50, 70)).shape)
    (1, 2, 50, 70)
    """

    def __init__(self, config: FcnConfig, outputs: int = 1) -> None:
        super().__init__()

        def layer(inputs: int, filters: int, kernel: int) -> nn.Module:
            layer: nn.Module = Conv2dNormActivation(inputs, filters, kernel, norm_layer=norm)
            return layer

        def norm(filters: int) -> nn.Module:
            return nn.GroupNorm(gcd(config.groups, filters, max(filters // 4, 1)), filters)

        stages, inputs = [], 3
        for factor, convolutions in _STAGES:
            filters = config.filters * factor
            layers = [layer(inputs if k == 0 else filters, filters, 3) for k in range(convolutions)]
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            inputs = filters
        maps = outputs * config.maps
        self.to_pool3 = nn.Sequential(*stages[:3])
        self.to_pool4, to_pool5 = stages[3], stages[4]
        self.deep = nn.Sequential(
            to_pool5,
            layer(inputs, config.head, 7),
            nn.Dropout2d(config.dropout),
            layer(config.head, config.head, 1),
            nn.Dropout2d(config.dropout),
            nn.Conv2d(config.head, maps, 1),
        )
        self.score_pool3 = nn.Conv2d(4 * config.filters, maps, 1)
        self.score_pool4 = nn.Conv2d(8 * config.filters, maps, 1)
        self.double_deep, self.double_fused = _upsampling(maps, 2), _upsampling(maps, 2)
        self.eightfold = _fusing_upsampling(outputs, config.maps, 8)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits (B, outputs, H, W) of images (B, 3, H, W) in [-1, 1] of any size."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % _STRIDE, 0, -height % _STRIDE), mode="replicate")
        pool3 = self.to_pool3(padded)
        pool4 = self.to_pool4(pool3)
        fused = self.double_deep(self.deep(pool4)) + self.score_pool4(pool4)
        fused = self.double_fused(fused) + self.score_pool3(pool3)
        logits: Tensor = self.eightfold(fused)
        return logits[..., :height, :width]


def _upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Learned upsampling, initialised with bilinear interpolation (FCN paper, section 3.3)."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, factor // 2, bias=False)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        for k in range(channels):
            layer.weight[k, k] = _ramp(factor)
    return layer


def _fusing_upsampling(outputs: int, maps: int, factor: int) -> nn.ConvTranspose2d:
    """As `_upsampling`, from `maps` maps to each output; initially only the first map contributes."""
    layer = nn.ConvTranspose2d(outputs * maps, outputs, 2 * factor, factor, factor // 2, groups=outputs, bias=False)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.weight[::maps] = _ramp(factor)
    return layer


def _ramp(factor: int) -> Tensor:
    """Return the weights of bilinear interpolation, (2 factor, 2 factor)."""
    ramp = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor
    return ramp[:, None] * ramp


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Compute 1 − DSC, equation 8 of the paper, with probabilities for p and the whole batch as one vector.

    Parameters
    ----------
    logits : (B, H, W) float tensor
    target : (B, H, W) bool tensor
    valid : (B, H, W) bool tensor
        False for padding and ignored pixels.

    Examples
    --------
    >>> target = torch.tensor([[[True, False]]])
    >>> good, bad = torch.tensor([[[9.0, -9.0]]]), torch.tensor([[[-9.0, 9.0]]])
    >>> valid = torch.ones_like(target)
    >>> bool(dice_loss(good, target, valid) < 0.01), bool(dice_loss(bad, target, valid) > 0.6)
    (True, True)
    """
    p = logits.float().sigmoid() * valid
    t = (target & valid).to(p.dtype)
    # one added pixel in numerator and denominator gives a gradient for batches without cells too
    return 1 - (2 * (p * t).sum() + 1) / (p.square().sum() + t.sum() + 1)


class FieldBatch(NamedTuple):
    """Smears of one training step, padded to the size of the largest.

    Parameters
    ----------
    images : (B, 3, H, W) float32 tensor
        RGB in [-1, 1].
    valid : (B, H, W) bool tensor
        False for padding and ignored pixels.
    """

    images: Tensor
    valid: Tensor


def collate(smears: Sequence[Smear], device: torch.device) -> FieldBatch:
    """Stack smears of different sizes."""
    height, width = (max(side) for side in zip(*(smear.shape for smear in smears), strict=True))
    pixels = np.stack([_padded(smear.image, height, width) for smear in smears])
    valid = np.zeros(pixels.shape[:3], bool)
    for row, smear in zip(valid, smears, strict=True):
        row[: smear.shape[0], : smear.shape[1]] = True if smear.ignored is None else ~smear.ignored
    return FieldBatch(as_input(pixels, device), torch.from_numpy(valid).to(device))


def collate_masks(masks: Sequence[npt.NDArray[np.bool_]], batch: FieldBatch) -> Tensor:
    """Stack masks like the smears of a batch, (B, H, W) bool on the same device."""
    stacked = torch.zeros(batch.valid.shape, dtype=torch.bool)
    for row, mask in zip(stacked, masks, strict=True):
        row[: mask.shape[0], : mask.shape[1]] = torch.from_numpy(mask)
    return stacked.to(batch.valid.device)


def as_input(pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Convert RGB (B, H, W, 3) uint8 to the input of the networks, (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def probabilities(network: Fcn8s, image: ImageArray) -> npt.NDArray[np.float32]:
    """Apply a network to an image (H, W, 3); return probabilities (outputs, H, W) in [0, 1]."""
    check_image(image)
    device = next(network.parameters()).device
    network.eval()
    maps: npt.NDArray[np.float32] = network(as_input(image[None], device))[0].sigmoid().cpu().numpy()
    return maps


def _padded(image: ImageArray, height: int, width: int) -> ImageArray:
    if image.shape[:2] == (height, width):
        return image
    return np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
