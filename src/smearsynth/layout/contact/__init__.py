"""Contact layouts: their parameters, the fit to annotated smears, and the sampler."""
