"""Tell test of a model: how well crops of its smears are told from real ones, under all conditions.

    python benchmarks/tell.py --model default --data ../shared/data/chula -n 60 --seed 0
    python benchmarks/tell.py --synthetic out --figure tell.png

Generates smears, or reads a folder of them, and prints the AUC of a logistic regression on EfficientNet-Lite2 with
its 95 % interval over smears. Controls: two halves of the real smears, and real training smears if the data have a
split "train". The last line is one JSON object with the keys of `smearsynth realism --json`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import smearsynth
from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.evaluation.comparability import median_diameter
from smearsynth.evaluation.realism.crops import scale_to_cells
from smearsynth.evaluation.realism.tell import TellTest, missing_compression
from smearsynth.evaluation.realism.tell_figure import tell_figure
from smearsynth.synthesis.networks.features import load_judge

CHULA = Path(os.environ.get("SMEARSYNTH_DATA", "../shared/data")) / "chula"
CACHE_MB = 2000


def main() -> int:
    """Generate smears, run the tell test, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=CHULA, help="folder of real smears")
    parser.add_argument("--split", default="test", help="split of the real smears")
    parser.add_argument("--scale", type=float, default=1.0, help="factor by which the real smears are resized")
    parser.add_argument("--model", default="default", help="synthesizer that generates smears")
    parser.add_argument("--synthetic", type=Path, help="folder of synthetic smears, in place of a model")
    parser.add_argument("-n", type=int, default=60, help="number of synthetic smears")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="picture of the crops that give most away (PNG)")
    parser.add_argument("--quick", action="store_true", help="main conditions only")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.synthetic or Path(temporary) / "synthetic"
        if options.synthetic is None:
            smearsynth.generate(folder, options.n, model=options.model, seed=options.seed, sheet=False)
        return run(open_smears(folder, classes="one", cache_mb=CACHE_MB), options)


def run(synthetic: SmearFolder, options: argparse.Namespace) -> int:
    """Compare the smears of a folder with the real ones and with the control."""
    everything = open_smears(options.data, classes="one", scale=options.scale, cache_mb=CACHE_MB)
    real = everything.split(options.split)
    training = everything.split("train") if "train" in everything.splits and options.split != "train" else None
    if training is not None and len(training) > len(synthetic):
        indices = np.linspace(0, len(training) - 1, len(synthetic)).round().astype(int)
        training = training.subset(indices.tolist())
    start = time.perf_counter()
    others = [synthetic] if training is None else [synthetic, training]
    test = TellTest(real, others, load_judge(), scale_to_cells(median_diameter(real)), full=not options.quick)
    result = test.compare(synthetic, missing_compression(real, synthetic))
    control = None if training is None else test.compare(training)
    if result is None:
        print("too few smears or cells")
        return 1
    tell, crops = result
    print(f"{len(real)} real and {len(synthetic)} synthetic smears, {time.perf_counter() - start:.0f} s")
    print(f"compression added to the synthetic images: {tell.compression}")
    for name, auc in tell.rows():
        print(f"{name:42s} {auc}")
    for name, auc in control[0].rows() if control is not None else ():
        if not name.startswith("control"):
            print(f"{'real training smears: ' + name:62s} {auc}")
    if options.figure is not None:
        tell_figure(crops, real, synthetic, options.figure)
    print(tell.model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
