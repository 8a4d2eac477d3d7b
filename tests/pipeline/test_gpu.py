"""Training and synthesis on a CUDA device, compared with the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smears import random_smear
from smearsynth.datasets import open_smears
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for, train_networks
from smearsynth.tasks import Contours, Detection, FitRun, Segmentation, Task, fit, load_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_continues_on_the_gpu(smear_folder: Path, tmp_path: Path, precision: str) -> None:
    smears = open_smears(smear_folder, split="train")
    features = load_features("efficientnet_lite0")
    for steps in (3, 6):
        settings = preset("tiny", steps=steps, crop=(64, 64), batch=2, precision=precision)
        state = train_networks(
            smears, settings, TrainingRun(tmp_path, fabric_for("cuda", precision), workers=2), features
        )
    assert state.step == 6
    assert all(torch.isfinite(parameter).all() for parameter in state.average.parameters())


def test_gpu_and_cpu_paint_the_same_image(tiny_folder: Path) -> None:
    on_cpu, on_gpu = (
        SyntheticSmears(Synthesizer.load(tiny_folder, device), size=(72, 104), seed=4)[0]
        for device in ("cpu", "cuda")
    )
    assert (on_cpu.labels == on_gpu.labels).all()
    assert np.abs(on_cpu.image.astype(int) - on_gpu.image.astype(int)).max() <= 3


@pytest.mark.parametrize("task_type", [Segmentation, Detection, Contours])
def test_task_model_trains_on_the_gpu_and_predicts_as_on_the_cpu(task_type: type[Task], tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(6)]
    for time_limit in (0, None):
        model = task_type.preset("tiny", steps=4)
        report = fit(model, smears, FitRun(tmp_path, "cuda", time_limit=time_limit))
    assert report.finished
    on_gpu, on_cpu = (load_model(tmp_path, device).predict(smears[0].image) for device in ("cuda", "cpu"))
    assert abs(len(on_gpu.boxes) - len(on_cpu.boxes)) <= 0.1 * len(on_cpu.boxes) + 1


def test_graphed_steps_equal_plain_steps(smear_folder: Path, tmp_path: Path) -> None:
    smears = open_smears(smear_folder, split="train")
    settings = preset("tiny", steps=12, crop=(64, 64), batch=2)
    graphed, plain_state = (
        train_networks(
            smears, settings, TrainingRun(tmp_path / str(graphs), fabric_for("cuda", "fp32"), graphs=graphs)
        )
        for graphs in (True, False)
    )
    for a, b in zip(graphed.average.parameters(), plain_state.average.parameters(), strict=True):
        # Sums over instances have no fixed order on a GPU, and Adam divides by their size.
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_accelerated_model_differs_by_a_few_grey_levels(tiny_folder: Path) -> None:
    model = Synthesizer.load(tiny_folder, "cuda")
    accelerated = model.accelerated()
    assert accelerated.hash == model.hash
    plain, accelerated_image = (
        SyntheticSmears(m, size=(64, 96), seed=4)[0].image.astype(int) for m in (model, accelerated)
    )
    assert np.abs(plain - accelerated_image).max() <= 4
