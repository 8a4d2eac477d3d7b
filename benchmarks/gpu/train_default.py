"""Train the default model on a borrowed GPU, in pieces that continue from each other.

    python benchmarks/gpu/train_default.py gpu-data/chula gpu-data/run --minutes 9

Run the same line again to continue; the state is four files under 16 MiB each. ``smearsynth train`` then
finishes the model from that folder (styles, statistics, shapes).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from smearsynth.datasets import open_smears
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for, train_networks


def main() -> None:
    """Train one piece and say how far it came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="gpu")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--workers", type=int, default=12)
    options = parser.parse_args()
    chosen = preset(options.preset, steps=options.steps, batch=options.batch)
    smears = open_smears(options.data, split="train", cache_mb=2000)
    started = time.perf_counter()

    def on_step(step: int, losses: dict[str, float] | None) -> None:
        if losses and step % 500 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"{step} {time.perf_counter() - started:.0f} s {shown}", flush=True)

    run = TrainingRun(
        options.out,
        fabric_for("auto", chosen.training.precision),
        save_every=1000,
        sample_every=1000,
        time_limit=options.minutes,
        workers=options.workers,
        on_step=on_step,
    )
    state = train_networks(smears, chosen, run, load_features(chosen.training.perceptual_features))
    print(f"{state.step} of {chosen.training.steps} steps, {time.perf_counter() - started:.0f} s in this piece")


if __name__ == "__main__":
    main()
