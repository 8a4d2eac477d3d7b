"""Cells seen so that turned, mirrored and recoloured copies look alike, and the search for the nearest one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from smearsynth.errors import DataError
from smearsynth.smear import Mask, Smear

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex64]

RINGS, ANGLES = 26, 64  # of the polar grid
HARMONICS = 13  # angular frequencies 0 to 12: finer detail does not outlive blur and compression
RUNNERS_UP = 2  # a copied cell may itself be seen twice in the training smears, where fields overlap
_REACH = 0.8  # radius of the grid in diameters of a median cell
_MARGIN = 0.05  # diameters by which a cell is grown, so that its rim is seen
_SMALLEST = 0.25  # of the area of a median cell: what is smaller is a fragment
_FLOOR = 0.03  # of the largest deviation: components that hardly vary are not blown up
_UNSURE = 0.7  # cosine with the profile of most cells below which a cell may be its own negative
_COARSE, _FINE = 32, 256  # turns tried
_CANDIDATES = 16
_BLOCK = 64
_RADII: FloatArray = np.arange(RINGS, dtype=np.float64) + 0.5
_COUNTED: FloatArray = np.where(np.arange(HARMONICS) == 0, 1.0, 2.0)  # how often a harmonic stands in a real signal


@dataclass(frozen=True)
class CellViews:
    """Whole cells of several smears, as harmonics of their grey levels around their centres.

    Parameters
    ----------
    harmonics : (n, RINGS, HARMONICS) complex64 array
        Of each ring around the centre: a turn of the cell is a phase, its mirror image the conjugate.
    smears : (n,) int64 array
        Position of the smear of each cell in the order read.
    labels : (n,) int64 array
        Its label there.
    centres : (n, 2) float64 array
        x and y of the centre of its label, px.
    """

    harmonics: ComplexArray
    smears: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    centres: FloatArray

    def __len__(self) -> int:
        return len(self.smears)

    def of(self, chosen: npt.NDArray[Any]) -> CellViews:
        """Those chosen by a mask or by indices."""
        return CellViews(self.harmonics[chosen], self.smears[chosen], self.labels[chosen], self.centres[chosen])


def view_cells(
    smears: Iterable[Smear], diameter: float, on_smear: Callable[[int], object] | None = None
) -> CellViews:
    """See every whole cell of some smears; fragments and cells cut by the border are left out.

    Grey levels are the mean of red, green and blue within the cell and its rim, less their mean, scaled to one:
    changes of brightness and contrast vanish, and most of what a stain changes.

    Parameters
    ----------
    smears : iterable of Smear
    diameter : float
        Of a median cell, px; it sets the size of the polar grid.
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    CellViews

    Examples
    --------
    >>> y, x = np.mgrid[:40, :40]
    >>> labels = ((x - 20) ** 2 + (y - 18) ** 2 < 100).astype(np.int32)
    >>> image = np.full((40, 40, 3), 220, np.uint8)
    >>> image[labels > 0] = 150
    >>> views = view_cells([Smear(image, labels, np.array([0]))], 20.0)
    >>> len(views), views.harmonics.shape
    (1, (1, 26, 13))
    """
    found: list[ComplexArray] = []
    where: list[tuple[int, int]] = []
    centres: list[FloatArray] = []
    for k, smear in enumerate(smears):
        for label, centre, signal in _signals(smear, diameter):
            found.append(signal)
            where.append((k, label))
            centres.append(centre)
        if on_smear is not None:
            on_smear(k + 1)
    harmonics = np.stack(found) if found else np.zeros((0, RINGS, HARMONICS), np.complex64)
    places = np.array(where, np.int64).reshape(-1, 2)
    return CellViews(harmonics, places[:, 0], places[:, 1], np.array(centres, np.float64).reshape(-1, 2))


def _signals(smear: Smear, diameter: float) -> Iterable[tuple[int, FloatArray, ComplexArray]]:
    """Label, centre (x, y) and harmonics of each whole cell."""
    step = _REACH * diameter / RINGS
    blur = 0.4 * step  # so that a grid coarser than the pixels misses nothing
    grey = ndimage.gaussian_filter(smear.image.mean(axis=2, dtype=np.float32), blur)
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    grid = np.stack([np.outer(_RADII, np.sin(angles)), np.outer(_RADII, np.cos(angles))]) * step
    margin = max(1, round(_MARGIN * diameter))
    least = _SMALLEST * np.pi / 4 * diameter**2
    boxes, areas, cut = smear.boxes(), smear.areas(), smear.cut_by_border()
    for k in np.flatnonzero(~cut & (areas >= least)):
        x0, y0, x1, y1 = boxes[k]
        top, left = max(y0 - 2 * margin, 0), max(x0 - 2 * margin, 0)
        window = np.s_[top : y1 + 2 * margin, left : x1 + 2 * margin]
        cell = smear.labels[window] == k + 1
        middle = np.array(ndimage.center_of_mass(cell))
        centre = middle[:, None, None]
        grown = ndimage.gaussian_filter(_grown(cell, margin).astype(np.float32), max(0.5, blur))
        weight = ndimage.map_coordinates(grown, centre + grid, order=1, mode="constant")
        value = ndimage.map_coordinates(grey[window], centre + grid, order=1, mode="nearest")
        yield int(k) + 1, middle[::-1] + np.array([left, top]), _harmonics(weight, value)


def _grown(cell: Mask, margin: int) -> Mask:
    grown: Mask = ndimage.binary_dilation(cell, iterations=margin)
    return grown


def _harmonics(weight: FloatArray, value: FloatArray) -> ComplexArray:
    """Ring by ring, from weights and grey levels (RINGS, ANGLES); rings count by their area."""
    area = weight * _RADII[:, None]
    signal = weight * (value - (area * value).sum() / max(area.sum(), 1e-9))
    signal /= max(np.sqrt((signal**2 * _RADII[:, None]).sum()), 1e-9)
    harmonics: ComplexArray = (np.fft.rfft(signal, axis=1) * np.sqrt(_RADII)[:, None])[:, :HARMONICS].astype(
        np.complex64
    )
    return harmonics


@dataclass(frozen=True)
class Nearest:
    """The nearest cell of each of n cells.

    Parameters
    ----------
    index : (n,) int64 array
        Of the nearest cell.
    correlation : (n,) float64 array
        With it, in the best pose.
    margin : (n,) float64 array
        By how much it is nearer than the third nearest, in Fisher's z: artanh of one correlation less that of
        the other. Plain round cells have many near neighbours; only a copy has one far ahead of the rest. Odd
        cells have few of their kind, so that one leads by chance: divided by the root of how odd the cell is.
    turn : (n,) float64 array
        Degrees by which the nearest must be turned, clockwise as seen, to lie like the cell.
    mirrored : (n,) bool array
        Whether it must be mirrored top to bottom before.
    """

    index: npt.NDArray[np.int64]
    correlation: FloatArray
    margin: FloatArray
    turn: FloatArray
    mirrored: Mask


class CellIndex:
    """Cells among which the nearest are searched, in every turn and mirrored.

    Components of the harmonics are divided by their deviations over the cells, so that what all red cells share
    (dark rim, pale centre) counts little and what sets one apart counts much.

    Parameters
    ----------
    views : CellViews
        More than three.

    Raises
    ------
    DataError
        When there are too few cells.
    """

    def __init__(self, views: CellViews) -> None:
        if len(views) <= RUNNERS_UP + 1:
            raise DataError(f"{len(views)} whole cells are too few to search among; give more smears")
        self.views = views
        level = views.harmonics[:, :, 0].real
        self._profile = level.mean(axis=0)
        sign, _ = self._contrast(views.harmonics)
        upright = views.harmonics * sign[:, None, None]
        self._mean = np.zeros(upright.shape[1:], np.complex64)
        self._mean[:, 0] = upright[:, :, 0].mean(axis=0)
        deviation = np.sqrt((np.abs(upright) ** 2).mean(axis=0))
        self._scale = 1 / (deviation + _FLOOR * deviation.max() + 1e-9)
        self._usual = 1.0
        self._cells, oddness = self._prepared(views.harmonics, sign)
        self._usual = float(np.median(oddness))

    def nearest(
        self,
        views: CellViews,
        *,
        excluded: Sequence[int] | npt.NDArray[np.int64] | None = None,
        on_cell: Callable[[int], object] | None = None,
    ) -> Nearest:
        """Find the nearest cell of each.

        Parameters
        ----------
        views : CellViews
        excluded : (n,) int array, optional
            For each cell a smear whose cells do not count, -1 for none.
        on_cell : callable, optional
            Called with the number of cells done.

        Returns
        -------
        Nearest
        """
        barred = None if excluded is None else np.asarray(excluded, np.int64)
        sign, sureness = self._contrast(views.harmonics)
        found = self._nearest(views.harmonics, sign, barred, on_cell)
        unsure = np.flatnonzero(sureness < _UNSURE)
        if len(unsure):
            other = self._nearest(
                views.harmonics[unsure], -sign[unsure], None if barred is None else barred[unsure], None
            )
            better = other.correlation > found.correlation[unsure]
            for field in fields(Nearest):
                getattr(found, field.name)[unsure[better]] = getattr(other, field.name)[better]
        return found

    def _nearest(
        self,
        harmonics: ComplexArray,
        sign: npt.NDArray[np.float32],
        excluded: npt.NDArray[np.int64] | None,
        on_cell: Callable[[int], object] | None,
    ) -> Nearest:
        """The nearest cells of some whose contrast is known to have this sign."""
        query, oddness = self._prepared(harmonics, sign)
        smears = torch.from_numpy(self.views.smears)
        parts = []
        for start in range(0, len(query), _BLOCK):
            some = slice(start, start + _BLOCK)
            barred = None if excluded is None else smears[None] == torch.from_numpy(excluded[some])[:, None]
            parts.append(self._search(query[some], barred))
            if on_cell is not None:
                on_cell(min(start + _BLOCK, len(query)))
        if not parts:
            none = np.zeros(0)
            return Nearest(np.zeros(0, np.int64), none, none, none, np.zeros(0, np.bool_))
        found = Nearest(*(np.concatenate([part[k].numpy() for part in parts]) for k in range(5)))
        return replace(found, margin=found.margin / np.sqrt(oddness))

    def _search(self, query: torch.Tensor, barred: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """For a block of cells, first coarsely among all, then finely among the best."""
        coarse = torch.full((len(query), len(self._cells)), -1.0)
        ours = query.permute(2, 0, 1)
        theirs = self._cells.permute(2, 1, 0)
        for other in (theirs.conj(), theirs):  # as they are, mirrored
            product = torch.bmm(ours, other).permute(1, 2, 0)
            turned = torch.fft.irfft(product, n=_COARSE) * _COARSE
            coarse = torch.maximum(coarse, turned.amax(dim=-1))
        if barred is not None:
            coarse[barred] = -1.0
        candidates = coarse.topk(min(_CANDIDATES, coarse.shape[1]), dim=1).indices
        fine = torch.empty((2, *candidates.shape))
        where = torch.empty((2, *candidates.shape), dtype=torch.int64)
        near = self._cells[candidates]  # block, candidates, rings, harmonics
        for k, other in enumerate((near.conj(), near)):
            product = (query[:, None] * other).sum(dim=2)
            turned = torch.fft.irfft(product, n=_FINE) * _FINE
            fine[k], where[k] = turned.max(dim=-1)
        best, mirrored = fine.max(dim=0)
        if barred is not None:
            best[torch.gather(barred, 1, candidates)] = -1.0
        ordered, order = best.sort(dim=1, descending=True)
        first = order[:, :1]
        z = torch.atanh(ordered.double().clamp(-0.999999, 0.999999))
        mirror = torch.gather(mirrored, 1, first)
        turn = torch.gather(torch.gather(where, 0, mirrored[None])[0], 1, first)
        return (
            torch.gather(candidates, 1, first)[:, 0],
            ordered[:, 0].double(),
            z[:, 0] - z[:, RUNNERS_UP],
            turn[:, 0].double() * (360 / _FINE),
            mirror[:, 0].bool(),
        )

    def _contrast(self, harmonics: ComplexArray) -> tuple[npt.NDArray[np.float32], FloatArray]:
        """Sign of the contrast of each cell as most cells here have it, and how sure that is, 0 to 1.

        A photographic negative is turned back by it. A cell of hardly any contrast between rim and centre may be
        either.
        """
        level = harmonics[:, :, 0].real
        product = level @ self._profile
        norm = np.linalg.norm(level, axis=1) * np.linalg.norm(self._profile)
        sureness: FloatArray = np.abs(product) / np.maximum(norm, 1e-9)
        return np.where(product < 0, -1, 1).astype(np.float32), sureness

    def _prepared(self, harmonics: ComplexArray, sign: npt.NDArray[np.float32]) -> tuple[torch.Tensor, FloatArray]:
        """Scaled by the deviations, then to a norm of one, so that the product of two is their correlation.

        The norm before, against that of a median cell here, says how odd a cell is.
        """
        scaled = (harmonics * sign[:, None, None] - self._mean) * self._scale
        norm = np.maximum(np.sqrt((np.abs(scaled) ** 2 * _COUNTED).sum(axis=(1, 2))), 1e-9)
        cells = torch.from_numpy((scaled / norm[:, None, None]).astype(np.complex64))
        return cells, (norm / self._usual).astype(np.float64)
