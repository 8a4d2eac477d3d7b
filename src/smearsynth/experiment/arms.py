"""The arms of the experiment: what a model learns from (paper, section 5, Table 2)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from smearsynth.tasks.augment import AugmentName
from smearsynth.tasks.config import TaskName

ArmName = Literal["RD", "SD", "RD+aug", "SD+aug", "RD+copy-paste", "RD+SD", "RD+SD+aug"]


class Arm(NamedTuple):
    """What a model learns from.

    Parameters
    ----------
    real, synthetic : bool
        Which smears.
    augment : {"none", "classic", "copy-paste"}
        What is done to each crop of them.
    """

    real: bool
    synthetic: bool
    augment: AugmentName


ARMS: dict[ArmName, Arm] = {
    "RD": Arm(True, False, "none"),
    "SD": Arm(False, True, "none"),
    "RD+aug": Arm(True, False, "classic"),
    "SD+aug": Arm(False, True, "classic"),
    "RD+copy-paste": Arm(True, False, "copy-paste"),
    "RD+SD": Arm(True, True, "none"),
    "RD+SD+aug": Arm(True, True, "classic"),
}

BESIDE: tuple[tuple[ArmName, ArmName], ...] = (
    ("RD+SD+aug", "RD+aug"),
    ("RD+SD", "RD"),
    ("RD+SD", "RD+aug"),
    ("RD+SD", "RD+copy-paste"),
)
"""Arms with synthetic smears beside real ones, each with its base; the first pair that has run is the verdict."""

ALONE: tuple[tuple[ArmName, ArmName], ...] = (("SD+aug", "RD+aug"), ("SD", "RD"))
"""Arms of synthetic smears alone, each with its base; the first pair that has run is told."""

COMPARED: tuple[tuple[ArmName, ArmName], ...] = (*BESIDE, *ALONE, ("RD+aug", "RD"), ("RD+copy-paste", "RD"))
"""All arms to compare, each with its base."""

OF_FEW: tuple[tuple[ArmName, ArmName], ...] = (
    ("RD+SD+aug", "RD+aug"),
    ("RD+SD", "RD"),
    ("RD+aug", "RD+aug"),
    ("RD", "RD"),
)
"""Arms of few real smears, each with an arm of all of them: how far synthetic smears make up for the rest."""

PAPER: dict[TaskName, dict[ArmName, float]] = {
    "segmentation": {"RD": 0.961, "SD": 0.848, "RD+aug": 0.962, "RD+SD": 0.948, "RD+SD+aug": 0.964},
    "detection": {"RD": 0.781, "SD": 0.852, "RD+aug": 0.985, "RD+SD": 0.986, "RD+SD+aug": 0.993},
    "contours": {"RD": 0.853, "SD": 0.749, "RD+aug": 0.885, "RD+SD": 0.848, "RD+SD+aug": 0.895},
}
"""Table 2 of the paper, on its own 100 smears: Dice of segmentation, AP of the others."""
