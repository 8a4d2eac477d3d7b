"""The benefit experiment, the paper's Table 2 on one's own smears: do synthetic ones help, with intervals."""

from smearsynth.benefit.arms import ARMS, COMPARED, PAPER, Arm, ArmName
from smearsynth.benefit.records import BenefitResult, Difference, Facts, Run

__all__ = ["ARMS", "COMPARED", "PAPER", "Arm", "ArmName", "BenefitResult", "Difference", "Facts", "Run"]
