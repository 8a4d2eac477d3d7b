"""Annotated synthetic blood smears, learned from a few annotated real ones.

The main names, loaded when first used (PyTorch takes seconds to import):

* `Smear`, `open_smears`: annotated smears and folders of them.
* `measure`: statistics of smears.
* `Synthesizer`, `SyntheticSmears`: a trained model, and the endless stream it gives.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smearsynth.datasets import SmearFolder, open_smears
    from smearsynth.generation.stream import SyntheticSmears
    from smearsynth.smear import Smear
    from smearsynth.statistics import DataStatistics, measure
    from smearsynth.synthesis.model.synthesizer import Synthesizer

_HOME = {
    "DataStatistics": "smearsynth.statistics",
    "Smear": "smearsynth.smear",
    "SmearFolder": "smearsynth.datasets",
    "Synthesizer": "smearsynth.synthesis.model.synthesizer",
    "SyntheticSmears": "smearsynth.generation.stream",
    "measure": "smearsynth.statistics",
    "open_smears": "smearsynth.datasets",
}

__all__ = ["DataStatistics", "Smear", "SmearFolder", "Synthesizer", "SyntheticSmears", "measure", "open_smears"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'smearsynth' has no attribute {name!r}")
