from __future__ import annotations

from pathlib import Path

import pytest

from smearsynth.datasets import open_smears
from smearsynth.experiment.experiment import Experiment, Source
from smearsynth.experiment.facts import SynthesizerFacts
from smearsynth.experiment.plan import Settings
from smearsynth.experiment.preparing import check_smears
from smearsynth.synthesis.model.synthesizer import Synthesizer


@pytest.fixture
def settings() -> Settings:
    """Settings of the fixture `experiment`."""
    return Settings(
        preset="tiny", seeds=1, steps=2, synthetic=4, arms=("RD", "SD", "RD+SD"), tasks=("segmentation",)
    )


@pytest.fixture
def experiment(smear_folder: Path, tiny_folder: Path, tmp_path: Path, settings: Settings) -> Experiment:
    """Experiment on `smear_folder` with the synthesizer of `tiny_folder`; nothing has been run."""
    train, test = (open_smears(smear_folder, split=split) for split in ("train", "test"))
    facts = SynthesizerFacts(hash=Synthesizer.load(tiny_folder).hash, name="analytic", smears=6)
    sources = {6: Source(tiny_folder, facts)}
    return Experiment(train, test, check_smears(train, test), settings, sources, tmp_path / "out")
