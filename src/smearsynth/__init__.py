"""Annotated synthetic blood smears, learned from a few annotated real ones.

Every command of the command line is one function here. Names are imported on first use, because PyTorch takes
seconds to import.

* `open_smears`, `Smear`, `SmearFolder`, `measure`: annotated smears, folders of them, and their statistics.
* `train`, `Synthesizer`: train a synthesizer; load and use one.
* `generate`, `SyntheticSmears`: synthetic smears on disk, or as an endless stream.
* `train_task`, `predict`, `score`: models that find cells.
* `benefit`: measure whether synthetic smears help such models.
* `realism`, `audit`, `check_layout`: compare synthetic smears with real ones.
* `Execution`, `Progress`: where a long computation runs, and what it reports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smearsynth.conversion import convert
    from smearsynth.datasets import SmearFolder, open_smears
    from smearsynth.evaluation.audit.audit import audit
    from smearsynth.evaluation.layout_check import check_layout
    from smearsynth.evaluation.realism.realism import realism
    from smearsynth.experiment.benefit import benefit
    from smearsynth.generation.generate import generate
    from smearsynth.generation.stream import SyntheticSmears
    from smearsynth.labelling.annotate import annotate
    from smearsynth.runs import Execution, Progress
    from smearsynth.smear import Smear
    from smearsynth.statistics import DataStatistics, measure
    from smearsynth.synthesis.model.synthesizer import Synthesizer
    from smearsynth.synthesis.training.train import train
    from smearsynth.tasks.prediction import predict
    from smearsynth.tasks.scoring import score
    from smearsynth.tasks.train_task import train_task

_MODULES = {
    "DataStatistics": "statistics",
    "Execution": "runs",
    "Progress": "runs",
    "Smear": "smear",
    "SmearFolder": "datasets",
    "Synthesizer": "synthesis.model.synthesizer",
    "SyntheticSmears": "generation.stream",
    "annotate": "labelling.annotate",
    "audit": "evaluation.audit.audit",
    "benefit": "experiment.benefit",
    "check_layout": "evaluation.layout_check",
    "convert": "conversion",
    "generate": "generation.generate",
    "measure": "statistics",
    "open_smears": "datasets",
    "predict": "tasks.prediction",
    "realism": "evaluation.realism.realism",
    "score": "tasks.scoring",
    "train": "synthesis.training.train",
    "train_task": "tasks.train_task",
}

__all__ = [
    "DataStatistics",
    "Execution",
    "Progress",
    "Smear",
    "SmearFolder",
    "Synthesizer",
    "SyntheticSmears",
    "annotate",
    "audit",
    "benefit",
    "check_layout",
    "convert",
    "generate",
    "measure",
    "open_smears",
    "predict",
    "realism",
    "score",
    "train",
    "train_task",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"smearsynth.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'smearsynth' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
