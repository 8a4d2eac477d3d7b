"""Random training crops. They depend on (seed, step) only, so a resumed run gets the same crops."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smearsynth.smear import ImageArray, LabelArray, Mask, Smear, relabel_sequential
from smearsynth.synthesis.acquisition.debris import find_debris
from smearsynth.synthesis.acquisition.estimation import estimate_shift
from smearsynth.synthesis.acquisition.imaging import align_channels
from smearsynth.synthesis.acquisition.stain import augment_stain
from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.styles.clusters import Styles
from smearsynth.synthesis.training.discriminator_augment import draw_changes
from smearsynth.windows import draw_window


class CropBatch(NamedTuple):
    """Crops of one training step.

    Parameters
    ----------
    pixels : (B, h, w, 3) uint8 tensor
        RGB.
    labels : (B, h, w) int32 tensor
        Instance labels, 1..n without gaps in each crop.
    channels_of : (B, n + 1) int64 tensor
        Condition channel of each label: 0 for the background, class id + 1 for cells.
    changes : (B, COLUMNS) float32 tensor or None
        Parameters of the discriminator augmentation (`augment_for_discriminator`); None without augmentation.
    debris : (B, h, w) bool tensor or None
        Debris mask (`find_debris`); None if G has no debris channel.
    styles : (B, n + 1, S) float32 tensor or None
        Precomputed styles; None if the encoder is trained.
    ignored : (B, h, w) bool tensor or None
        Pixels without annotation; None if the crops have none.
    """

    pixels: Tensor
    labels: Tensor
    channels_of: Tensor
    changes: Tensor | None = None
    debris: Tensor | None = None
    styles: Tensor | None = None
    ignored: Tensor | None = None

    @property
    def image(self) -> Tensor:
        """Return the crops as RGB in [-1, 1], (B, 3, h, w) float32."""
        return self.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    @property
    def style_regions(self) -> tuple[Tensor, int, Tensor | None]:
        """Return the labels over which styles are pooled, their largest number, and precomputed styles for them.

        Ignored pixels are one more instance, so that cells without a label are not part of the background style.
        """
        n = self.channels_of.shape[1] - 1
        if self.ignored is None:
            return self.labels, n, self.styles
        labels = torch.where(self.ignored, n + 1, self.labels)
        return labels, n + 1, None if self.styles is None else torch.cat([self.styles, self.styles[:, :1]], 1)

    def to(self, device: torch.device) -> CropBatch:
        """Return a copy on a device."""
        return CropBatch(*(None if part is None else part.to(device, non_blocking=True) for part in self))  # type: ignore[arg-type]

    def padded(self, n: int) -> CropBatch:
        """Return the same crops with tables padded to `n` instances, so that few shapes occur."""
        padding = n + 1 - self.channels_of.shape[1]
        return self._replace(
            channels_of=F.pad(self.channels_of, (0, padding)),
            styles=None if self.styles is None else F.pad(self.styles, (0, 0, 0, padding)),
        )


@dataclass(frozen=True)
class ResizedSmears(Sequence[Smear]):
    """Smears at `scale` times their size, resized on access."""

    smears: Sequence[Smear]
    scale: float

    def __len__(self) -> int:
        return len(self.smears)

    def __getitem__(self, index: int) -> Smear:  # type: ignore[override]
        return self.smears[index].resized(self.scale)


@dataclass(frozen=True)
class AlignedSmears(Sequence[Smear]):
    """Smears without their lateral chromatic shift; it is estimated on the first access of each smear."""

    smears: Sequence[Smear]
    shifts: dict[int, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.smears)

    def __getitem__(self, index: int) -> Smear:  # type: ignore[override]
        smear = self.smears[index]
        if index not in self.shifts:
            self.shifts[index] = estimate_shift(smear.image, smear.labels, smear.ignored)
        return replace(smear, image=align_channels(smear.image, self.shifts[index]))


@dataclass(frozen=True)
class _CropDataset(Dataset[CropBatch]):
    """Crops indexed by training step."""

    smears: Sequence[Smear]
    config: TrainingConfig
    debris: bool
    styles: Sequence[Styles] | None

    def __getitem__(self, step: int) -> CropBatch:
        return draw_crops(self.smears, self.config, step, debris=self.debris, styles=self.styles)


def crop_stream(
    smears: Sequence[Smear],
    config: TrainingConfig,
    start: int,
    workers: int,
    *,
    pinned: bool,
    debris: bool = False,
    styles: Sequence[Styles] | None = None,
) -> Iterator[CropBatch]:
    """Return an iterator over the crops of steps `start` to the last one.

    Parameters
    ----------
    smears : sequence of Smear
    config : TrainingConfig
    start : int
    workers : int
        Processes that read crops ahead; 0 reads in this process.
    pinned : bool
        Return tensors in pinned memory, for fast copies to a GPU.
    debris, styles
        As in `draw_crops`.
    """
    return iter(
        DataLoader(
            _CropDataset(smears, config, debris, styles),
            batch_size=None,
            sampler=range(start, config.steps),
            num_workers=workers,
            worker_init_fn=_ignore_signals,
            pin_memory=pinned,
            generator=torch.Generator(),  # unused; without it the loader draws from the global generator
        )
    )


def _ignore_signals(worker: int) -> None:
    """Ignore Ctrl-C and SIGTERM in workers: the main process needs crops until it has saved the state."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def draw_crops(
    smears: Sequence[Smear],
    config: TrainingConfig,
    step: int,
    *,
    stream: int = 0,
    debris: bool = False,
    styles: Sequence[Styles] | None = None,
) -> CropBatch:
    """Draw the crops of one training step, with random smears, positions and flips.

    Smears smaller than the crop are extended by reflection. Crops avoid ignored pixels; see `draw_window`.

    Parameters
    ----------
    smears : sequence of Smear
    config : TrainingConfig
        Crop size, batch, flips, fractions of augmented crops, and seed.
    step : int
        The result depends on (seed, stream, step) only.
    stream : int
        Number of an independent series: 0 for training, 1 for the sample grids.
    debris : bool
        Detect debris in the crops.
    styles : sequence of (n + 1, S) float32 arrays, optional
        Precomputed styles of each smear. The stain is then not augmented, because it would not match them.

    Returns
    -------
    CropBatch
    """
    rng = np.random.default_rng([config.seed, stream, step])
    indices, crops = [], []
    for _ in range(config.batch):
        indices.append(int(rng.integers(len(smears))))
        crops.append(_draw_crop(smears[indices[-1]], config, rng))
    n = max(len(crop.ids) for crop in crops)
    channels_of = np.zeros((len(crops), n + 1), np.int64)
    for row, crop in zip(channels_of, crops, strict=True):
        row[1 : len(crop.ids) + 1] = crop.classes + 1
    vectors = None
    if styles is not None:
        vectors = torch.zeros(len(crops), n + 1, styles[0].shape[1])
        for rows, index, crop in zip(vectors, indices, crops, strict=True):
            rows[: len(crop.ids) + 1] = torch.from_numpy(styles[index][[0, *crop.ids]])
    masks = [find_debris(crop.pixels, crop.labels, crop.ignored) for crop in crops] if debris else None
    changes = (
        draw_changes(len(crops), config.discriminator_augmentation, rng)
        if config.discriminator_augmentation
        else None
    )
    images = [crop.pixels for crop in crops]
    if config.stain_augmentation and styles is None:
        images = [
            augment_stain(pixels, rng) if rng.random() < config.stain_augmentation else pixels for pixels in images
        ]
    return CropBatch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack([crop.labels for crop in crops])),
        torch.from_numpy(channels_of),
        None if changes is None else torch.from_numpy(changes),
        None if masks is None else torch.from_numpy(np.stack(masks)),
        vectors,
        _stacked_ignored(crops),
    )


