"""Realism of synthetic smears: feature distances, colour and texture, and label fidelity."""
