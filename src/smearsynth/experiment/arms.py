"""The arms of the experiment: what a model is trained on (paper, section 5, Table 2)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from smearsynth.tasks.augment import AugmentName
from smearsynth.tasks.config import TaskName

ArmName = Literal["RD", "SD", "RD+aug", "SD+aug", "RD+copy-paste", "RD+SD", "RD+SD+aug"]


class Arm(NamedTuple):
    """Training data of an arm.

    Parameters
    ----------
    real, synthetic : bool
        Whether real and synthetic smears are used.
    augment : {"none", "classic", "copy-paste"}
        Augmentation of each crop.
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

MIXED_PAIRS: tuple[tuple[ArmName, ArmName], ...] = (
    ("RD+SD+aug", "RD+aug"),
    ("RD+SD", "RD"),
    ("RD+SD", "RD+aug"),
    ("RD+SD", "RD+copy-paste"),
)
"""Mixed arms (real and synthetic smears) and their base. The verdict uses the first pair that was run."""

SYNTHETIC_PAIRS: tuple[tuple[ArmName, ArmName], ...] = (("SD+aug", "RD+aug"), ("SD", "RD"))
"""Arms with synthetic smears only and their base. The verdict uses the first pair that was run."""

COMPARISONS: tuple[tuple[ArmName, ArmName], ...] = (
    *MIXED_PAIRS,
    *SYNTHETIC_PAIRS,
    ("RD+aug", "RD"),
    ("RD+copy-paste", "RD"),
)
"""All pairs of an arm and its base that are compared."""

SUBSET_PAIRS: tuple[tuple[ArmName, ArmName], ...] = (
    ("RD+SD+aug", "RD+aug"),
    ("RD+SD", "RD"),
    ("RD+aug", "RD+aug"),
    ("RD", "RD"),
)
"""Arms trained on a subset of the real smears and their base, which is trained on all real smears."""

PAPER_SCORES: dict[TaskName, dict[ArmName, float]] = {
    "segmentation": {"RD": 0.961, "SD": 0.848, "RD+aug": 0.962, "RD+SD": 0.948, "RD+SD+aug": 0.964},
    "detection": {"RD": 0.781, "SD": 0.852, "RD+aug": 0.985, "RD+SD": 0.986, "RD+SD+aug": 0.993},
    "contours": {"RD": 0.853, "SD": 0.749, "RD+aug": 0.885, "RD+SD": 0.848, "RD+SD+aug": 0.895},
}
"""Table 2 of the paper, measured on its own 100 smears: Dice of segmentation, AP of the other tasks."""