class _Crop(NamedTuple):
    """One crop: labels 1..n without gaps, their ids in the smear, their classes, and ignored pixels."""

    pixels: ImageArray
    labels: LabelArray
    ids: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    ignored: Mask | None


def _stacked_ignored(crops: Sequence[_Crop]) -> Tensor | None:
    """Return the ignored pixels of all crops, (B, h, w) bool; None if there are none."""
    if not any(crop.ignored is not None and crop.ignored.any() for crop in crops):
        return None
    masks = [np.zeros(crop.labels.shape, bool) if crop.ignored is None else crop.ignored for crop in crops]
    return torch.from_numpy(np.stack(masks))


def _draw_crop(smear: Smear, config: TrainingConfig, rng: np.random.Generator) -> _Crop:
    image, labels, ignored = smear.image, smear.labels, smear.ignored
    missing = [max(0, side - length) for side, length in zip(config.crop, smear.shape, strict=True)]
    if any(missing):
        pads = [(0, pixels) for pixels in missing]
        image = np.pad(image, [*pads, (0, 0)], mode="symmetric")
        labels = np.pad(labels, pads, mode="symmetric")
        ignored = None if ignored is None else np.pad(ignored, pads, mode="symmetric")
    top, left = draw_window((labels.shape[0], labels.shape[1]), config.crop, rng, ignored)
    window = np.s_[top : top + config.crop[0], left : left + config.crop[1]]
    image, labels = image[window], labels[window]
    ignored = None if ignored is None else ignored[window]
    if config.flips:
        vertical, horizontal = (int(sign) for sign in rng.choice([-1, 1], 2))
        image, labels = image[::vertical, ::horizontal], labels[::vertical, ::horizontal]
        ignored = None if ignored is None else np.ascontiguousarray(ignored[::vertical, ::horizontal])
    closed, ids = relabel_sequential(labels)
    return _Crop(np.ascontiguousarray(image), closed, ids, smear.classes[ids - 1], ignored)
