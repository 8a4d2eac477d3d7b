"""What the three tasks share: how they are trained and stored, what they say of an image, how that is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from smearsynth.errors import DataError, OptionError
from smearsynth.metrics.average_precision import Detections, PrecisionRecord, average_precision
from smearsynth.metrics.intervals import Resampled
from smearsynth.metrics.matching import box_ious, match
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.tasks.config import TaskConfig, TaskName


@dataclass(frozen=True, eq=False)
class Prediction:
    """The cells found in one image.

    Parameters
    ----------
    boxes : (n, 4) float32 array
        x0, y0, x1, y1 in px, the end excluded.
    scores : (n,) float32 array
        How sure the model is, 0 to 1.
    classes : (n,) int64 array
        Index into `class_names`.
    class_names : tuple of str
    labels : (H, W) int32 array, optional
        Instance labels where the task gives them; instance ``k + 1`` is row k above.

    Examples
    --------
    >>> found = Prediction(np.zeros((2, 4), "f4"), np.ones(2, "f4"), np.array([0, 0]), ("red", "white"))
    >>> found.counts()
    {'red': 2, 'white': 0}
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    labels: LabelArray | None = None

    @classmethod
    def of_labels(
        cls, labels: LabelArray, scores: npt.NDArray[np.floating], class_names: tuple[str, ...]
    ) -> Prediction:
        """Cells of the first class given by instance labels."""
        n = len(scores)
        blank = np.zeros((*labels.shape, 3), np.uint8)
        boxes = Smear(blank, labels, np.zeros(n, np.int64)).boxes().astype(np.float32)
        return cls(boxes, np.asarray(scores, np.float32), np.zeros(n, np.int64), class_names, labels)

    def rescaled(self, shape: tuple[int, int], to: tuple[int, int]) -> Prediction:
        """The same cells where the field of (H, W) px, `shape`, is shown at the size `to`.

        Cells that own no pixel there are left out.

        Examples
        --------
        >>> found = Prediction(np.array([[1, 2, 3, 4]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
        >>> found.rescaled((10, 10), (20, 30)).boxes.tolist()
        [[3.0, 4.0, 9.0, 8.0]]
        """
        if self.labels is None:
            (height, width), (high, wide) = shape, to
            ratio = np.array([wide / width, high / height] * 2, np.float32)
            return replace(self, boxes=self.boxes * ratio)
        labels = np.asarray(Image.fromarray(self.labels).resize(to[::-1], Image.Resampling.NEAREST))
        left = np.unique(labels[labels > 0]) - 1
        number = np.zeros(len(self.scores) + 1, np.int32)
        number[left + 1] = np.arange(1, len(left) + 1)
        return Prediction.of_labels(number[labels], self.scores[left], self.class_names)

    def counts(self) -> dict[str, int]:
        """Cells by class."""
        found = np.bincount(self.classes, minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, found, strict=True))


