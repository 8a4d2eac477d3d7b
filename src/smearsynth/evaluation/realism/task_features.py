"""Image features self-trained on smears: those of a segmentation model, for the perceptual loss and for KID."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smearsynth.synthesis.networks.features import PerceptualFeatures
from smearsynth.tasks.fcn import Fcn8s
from smearsynth.tasks.folder import weights_hash
from smearsynth.tasks.segmentation import Segmentation

_STILL = 0.003  # fine detail of a map that hardly changes: less is no difference


class SegmentationFeatures(PerceptualFeatures):
    """The first four stages of VGG16 as a segmentation model has learned them, each as it enters its pool.

    Group norm holds each map near a deviation of one half, so that a weight means about the same on every stage.

    Parameters
    ----------
    network : Fcn8s
        Its layers are copied; the network itself stays as it is.
    name : str
        What results call them.
    """

    weights = (1 / 8, 1 / 4, 1 / 2, 1.0)

    def __init__(self, network: Fcn8s, name: str) -> None:
        super().__init__()
        self.name = name
        # all but the pool that each ends with
        layers = [list(stage.children())[:-1] for stage in (*network.to_pool3, network.to_pool4)]
        self.stages = nn.ModuleList(nn.Sequential(*copy.deepcopy(stage)) for stage in layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [-1, 1], sides of 8 px at least → maps at full, 1/2, 1/4 and 1/8 resolution."""
        outputs: list[Tensor] = []
        for stage in self.stages:
            outputs.append(stage(F.max_pool2d(outputs[-1], 2) if outputs else image))
        return outputs

    def vectors(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1] → (B, d): of every map the mean, and the logarithm of its fine detail.

        A segmenter learns to overlook noise and focus, and group norm holds the means: these alone do not tell
        smears from the same ones with noise of 12 grey levels. What changes from pixel to pixel does.
        """
        parts = []
        for stage in self(image):
            fine = _without_trend(_without_trend(stage)).abs().mean((2, 3))
            parts += [stage.mean((2, 3)), torch.log(fine + _STILL)]
        return torch.cat(parts, 1)


def perceptual_features(model: Segmentation) -> PerceptualFeatures:
    """The features of a segmentation model, frozen, on the device of the model.

    They have seen smears and nothing else; EfficientNet-Lite0 has seen photographs. Their name holds the beginning
    of the hash of the weights, which config.json of the model folder has in full.

    Parameters
    ----------
    model : Segmentation
        Fitted on real smears.

    Returns
    -------
    PerceptualFeatures

    Examples
    --------
    >>> features = perceptual_features(Segmentation.preset("tiny", seed=1))
    >>> features.name[:19]
    'segmentation model '
    """
    name = f"{model.name} model {weights_hash(model)[:12]}"
    return SegmentationFeatures(model.network, name).requires_grad_(False).eval()


def _without_trend(maps: Tensor) -> Tensor:
    """What is left of maps (B, C, H, W) when the mean of each 3×3 neighbourhood is taken away."""
    return maps - F.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
