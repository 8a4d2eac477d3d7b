"""Is what comes out as good as the real thing? Certificates and reports, each figure with its interval."""

from smearsynth.evaluation.certificate import Certificate, certify
from smearsynth.evaluation.intervals import Interval, Resampled, paired_interval
from smearsynth.evaluation.matching import Matches, match
from smearsynth.evaluation.precision import average_precision

__all__ = [
    "Certificate",
    "Interval",
    "Matches",
    "Resampled",
    "average_precision",
    "certify",
    "match",
    "paired_interval",
]
