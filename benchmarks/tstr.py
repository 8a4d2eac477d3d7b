"""Train on synthetic, test on real: the rows of the benefit experiment that say how far synthetic smears go alone.

    smearsynth benefit ../shared/data/chula -o runs/chula -m default --tasks segmentation
    python benchmarks/tstr.py runs/chula/benefit.json runs/bbbc041seg/benefit.json --out docs/results/tstr.json

A row for each data set, seed and arm (RD: real smears, SD: as many synthetic ones, both also with the classic
augmentations): Dice on the real test split of an FCN-8s trained on them from scratch. Intervals are 95 %, over test
images and seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from smearsynth.experiment import BenefitResult
from smearsynth.files import write_text

ARMS = ("RD", "SD", "RD+aug", "SD+aug")


def main() -> int:
    """Collect the rows, write and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="benefit.json of each data set")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    intervals: list[dict[str, object]] = []
    for result in map(BenefitResult.load, options.results):
        named = {"data_set": result.facts.data_set}
        whole = max(result.sizes)
        for run in result.runs:
            if run.task == "segmentation" and run.arm in ARMS and run.reals == whole:
                rows.append(named | {"seed": run.seed, "arm": run.arm, "dice": run.value, "smears": run.smears})
        for one in result.differences:
            if one.task == "segmentation" and {one.arm, one.base} <= set(ARMS) and one.reals == whole:
                intervals.append(named | one.model_dump(include={"arm", "base", "mean", "low", "high", "seeds"}))
                print(f"{result.facts.data_set}: {one.arm} - {one.base} = {one}")
    write_text(options.out, json.dumps({"rows": rows, "intervals": intervals}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
