"""The benefit experiment, the paper's Table 2 on one's own smears: do synthetic ones help, with intervals.

`prepare` gives an `Experiment`, `run_all` does the work that `work_of` says is left, `summarise` gives the result.
"""

from smearsynth.experiment.arms import ARMS, COMPARED, PAPER, Arm, ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Settings
from smearsynth.experiment.preparing import prepare
from smearsynth.experiment.records import BenefitResult, Difference, Facts, Run
from smearsynth.experiment.running import run_all, work_of
from smearsynth.experiment.verdict import summarise

__all__ = [
    "ARMS",
    "COMPARED",
    "PAPER",
    "Arm",
    "ArmName",
    "BenefitResult",
    "Difference",
    "Experiment",
    "Facts",
    "Run",
    "Settings",
    "prepare",
    "run_all",
    "summarise",
    "work_of",
]
