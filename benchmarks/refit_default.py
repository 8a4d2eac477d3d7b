"""Fit everything of the shipped model but its networks again: layout, styles, acquisition, colours.

    python benchmarks/refit_default.py ../shared/data/chula models/refitted

Run it after a change of what is measured on the training smears. The result replaces the files in
``src/smearsynth/default_model`` except the model card, which is edited by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smearsynth.datasets import exclude_overlays, open_smears
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.fitting import refit


def main() -> None:
    """Refit the model and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="Chula RBC-12 with split.csv")
    parser.add_argument("output", type=Path, help="model folder")
    parser.add_argument("--model", default="default", help="model whose networks are used")
    options = parser.parse_args()
    smears = exclude_overlays(open_smears(options.data, split="train", classes="one", cache_mb=1000))
    refit(Synthesizer.load(options.model), smears, print).save(options.output, half=True)


if __name__ == "__main__":
    main()
