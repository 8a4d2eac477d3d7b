"""Image features of a segmentation model trained on smears, for the perceptual loss and for KID."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smearsynth.errors import OptionError
from smearsynth.synthesis.networks.features import PerceptualFeatures, load_features
from smearsynth.tasks.fcn import Fcn8s
from smearsynth.tasks.folder import weights_hash
from smearsynth.tasks.registry import load_segmentation
from smearsynth.tasks.segmentation import Segmentation

# Added to the fine detail before the logarithm: it suppresses differences between maps that are almost constant.
_DETAIL_OFFSET = 0.003


class SegmentationFeatures(PerceptualFeatures):
    """The first four stages of a trained VGG16, each without its pooling layer.

    Group norm keeps the standard deviation of every map near 0.5, so a loss weight has about the same effect on
    every stage.

    Parameters
    ----------
    network : Fcn8s
        The layers are copied; the network is not changed.
    name : str
        Name of the features in results.
    """

    weights = (1 / 8, 1 / 4, 1 / 2, 1.0)

    def __init__(self, network: Fcn8s, name: str) -> None:
        super().__init__()
        self.name = name
        # every stage ends with its pooling layer
        layers = [list(stage.children())[:-1] for stage in (*network.to_pool3, network.to_pool4)]
        self.stages = nn.ModuleList(nn.Sequential(*copy.deepcopy(stage)) for stage in layers)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the feature maps.

        Parameters
        ----------
        image : (B, 3, H, W) float tensor
            RGB in [-1, 1]; H and W at least 8 px.

        Returns
        -------
        list of (B, C, h, w) tensors
            At full, 1/2, 1/4 and 1/8 resolution.
        """
        outputs: list[Tensor] = []
        for stage in self.stages:
            outputs.append(stage(F.max_pool2d(outputs[-1], 2) if outputs else image))
        return outputs

    def vectors(self, image: Tensor) -> Tensor:
        """Compute one vector per image: the mean of every map, and the logarithm of its fine detail.

        A segmenter is trained to ignore noise and focus, and group norm fixes the means. The means alone do not
        separate smears from the same smears with noise of 12 grey levels; differences between neighbouring pixels
        do.

        Parameters
        ----------
        image : (B, 3, H, W) float tensor
            RGB in [-1, 1].

        Returns
        -------
        (B, d) tensor
        """
        parts = []
        for stage in self(image):
            detail = _subtract_local_mean(_subtract_local_mean(stage)).abs().mean((2, 3))
            parts += [stage.mean((2, 3)), torch.log(detail + _DETAIL_OFFSET)]
        return torch.cat(parts, 1)


def perceptual_features(model: Segmentation) -> PerceptualFeatures:
    """Return the features of a segmentation model, frozen, on the device of the model.

    They are trained on smears only, EfficientNet-Lite0 on photographs. Their name holds the first digits of the
    hash of the weights; config.json of the model folder holds all of it.

    Parameters
    ----------
    model : Segmentation
        Trained on real smears.

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


def resolve_features(features: PerceptualFeatures | Path | str) -> PerceptualFeatures:
    """Load image features by name or from the folder of a segmentation model.

    Parameters
    ----------
    features : PerceptualFeatures or Path or str
        Loaded features are returned as they are.

    Raises
    ------
    ModelError
        If the folder is not that of a segmentation model, or weights cannot be loaded.
    OptionError
        If the name is unknown or "none".

    Examples
    --------
    >>> resolve_features("efficientnet_lite0").name
    'efficientnet_lite0'
    """
    if isinstance(features, PerceptualFeatures):
        return features
    if Path(features).is_dir():
        return perceptual_features(load_segmentation(Path(features)))
    loaded = load_features(str(features))
    if loaded is None:
        raise OptionError(
            f"features {str(features)!r} cannot be compared; choose efficientnet_lite2, efficientnet_lite0, vgg19 "
            "or the folder of a segmentation model"
        )
    return loaded


def _subtract_local_mean(maps: Tensor) -> Tensor:
    """Subtract the mean of each 3×3 neighbourhood from maps (B, C, H, W)."""
    return maps - F.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
