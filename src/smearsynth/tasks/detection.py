"""Detection of cells with boxes and classes: Faster R-CNN on a ResNet with FPN (paper, section 5.3)."""

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
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from smearsynth.errors import ModelError
from smearsynth.metrics.matching import MAX_IGNORED, ignored_box_fractions
from smearsynth.smear import ImageArray, Smear, check_image
from smearsynth.tasks.base import Evaluation, Prediction, Task, true_classes
from smearsynth.tasks.config import Config, FitConfig, TaskConfig

_MAX_CELLS = 2000  # proposals and cells per image; torchvision's default of 100 cells is too small for a smear
# Area of an image with this limit, px². The limit grows with the area, because cells would be lost otherwise.
_REFERENCE_AREA = 600 * 800
_RATIOS = (0.5, 1.0, 2.0)
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # mean and standard deviation of ImageNet


class DetectorConfig(Config):
    """Architecture of a Faster R-CNN; defaults are the ResNet-101 of the paper."""

    blocks: tuple[int, int, int, int] = Field((3, 4, 23, 3), description="residual blocks of each stage")
    bottleneck: bool = True
    levels: int = Field(4, ge=1, le=4, description="stages that feed the feature pyramid")
    pyramid: int = Field(256, ge=8, le=512, description="channels of the feature pyramid")
    head: int = Field(1024, ge=8, le=4096, description="width of the two layers of the box head")
    min_anchor: int = Field(
        16, ge=2, le=512, description="smallest anchor, px; two sizes per octave, one octave per level"
    )
    proposals: int = Field(512, ge=1, description="proposals per crop in training")
    norm: Literal["group", "frozen"] = Field(
        "group", description="frozen: frozen batch normalisation, for pretrained weights only"
    )


class DetectionConfig(TaskConfig):
    """Configuration of a detection model."""

    network: DetectorConfig = DetectorConfig()
    score_threshold: float = Field(0.5, ge=0, le=1, description="smallest score of a cell that is counted")


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
        # a tenth of the layers, on crops: a few minutes on one CPU thread
        "cpu": DetectionConfig(
            network=DetectorConfig(
                blocks=(1, 1, 1, 1), bottleneck=False, levels=3, pyramid=64, head=128, proposals=128
            ),
            fit=FitConfig(batch=2, learning_rate=1e-3),
        ),
        # ResNet-101, on whole fields
        "paper": DetectionConfig(fit=FitConfig(steps=6000, batch=2, crop=None, learning_rate=2e-4, warm_up=500)),
        # seconds; for tests only
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
        """Build a model of a preset whose backbone has the weights of a local file.

        Parameters
        ----------
        file : Path or str
            State dict of torchvision's ResNet with the same blocks, such as ``resnet101`` for the preset "paper".
        name, class_names, **fit
            As for `preset`.

        Raises
        ------
        ModelError
            If the file is not such a state dict.
        """
        config = cls.preset(name, class_names=class_names, **fit).config
        network = config.network.model_copy(update={"norm": "frozen"})
        model = cls(config.model_copy(update={"network": network}))
        model._load_backbone(Path(file))
        return model

    def build(self) -> FasterRCNN:
        """Build the network of `config`."""
        network, classes = self.config.network, len(self.config.class_names)
        backbone = _backbone(network)
        sizes = [network.min_anchor * 2**k for k in range(network.levels + 1)]  # the feature pyramid adds a level
        anchors = AnchorGenerator(tuple((size, round(size * 2**0.5)) for size in sizes), (_RATIOS,) * len(sizes))
        detector = FasterRCNN(
            backbone,
            rpn_anchor_generator=anchors,
            box_head=TwoMLPHead(backbone.out_channels * 7**2, network.head),
            box_predictor=FastRCNNPredictor(network.head, classes + 1),
            box_batch_size_per_image=network.proposals,
        )
        detector.transform = _NoResize(1, 1, _MEAN, _STD)
        # FasterRCNN builds these parts itself, so they get their methods afterwards.
        detector.rpn.__class__, detector.roi_heads.__class__ = _ProposalNetwork, _BoxHeads
        return detector

    def _load_backbone(self, file: Path) -> None:
        if not file.is_file():
            raise ModelError("no such weight file; check the path", file)
        try:
            content = file.read_bytes()
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            names = self.network.backbone.body.state_dict()
            self.network.backbone.body.load_state_dict({name: weights[name] for name in names})
        except (OSError, RuntimeError, LookupError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"not the weights of this backbone ({type(error).__name__}); use those of torchvision's resnet101",
                file,
            ) from None
        self.initial_weights = hashlib.sha256(content).hexdigest()[:12]

    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """Compute the sum of the four losses of Faster R-CNN: class and box, of proposals and of cells.

        Anchors and proposals with more than half of their area in ignored pixels are no background.
        """
        targets = [
            {
                "boxes": torch.from_numpy(smear.boxes()).float().to(self.device),
                "labels": torch.from_numpy(true_classes(smear, self.config.class_names) + 1).to(self.device),
                **({} if smear.ignored is None else {"ignored": torch.from_numpy(smear.ignored.copy())}),
            }
            for smear in smears
        ]
        losses = self.network([self._input(smear.image) for smear in smears], targets)
        return torch.stack(list(losses.values())).sum()

    def candidates(self, image: ImageArray) -> Prediction:
        """Return all boxes, including those with low scores."""
        pixels = self._input(image)
        self.network.eval()
        self._set_limits(round(_MAX_CELLS * max(1.0, image.shape[0] * image.shape[1] / _REFERENCE_AREA)))
        with torch.no_grad():
            output = self.network([pixels])[0]
        return Prediction(
            output["boxes"].cpu().numpy(),
            output["scores"].cpu().numpy(),
            output["labels"].cpu().numpy() - 1,
            self.config.class_names,
        )

    def predict(self, image: ImageArray) -> Prediction:
        """Return boxes and classes of the cells with a score of at least `config.score_threshold`."""
        output = self.candidates(image)
        certain = output.scores >= self.config.score_threshold
        return Prediction(
            output.boxes[certain], output.scores[certain], output.classes[certain], output.class_names
        )

    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """Compute AP of all boxes, with counts of those with a score of at least `config.score_threshold`."""
        candidates = ((smear, self.candidates(smear.image)) for smear in smears)
        return Evaluation.of_boxes(candidates, self.config.score_threshold)

    def _set_limits(self, limit: int) -> None:
        """Set the largest number of proposals and of cells per image."""
        detector = self.network
        detector.rpn._pre_nms_top_n["testing"] = detector.rpn._post_nms_top_n["testing"] = limit
        detector.roi_heads.detections_per_img = limit

    def _input(self, image: ImageArray) -> Tensor:
        check_image(image)
        return torch.from_numpy(image).to(self.device).permute(2, 0, 1).float() / 255


