"""What a training run shows of itself: losses as CSV, sample grids as PNG, TensorBoard when installed."""

from __future__ import annotations

import csv
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smearsynth.files import atomic_write
from smearsynth.formats.images import save_png
from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.networks.conditioning import condition
from smearsynth.synthesis.networks.generator import draw_noise
from smearsynth.synthesis.training.crops import CropBatch
from smearsynth.synthesis.training.state import TrainingState


class TrainingLog:
    """Losses of one run, averaged between rows.

    Parameters
    ----------
    folder : Path
        ``training-log.csv`` and ``samples/`` are written here.
    step : int
        Steps done so far; rows beyond it, from a run that was cut off, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self._file = folder / "training-log.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = [row for row in _read(self._file) if int(row["step"]) <= step]
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._since = time.perf_counter()
        self._board: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the losses of one step; they stay on their device until a row is written."""
        for name, value in terms.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def write(self, step: int, learning_rate: float) -> dict[str, float]:
        """Average since the last row, write it, and return it."""
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        now = time.perf_counter()
        row = {
            "step": step,
            "seconds_per_step": (now - self._since) / self._count,
            "lr": learning_rate,
            **means,
        }
        self._rows.append({key: str(value) if key == "step" else f"{value:.6g}" for key, value in row.items()})
        with atomic_write(self._file) as temporary, temporary.open("w", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=list(self._rows[-1]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        self._sums, self._count, self._since = {}, 0, now
        return means

    @torch.no_grad()
    def sample(self, state: TrainingState, shown: CropBatch, preset: Preset) -> Path:
        """Write a grid: labels, real crop, reconstruction with its own style, one column a crop."""
        since = time.perf_counter()
        network = state.average
        device = next(network.parameters()).device
        batch = shown.to(device)
        given = condition(batch.labels, batch.channels_of, len(preset.network.class_names), batch.debris)
        b, _, h, w = batch.image.shape
        noise = draw_noise((b, h, w), preset.network.downs, torch.Generator().manual_seed(0), device)
        fake = network(batch.image, batch.labels, given, noise, batch.channels_of.shape[1] - 1, batch.styles)
        rows = [_label_picture(batch.labels), _pixels(batch.image), _pixels(fake)]
        grid = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
        path = self.folder / "samples" / f"step-{state.step:08d}.png"
        with atomic_write(path) as temporary:
            save_png(temporary, grid)
        if self._board is not None:
            self._board.add_image("sample", grid, state.step, dataformats="HWC")
        self._since += time.perf_counter() - since
        return path


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _pixels(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    scaled = ((image.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def _label_picture(labels: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    ids = labels.cpu().numpy()
    # golden-ratio hues: neighbours in number are far apart in colour
    hue = (ids * 0.618034) % 1.0
    colour = 0.55 + 0.45 * np.cos(2 * np.pi * (hue[..., None] + np.array([0.0, 1 / 3, 2 / 3])))
    return np.where(ids[..., None] > 0, 255 * colour, 0).astype(np.uint8)
