"""TODO."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from smearsynth.errors import DataError
from smearsynth.smear import Smear


def median_diameter(smears: Iterable[Smear]) -> float:
    """Diameter of the disc of the median area of the whole cells, px; `DataError` where there is none."""
    whole = [smear.areas()[~smear.cut_by_border()] for smear in smears]
    areas = np.concatenate([np.zeros(0), *whole])
    if not len(areas):
        raise DataError("no whole cell in these smears; give smears with cells that the border does not cut")
    return float(np.sqrt(4 * np.median(areas) / np.pi))


def same_scale(real: float, synthetic: float, scale: float = 1.0) -> None:
    """Raise `DataError` unless real and synthetic cells, of these diameters in px, are of about one size.

    Parameters
    ----------
    real, synthetic : float
    scale : float
        At which the real smears were read; the message says at which they should be.

    Examples
    --------
    >>> same_scale(40.0, 44.0)
    """
    ratio = synthetic / real
    if not 2 / 3 <= ratio <= 3 / 2:
        raise DataError(
            f"synthetic cells are {synthetic:.0f} px across, real ones {real:.0f}: read the real smears at the "
            f"scale the model was trained at (--scale {ratio * scale:.2g})"
        )


def folder_of(smears: Sequence[Smear]) -> Path | None:
    """The folder that smears are from, to name in an error; None where they are from none."""
    return getattr(smears, "root", None)
