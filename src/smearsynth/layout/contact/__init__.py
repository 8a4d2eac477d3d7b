"""Contact layouts: parameters, their fit to annotated smears, and the sampler."""
