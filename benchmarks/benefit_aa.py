"""A/A check of the benefit experiment: intervals of identical arms should contain 0 as often as they claim.

    python benchmarks/benefit_aa.py --trainings 120 --runs 1000

Trains many segmenters that differ by their seed alone, on small analytic smears, and scores each on the same test
smears. A simulated experiment draws two arms of so many seeds from them, no training in both, and some of the test
smears; its interval should contain 0 in 95 % of the simulated experiments (90 to 99 % pass).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from smears import random_smear
from smearsynth.metrics.intervals import Resampled, paired_interval
from smearsynth.tasks import Segmentation, fit

SIZE = (96, 96)


def scores(trainings: int, images: int) -> np.ndarray:
    """Dice of every training on every image, (trainings, images)."""
    train = [random_smear(k, SIZE) for k in range(10)]
    test = [random_smear(1000 + k, SIZE) for k in range(images)]
    found = []
    for seed in range(trainings):
        task = Segmentation.preset("tiny", seed=seed)
        fit(task, train)
        found.append([image.score for image in task.evaluate(test).images])
        print(f"{seed + 1}/{trainings} Dice {np.mean(found[-1]):.3f}", file=sys.stderr, flush=True)
    return np.array(found)


def main() -> int:
    """Simulate experiments, print how many intervals contain 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=120)
    parser.add_argument("--images", type=int, default=90)
    parser.add_argument("--runs", type=int, default=1000, help="simulated experiments for each number of seeds")
    options = parser.parse_args()
    known = scores(options.trainings, options.images)
    rng = np.random.default_rng(0)
    result: dict[str, object] = {"trainings": options.trainings, "runs": options.runs}
    result["sd_of_trainings"] = round(float(known.mean(1).std(ddof=1)), 4)
    for seeds in (1, 2, 3, 5):
        held = 0
        for _ in range(options.runs):
            images = rng.permutation(options.images)[: options.images // 2]
            arms = rng.permutation(options.trainings)[: 2 * seeds].reshape(2, seeds)
            pair = [[Resampled.of_scores(known[k, images]) for k in arm] for arm in arms]
            found = paired_interval(*pair)
            held += found.low <= 0 <= found.high
        result[f"share_with_0_seeds_{seeds}"] = held / options.runs
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
