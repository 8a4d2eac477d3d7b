"""Training crops: drawn from smears by (seed, step), so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from smearsynth.smear import Smear, close_ids
from smearsynth.synthesis.config import TrainingConfig


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
    """

    pixels: Tensor
    labels: Tensor
    channels_of: Tensor

    @property
    def image(self) -> Tensor:
        """RGB in [-1, 1], (B, 3, h, w) float32."""
        return self.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    def to(self, device: torch.device) -> CropBatch:
        """Copy to another device."""
        return CropBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


@dataclass(frozen=True)
class _Steps(Dataset[CropBatch]):
    """The crops of every step, by its number."""

    smears: Sequence[Smear]
    config: TrainingConfig

    def __getitem__(self, step: int) -> CropBatch:
        return draw_crops(self.smears, self.config, step)


def crop_stream(
    smears: Sequence[Smear], config: TrainingConfig, start: int, workers: int, *, pinned: bool
) -> Iterator[CropBatch]:
    """Crops of steps `start` to the last one, in order, read ahead by `workers` processes (0: in this one)."""
    return iter(
        DataLoader(
            _Steps(smears, config),
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


def draw_crops(smears: Sequence[Smear], config: TrainingConfig, step: int, *, stream: int = 0) -> CropBatch:
    """Crops of training step `step`: random smears, places and flips.

    Smears smaller than the crop are continued by reflection.

    Parameters
    ----------
    smears : sequence of Smear
    config : TrainingConfig
        Crop size, batch, flips and seed.
    step : int
        The draw depends on (seed, stream, step) alone.
    stream : int
        Another number gives an independent series (0 trains, 1 is shown in the sample grids).
    """
    rng = np.random.default_rng([config.seed, stream, step])
    crops = [_draw_one(smears[int(rng.integers(len(smears)))], config, rng) for _ in range(config.batch)]
    n = max(len(classes) for _, _, classes in crops)
    channels_of = np.zeros((len(crops), n + 1), np.int64)
    for row, (_, _, classes) in zip(channels_of, crops, strict=True):
        row[1 : len(classes) + 1] = classes + 1
    return CropBatch(
        torch.from_numpy(np.stack([pixels for pixels, _, _ in crops])),
        torch.from_numpy(np.stack([labels for _, labels, _ in crops])),
        torch.from_numpy(channels_of),
    )


def _draw_one(
    smear: Smear, config: TrainingConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    return np.ascontiguousarray(image), closed, smear.classes[ids - 1]
