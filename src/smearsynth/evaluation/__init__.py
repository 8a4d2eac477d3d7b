"""Is what comes out as good as the real thing? Certificates and reports, each figure with its interval."""

from smearsynth.evaluation.certificate import Certificate, certify
from smearsynth.metrics.average_precision import average_precision
from smearsynth.metrics.intervals import Interval, Resampled, paired_interval
from smearsynth.metrics.matching import Matches, match

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
