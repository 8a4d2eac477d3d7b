"""Training of a synthesizer: loop, losses, data loading and state."""
