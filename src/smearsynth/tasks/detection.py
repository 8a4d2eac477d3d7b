"""Detection: a box around each cell, with its class. Faster R-CNN on a ResNet with FPN (paper, section 5.3)."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from smearsynth.errors import ModelError
from smearsynth.smear import ImageArray, Smear, check_image
from smearsynth.tasks.base import Evaluation, Prediction, Task, true_classes
from smearsynth.tasks.config import Config, FitConfig, TaskConfig

_MOST = 2000  # proposals and cells of an image; torchvision's 100 cells are fewer than a smear holds
_AREA = 600 * 800  # px² of an image for which these do; of a larger one there are more, or it would lose cells
_RATIOS = (0.5, 1.0, 2.0)
_MEAN, _SPREAD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, as pretrained weights expect


class DetectorConfig(Config):
    """Architecture of a Faster R-CNN; the defaults are the paper's ResNet-101."""

    blocks: tuple[int, int, int, int] = Field((3, 4, 23, 3), description="residual blocks of each stage")
    bottleneck: bool = True
    levels: int = Field(4, ge=1, le=4, description="stages that feed the pyramid; later ones are left out")
    pyramid: int = Field(256, ge=8, le=512, description="channels of the pyramid")
    head: int = Field(1024, ge=8, le=4096, description="width of the two layers that judge a proposal")
    min_anchor: int = Field(16, ge=2, le=512, description="px; two sizes an octave, an octave a level")
    proposals: int = Field(512, ge=1, description="judged in a crop in training")
    norm: Literal["group", "frozen"] = Field(
        "group", description="frozen: batch norm as pretrained weights have it; from scratch it explodes"
    )


class DetectionConfig(TaskConfig):
    """A detection model."""

    network: DetectorConfig = DetectorConfig()
    sure: float = Field(0.5, ge=0, le=1, description="least score of a cell that is counted")


