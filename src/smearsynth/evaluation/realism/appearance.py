"""Colour and texture of smears in measures that can be checked by eye: stain, noise, pallor, focus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from smearsynth.smear import Smear, relabel_sequential

MEASURES = (
    "background red",
    "background green",
    "background blue",
    "cell red",
    "cell green",
    "cell blue",
    "background grain",
    "cell grain",
    "background unevenness",
    "cell pallor",
    "difference between cells",
    "rim sharpness",
)
_GRAIN_SIGMA = 1.5  # px; finer structure counts as grain
_DRAWS = 1_000  # bootstrap samples
_RIM_WIDTH = 0.06  # diameters, on either side of an outline

FloatArray = npt.NDArray[np.float64]


class AppearanceComparison(BaseModel):
    """One measure of real and of synthetic smears.

    Parameters
    ----------
    real, synthetic : float
        Mean over smears.
    real_std, synthetic_std : float
        Standard deviation between smears.
    offset : float
        Difference of the means in standard deviations of the real smears.
    real_interval : (float, float), optional
        95 % range of the mean of as many real smears as there are synthetic ones, by a bootstrap over smears. A
        synthetic mean inside it cannot be told from a real one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    real: float
    real_std: float
    synthetic: float
    synthetic_std: float
    offset: float
    real_interval: tuple[float, float] | None = None

    @property
    def is_inside(self) -> bool:
        """Whether the synthetic mean lies in `real_interval`."""
        return self.real_interval is None or self.real_interval[0] <= self.synthetic <= self.real_interval[1]


def appearance(smear: Smear, diameter: float) -> FloatArray:
    """Measure colour and texture of one smear, in grey levels.

    Grain is the standard deviation of what a Gaussian blur of 1.5 px removes. Unevenness and pallor are standard
    deviations of the blurred image, over the background and within a cell. Sharpness is the steepest slope across
    the rim of a cell per px, divided by the contrast of cells and background.

    Parameters
    ----------
    smear : Smear
    diameter : float
        Of a median cell, px.

    Returns
    -------
    (12,) float64 array
        In the order of `MEASURES`. NaN if the smear has no cell or no background.

    Examples
    --------
    >>> labels = np.zeros((60, 60), np.int32)
    >>> labels[20:40, 20:40] = 1
    >>> image = np.where(labels[..., None] > 0, 120, 200).astype(np.uint8).repeat(3, axis=2)
    >>> appearance(Smear(image, labels, np.array([0])), 20.0)[[0, 3]].round(3).tolist()
    [200.0, 120.0]
    """
    cells, background, rim = _regions(smear, diameter)
    if not cells.any() or not background.any():
        return np.full(len(MEASURES), np.nan)
    grey = smear.image.mean(axis=2, dtype=np.float64)
    smooth = ndimage.gaussian_filter(grey, _GRAIN_SIGMA)
    grain = grey - smooth
    cell_labels, instances = relabel_sequential(np.where(cells, smear.labels, 0))
    ids = np.arange(1, len(instances) + 1)
    cell_means = ndimage.mean(smooth, cell_labels, ids)
    contrast = max(abs(smooth[background].mean() - smooth[cells].mean()), 1e-9)
    slope = ndimage.gaussian_gradient_magnitude(grey, 0.7)
    steepest = ndimage.maximum(slope, np.where(rim, smear.labels, 0), instances)
    return np.array(
        [
            *smear.image[background].mean(axis=0, dtype=np.float64),
            *smear.image[cells].mean(axis=0, dtype=np.float64),
            grain[background].std(),
            grain[cells].std(),
            smooth[background].std(),
            np.median(ndimage.standard_deviation(smooth, cell_labels, ids)),
            np.std(cell_means),
            np.median(steepest) / contrast,
        ]
    )


def compare_appearance(
    real: Sequence[FloatArray], synthetic: Sequence[FloatArray], names: Sequence[str] = MEASURES
) -> dict[str, AppearanceComparison]:
    """Compare the measures of real and synthetic smears.

    Parameters
    ----------
    real, synthetic : sequence of (n,) float64 array
        One per smear, such as from `appearance`.
    names : sequence of str
        Names of the n measures.

    Returns
    -------
    dict of str to AppearanceComparison
        By measure. A measure is left out if fewer than two real smears or no synthetic smear have it.

    Examples
    --------
    >>> comparison = compare_appearance([np.full(12, 1.0), np.full(12, 3.0)], [np.full(12, 4.0)])
    >>> comparison["cell grain"].offset
    2.0
    """
    real_rows, synthetic_rows = np.array(real), np.array(synthetic)
    comparisons = {}
    for k, name in enumerate(names):
        a, b = (values[np.isfinite(values)] for values in (real_rows[:, k], synthetic_rows[:, k]))
        if len(a) < 2 or not len(b):
            continue
        deviation = float(a.std())
        offset = (b.mean() - a.mean()) / deviation if deviation else 0.0
        comparisons[name] = AppearanceComparison(
            real=float(a.mean()),
            real_std=deviation,
            synthetic=float(b.mean()),
            synthetic_std=float(b.std()),
            offset=float(offset),
            real_interval=_range_of_mean(a, len(b)),
        )
    return comparisons


def _range_of_mean(values: FloatArray, n: int) -> tuple[float, float]:
    """Return the 95 % range of the mean of n values drawn with replacement; always the same for the same values."""
    draws = np.random.default_rng(0).choice(values, (_DRAWS, n)).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def _regions(smear: Smear, diameter: float) -> tuple[npt.NDArray[np.bool_], ...]:
    """Return masks of cell interiors, of background away from cells, and of the inner side of cell outlines."""
    width = max(1.0, _RIM_WIDTH * diameter)
    depth_in_cell = ndimage.distance_transform_edt(smear.labels > 0)
    distance_to_cell = ndimage.distance_transform_edt(smear.background())  # or to an ignored pixel
    cells = depth_in_cell > width
    return cells, distance_to_cell > 2 * width, (smear.labels > 0) & ~cells