class _NoResize(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision is untyped
    """Normalises and batches images without resizing; torchvision's transform resizes every image to 800 px."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return image and boxes unchanged."""
        return image, target


class _ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]  # torchvision is untyped
    """Region proposal network whose anchors in ignored pixels are no background."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels (1 cell, 0 background, -1 unused) and boxes of the anchors of each image."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        ignored = [target.get("ignored") for target in targets]
        self._is_empty = _skip_ignored(labels, anchors, ignored)
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Compute the losses of objectness and boxes; 0 without a labelled anchor, where torchvision gives NaN."""
        if self._is_empty:
            return 0 * objectness.sum(), 0 * deltas.sum()
        losses: tuple[Tensor, Tensor] = super().compute_loss(objectness, deltas, labels, targets)
        return losses


class _BoxHeads(RoIHeads):  # type: ignore[misc]  # torchvision is untyped
    """Box heads whose proposals in ignored pixels are no background."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return cells or, in training, losses; 0 without a labelled proposal, where torchvision gives NaN."""
        self._ignored = [target.get("ignored") for target in targets or ()]
        self._is_empty = False
        cells, losses = super().forward(features, proposals, image_shapes, targets)
        if self._is_empty:
            losses = {name: torch.zeros_like(loss) for name, loss in losses.items()}
        return cells, losses

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return cell numbers and labels (class, 0 background, -1 unused) of the proposals of each image."""
        indices, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        self._is_empty = _skip_ignored(labels, proposals, self._ignored)
        return indices, labels


def _skip_ignored(labels: list[Tensor], boxes: list[Tensor], ignored: list[Tensor | None]) -> bool:
    """Set the labels of background boxes that are mostly in ignored pixels to -1, in place.

    Returns
    -------
    bool
        Whether no box has a label.
    """
    if all(mask is None for mask in ignored):
        return False
    for row, image_boxes, mask in zip(labels, boxes, ignored, strict=True):
        if mask is not None:
            fractions = ignored_box_fractions(image_boxes.detach().cpu().numpy(), mask.cpu().numpy())
            row[torch.from_numpy(fractions > MAX_IGNORED).to(row.device) & (row == 0)] = -1
    return not any(bool((row >= 0).any()) for row in labels)


def _backbone(config: DetectorConfig) -> BackboneWithFPN:
    """Build ResNet and feature pyramid; torchvision's builder would freeze layers and fix the width."""

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
