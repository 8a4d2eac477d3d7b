"""Cell shapes: the exemplar library of the paper, and a fitted parametric model that holds no real contour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

VERTICES = 64  # of every stored contour, equally spaced along it

ContourArray = npt.NDArray[np.float32]  # (n, VERTICES, 2) as x, y in px about the centroid


@dataclass(frozen=True, eq=False)
class ShapeLibrary:
    """Contours of whole cells, per class.

    Parameters
    ----------
    contours : (n, VERTICES, 2) float32 array
        x, y in px about the centroid of the filled shape, equally spaced along the outline.
    classes : (n,) int64 array
        Index into `class_names`.
    class_names : tuple of str
    """

    contours: ContourArray
    classes: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ("cell",)


@dataclass(frozen=True)
class ShapeAugmentation:
    """How a drawn shape is varied before it is placed (paper, section 4.1.1).

    Parameters
    ----------
    rotation : float
        Probability of a turn by an angle uniform in [0, 2π).
    scale : float
        Probability of a scaling by a factor uniform in `scale_range`.
    scale_range : tuple of float
    flip_horizontal, flip_vertical : float
        Probabilities of the mirrorings.
    """

    rotation: float = 1.0
    scale: float = 0.5
    scale_range: tuple[float, float] = (0.95, 1.05)
    flip_horizontal: float = 0.5
    flip_vertical: float = 0.5
