"""Training step: which networks it updates, and its losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.training.loop import TrainingRun, train_networks
from smearsynth.synthesis.training.state import TrainingState


@pytest.fixture(scope="module")
def smears(smear_folder: Path) -> SmearFolder:
    return open_smears(smear_folder, split="train", cache_mb=10)


def contents(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("translator", "discriminators", "average"):
        found |= {f"{name}.{key}": tensor for key, tensor in getattr(state, name).state_dict().items()}
    for name in ("optimiser_g", "optimiser_d"):
        for index, entry in getattr(state, name).state_dict()["state"].items():
            found |= {f"{name}.{index}.{key}": torch.as_tensor(entry[key]) for key in entry}
    return found


def test_bf16_trains(smears, tmp_path):
    settings = preset("tiny", steps=2, crop=(32, 32), precision="bf16")
    run = TrainingRun(tmp_path, Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), log_every=1)
    state = train_networks(smears, settings, run)
    assert all(torch.isfinite(tensor).all() for tensor in contents(state).values())
    assert state.translator.generator.mix.weight.dtype == torch.float32
