"""Train on synthetic, test on real: the rows of benefit experiments that compare synthetic with real smears.

    smearsynth benefit ../shared/data/chula -o runs/chula -m default --tasks segmentation
    python benchmarks/tstr.py runs/chula/benefit.json runs/bbbc041seg/benefit.json --out docs/results/tstr.json

One row per data set, seed and arm (RD: real smears, SD: as many synthetic smears, both also with the classic
augmentations): Dice, panoptic quality (PQ) and numbers of cells on the real test split of an FCN-8s trained from
scratch. Intervals of differences are 95 %, over test images and seeds; those of rows are over test images.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from smearsynth.experiment.records import METRIC_NAMES, BenefitResult
from smearsynth.files import write_text
from smearsynth.metrics.panoptic import cell_figures

ARMS = ("RD", "SD", "RD+aug", "SD+aug")


def main() -> int:
    """Collect the rows, write them, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="benefit.json of each data set")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    intervals: list[dict[str, object]] = []
    for result in map(BenefitResult.load, options.results):
        name, all_reals = {"data_set": result.facts.data_set}, max(result.sizes)
        for run in result.runs:
            if run.task == "segmentation" and run.arm in ARMS and run.reals == all_reals:
                figures = {"dice": run.value, "smears": run.smears, **cell_figures(run.images)}
                rows.append(name | {"seed": run.seed, "arm": run.arm} | figures)
        for item in result.differences:
            if item.task == "segmentation" and {item.arm, item.base} <= set(ARMS) and item.reals == all_reals:
                fields = {"metric", "arm", "base", "mean", "low", "high", "seeds"}
                intervals.append(name | item.model_dump(include=fields))
                print(f"{result.facts.data_set}, {METRIC_NAMES[item.metric]}: {item.arm} - {item.base} = {item}")
    write_text(options.out, json.dumps({"rows": rows, "intervals": intervals}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
