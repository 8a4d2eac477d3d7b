"""Train the default model on a remote GPU, in several runs that continue each other.

    python benchmarks/gpu/train_default.py gpu-data/chula gpu-data/run --time-limit 9

Run the same command again to continue; the state consists of files below 16 MiB. ``smearsynth train`` then finishes
the model in that folder (styles, statistics, shapes).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from smearsynth.datasets import exclude_overlays, open_smears
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for, train_networks


def main() -> None:
    """Train until the time limit and print the number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="gpu")
    parser.add_argument("--time-limit", type=float, default=9.0, help="minutes (default 9)")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--workers", type=int, default=12)
    options = parser.parse_args()
    settings = preset(options.preset, steps=options.steps, batch=options.batch)
    smears = exclude_overlays(open_smears(options.data, split="train", cache_mb=2000))
    started = time.perf_counter()

    def on_step(step: int, losses: dict[str, float] | None) -> None:
        if losses and step % 500 == 0:
            text = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"{step} {time.perf_counter() - started:.0f} s {text}", flush=True)

    run = TrainingRun(
        options.out,
        fabric_for("auto", settings.training.precision),
        save_every=1000,
        sample_every=1000,
        time_limit=options.time_limit,
        workers=options.workers,
        on_step=on_step,
    )
    state = train_networks(smears, settings, run, load_features(settings.training.perceptual_features))
    print(f"{state.step} of {settings.training.steps} steps, {time.perf_counter() - started:.0f} s in this run")


if __name__ == "__main__":
    main()
