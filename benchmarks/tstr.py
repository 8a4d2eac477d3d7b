"""Train on synthetic, test on real: what a segmenter learns from synthetic smears alone.

    python benchmarks/tstr.py chula --out docs/results/tstr.json
    python benchmarks/tstr.py chula bbbc041seg --model bbbc041seg=models/bbbc --device cuda --seeds 3 --json

Arms: RD (the real train split), SD (as many smears of a model), and both with the classic augmentations. Each
trains an FCN-8s (small preset, from scratch) for the same number of steps and takes the best weights by smears held
out of its own; the score is Dice on the real test split. Rows (data set, seed, arm, dice, Dice of each image) go to
``--out`` when an arm is done, under a hash of all that went into it: run the same line again to continue, and
nothing is used for what it is not. Intervals are 95 %, by paired bootstrap of the test images. Real smears are read
from ``../shared/data`` or SMEARSYNTH_DATA.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from functools import cache
from pathlib import Path

import torch

from smearsynth.datasets import open_smears
from smearsynth.evaluation.matching import paired_interval
from smearsynth.formats.files import write_text
from smearsynth.smear import Smear
from smearsynth.stream import SyntheticSmears
from smearsynth.synthesis.model import DEFAULT, Synthesizer
from smearsynth.tasks import FitRun, Segmentation, fit

SCALES = {"chula": 1.0, "bbbc041seg": 0.5}
ARMS = ("RD", "SD", "RD+aug", "SD+aug")
COMPARED = (("SD", "RD"), ("SD+aug", "RD+aug"), ("RD+aug", "RD"), ("SD+aug", "SD"))
MODELS = {"chula": DEFAULT}  # the shipped model has seen the train split of Chula alone


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Bench:
    """One data set: its smears, its synthesizer, the arms trained on them."""

    def __init__(self, name: str, options: argparse.Namespace, models: dict[str, str]) -> None:
        self.name, self.options = name, options
        folder = options.data / name
        scale = SCALES.get(name, 1.0)
        self.train = open_smears(folder, split="train", scale=scale, limit=options.smears, cache_mb=4000)
        self.test = open_smears(folder, split="test", scale=scale, limit=options.test, cache_mb=4000)
        self.model = Synthesizer.load(models[name], options.device) if name in models else None
        self.synthetic = cache(self._synthetic)

    def key(self, arm: str, seed: int) -> str:
        """Hash of all that decides the result of an arm."""
        model = self.model.hash if self.model is not None and arm.startswith("SD") else None
        facts = [arm, seed, model, self.task(arm, seed).config.model_dump(mode="json"), self.options.device]
        facts += [(smears.names, smears.scale) for smears in (self.train, self.test)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def task(self, arm: str, seed: int) -> Segmentation:
        """A fresh segmenter."""
        augment = "classic" if arm.endswith("+aug") else "none"
        return Segmentation.preset(self.options.preset, steps=self.options.steps, augment=augment, seed=seed)

    def run(self, arm: str, seed: int) -> dict[str, object] | None:
        """Train and test one arm; None when it was interrupted."""
        started = time.perf_counter()
        source = arm.partition("+")[0]
        smears = self.synthetic(seed) if source == "SD" else self.train
        task = self.task(arm, seed)
        report = fit(task, smears, FitRun(device=self.options.device))
        if not report.finished:
            return None
        found = task.evaluate(self.test)
        return {
            "data_set": self.name,
            "seed": seed,
            "arm": arm,
            "dice": found.value,
            "smears": len(smears),
            "steps": report.steps,
            "best_step": report.best_step,
            "validation": report.best_score,
            "model": self.model.hash[:12] if self.model is not None and source == "SD" else None,
            "seconds": round(time.perf_counter() - started, 1),
            "key": self.key(arm, seed),
            "dice_of_images": {image.name: round(image.score, 5) for image in found.images},
        }

    def _synthetic(self, seed: int) -> list[Smear]:
        """As many synthetic smears as there are real ones, other ones for every seed."""
        say(f"{self.name}: making {len(self.train)} synthetic smears, seed {seed}")
        stream = SyntheticSmears(self.model, seed=1000 + seed)
        return [stream[index] for index in range(len(self.train))]


def intervals(rows: list[dict]) -> list[dict]:
    """Differences between arms on the seeds that both have."""
    found = []
    for data_set in sorted({row["data_set"] for row in rows}):
        of = {(row["arm"], row["seed"]): row["dice_of_images"] for row in rows if row["data_set"] == data_set}
        for arm, base in COMPARED:
            seeds = sorted(seed for name, seed in of if name == arm and (base, seed) in of)
            if not seeds:
                continue
            images = sorted(of[arm, seeds[0]])
            scores = [[[of[name, seed][image] for image in images] for seed in seeds] for name in (arm, base)]
            difference = paired_interval(*scores)
            found.append({"data_set": data_set, "arm": arm, "base": base, "seeds": seeds} | difference._asdict())
    return found


def stored_rows(path: Path | None) -> list[dict]:
    return json.loads(path.read_text())["rows"] if path is not None and path.exists() else []


def parse() -> argparse.Namespace:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_sets", nargs="+", metavar="DATA_SET", help="folder names below --data")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SMEARSYNTH_DATA", beside)))
    parser.add_argument("--model", action="append", default=[], metavar="DATA_SET=FOLDER", help="synthesizer")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--smears", type=int, help="only the first so many of the train split")
    parser.add_argument("--test", type=int, help="only the first so many of the test split")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="JSON file of rows, continued when it is there")
    parser.add_argument("--json", action="store_true", help="print rows and intervals as JSON")
    return parser.parse_args()


def main() -> int:
    """Run the arms that are not done yet, print the intervals."""
    options = parse()
    models = MODELS | dict(given.split("=", 1) for given in options.model)
    rows = stored_rows(options.out)
    for name in options.data_sets:
        bench = Bench(name, options, models)
        for seed in range(options.seeds):
            for arm in options.arms:
                if arm.startswith("SD") and bench.model is None:
                    say(f"{name}: no synthesizer for {arm}; name one with --model {name}=FOLDER")
                    continue
                key = bench.key(arm, seed)
                if any(row["key"] == key for row in rows):
                    continue
                row = bench.run(arm, seed)
                if row is None:
                    say("interrupted; the same line continues")
                    return 130
                say(f"{name} seed {seed} {arm}: Dice {row['dice']:.4f} in {row['seconds']} s")
                rows = [old for old in rows if (old["data_set"], old["arm"], old["seed"]) != (name, arm, seed)]
                rows.append(row)
                if options.out is not None:
                    result = {"rows": rows, "intervals": intervals(rows)}
                    write_text(options.out, json.dumps(result, indent=1))
    found = intervals(rows)
    for one in found:
        difference = f"{one['mean']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
        say(f"{one['data_set']}: {one['arm']} - {one['base']} = {difference} (seeds {one['seeds']})")
    if options.json:
        print(json.dumps({"torch": torch.__version__, "rows": rows, "intervals": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
