"""Measure speed, memory and style fidelity of the synthesizer.

    python benchmarks/synthesis.py [--json] [--device cuda]

Times are medians after a warm-up; for sampling, minimum and maximum are also reported. Style fidelity needs the
Chula smears in ``../shared/data/chula`` or ``$SMEARSYNTH_DATA/chula``; without them these figures are null. With
``--json`` the last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from smearsynth.datasets import open_smears
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.layout.labels import LabelSource
from smearsynth.smear import Smear
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.model.card import StyleFidelity, mean_colours
from smearsynth.synthesis.model.folder import DEFAULT
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.conditioning import pool_instances
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for, train_networks

PAPER_FIELD = (1200, 1920)
PAPER_CELLS = 669


def median_time(call: Callable[[], object], runs: int, device: torch.device) -> list[float]:
    """Return minimum, median and maximum in seconds of `runs` calls after a warm-up call."""

    def timed_call() -> float:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed_call()
    times = [timed_call() for _ in range(runs)]
    return [min(times), statistics.median(times), max(times)]


def unpainted_smear(model: Synthesizer, size: tuple[int, int], cells: int, rng: int = 0) -> Smear:
    """Return a smear of (height, width) with a layout of about `cells` cells and a black image."""
    source: LabelSource = model.label_source
    mean, _ = source.statistics.counts_for(size)
    mask = source.draw(size, density=cells / mean, rng=rng)
    return Smear(np.zeros((*size, 3), np.uint8), mask.labels, mask.classes, model.class_names)


def training_steps(device: str, crop: tuple[int, int], batch: int, precision: str, steps: int = 12) -> list[float]:
    """Return minimum, median and maximum seconds per step of preset "cpu" on noise images."""
    rng = np.random.default_rng(0)
    labels = np.zeros((crop[0] + 32, crop[1] + 32), np.int32)
    for k in range(1, 30):
        y, x = (int(rng.integers(side - 24)) for side in labels.shape)
        labels[y : y + 20, x : x + 20] = k
    smear = Smear.from_labels(rng.integers(0, 255, (*labels.shape, 3), np.uint8), labels)
    settings = preset("cpu", steps=steps, batch=batch, precision=precision, crop=crop)
    fabric = fabric_for(device, precision)
    step_ends: list[float] = []

    def record(step: int, losses: object) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        step_ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        train_networks(
            [smear],
            settings,
            TrainingRun(Path(folder), fabric, on_step=record),
            load_features("efficientnet_lite0"),
        )
    seconds = np.diff(step_ends)[2:-1]  # without the first steps and the last one, which saves the state
    return [float(seconds.min()), float(np.median(seconds)), float(seconds.max())]


def pooling(device: torch.device) -> dict[str, float]:
    """Compare `pool_instances` with a loop over the instances on the same features and labels."""
    model = Synthesizer.load(DEFAULT, device)
    smear = unpainted_smear(model, PAPER_FIELD, PAPER_CELLS)
    labels = torch.from_numpy(smear.labels)[None].to(device)
    features = torch.randn(1, model.config.network.style_channels, *PAPER_FIELD, device=device)

    def loop() -> torch.Tensor:
        rows = [features[:, :, labels[0] == k].mean(2) for k in range(smear.count + 1)]
        return torch.stack(rows, 1)

    fast = median_time(lambda: pool_instances(features, labels, smear.count), 5, device)
    slow = median_time(loop, 1, device)
    assert torch.allclose(loop(), pool_instances(features, labels, smear.count), atol=1e-4)
    return {"pooling_s": fast[1], "pooling_loop_s": slow[1], "pooling_ratio": slow[1] / fast[1]}


def sampling(device: torch.device, precision: torch.dtype) -> dict[str, float]:
    """Measure the time to paint a field of labels with styles from the bank."""
    model = Synthesizer.load(DEFAULT, device)
    figures = {}
    for name, size, cells in (
        ("256x256", (256, 256), 19),
        ("1024x640", (640, 1024), 190),
        ("1920x1200", PAPER_FIELD, PAPER_CELLS),
    ):
        smear = unpainted_smear(model, size, cells)
        times = median_time(lambda s=smear: model.paint(s.labels, s.classes, 0, precision=precision), 5, device)
        figures[f"sample_s_{name}"] = times[1]
        figures[f"sample_s_{name}_min"], figures[f"sample_s_{name}_max"] = times[0], times[2]
    return figures


def _peak_memory(_: int) -> float:
    model = Synthesizer.load(DEFAULT)
    smear = unpainted_smear(model, PAPER_FIELD, PAPER_CELLS)
    model.paint(smear.labels, smear.classes, 0)
    # ru_maxrss also counts the memory of the parent process, across fork and exec
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peak_megabytes() -> float | None:
    """Return the peak resident memory in MiB of a new process that paints 1920 × 1200 px on the CPU (Linux)."""
    if not Path("/proc/self/status").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(_peak_memory, [0])[0]


def generation(device: torch.device, n: int = 12) -> dict[str, float]:
    """Measure generation with files in smears per minute, and the fraction of the time of each stage."""
    stream = SyntheticSmears(Synthesizer.load(DEFAULT, device), seed=1)
    stream.make(n)
    stage_seconds: dict[str, float] = {}
    stage_start = [0.0]

    def tick(stage: str) -> None:
        now = time.perf_counter()
        stage_seconds[stage] = stage_seconds.get(stage, 0.0) + now - stage_start[0]
        stage_start[0] = now

    started = time.perf_counter()
    for index in range(n):
        stage_start[0] = time.perf_counter()
        stream.make(index, tick)
    make_seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        stream.write(folder, n)
        total_seconds = time.perf_counter() - started
    figures = {"smears_per_minute": 60 * n / total_seconds}
    figures |= {f"fraction_{stage}": seconds / total_seconds for stage, seconds in stage_seconds.items()}
    return figures | {"fraction_writing": (total_seconds - make_seconds) / total_seconds}


def style(data: Path | None, model_name: str, device: torch.device) -> dict[str, float | None]:
    """Measure style fidelity on test smears, and the colours of random draws relative to the real ones."""
    names = ("style_correlation", "style_spread", "colour_spread_random", "colour_mean_error_random")
    if data is None:
        return dict.fromkeys(names)
    model = Synthesizer.load(model_name, device)
    smears = open_smears(data, split="test")
    fidelity = StyleFidelity.measure(model, smears)
    # Small fields suffice for mean colours; with 300 draws their standard deviation has an error of 4 %.
    stream = SyntheticSmears(model, size=(192, 256), seed=11)
    colours = []
    for index in range(300):
        smear = stream[index]
        colours.append(mean_colours(smear.image, smear.labels > 0))
    synthetic = np.array(colours)
    real = model.statistics
    real_std = np.array([real.background_colour.std, real.cell_colour.std])
    real_mean = np.array([real.background_colour.mean, real.cell_colour.mean])
    ratio = synthetic.std(0, ddof=1) / real_std
    return {
        "style_correlation": float(fidelity.correlation.min()),
        "style_spread": float(fidelity.spread.min()),
        "style_error_grey_levels": float(fidelity.error.mean()),
        "colour_spread_random": float(ratio.flat[np.abs(ratio - 1).argmax()]),
        "colour_mean_error_random": float(np.abs(synthetic.mean(0) - real_mean).max()),
    }


def find_data() -> Path | None:
    """Return the folder of the Chula smears, or None if it does not exist."""
    root = os.environ.get("SMEARSYNTH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    folder = Path(root) / "chula"
    return folder if folder.is_dir() else None


def main() -> None:
    """Run all benchmarks and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    device = torch.device(options.device)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    figures: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "precision": options.precision,
    }
    stages: list[Callable[[], dict[str, object]]] = [
        lambda: {"step_s_256": training_steps(options.device, (256, 256), 1, options.precision)[1]},
        lambda: {"step_s_1024x640": training_steps(options.device, (640, 1024), 1, options.precision, 7)[1]},
        lambda: dict(sampling(device, dtype)),
        lambda: dict(pooling(device)),
        lambda: dict(generation(device)),
        lambda: {"peak_mb": peak_megabytes()},
        lambda: dict(style(find_data(), options.model, device)),
    ]
    for stage in stages:
        results = stage()
        figures |= results
        for name, value in results.items():
            print(f"{name:28} {value:.4g}" if isinstance(value, float) else f"{name:28} {value}", flush=True)
    if device.type == "cuda":
        figures["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    if options.json:
        sys.stdout.flush()
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
