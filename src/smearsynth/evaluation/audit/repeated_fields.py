"""Fields shown again: several cells of one smear that lie in a training smear as they lie here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.evaluation.audit.descriptors import CellViews, Nearest

SURE = 0.5  # lead of a cell that is very likely seen again
_PROOF, _LEADING = 3, 2  # so many cells in their places are proof when so many of them are sure
_MANY = 5  # and so many whatever their lead
_NEAR = 0.25  # diameters by which a cell may be off its place
_TURNED = 0.1  # and per distance from the other cell: turns of single cells are known to some degrees


@dataclass(frozen=True)
class FieldAgain:
    """A smear that shows cells of a training smear in their places.

    Parameters
    ----------
    smear, training : int
        Position of both in the order read.
    cells : int
        Cells that lie alike in both.
    turn : float
        Degrees, clockwise as seen, by which the training smear must be turned.
    mirrored : bool
        Whether it must be mirrored top to bottom before.
    """

    smear: int
    training: int
    cells: int
    turn: float
    mirrored: bool


def fields_again(views: CellViews, nearest: Nearest, training: CellViews, diameter: float) -> list[FieldAgain]:
    """Find the smears of which several cells are found in one training smear, turned alike and in their places.

    A cell alone may look like another by chance, and a layout may keep real outlines, but neither puts several
    cells as they lie in one training smear. A part of a field with three whole cells is enough, at any place,
    turned or mirrored.

    Parameters
    ----------
    views : CellViews
        Cells of the smears to look at.
    nearest : Nearest
        What `CellIndex.nearest` found for them.
    training : CellViews
        The cells searched.
    diameter : float
        Of a median cell, px.

    Returns
    -------
    list of FieldAgain
        In the order of the smears.

    Examples
    --------
    >>> harmonics, labels, all_of = np.zeros((3, 1, 1), np.complex64), np.arange(1, 4), np.ones(3)
    >>> there = CellViews(harmonics, np.full(3, 7), labels, np.array([[10.0, 10], [50, 10], [50, 40]]))
    >>> here = CellViews(harmonics, np.zeros(3, int), labels, np.array([[90.0, 20], [90, 60], [60, 60]]))
    >>> nearest = Nearest(np.arange(3), all_of, all_of, 90 * all_of, all_of < 0)
    >>> fields_again(here, nearest, there, 20.0)
    [FieldAgain(smear=0, training=7, cells=3, turn=90.0, mirrored=False)]
    """
    if not len(views):
        return []
    source = training.smears[nearest.index]
    keys = np.stack([views.smears, source, nearest.mirrored.astype(np.int64)], axis=1)
    groups, member = np.unique(keys, axis=0, return_inverse=True)
    member = member.reshape(-1)
    here = _complex(views.centres)
    there = _complex(training.centres[nearest.index])
    there = np.where(nearest.mirrored, there.conj(), there)
    turns = np.exp(1j * np.deg2rad(nearest.turn))
    order = np.argsort(member, kind="stable")
    found = []
    for (smear, seen, mirrored), cells in zip(
        groups.tolist(), np.split(order, np.flatnonzero(np.diff(member[order])) + 1), strict=True
    ):
        alike = _alike(here[cells], there[cells], turns[cells], diameter)
        count, leading = alike.sum(axis=1), alike[:, nearest.margin[cells] > SURE].sum(axis=1)
        proof = (count >= _PROOF) & (leading >= _LEADING) | (count >= _MANY)
        anchors = np.where(proof, count, 0)
        if anchors.any():
            best = int(anchors.argmax())
            turn = float(np.angle(turns[cells][alike[best]].sum(), deg=True)) % 360
            found.append(FieldAgain(smear, seen, int(anchors[best]), round(turn, 1), bool(mirrored)))
    return found


def _alike(
    here: npt.NDArray[np.complex128],
    there: npt.NDArray[np.complex128],
    turns: npt.NDArray[np.complex128],
    diameter: float,
) -> npt.NDArray[np.bool_]:
    """Which cells (columns) lie to each (row), and to itself, as their likes lie to its like, turned as it is."""
    away, should = here[None] - here[:, None], there[None] - there[:, None]
    off = np.maximum(np.abs(away - should * turns[:, None]), np.abs(away - should * turns[None]))
    alike: npt.NDArray[np.bool_] = off <= _NEAR * diameter + _TURNED * np.abs(away)
    # two cells found in the same one are no proof, nor are two that lie on one another
    alike &= np.minimum(np.abs(away), np.abs(should)) > 2 * _NEAR * diameter
    np.fill_diagonal(alike, True)
    return alike


def _complex(places: Iterable[object]) -> npt.NDArray[np.complex128]:
    x, y = np.asarray(places, np.float64).T
    result: npt.NDArray[np.complex128] = x + 1j * y
    return result
