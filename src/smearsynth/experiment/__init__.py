"""The benefit experiment: the paper's Table 2 on your own smears, with intervals.

`smearsynth.experiment.benefit.benefit` runs it in one call. The steps are also available: `prepare` returns an
`Experiment`, `remaining_work` its work items, `run_all` executes them, and `summarise` returns the result.
"""

from smearsynth.experiment.arms import ARMS, COMPARISONS, PAPER_SCORES, Arm, ArmName
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.facts import Facts
from smearsynth.experiment.plan import Settings
from smearsynth.experiment.preparing import prepare
from smearsynth.experiment.records import BenefitResult, Difference, Run
from smearsynth.experiment.running import remaining_work, run_all
from smearsynth.experiment.summary import summarise

__all__ = [
    "ARMS",
    "COMPARISONS",
    "PAPER_SCORES",
    "Arm",
    "ArmName",
    "BenefitResult",
    "Difference",
    "Experiment",
    "Facts",
    "Run",
    "Settings",
    "prepare",
    "remaining_work",
    "run_all",
    "summarise",
]
