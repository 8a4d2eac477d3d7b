"""Variation of the cell styles of one class within a smear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from smearsynth.synthesis.styles.clusters import Clusters, Styles, limit_lengths

MIN_CELLS = 5  # min number of cells of a class in a smear for an estimate of their variation

_BANDWIDTH = 0.5  # std of the bootstrap noise, in distances to the nearest other cell
_OUTLIER_QUANTILE = 0.98  # cells farther from the mean of their smear than this quantile are moved onto it
_MIN_SPREAD = 1e-3  # smaller spreads count as zero, in units of the encoder's range [-1, 1]


@dataclass(frozen=True, eq=False)
class CellVariation:
    """Distribution of the styles of a class about their mean in the smear, in units of their spread in the smear.

    The directions of the variation are stored for each smear: from thick to thin along the hue of its stain, or
    from normal to infected cells. With one distribution for all smears, a blue smear got turquoise and violet
    cells.

    Parameters
    ----------
    pooled : Clusters
        Of the cells of all smears.
    cells : (N, S) float32 array
        Residuals from the mean of their smear, smear after smear. Empty in models of an older version.
    starts : (n + 1,) int64 array
        Index of the first cell of each smear, and N.
    """

    pooled: Clusters
    cells: Styles
    starts: npt.NDArray[np.int64]

    @classmethod
    def fit(
        cls, smears: list[Styles], log_spreads: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> CellVariation:
        """Fit to the styles of a class in each smear, (n, S) each, and the logarithms of their spreads.

        For the pooled distribution, the 2 % of cells that are farthest from the mean (a leukocyte or a platelet
        among red cells, for example) are moved closer. In units of a smear with a small spread they are so far out
        that a smear with a large spread would get cells that do not occur in any smear.
        """
        scaled = [residuals(styles) / np.exp(log) for styles, log in zip(smears, log_spreads, strict=True)]
        cells = np.concatenate(scaled)
        max_length = float(np.quantile(np.linalg.norm(cells, axis=1), _OUTLIER_QUANTILE))
        starts = np.concatenate([[0], np.cumsum([len(styles) for styles in scaled])])
        pooled = Clusters.fit(limit_lengths(cells, max_length), rng)
        return cls(pooled, cells.astype(np.float32), starts.astype(np.int64))

    def is_consistent(self, width: int, n_smears: int) -> bool:
        """Test whether the arrays are those of `n_smears` smears with styles of length `width`, or empty."""
        if not len(self.cells):
            return True
        ordered = self.starts.shape == (n_smears + 1,) and bool((np.diff(self.starts) >= 0).all())
        return ordered and self.cells.shape == (self.starts[-1], width) and self.starts[0] == 0

    def draw(self, smear: int, n: int, rng: np.random.Generator) -> Styles:
        """Draw (n, S) residuals by a smoothed bootstrap of the cells of a training smear.

        The noise is proportional to the distance from a cell to its nearest neighbour. With one bandwidth for all
        cells, a few parasites would change the colour of every cell of a pale smear. A smear with fewer than 5
        cells uses the pooled distribution.
        """
        cells = self.cells[self.starts[smear] : self.starts[smear + 1]] if len(self.starts) > 1 else self.cells
        if len(cells) < MIN_CELLS:
            return self.pooled.draw(n, rng)
        indices = rng.integers(len(cells), size=n)
        distances = cKDTree(cells).query(cells, k=2)[0][:, 1:]
        noise = rng.standard_normal((n, cells.shape[1])) / cells.shape[1] ** 0.5
        sample: Styles = cells[indices] + (_BANDWIDTH * distances[indices] * noise).astype(np.float32)
        return sample


def residuals(styles: Styles) -> Styles:
    """Subtract the mean of the rows, if there are any."""
    return styles - styles.mean(0) if len(styles) else styles


def log_spreads(smears: list[Styles]) -> npt.NDArray[np.float64]:
    """Return the logarithm of the root mean square of the residuals in each smear, (n,).

    Smears with fewer than 5 cells get the mean of the others.
    """
    spreads = [
        float((residuals(styles) ** 2).mean()) ** 0.5 if len(styles) >= MIN_CELLS else 0.0 for styles in smears
    ]
    logs = np.array([np.log(spread) if spread > _MIN_SPREAD else np.nan for spread in spreads])
    mean = float(np.nanmean(logs)) if np.isfinite(logs).any() else np.log(_MIN_SPREAD)
    return np.where(np.isfinite(logs), logs, mean)
