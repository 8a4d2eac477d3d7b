"""Simulated label errors: correct labels are damaged to measure which errors a check detects."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smearsynth.smear import LabelArray, Mask, Smear

SimulatedError = Literal["deleted", "added", "shifted", "swapped"]
SIMULATED_ERRORS: tuple[SimulatedError, ...] = ("deleted", "added", "shifted", "swapped")

_MAX_ERRORS = 12  # per smear and kind
_MIN_AREA = 0.3  # of a cell to be damaged, in areas of a median cell
_CLEARANCE = 0.55  # diameters between an added cell and other cells
_SIZE_RATIO = 1.5  # of two swapped cells


class LabelError(NamedTuple):
    """One simulated error.

    Parameters
    ----------
    label : int
        The label that is wrong now; 0 if there is none.
    unlabelled : (H, W) bool array
        Pixels of a cell that has no label now.
    """

    label: int
    unlabelled: Mask


def simulate_errors(
    smear: Smear, kind: SimulatedError, diameter: float, rng: np.random.Generator
) -> tuple[LabelArray, list[LabelError]]:
    """Damage the labels of some whole cells of a smear, in a copy.

    Parameters
    ----------
    smear : Smear
    kind : {"deleted", "added", "shifted", "swapped"}
        A cell loses its label, a label is added on background, a label is shifted by half a diameter, or a label is
        replaced by that of a cell with at least 1.5 times or at most two thirds of its area.
    diameter : float
        Of a median cell, px.
    rng : numpy.random.Generator

    Returns
    -------
    labels : (H, W) int32 array
    errors : list of LabelError
        At most 12, and at most one per eight cells.

    Examples
    --------
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[10:20, 10:20] = 1
    >>> smear = Smear(np.zeros((40, 40, 3), np.uint8), labels, np.array([0]))
    >>> damaged, errors = simulate_errors(smear, "deleted", 11.3, np.random.default_rng(0))
    >>> int(damaged.max()), [(error.label, int(error.unlabelled.sum())) for error in errors]
    (0, [(0, 100)])
    """
    median_area = np.pi / 4 * diameter**2
    labels = smear.labels.copy()
    whole = np.flatnonzero(~smear.incomplete() & (smear.areas() > _MIN_AREA * median_area)) + 1
    if not len(whole):
        return labels, []
    subset = rng.choice(whole, min(_MAX_ERRORS, max(1, len(whole) // 8)), replace=False)
    errors = [_damage(labels, label, kind, smear, whole, diameter, rng) for label in subset.tolist()]
    return labels, [error for error in errors if error is not None]


def _damage(
    labels: LabelArray,
    label: int,
    kind: SimulatedError,
    smear: Smear,
    whole: npt.NDArray[np.int64],
    diameter: float,
    rng: np.random.Generator,
) -> LabelError | None:
    """Damage one label in place; return None if that is impossible."""
    cell = smear.labels == label
    if kind == "deleted":
        labels[cell] = 0
        return LabelError(0, cell)
    if kind == "shifted":
        angle = rng.uniform(0, 2 * np.pi)
        offset = np.rint(diameter / 2 * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        labels[cell] = 0
        _write_label(labels, np.argwhere(cell) + offset, label)
        return LabelError(label, cell)
    if kind == "added":
        return _add_label(labels, cell, diameter, smear.ignored, rng)
    return _swap_label(labels, label, cell, smear, whole, rng)


def _add_label(
    labels: LabelArray, cell: Mask, diameter: float, ignored: Mask | None, rng: np.random.Generator
) -> LabelError | None:
    """Add a label with the shape of a cell on annotated background."""
    background = labels == 0 if ignored is None else (labels == 0) & ~ignored
    places = np.argwhere(ndimage.distance_transform_edt(background) > _CLEARANCE * diameter)
    if not len(places):
        return None
    label = int(labels.max()) + 1
    centre = np.argwhere(cell).mean(axis=0)
    target = places[rng.integers(len(places))]
    _write_label(labels, np.argwhere(cell) + np.rint(target - centre).astype(int), label)
    return LabelError(label, np.zeros_like(cell)) if (labels == label).any() else None


def _swap_label(
    labels: LabelArray,
    label: int,
    cell: Mask,
    smear: Smear,
    whole: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> LabelError | None:
    """Replace a label by the shape of a cell of another size."""
    areas = smear.areas()
    ratio = areas[whole - 1] / areas[label - 1]
    others = whole[(ratio >= _SIZE_RATIO) | (ratio <= 1 / _SIZE_RATIO)]
    if not len(others):
        return None
    centre = np.argwhere(cell).mean(axis=0)
    shape = np.argwhere(smear.labels == rng.choice(others))
    labels[cell] = 0
    _write_label(labels, np.rint(shape - shape.mean(axis=0) + centre).astype(int), label)
    return LabelError(label, np.zeros_like(cell))


def _write_label(labels: LabelArray, pixels: npt.NDArray[np.int64], label: int) -> None:
    """Write a label to those pixels (n, 2) that are in the field and have no label."""
    height, width = labels.shape
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < height) & (pixels[:, 1] < width)
    rows, columns = pixels[inside].T
    free = labels[rows, columns] == 0
    labels[rows[free], columns[free]] = label
