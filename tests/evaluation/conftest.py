from __future__ import annotations

import pytest

from evaluation_smears import DarkSegmenter, textured_smear
from smears import random_smear
from smearsynth.evaluation.audit.audit import search_copies
from smearsynth.evaluation.audit.record import Audit
from smearsynth.evaluation.realism.realism import Realism, measure_realism
from smearsynth.smear import Smear
from smearsynth.synthesis.networks.features import PerceptualFeatures, load_features


@pytest.fixture(scope="session")
def features() -> PerceptualFeatures:
    features = load_features("efficientnet_lite0")
    assert features is not None
    return features


@pytest.fixture(scope="session")
def smears() -> list[Smear]:
    return [random_smear(k) for k in range(24)]


@pytest.fixture(scope="session")
def realism_result(features: PerceptualFeatures, smears: list[Smear]) -> Realism:
    """Realism of smears of the same kind."""
    return measure_realism(smears[:12], smears[12:], features, segmenter=DarkSegmenter(), rng=0)


@pytest.fixture(scope="session")
def training() -> list[Smear]:
    return [textured_smear(k) for k in range(12)]


@pytest.fixture(scope="session")
def held_out() -> list[Smear]:
    return [textured_smear(100 + k) for k in range(8)]


@pytest.fixture(scope="session")
def new_smears() -> list[Smear]:
    return [textured_smear(200 + k) for k in range(6)]


@pytest.fixture(scope="session")
def clean_audit(training: list[Smear], held_out: list[Smear], new_smears: list[Smear]) -> Audit:
    """Audit of smears without copies."""
    return search_copies(training, new_smears, held_out=held_out, controls=100, rng=0)
