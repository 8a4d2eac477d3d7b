"""Training log: rows of losses and sample grids."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smears import random_smear
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.training.crops import draw_crops
from smearsynth.synthesis.training.log import TrainingLog
from smearsynth.synthesis.training.state import TrainingState


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "training-log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_row_is_the_mean_since_the_previous_row(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for value in (1.0, 2.0, 6.0):
        log.add({"d": torch.tensor(value), "g": torch.tensor(-value)})
    assert log.write(3, 0.5) == {"d": 3.0, "g": -3.0}
    log.add({"d": torch.tensor(7.0), "g": torch.tensor(0.25)})
    log.write(4, 0.25)

    values = rows(tmp_path)
    assert [(row["step"], row["lr"], row["d"], row["g"]) for row in values] == [
        ("3", "0.5", "3", "-3"),
        ("4", "0.25", "7", "0.25"),
    ]
    assert all(float(row["seconds_per_step"]) > 0 for row in values)


def test_rows_after_the_saved_step_are_removed(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (2, 4, 6):
        log.add({"d": torch.tensor(float(step))})
        log.write(step, 0.1)

    continued = TrainingLog(tmp_path, 4)
    continued.add({"d": torch.tensor(60.0)})
    continued.write(6, 0.1)

    assert [(row["step"], row["d"]) for row in rows(tmp_path)] == [("2", "2"), ("4", "4"), ("6", "60")]


def test_step_numbers_of_millions(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (1_234_567, 2_000_000):
        log.add({"d": torch.tensor(1.0)})
        log.write(step, 0.1)

    continued = TrainingLog(tmp_path, 1_999_999)
    continued.add({"d": torch.tensor(1.0)})
    continued.write(2_000_001, 0.1)

    assert [row["step"] for row in rows(tmp_path)] == ["1234567", "2000001"]


def test_no_file_without_rows(tmp_path):
    TrainingLog(tmp_path / "new", 0)
    assert not (tmp_path / "new" / "training-log.csv").exists()


def test_losses_are_detached(tmp_path):
    log = TrainingLog(tmp_path, 0)
    loss = torch.ones(1, requires_grad=True).sum()
    log.add({"d": loss})
    assert all(not value.requires_grad for value in log._sums.values())


@pytest.mark.parametrize("step", [5, 1_000_000])
def test_sample_grid_has_labels_real_and_synthetic_rows(tmp_path, step):
    settings = preset("tiny", batch=3, crop=(32, 48), flips=False)
    state = TrainingState.fresh(settings)
    state.step = step
    crops = draw_crops([random_smear(k) for k in range(3)], settings.training, 0)
    before = torch.get_rng_state()

    path = TrainingLog(tmp_path, 0).sample(state, crops, settings)

    assert torch.equal(torch.get_rng_state(), before)
    grid = np.array(Image.open(path))
    assert path == tmp_path / "samples" / f"step-{step:08d}.png"
    assert grid.shape == (3 * 32, 3 * 48, 3)
    labels, real = grid[:32], grid[32:64]
    assert (real == np.concatenate(list(crops.pixels.numpy()), 1)).all()
    assert ((labels == 0).all(-1) == (np.concatenate(list(crops.labels.numpy()), 1) == 0)).all()
    # The labels of a crop have distinct colours.
    first = crops.labels[0].numpy()
    assert len(np.unique(labels[:, :48][first > 0], axis=0)) == first.max()
    assert grid[64:].std() > 0
