"""A/A check of the benefit experiment: intervals of two identical arms should contain 0 as often as they claim.

    python benchmarks/benefit_aa.py --trainings 120 --runs 1000

Segmentation models that differ only in their seed are trained on small analytic smears and scored on the same test
smears. A simulated experiment draws the trainings of two arms from them, without repetition, and half of the test
smears. Its 95 % interval should contain 0 in 95 % of the simulated experiments (90 to 99 % pass).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from smears import random_smear
from smearsynth.metrics.intervals import BootstrapScore, paired_interval
from smearsynth.tasks.fitting import fit
from smearsynth.tasks.segmentation import Segmentation

SIZE = (96, 96)
TRAINING_SMEARS = 10


def train_and_score(trainings: int, images: int) -> npt.NDArray[np.float64]:
    """Return the Dice of every training on every test image, (trainings, images)."""
    train = [random_smear(k, SIZE) for k in range(TRAINING_SMEARS)]
    test = [random_smear(1000 + k, SIZE) for k in range(images)]
    scores = []
    for seed in range(trainings):
        task = Segmentation.preset("tiny", seed=seed)
        fit(task, train)
        scores.append([image.score for image in task.evaluate(test).images])
        print(f"{seed + 1}/{trainings} Dice {np.mean(scores[-1]):.3f}", file=sys.stderr, flush=True)
    return np.array(scores)


def fraction_with_0(scores: npt.NDArray[np.float64], seeds: int, runs: int, rng: np.random.Generator) -> float:
    """Return the fraction of simulated experiments whose interval contains 0."""
    trainings, images = scores.shape
    count = 0
    for _ in range(runs):
        subset = rng.permutation(images)[: images // 2]
        arms = rng.permutation(trainings)[: 2 * seeds].reshape(2, seeds)
        first, second = ([BootstrapScore.of_scores(scores[k, subset]) for k in arm] for arm in arms)
        interval = paired_interval(first, second)
        count += interval.low <= 0 <= interval.high
    return count / runs


def main() -> int:
    """Simulate experiments and print how many intervals contain 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=120, help="number of models")
    parser.add_argument("--images", type=int, default=90, help="number of test images")
    parser.add_argument("--runs", type=int, default=1000, help="simulated experiments per number of seeds")
    options = parser.parse_args()
    scores = train_and_score(options.trainings, options.images)
    rng = np.random.default_rng(0)
    result: dict[str, float] = {
        "trainings": options.trainings,
        "runs": options.runs,
        "sd_of_trainings": round(float(scores.mean(1).std(ddof=1)), 4),
    }
    for seeds in (1, 2, 3, 5):
        result[f"fraction_with_0_seeds_{seeds}"] = fraction_with_0(scores, seeds, options.runs, rng)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