class Detection(Task):
    """Faster R-CNN that finds and classifies cells.

    Parameters
    ----------
    config : DetectionConfig

    Examples
    --------
    >>> model = Detection.preset("tiny", class_names=("red cell", "white cell"))
    >>> import numpy as np
    >>> sorted(model.predict(np.zeros((40, 50, 3), np.uint8)).counts())
    ['red cell', 'white cell']
    """

    name = "detection"
    config_type = DetectionConfig
    presets: ClassVar[Mapping[str, TaskConfig]] = {
        # a tenth of the layers, crops: some minutes on one CPU thread
        "cpu": DetectionConfig(
            network=DetectorConfig(
                blocks=(1, 1, 1, 1), bottleneck=False, levels=3, pyramid=64, head=128, proposals=128
            ),
            fit=FitConfig(batch=2, learning_rate=1e-3),
        ),
        # ResNet-101, whole fields
        "paper": DetectionConfig(fit=FitConfig(steps=6000, batch=2, crop=None, learning_rate=2e-4, warm_up=500)),
        # seconds: to see that all works, not to use
        "tiny": DetectionConfig(
            network=DetectorConfig(
                blocks=(1, 1, 1, 1), bottleneck=False, levels=2, pyramid=16, head=16, proposals=32
            ),
            fit=FitConfig(steps=20, batch=1, crop=(64, 64), validate_every=10, learning_rate=1e-3),
        ),
    }
    config: DetectionConfig
    network: FasterRCNN

    @classmethod
    def pretrained(
        cls, file: Path | str, name: str = "paper", *, class_names: tuple[str, ...] | None = None, **fit: object
    ) -> Self:
        """As `preset`, its backbone with the weights of a local file.

        Parameters
        ----------
        file : Path or str
            State dict of torchvision's ResNet of as many blocks, such as ``resnet101`` for preset "paper".
        name, class_names, **fit
            As for `preset`.

        Raises
        ------
        ModelError
            When the file is not such a state dict.
        """
        config = cls.preset(name, class_names=class_names, **fit).config
        network = config.network.model_copy(update={"norm": "frozen"})
        model = cls(config.model_copy(update={"network": network}))
        model._start_from(Path(file))
        return model

    def build(self) -> FasterRCNN:
        """The network of `config`."""
        network, classes = self.config.network, len(self.config.class_names)
        backbone = _backbone(network)
        sizes = [network.min_anchor * 2**k for k in range(network.levels + 1)]  # the pyramid adds a level
        anchors = AnchorGenerator(tuple((size, round(size * 2**0.5)) for size in sizes), (_RATIOS,) * len(sizes))
        detector = FasterRCNN(
            backbone,
            rpn_anchor_generator=anchors,
            box_head=TwoMLPHead(backbone.out_channels * 7**2, network.head),
            box_predictor=FastRCNNPredictor(network.head, classes + 1),
            box_batch_size_per_image=network.proposals,
        )
        detector.transform = _Unscaled(1, 1, _MEAN, _SPREAD)
        return detector

    def _start_from(self, file: Path) -> None:
        if not file.is_file():
            raise ModelError("no such weight file", file)
        try:
            content = file.read_bytes()
            stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            own = self.network.backbone.body.state_dict()
            self.network.backbone.body.load_state_dict({name: stored[name] for name in own})
        except (OSError, RuntimeError, LookupError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"not the weights of this backbone ({type(error).__name__}); give those of torchvision's resnet101",
                file,
            ) from None
        self.began_with = hashlib.sha256(content).hexdigest()[:12]

    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """Sum of the four losses of Faster R-CNN: whether and where, of proposals and of cells."""
        targets = [
            {
                "boxes": torch.from_numpy(smear.boxes()).float().to(self.device),
                "labels": torch.from_numpy(true_classes(smear, self.config.class_names) + 1).to(self.device),
            }
            for smear in smears
        ]
        losses = self.network([self._input(smear.image) for smear in smears], targets)
        return torch.stack(list(losses.values())).sum()

    def candidates(self, image: ImageArray) -> Prediction:
        """All boxes that may be cells, the unlikely ones too."""
        pixels = self._input(image)
        self.network.eval()
        self._allow(round(_MOST * max(1.0, image.shape[0] * image.shape[1] / _AREA)))
        with torch.no_grad():
            found = self.network([pixels])[0]
        return Prediction(
            found["boxes"].cpu().numpy(),
            found["scores"].cpu().numpy(),
            found["labels"].cpu().numpy() - 1,
            self.config.class_names,
        )

    def predict(self, image: ImageArray) -> Prediction:
        """Boxes and classes of the cells the model is sure of."""
        found = self.candidates(image)
        kept = found.scores >= self.config.sure
        return Prediction(found.boxes[kept], found.scores[kept], found.classes[kept], found.class_names)

    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """AP of the boxes, with counts of those the model is sure of."""
        return Evaluation.of_boxes(((smear, self.candidates(smear.image)) for smear in smears), self.config.sure)

    def _allow(self, most: int) -> None:
        """Look at so many proposals of an image, and give no more cells."""
        detector = self.network
        detector.rpn._pre_nms_top_n["testing"] = detector.rpn._post_nms_top_n["testing"] = most
        detector.roi_heads.detections_per_img = most

    def _input(self, image: ImageArray) -> Tensor:
        check_image(image)
        return torch.from_numpy(image).to(self.device).permute(2, 0, 1).float() / 255


class _Unscaled(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision is untyped
    """Normalises and batches; torchvision's would scale every image to 800 px, and cells with it."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Leave the image and its boxes as they are."""
        return image, target


def _backbone(config: DetectorConfig) -> BackboneWithFPN:
    """ResNet and feature pyramid; torchvision's own builder would freeze layers and fix the width."""

    def norm(channels: int) -> nn.Module:
        if config.norm == "frozen":
            frozen: nn.Module = FrozenBatchNorm2d(channels)
            return frozen
        return nn.GroupNorm(gcd(32, channels, max(channels // 4, 1)), channels)

    body = ResNet(Bottleneck if config.bottleneck else BasicBlock, list(config.blocks), norm_layer=norm)
    first = body.inplanes // 8
    return BackboneWithFPN(
        body,
        {f"layer{k + 1}": str(k) for k in range(config.levels)},
        [first * 2**k for k in range(config.levels)],
        config.pyramid,
        norm_layer=None if config.norm == "frozen" else norm,
    )
