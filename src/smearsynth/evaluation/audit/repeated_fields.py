"""Repeated fields: smears that show several cells of one training smear in their places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.evaluation.audit.descriptors import CellDescriptors, FloatArray, NearestCells

CLEAR_MARGIN = 0.5  # a cell with a larger margin is very likely a copy
# A field is repeated if 3 cells lie in their places, 2 of them with a clear margin, or 5 cells with any margin.
_MIN_CELLS, _MIN_CLEAR_CELLS, _MIN_CELLS_ANY_MARGIN = 3, 2, 5
_TOLERANCE = 0.25  # diameters between the expected and the actual position of a cell
_RELATIVE_TOLERANCE = (
    0.1  # added per distance to the other cell: rotations of single cells are off by a few degrees
)

ComplexArray = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class RepeatedField:
    """A smear that shows cells of a training smear in their places.

    Parameters
    ----------
    smear, training : int
        Indices of both smears, in reading order.
    cells : int
        Number of cells in their places.
    rotation : float
        Clockwise rotation of the training smear, degrees.
    mirrored : bool
        Whether the training smear is mirrored top to bottom before the rotation.
    """

    smear: int
    training: int
    cells: int
    rotation: float
    mirrored: bool


def find_repeated_fields(
    cells: CellDescriptors, nearest: NearestCells, training: CellDescriptors, diameter: float
) -> list[RepeatedField]:
    """Find the smears that show several cells of one training smear in their places, in any pose.

    A single cell may resemble another by chance, and a layout may use real outlines, but neither repeats the
    arrangement of several cells. Three whole cells of a field are sufficient, at any place, rotated or mirrored.

    Parameters
    ----------
    cells : CellDescriptors
        Cells of the smears to search.
    nearest : NearestCells
        Their nearest training cells, from `CellIndex.nearest`.
    training : CellDescriptors
        Training cells.
    diameter : float
        Of a median cell, px.

    Returns
    -------
    list of RepeatedField
        In the order of the smears.

    Examples
    --------
    >>> harmonics, labels, ones = np.zeros((3, 1, 1), np.complex64), np.arange(1, 4), np.ones(3)
    >>> training = CellDescriptors(harmonics, np.full(3, 7), labels, np.array([[10.0, 10], [50, 10], [50, 40]]))
    >>> cells = CellDescriptors(harmonics, np.zeros(3, int), labels, np.array([[90.0, 20], [90, 60], [60, 60]]))
    >>> nearest = NearestCells(np.arange(3), ones, ones, 90 * ones, ones < 0)
    >>> find_repeated_fields(cells, nearest, training, 20.0)
    [RepeatedField(smear=0, training=7, cells=3, rotation=90.0, mirrored=False)]
    """
    if not len(cells):
        return []
    source = training.smears[nearest.index]
    keys = np.stack([cells.smears, source, nearest.mirrored.astype(np.int64)], axis=1)
    groups, membership = np.unique(keys, axis=0, return_inverse=True)
    membership = membership.reshape(-1)
    positions = _as_complex(cells.centres)
    origins = _as_complex(training.centres[nearest.index])
    origins = np.where(nearest.mirrored, origins.conj(), origins)
    rotations = np.exp(1j * np.deg2rad(nearest.rotation))
    order = np.argsort(membership, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(membership[order])) + 1)
    fields = []
    for (smear, training_smear, mirrored), group in zip(groups.tolist(), members, strict=True):
        in_place = _in_place(positions[group], origins[group], rotations[group], diameter)
        count = in_place.sum(axis=1)
        clear_count = in_place[:, nearest.margin[group] > CLEAR_MARGIN].sum(axis=1)
        repeated = (count >= _MIN_CELLS) & (clear_count >= _MIN_CLEAR_CELLS) | (count >= _MIN_CELLS_ANY_MARGIN)
        scores = np.where(repeated, count, 0)
        if scores.any():
            best = int(scores.argmax())
            rotation = float(np.angle(rotations[group][in_place[best]].sum(), deg=True)) % 360
            cell_count = int(scores[best])
            fields.append(RepeatedField(smear, training_smear, cell_count, round(rotation, 1), bool(mirrored)))
    return fields


def _in_place(
    positions: ComplexArray, origins: ComplexArray, rotations: ComplexArray, diameter: float
) -> npt.NDArray[np.bool_]:
    """Test for every pair of n cells whether their offset is that of their training cells, rotated.

    Parameters
    ----------
    positions, origins : (n,) complex128 array
        Centres x + iy of the cells and of their training cells, px.
    rotations : (n,) complex128 array
        Of the training cells, as unit numbers.
    diameter : float
        Of a median cell, px.

    Returns
    -------
    (n, n) bool array
        True on the diagonal.
    """
    offsets, origin_offsets = positions[None] - positions[:, None], origins[None] - origins[:, None]
    deviations = np.maximum(
        np.abs(offsets - origin_offsets * rotations[:, None]), np.abs(offsets - origin_offsets * rotations[None])
    )
    distances = np.abs(offsets)
    matches: npt.NDArray[np.bool_] = deviations <= _TOLERANCE * diameter + _RELATIVE_TOLERANCE * distances
    # Two cells with the same training cell, and two cells on top of each other, prove nothing.
    matches &= np.minimum(distances, np.abs(origin_offsets)) > 2 * _TOLERANCE * diameter
    np.fill_diagonal(matches, True)
    return matches


def _as_complex(centres: FloatArray) -> ComplexArray:
    x, y = np.asarray(centres, np.float64).T
    result: ComplexArray = x + 1j * y
    return result
