"""Is what comes out as good as the real thing? Certificates and reports, each figure with its interval."""

from smearsynth.evaluation.layout_check import LayoutCheck, check_layout
from smearsynth.metrics.average_precision import average_precision
from smearsynth.metrics.intervals import Interval, Resampled, paired_interval
from smearsynth.metrics.matching import Matches, match

__all__ = [
    "Interval",
    "LayoutCheck",
    "Matches",
    "Resampled",
    "average_precision",
    "check_layout",
    "match",
    "paired_interval",
]
