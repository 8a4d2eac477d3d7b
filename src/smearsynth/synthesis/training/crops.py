"""Training crops: drawn from smears by (seed, step), so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smearsynth.smear import ImageArray, LabelArray, Smear, close_ids
from smearsynth.synthesis.acquisition.debris import find_debris
from smearsynth.synthesis.acquisition.stain import stain_augmentation
from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.styles import Styles
from smearsynth.synthesis.training.discriminator_augment import draw_changes


class CropBatch(NamedTuple):
    """Crops of one training step.

    Parameters
    ----------
    pixels : (B, h, w, 3) uint8 tensor
        RGB.
    labels : (B, h, w) int32 tensor
        Instance labels, closed up per crop.
    channels_of : (B, n + 1) int64 tensor
        One-hot channel of every label: 0 background, class id + 1 for cells.
    changes : (B, COLUMNS) float32 tensor or None
        How D sees the crops (see `augment_for_discriminator`); None where it sees them as they are.
    debris : (B, h, w) bool tensor or None
        Where there is debris (see `find_debris`); None where G is not told of it.
    styles : (B, n + 1, S) float32 tensor or None
        Styles computed before; None where the encoder is trained along.
    """

    pixels: Tensor
    labels: Tensor
    channels_of: Tensor
    changes: Tensor | None = None
    debris: Tensor | None = None
    styles: Tensor | None = None

    @property
    def image(self) -> Tensor:
        """RGB in [-1, 1], (B, 3, h, w) float32."""
        return self.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    def to(self, device: torch.device) -> CropBatch:
        """Copy to another device."""
        return CropBatch(*(None if part is None else part.to(device, non_blocking=True) for part in self))  # type: ignore[arg-type]

    def padded(self, n: int) -> CropBatch:
        """The same crops with room for labels up to `n`, for work that wants shapes it has seen."""
        spare = n + 1 - self.channels_of.shape[1]
        return self._replace(
            channels_of=F.pad(self.channels_of, (0, spare)),
            styles=None if self.styles is None else F.pad(self.styles, (0, 0, 0, spare)),
        )


@dataclass(frozen=True)
class Downsized(Sequence[Smear]):
    """Smears at `scale` times their size, resized when they are asked for."""

    smears: Sequence[Smear]
    scale: float

    def __len__(self) -> int:
        return len(self.smears)

    def __getitem__(self, index: int) -> Smear:  # type: ignore[override]
        return self.smears[index].resized(self.scale)


@dataclass(frozen=True)
class _Steps(Dataset[CropBatch]):
    """The crops of every step, by its number."""

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
    """Crops of steps `start` to the last one, in order, read ahead by `workers` processes (0: in this one)."""
    return iter(
        DataLoader(
            _Steps(smears, config, debris, styles),
            batch_size=None,
            sampler=range(start, config.steps),
            num_workers=workers,
            worker_init_fn=_leave_signals,
            pin_memory=pinned,
            generator=torch.Generator(),  # unused, but the loader would else draw from the global one
        )
    )


def _leave_signals(worker: int) -> None:
    """Let the main process alone answer Ctrl-C and SIGTERM: it still wants crops until the state is saved."""
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
    """Crops of training step `step`: random smears, places and flips.

    Smears smaller than the crop are continued by reflection.

    Parameters
    ----------
    smears : sequence of Smear
    config : TrainingConfig
        Crop size, batch, flips, share of changed crops and seed.
    step : int
        The draw depends on (seed, stream, step) alone.
    stream : int
        Another number gives an independent series (0 trains, 1 is shown in the sample grids).
    debris : bool
        Look for debris in the crops.
    styles : sequence of (n + 1, S) float32 arrays, optional
        Styles of every smear, where they were computed before.
    """
    rng = np.random.default_rng([config.seed, stream, step])
    chosen, crops = [], []
    for _ in range(config.batch):
        chosen.append(int(rng.integers(len(smears))))
        crops.append(_draw_one(smears[chosen[-1]], config, rng))
    n = max(len(crop.ids) for crop in crops)
    channels_of = np.zeros((len(crops), n + 1), np.int64)
    for row, crop in zip(channels_of, crops, strict=True):
        row[1 : len(crop.ids) + 1] = crop.classes + 1
    vectors = None
    if styles is not None:
        vectors = torch.zeros(len(crops), n + 1, styles[0].shape[1])
        for rows, smear, crop in zip(vectors, chosen, crops, strict=True):
            rows[: len(crop.ids) + 1] = torch.from_numpy(styles[smear][[0, *crop.ids]])
    blobs = [find_debris(crop.pixels, crop.labels) for crop in crops] if debris else None
    changes = (
        draw_changes(len(crops), config.discriminator_augmentation, rng)
        if config.discriminator_augmentation
        else None
    )
    seen = [crop.pixels for crop in crops]
    if config.stain_augmentation and styles is None:  # styles computed before are those of the stain as it is
        seen = [
            stain_augmentation(pixels, rng) if rng.random() < config.stain_augmentation else pixels
            for pixels in seen
        ]
    return CropBatch(
        torch.from_numpy(np.stack(seen)),
        torch.from_numpy(np.stack([crop.labels for crop in crops])),
        torch.from_numpy(channels_of),
        None if changes is None else torch.from_numpy(changes),
        None if blobs is None else torch.from_numpy(np.stack(blobs)),
        vectors,
    )


class _Crop(NamedTuple):
    """One crop: its labels closed up, the ids they had in the smear, and their classes."""

    pixels: ImageArray
    labels: LabelArray
    ids: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]


def _draw_one(smear: Smear, config: TrainingConfig, rng: np.random.Generator) -> _Crop:
    image, labels = smear.image, smear.labels
    lacking = [max(0, want - have) for want, have in zip(config.crop, smear.shape, strict=True)]
    if any(lacking):
        pads = [(0, missing) for missing in lacking]
        image = np.pad(image, [*pads, (0, 0)], mode="symmetric")
        labels = np.pad(labels, pads, mode="symmetric")
    top, left = (int(rng.integers(have - want + 1)) for have, want in zip(labels.shape, config.crop, strict=True))
    window = np.s_[top : top + config.crop[0], left : left + config.crop[1]]
    image, labels = image[window], labels[window]
    if config.flips:
        vertical, horizontal = (int(sign) for sign in rng.choice([-1, 1], 2))
        image, labels = image[::vertical, ::horizontal], labels[::vertical, ::horizontal]
    closed, ids = close_ids(labels)
    return _Crop(np.ascontiguousarray(image), closed, ids, smear.classes[ids - 1])