def true_classes(smear: Smear, class_names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Class of each cell (n,) to a model of these classes: for one of a single class all cells are alike.

    Raises
    ------
    DataError
        When the smear has cells of a class that a model which tells several apart does not know.
    """
    if len(class_names) == 1:
        return np.zeros(smear.count, np.int64)
    there = [smear.class_names[kind] for kind in np.unique(smear.classes)]
    if unknown := [name for name in there if name not in class_names]:
        raise DataError(
            f"has cells of the classes {', '.join(there)}, the model of {', '.join(class_names)} does not know "
            f"{', '.join(unknown)}; read both alike (--classes)",
            smear.name or None,
        )
    number = np.array([class_names.index(name) if name in class_names else -1 for name in smear.class_names])
    kinds: npt.NDArray[np.int64] = number[smear.classes]
    return kinds


@dataclass(frozen=True)
class ImageScore:
    """How well one image was done.

    Parameters
    ----------
    name : str
    score : float
        Dice for segmentation; F1 of the cells matched at IoU 0.5 for detection.
    tp, fp, fn : int
        Cells found, cells that are none, cells missed, by one-to-one matches at IoU 0.5.
    """

    name: str
    score: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on annotated smears.

    Parameters
    ----------
    metric : {"dice", "ap"}
    value : float
        Mean Dice of the images, or COCO AP (IoU 0.50 to 0.95) over all of them.
    images : tuple of ImageScore
    ap50 : float, optional
        AP at IoU 0.5, for detection.
    precision : PrecisionRecord, optional
        For detection: AP of any sample of the images, from which its interval comes.
    """

    metric: str
    value: float
    images: tuple[ImageScore, ...]
    ap50: float | None = None
    precision: PrecisionRecord | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_boxes(cls, pairs: Iterable[tuple[Smear, Prediction]], sure: float = 0.0) -> Evaluation:
        """Score the boxes found in each smear.

        Parameters
        ----------
        pairs : iterable of (Smear, Prediction)
            Looked at once.
        sure : float
            Cells of at least this score are counted; AP looks at all.
        """
        ours, theirs, images = [], [], []
        for smear, found in pairs:
            ours.append(Detections(found.boxes, found.classes, found.scores))
            theirs.append(Detections(smear.boxes(), true_classes(smear, found.class_names)))
            kept = found.scores >= sure
            same = found.classes[kept][:, None] == theirs[-1].classes
            matched = match(box_ious(found.boxes[kept], theirs[-1].boxes) * same)
            images.append(ImageScore(smear.name, matched.f1, matched.tp, matched.fp, matched.fn))
        refuse_none(images)
        scored = average_precision(ours, theirs)
        return cls("ap", scored.ap, tuple(images), scored.ap50, PrecisionRecord.of(ours, theirs))

    def resampled(self) -> Resampled:
        """The score with those of bootstrap samples of the images."""
        if self.precision is not None:
            return Resampled.of_precision(self.precision)
        return Resampled.of_scores([image.score for image in self.images])

    @property
    def counts(self) -> tuple[int, int, int]:
        """TP, FP and FN of all images."""
        each = np.array([(image.tp, image.fp, image.fn) for image in self.images], np.int64).reshape(-1, 3)
        tp, fp, fn = each.sum(0).tolist()
        return tp, fp, fn


def refuse_none(images: Sequence[ImageScore]) -> None:
    """Raise a `DataError` where no smear was scored: there is no mean of none."""
    if not images:
        raise DataError("no smears to score; name a folder or a split that holds some")


class Task(ABC):
    """A model of one task: a network, and what turns its output into a `Prediction`.

    Trained by `smearsynth.tasks.fitting.fit`, stored by `smearsynth.tasks.folder`.

    Parameters
    ----------
    config : TaskConfig
        Of the class `config_type`.

    Attributes
    ----------
    network : torch.nn.Module
    began_with : str, optional
        Hash of the weight file that the network was given before its training.
    scale : float
        At which the smears were read that it learned from: what it finds cells in has to be of that size, too.
    """

    name: ClassVar[TaskName]
    config_type: ClassVar[type[TaskConfig]]
    presets: ClassVar[Mapping[str, TaskConfig]]
    config: TaskConfig
    network: nn.Module
    began_with: str | None = None
    scale: float = 1.0

    def __init__(self, config: TaskConfig) -> None:
        if not isinstance(config, self.config_type):
            raise OptionError(f"{self.name} takes a {self.config_type.__name__}, not {type(config).__name__}")
        self.config = config
        with drawing_from(config.fit.seed):
            self.network = self.build()

    @classmethod
    def preset(cls, name: str = "cpu", *, class_names: tuple[str, ...] | None = None, **fit: object) -> Self:
        """A new model of a named preset, with training settings overridden by those that are not None.

        Raises
        ------
        OptionError
            For an unknown preset, an unknown setting or a value out of its range.
        """
        return cls(cls.configured(name, class_names=class_names, **fit))

    @classmethod
    def configured(cls, name: str, *, class_names: tuple[str, ...] | None = None, **fit: object) -> TaskConfig:
        """The configuration that `preset` builds a model of; takes and raises the same."""
        if name not in cls.presets:
            raise OptionError(f"unknown preset {name!r} of {cls.name}; choose one of {', '.join(cls.presets)}")
        config = cls.presets[name].with_fit(**fit)
        return config if class_names is None else config.telling_apart(class_names)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network to a device; returns the model itself."""
        self.network.to(device)
        return self

    @abstractmethod
    def build(self) -> nn.Module:
        """The network of `config`, its weights drawn from PyTorch's generator."""

    @abstractmethod
    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """What training lowers, of the crops of one step."""

    @abstractmethod
    def predict(self, image: ImageArray) -> Prediction:
        """The cells of an image (H, W, 3) uint8, of any size."""

    @abstractmethod
    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """Score the model on annotated smears; each is looked at once."""


@contextmanager
def drawing_from(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Have PyTorch draw from a seed of ours; its global generators are left as they were.

    Dropout, torchvision's initial weights and its choice of proposals know no generator of their own.

    Examples
    --------
    >>> before = torch.random.get_rng_state()
    >>> with drawing_from(3):
    ...     first = torch.rand(1)
    >>> with drawing_from(3):
    ...     bool(torch.rand(1) == first)
    True
    >>> bool((before == torch.random.get_rng_state()).all())
    True
    """
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng([torch.cuda.current_device()] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield
