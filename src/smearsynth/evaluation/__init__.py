"""Is what comes out as good as the real thing? Certificates and reports, each figure with its interval."""

from smearsynth.evaluation.certificate import Certificate, certify

__all__ = ["Certificate", "certify"]
