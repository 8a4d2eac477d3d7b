"""Is what comes out as good as the real thing? Certificates and reports, each figure with its interval."""

from smearsynth.evaluation.certificate import Certificate, certify
from smearsynth.evaluation.matching import Interval, Matches, match, paired_interval
from smearsynth.evaluation.precision import average_precision, precision_interval

__all__ = [
    "Certificate",
    "Interval",
    "Matches",
    "average_precision",
    "certify",
    "match",
    "paired_interval",
    "precision_interval",
]
