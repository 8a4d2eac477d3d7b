"""Comparison of synthetic smears with real ones: realism, label fidelity, memorisation and layouts."""
