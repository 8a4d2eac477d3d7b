"""Base of all tasks: predictions, scores, and the interface of a task model."""

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
from smearsynth.formats.training_smears import TrainingSmears
from smearsynth.metrics.average_precision import Detections, PrecisionRecord, average_precision
from smearsynth.metrics.intervals import BootstrapScore
from smearsynth.metrics.matching import (
    MAX_IGNORED,
    box_ious,
    ignored_box_fractions,
    ignored_label_fractions,
    match,
)
from smearsynth.metrics.panoptic import CellMetric, match_labels, panoptic_quality, pooled_quality, resampled
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.tasks.config import TaskConfig, TaskName


@dataclass(frozen=True, eq=False)
class Prediction:
    """Cells predicted in one image.

    Parameters
    ----------
    boxes : (n, 4) float32 array
        x0, y0, x1, y1 in px, end excluded.
    scores : (n,) float32 array
        Confidence, 0 to 1.
    classes : (n,) int64 array
        Index into `class_names`.
    class_names : tuple of str
    labels : (H, W) int32 array, optional
        Instance labels, if the task gives them; instance ``k + 1`` is row k above.

    Examples
    --------
    >>> prediction = Prediction(np.zeros((2, 4), "f4"), np.ones(2, "f4"), np.array([0, 0]), ("red", "white"))
    >>> prediction.counts()
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
        """Create a prediction from instance labels, all cells of the first class."""
        n = len(scores)
        blank = np.zeros((*labels.shape, 3), np.uint8)
        boxes = Smear(blank, labels, np.zeros(n, np.int64)).boxes().astype(np.float32)
        return cls(boxes, np.asarray(scores, np.float32), np.zeros(n, np.int64), class_names, labels)

    def rescaled(self, shape: tuple[int, int], to: tuple[int, int]) -> Prediction:
        """Return the cells at another image size; `shape` and `to` are the old and new (H, W) in px.

        Cells without a pixel at the new size are dropped.

        Examples
        --------
        >>> prediction = Prediction(np.array([[1, 2, 3, 4]], "f4"), np.ones(1, "f4"), np.array([0]), ("cell",))
        >>> prediction.rescaled((10, 10), (20, 30)).boxes.tolist()
        [[3.0, 4.0, 9.0, 8.0]]
        """
        if self.labels is None:
            (height, width), (high, wide) = shape, to
            ratio = np.array([wide / width, high / height] * 2, np.float32)
            return replace(self, boxes=self.boxes * ratio)
        labels = np.asarray(Image.fromarray(self.labels).resize(to[::-1], Image.Resampling.NEAREST))
        present = np.unique(labels[labels > 0]) - 1
        number = np.zeros(len(self.scores) + 1, np.int32)
        number[present + 1] = np.arange(1, len(present) + 1)
        return Prediction.of_labels(number[labels], self.scores[present], self.class_names)

    def selected(self, subset: npt.NDArray[np.bool_]) -> Prediction:
        """Return the cells of a subset, (n,) bool; their labels are renumbered."""
        labels = None
        if self.labels is not None:
            number = np.concatenate([[0], np.where(subset, subset.cumsum(), 0)]).astype(np.int32)
            labels = number[self.labels]
        return Prediction(self.boxes[subset], self.scores[subset], self.classes[subset], self.class_names, labels)

    def outside_ignored(self, smear: Smear) -> Prediction:
        """Return the cells that can be scored on a smear that is annotated in part.

        A cell with more than half of its area (of its label, else of its box) in ignored pixels is dropped, because
        it may be right. A cell whose box matches an annotated cell at IoU 0.5 stays.

        Examples
        --------
        >>> ignored = np.zeros((8, 8), bool)
        >>> ignored[:, 4:] = True
        >>> smear = Smear(np.zeros((8, 8, 3), "u1"), np.zeros((8, 8), "i4"), np.array([], int), ignored=ignored)
        >>> boxes = np.array([[0, 0, 4, 4], [3, 3, 8, 8]], "f4")
        >>> prediction = Prediction(boxes, np.ones(2, "f4"), np.array([0, 0]), ("cell",))
        >>> prediction.outside_ignored(smear).boxes.tolist()
        [[0.0, 0.0, 4.0, 4.0]]
        """
        if smear.ignored is None:
            return self
        if self.labels is None:
            fractions = ignored_box_fractions(self.boxes, smear.ignored)
        else:
            fractions = ignored_label_fractions(self.labels, smear.ignored, len(self.scores))
        matched = box_ious(self.boxes, smear.boxes()).max(axis=1, initial=0.0) >= 0.5
        return self.selected((fractions <= MAX_IGNORED) | matched)

    def counts(self) -> dict[str, int]:
        """Return the number of cells per class."""
        prediction = np.bincount(self.classes, minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, prediction, strict=True))


def true_classes(smear: Smear, class_names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return the class (n,) of each annotated cell for a model of these classes; 0 for a model of one class.

    Raises
    ------
    DataError
        If the smear has a class that a model of several classes does not know.
    """
    if len(class_names) == 1:
        return np.zeros(smear.count, np.int64)
    names = [smear.class_names[kind] for kind in np.unique(smear.classes)]
    if unknown := [name for name in names if name not in class_names]:
        raise DataError(
            f"has cells of the classes {', '.join(names)}; the model knows {', '.join(class_names)} but not "
            f"{', '.join(unknown)}; read both with the same --classes",
            smear.name or None,
        )
    number = np.array([class_names.index(name) if name in class_names else -1 for name in smear.class_names])
    kinds: npt.NDArray[np.int64] = number[smear.classes]
    return kinds


