"""Colour and texture of smears in a few figures a person can check: stain, grain, pallor, focus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from smearsynth.smear import Smear, close_ids

FIGURES = (
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
_GRAIN = 1.5  # px: what is finer is grain
_RIM = 0.06  # diameters to either side of an outline

FloatArray = npt.NDArray[np.float64]


class Compared(BaseModel):
    """One figure of real and of synthetic smears.

    Parameters
    ----------
    real, synthetic : float
        Mean over the smears.
    real_std, synthetic_std : float
        Standard deviation between smears.
    offset : float
        Difference of the means in real standard deviations.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    real: float
    real_std: float
    synthetic: float
    synthetic_std: float
    offset: float


def appearance(smear: Smear, diameter: float) -> FloatArray:
    """Figures of one smear, in grey levels; NaN where it has no cell or no background.

    Parameters
    ----------
    smear : Smear
    diameter : float
        Of a median cell, px.

    Returns
    -------
    (12,) float64 array
        In the order of `FIGURES`. Grain is the deviation of what a blur of 1.5 px takes away; unevenness and
        pallor that of what it leaves, over the background and within a cell; sharpness the steepest slope across
        the rim of a cell as a share of its contrast, per px.

    Examples
    --------
    >>> labels = np.zeros((60, 60), np.int32)
    >>> labels[20:40, 20:40] = 1
    >>> image = np.where(labels[..., None] > 0, 120, 200).astype(np.uint8).repeat(3, axis=2)
    >>> appearance(Smear(image, labels, np.array([0])), 20.0)[[0, 3]].round(3).tolist()
    [200.0, 120.0]
    """
    cells, ground, rim = _parts(smear, diameter)
    if not cells.any() or not ground.any():
        return np.full(len(FIGURES), np.nan)
    grey = smear.image.mean(axis=2, dtype=np.float64)
    smooth = ndimage.gaussian_filter(grey, _GRAIN)
    fine = grey - smooth
    within, kept = close_ids(np.where(cells, smear.labels, 0))
    ids = np.arange(1, len(kept) + 1)
    means = ndimage.mean(smooth, within, ids)
    contrast = max(abs(smooth[ground].mean() - smooth[cells].mean()), 1e-9)
    slope = ndimage.gaussian_gradient_magnitude(grey, 0.7)
    steepest = ndimage.maximum(slope, np.where(rim, smear.labels, 0), kept)
    return np.array(
        [
            *smear.image[ground].mean(axis=0, dtype=np.float64),
            *smear.image[cells].mean(axis=0, dtype=np.float64),
            fine[ground].std(),
            fine[cells].std(),
            smooth[ground].std(),
            np.median(ndimage.standard_deviation(smooth, within, ids)),
            np.std(means),
            np.median(steepest) / contrast,
        ]
    )


def compare_appearance(real: Sequence[FloatArray], synthetic: Sequence[FloatArray]) -> dict[str, Compared]:
    """Set the figures of real and synthetic smears beside each other, by name.

    Examples
    --------
    >>> found = compare_appearance([np.full(12, 1.0), np.full(12, 3.0)], [np.full(12, 4.0)])
    >>> found["cell grain"].offset
    2.0
    """
    ours, theirs = np.array(real), np.array(synthetic)
    compared = {}
    for k, name in enumerate(FIGURES):
        a, b = (values[np.isfinite(values)] for values in (ours[:, k], theirs[:, k]))
        if len(a) < 2 or not len(b):  # of one smear there is no deviation to measure by
            continue
        spread = float(a.std())
        offset = (b.mean() - a.mean()) / spread if spread else 0.0
        compared[name] = Compared(
            real=float(a.mean()),
            real_std=spread,
            synthetic=float(b.mean()),
            synthetic_std=float(b.std()),
            offset=float(offset),
        )
    return compared


def _parts(smear: Smear, diameter: float) -> tuple[npt.NDArray[np.bool_], ...]:
    """Inside of cells, background well away from them, and the strip along the inside of their outlines."""
    width = max(1.0, _RIM * diameter)
    from_ground = ndimage.distance_transform_edt(smear.labels > 0)
    from_cells = ndimage.distance_transform_edt(smear.labels == 0)
    cells = from_ground > width
    return cells, from_cells > 2 * width, (smear.labels > 0) & ~cells
