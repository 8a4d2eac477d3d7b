"""Log of a training run: losses as CSV, sample grids as PNG, and TensorBoard if it is installed."""

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
from smearsynth.formats.pixels.images import save_png
from smearsynth.synthesis.config import Preset
from smearsynth.synthesis.networks.conditioning import condition
from smearsynth.synthesis.networks.noise import draw_noise
from smearsynth.synthesis.training.crops import CropBatch
from smearsynth.synthesis.training.state import TrainingState


class TrainingLog:
    """Log of one run; each row is the mean of the losses since the previous row.

    Parameters
    ----------
    folder : Path
        Receives ``training-log.csv`` and ``samples/``.
    step : int
        Number of completed steps. Rows of later steps, from an aborted run, are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self._file = folder / "training-log.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = [row for row in _read(self._file) if int(row["step"]) <= step]
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._row_start = time.perf_counter()
        self._board: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the losses of one step; they stay on the device until a row is written."""
        for name, value in terms.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def write(self, step: int, learning_rate: float) -> dict[str, float]:
        """Write a row with the mean losses since the previous row, and return these means."""
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        now = time.perf_counter()
        row = {
            "step": step,
            "seconds_per_step": (now - self._row_start) / self._count,
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
        self._sums, self._count, self._row_start = {}, 0, now
        return means

    @torch.no_grad()
    def sample(self, state: TrainingState, crops: CropBatch, preset: Preset) -> Path:
        """Write a grid with one column per crop: labels, real crop, and reconstruction in its styles."""
        start = time.perf_counter()
        network = state.average
        device = next(network.parameters()).device
        batch = crops.to(device)
        conditions = condition(batch.labels, batch.channels_of, len(preset.network.class_names), batch.debris)
        b, _, h, w = batch.image.shape
        noise = draw_noise((b, h, w), preset.network.downs, torch.Generator().manual_seed(0), device)
        regions, n, styles = batch.style_regions
        fake = network(batch.image, regions, conditions, noise, n, styles)
        rows = [_label_image(batch.labels), _pixels(batch.image), _pixels(fake)]
        grid = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
        path = self.folder / "samples" / f"step-{state.step:08d}.png"
        with atomic_write(path) as temporary:
            save_png(temporary, grid)
        if self._board is not None:
            self._board.add_image("sample", grid, state.step, dataformats="HWC")
        self._row_start += time.perf_counter() - start  # drawing samples is not part of a step
        return path


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _pixels(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    scaled = ((image.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def _label_image(labels: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    ids = labels.cpu().numpy()
    # Golden-ratio hues, so that consecutive ids have distinct colours.
    hue = (ids * 0.618034) % 1.0
    colour = 0.55 + 0.45 * np.cos(2 * np.pi * (hue[..., None] + np.array([0.0, 1 / 3, 2 / 3])))
    return np.where(ids[..., None] > 0, 255 * colour, 0).astype(np.uint8)
