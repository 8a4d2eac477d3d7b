"""Style vectors of the training smears: their distribution, and drawing the styles of new smears."""
