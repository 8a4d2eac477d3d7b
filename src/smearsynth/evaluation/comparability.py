"""Open real and synthetic smears, and check that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from smearsynth.datasets import SmearFolder, exclude_overlays, open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.runs import SILENT, Progress
from smearsynth.smear import Smear

Data: TypeAlias = Path | str | SmearFolder

_MAX_RATIO = 1.5  # of the diameters of synthetic and real cells, in either direction


def open_data(
    data: Data, *, limit: int | None = None, cache_mb: float = 0.0, progress: Progress = SILENT
) -> SmearFolder:
    """Open a folder of smears with a single cell class; burned-in overlays of real smears are ignored.

    Parameters
    ----------
    data : Path or str or SmearFolder
    limit : int, optional
        Use only the first `limit` smears.
    cache_mb : float
        Size of the cache of decoded smears in megabytes, for a path.
    progress : Progress
        Receives the notes on a folder that is opened.

    Raises
    ------
    DataError
        If the folder cannot be read.
    OptionError
        If `limit` is less than 1.
    """
    if not isinstance(data, SmearFolder):
        smears = open_smears(data, classes="one", limit=limit, cache_mb=cache_mb)
        for note in smears.notes:
            progress.message(note)
        return exclude_overlays(smears, progress)
    data = exclude_overlays(data, progress)
    if limit is None:
        return data
    if limit < 1:
        raise OptionError(f"limit must be at least 1, not {limit}")
    return data[:limit]


def median_diameter(smears: Iterable[Smear]) -> float:
    """Return the diameter in px of a disc with the median area of the whole cells.

    Raises
    ------
    DataError
        If no smear has a whole cell.

    Examples
    --------
    >>> labels = np.zeros((20, 20), np.int32)
    >>> labels[5:15, 5:15] = 1
    >>> smear = Smear(np.zeros((20, 20, 3), np.uint8), labels, np.array([0]))
    >>> round(median_diameter([smear]), 2)
    11.28
    """
    whole_areas = [smear.areas()[~smear.incomplete()] for smear in smears]
    areas = np.concatenate([np.zeros(0), *whole_areas])
    if not len(areas):
        raise DataError("no whole cell in these smears; give smears with cells that the border does not cut")
    return float(np.sqrt(4 * np.median(areas) / np.pi))


def check_cell_sizes(real: float, synthetic: float, scale: float = 1.0) -> None:
    """Raise `DataError` if synthetic cells are over 1.5 times as large as real ones, or real as synthetic ones.

    Parameters
    ----------
    real, synthetic : float
        Median diameters of the cells, px.
    scale : float
        Scale at which the real smears were read; the message names the scale that fits.

    Examples
    --------
    >>> check_cell_sizes(40.0, 44.0)
    """
    ratio = synthetic / real
    if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        raise DataError(
            f"synthetic cells have a median diameter of {synthetic:.0f} px, real cells {real:.0f} px; read the "
            f"real smears at the training scale of the model (--scale {ratio * scale:.2g})"
        )


def folder_of(smears: Sequence[Smear]) -> Path | None:
    """Return the path of a `SmearFolder`, to name it in errors; None for other sequences."""
    return smears.root if isinstance(smears, SmearFolder) else None


def scale_of(smears: Sequence[Smear]) -> float:
    """Return the scale at which a `SmearFolder` is read; 1 for other sequences."""
    return smears.scale if isinstance(smears, SmearFolder) else 1.0


def name_of(smears: Sequence[Smear], index: int) -> str:
    """Return the name of a smear; a `SmearFolder` does not decode it for this."""
    return smears.names[index] if isinstance(smears, SmearFolder) else smears[index].name