@dataclass(frozen=True)
class ImageScore:
    """Score of one image.

    Parameters
    ----------
    name : str
    score : float
        Dice for segmentation; F1 of the cells matched at IoU 0.5 for detection.
    tp, fp, fn : int
        True positives, false positives, false negatives of one-to-one matches at IoU 0.5: of labels if the model
        predicts labels, else of boxes.
    pq : float, optional
        Panoptic quality, if the model predicts labels.
    """

    name: str
    score: float
    tp: int
    fp: int
    fn: int
    pq: float | None = None

    @classmethod
    def of_labels(cls, smear: Smear, labels: LabelArray, score: float | None = None) -> ImageScore:
        """Score the labels predicted in a smear; `score` is F1 of the cells by default.

        Examples
        --------
        >>> smear = Smear(np.zeros((1, 4, 3), "u1"), np.array([[1, 1, 2, 2]], "i4"), np.array([0, 0]), name="field")
        >>> ImageScore.of_labels(smear, np.array([[1, 1, 1, 0]], "i4"))
        ImageScore(name='field', score=0.6666666666666666, tp=1, fp=0, fn=1, pq=0.4444444444444444)
        """
        matches = match_labels(labels, smear.labels, smear.ignored)
        value = matches.f1 if score is None else score
        return cls(smear.name, value, matches.tp, matches.fp, matches.fn, panoptic_quality(matches))


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on annotated smears.

    Parameters
    ----------
    metric : {"dice", "ap"}
    value : float
        Mean Dice of the images, or COCO AP (IoU 0.50 to 0.95) over all images.
    images : tuple of ImageScore
    ap50 : float, optional
        AP at IoU 0.5, for detection.
    precision : PrecisionRecord, optional
        For detection: data for AP of bootstrap samples of the images, from which intervals are computed.
    """

    metric: str
    value: float
    images: tuple[ImageScore, ...]
    ap50: float | None = None
    precision: PrecisionRecord | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_boxes(cls, pairs: Iterable[tuple[Smear, Prediction]], score_threshold: float = 0.0) -> Evaluation:
        """Score the cells predicted in each smear: AP of their boxes; counts and PQ of their labels, if any.

        Smears in which all pixels are ignored are skipped; `Prediction.outside_ignored` drops predictions.

        Parameters
        ----------
        pairs : iterable of (Smear, Prediction)
            Iterated once.
        score_threshold : float
            Smallest score of the boxes that are counted; AP uses all boxes.
        """
        predictions, annotations, images = [], [], []
        for smear, candidates in pairs:
            if not smear.annotated_area():
                continue
            prediction = candidates.outside_ignored(smear)
            predictions.append(Detections(prediction.boxes, prediction.classes, prediction.scores))
            annotations.append(Detections(smear.boxes(), true_classes(smear, prediction.class_names)))
            if candidates.labels is not None:
                images.append(ImageScore.of_labels(smear, candidates.labels))
                continue
            certain = prediction.scores >= score_threshold
            same_class = prediction.classes[certain][:, None] == annotations[-1].classes
            matched = match(box_ious(prediction.boxes[certain], annotations[-1].boxes) * same_class)
            images.append(ImageScore(smear.name, matched.f1, matched.tp, matched.fp, matched.fn))
        require_scores(images)
        scored = average_precision(predictions, annotations)
        return cls("ap", scored.ap, tuple(images), scored.ap50, PrecisionRecord.of(predictions, annotations))

    def resampled(self, metric: CellMetric | None = None) -> BootstrapScore:
        """Return a score with those of bootstrap samples of the images.

        Parameters
        ----------
        metric : {"pq", "tp", "fp", "fn"}, optional
            Default: Dice or AP.

        Raises
        ------
        DataError
            If the metric is ``pq`` and the model predicts boxes.
        """
        if metric is not None:
            if (scores := resampled(self.images, metric)) is None:
                raise DataError("boxes have no panoptic quality; score a model that predicts labels")
            return scores
        if self.precision is not None:
            return BootstrapScore.of_precision(self.precision)
        return BootstrapScore.of_scores([image.score for image in self.images])

    @property
    def counts(self) -> tuple[int, int, int]:
        """True positives, false positives and false negatives of all images."""
        each = np.array([(image.tp, image.fp, image.fn) for image in self.images], np.int64).reshape(-1, 3)
        tp, fp, fn = each.sum(0).tolist()
        return tp, fp, fn

    @property
    def tp(self) -> int:
        """True positives of all images."""
        return self.counts[0]

    @property
    def fp(self) -> int:
        """False positives of all images."""
        return self.counts[1]

    @property
    def fn(self) -> int:
        """False negatives of all images."""
        return self.counts[2]

    @property
    def pq(self) -> float | None:
        """Panoptic quality over all cells of all images; None for models that predict boxes."""
        return pooled_quality(self.images)


def require_scores(images: Sequence[ImageScore]) -> None:
    """Raise a `DataError` if no smear was scored."""
    if not images:
        raise DataError("no smears to score; name a folder or split that has some")


class Task(ABC):
    """Model of a task: a network and the conversion of its output to a `Prediction`.

    `smearsynth.tasks.fitting.fit` trains it, `smearsynth.tasks.folder` stores it.

    Parameters
    ----------
    config : TaskConfig
        Of the class `config_type`.

    Attributes
    ----------
    network : torch.nn.Module
    initial_weights : str, optional
        Hash of the weight file that the backbone was initialised with.
    scale : float
        Scale at which the training smears were read; images must be read at the same scale.
    training_smears : TrainingSmears, optional
        Fingerprints of the training smears, by which test smears are recognised; stored with the model.
    """

    name: ClassVar[TaskName]
    config_type: ClassVar[type[TaskConfig]]
    presets: ClassVar[Mapping[str, TaskConfig]]
    config: TaskConfig
    network: nn.Module
    initial_weights: str | None = None
    scale: float = 1.0
    training_smears: TrainingSmears | None = None

    def __init__(self, config: TaskConfig) -> None:
        if not isinstance(config, self.config_type):
            raise OptionError(f"{self.name} takes a {self.config_type.__name__}, not {type(config).__name__}")
        self.config = config
        with torch_seed(config.fit.seed):
            self.network = self.build()

    @classmethod
    def preset(cls, name: str = "cpu", *, class_names: tuple[str, ...] | None = None, **fit: object) -> Self:
        """Build a model of a preset; training settings replace those of the preset unless None.

        Raises
        ------
        OptionError
            If the preset or a setting is unknown, or a value is out of range.
        """
        return cls(cls.configured(name, class_names=class_names, **fit))

    @classmethod
    def configured(cls, name: str, *, class_names: tuple[str, ...] | None = None, **fit: object) -> TaskConfig:
        """Return the configuration of `preset`; parameters and errors are the same."""
        if name not in cls.presets:
            raise OptionError(f"unknown preset {name!r} of {cls.name}; choose one of {', '.join(cls.presets)}")
        config = cls.presets[name].with_fit(**fit)
        return config if class_names is None else config.for_classes(class_names)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network to a device and return the model."""
        self.network.to(device)
        return self

    @abstractmethod
    def build(self) -> nn.Module:
        """Build the network of `config` with random weights from PyTorch's generator."""

    @abstractmethod
    def loss(self, smears: Sequence[Smear]) -> Tensor:
        """Compute the training loss of the crops of one step."""

    @abstractmethod
    def predict(self, image: ImageArray) -> Prediction:
        """Find the cells of an image (H, W, 3) uint8 of any size."""

    @abstractmethod
    def evaluate(self, smears: Iterable[Smear]) -> Evaluation:
        """Score the model on annotated smears, each iterated once."""


@contextmanager
def torch_seed(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch's global generators within a context and restore them afterwards.

    Dropout, torchvision's initial weights and its sampling of proposals accept no generator.

    Examples
    --------
    >>> before = torch.random.get_rng_state()
    >>> with torch_seed(3):
    ...     first = torch.rand(1)
    >>> with torch_seed(3):
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
