"""Statistics of annotated smears: the paper's Table 1 and the statistics of the layout.

All statistics of a data set are computed from one small row per smear. Memory does not grow with the images, every
subset of rows (a split, a bootstrap sample) has its statistics, and the parameters of one smear (density, adhesion,
cell size, colours) stay together and can be drawn jointly.
"""

from smearsynth.smear import touching_pairs
from smearsynth.statistics.measuring import measure, measure_smear
from smearsynth.statistics.patterns import (
    BIN_WIDTH,
    BINS,
    cell_centres,
    cluster_sizes,
    nearest_neighbours,
    pair_correlation,
)
from smearsynth.statistics.records import (
    ColourSpread,
    DataStatistics,
    PairCorrelation,
    SmearStatistics,
    Spread,
)

__all__ = [
    "BINS",
    "BIN_WIDTH",
    "ColourSpread",
    "DataStatistics",
    "PairCorrelation",
    "SmearStatistics",
    "Spread",
    "cell_centres",
    "cluster_sizes",
    "measure",
    "measure_smear",
    "nearest_neighbours",
    "pair_correlation",
    "touching_pairs",
]
