"""Exclusion of cells whose style is not that of a whole cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smearsynth.smear import Smear
from smearsynth.synthesis.styles.clusters import Styles

_MIN_RELATIVE_AREA = 0.5  # of the median area of the class in the smear


def drop_partial_cells(styles: Styles, smear: Smear) -> tuple[Styles, npt.NDArray[np.int64]]:
    """Drop the styles of cells with less than half of the median area of their class in the smear.

    These are specks, and cells cut by the border or covered by other cells. The encoder sees mostly their
    surroundings, so a whole cell painted in such a style looks like no real cell. On Chula, seven of ten outlying
    styles belong to such cells.

    Parameters
    ----------
    styles : (n + 1, S) float32 array
        Row 0 is the background.
    smear : Smear
        With the n cells.

    Returns
    -------
    styles : (m + 1, S) float32 array
        Background and the m remaining cells.
    classes : (m,) int64 array

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 0, 2, 0, 3, 3, 3]], np.int32)
    >>> smear = Smear(np.zeros((1, 9, 3), np.uint8), labels, np.array([0, 0, 0]))
    >>> styles = np.arange(4, dtype=np.float32)[:, None]
    >>> drop_partial_cells(styles, smear)[0].ravel().tolist()
    [0.0, 1.0, 3.0]
    """
    areas = smear.areas()
    medians = np.zeros(len(smear.class_names))
    for class_id in np.unique(smear.classes):
        medians[class_id] = np.median(areas[smear.classes == class_id])
    whole = areas >= _MIN_RELATIVE_AREA * medians[smear.classes]
    return styles[np.concatenate([[True], whole])], smear.classes[whole]
