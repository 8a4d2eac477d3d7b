"""Cell descriptors that hardly depend on rotation, mirroring and colour, and a search for the nearest cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
HARMONICS = 13  # angular frequencies 0 to 12; blur and compression remove finer detail
RUNNERS_UP = 2  # where training smears overlap, a copied cell is in two of them
_REACH = 0.8  # radius of the grid in diameters of a median cell
_MARGIN = 0.05  # diameters around a label, so that the rim of the cell is included
_MIN_AREA = 0.25  # in areas of a median cell; smaller labels are fragments
_MIN_DEVIATION = 0.03  # of the largest deviation, added to all: almost constant components are not amplified
# Cosine with the mean radial profile. Below it the sign of the contrast is uncertain: the cell may be a negative.
_MIN_COSINE = 0.7
_COARSE, _FINE = 32, 256  # rotations tested
_CANDIDATES = 16
_BLOCK = 64
_RADII: FloatArray = np.arange(RINGS, dtype=np.float64) + 0.5
_MULTIPLICITY: FloatArray = np.where(np.arange(HARMONICS) == 0, 1.0, 2.0)  # of a harmonic in the full spectrum


@dataclass(frozen=True)
class CellDescriptors:
    """Whole cells of several smears, as angular harmonics of their grey levels around their centres.

    Parameters
    ----------
    harmonics : (n, RINGS, HARMONICS) complex64 array
        Of each ring around the centre. A rotation of the cell changes their phases; a mirrored cell has their
        conjugates.
    smears : (n,) int64 array
        Index of the smear of each cell, in reading order.
    labels : (n,) int64 array
        Label of each cell in its smear.
    centres : (n, 2) float64 array
        x and y of the centre of each label, px.
    """

    harmonics: ComplexArray
    smears: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    centres: FloatArray

    def __len__(self) -> int:
        return len(self.smears)

    def subset(self, selection: npt.NDArray[Any]) -> CellDescriptors:
        """Return the cells selected by a mask or by indices."""
        return CellDescriptors(
            self.harmonics[selection], self.smears[selection], self.labels[selection], self.centres[selection]
        )


def describe_cells(
    smears: Iterable[Smear], diameter: float, on_smear: Callable[[int], object] | None = None
) -> CellDescriptors:
    """Compute the descriptors of all whole cells.

    Fragments and cells that touch the border or an ignored pixel are left out.

    A descriptor uses the mean of red, green and blue within the cell and its rim, minus its mean, scaled to norm
    one. This removes changes of brightness and contrast, and most of the effect of a stain.

    Parameters
    ----------
    smears : iterable of Smear
    diameter : float
        Of a median cell, px; it sets the size of the polar grid.
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    CellDescriptors

    Examples
    --------
    >>> y, x = np.mgrid[:40, :40]
    >>> labels = ((x - 20) ** 2 + (y - 18) ** 2 < 100).astype(np.int32)
    >>> image = np.full((40, 40, 3), 220, np.uint8)
    >>> image[labels > 0] = 150
    >>> cells = describe_cells([Smear(image, labels, np.array([0]))], 20.0)
    >>> len(cells), cells.harmonics.shape
    (1, (1, 26, 13))
    """
    harmonics: list[ComplexArray] = []
    sources: list[tuple[int, int]] = []
    centres: list[FloatArray] = []
    for k, smear in enumerate(smears):
        for label, centre, cell_harmonics in _describe_smear(smear, diameter):
            harmonics.append(cell_harmonics)
            sources.append((k, label))
            centres.append(centre)
        if on_smear is not None:
            on_smear(k + 1)
    stacked = np.stack(harmonics) if harmonics else np.zeros((0, RINGS, HARMONICS), np.complex64)
    pairs = np.array(sources, np.int64).reshape(-1, 2)
    return CellDescriptors(stacked, pairs[:, 0], pairs[:, 1], np.array(centres, np.float64).reshape(-1, 2))


def _describe_smear(smear: Smear, diameter: float) -> Iterator[tuple[int, FloatArray, ComplexArray]]:
    """Yield label, centre (x, y) and harmonics of each whole cell."""
    step = _REACH * diameter / RINGS
    blur = 0.4 * step  # avoids aliasing where the grid is coarser than the pixels
    grey = ndimage.gaussian_filter(smear.image.mean(axis=2, dtype=np.float32), blur)
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    grid = np.stack([np.outer(_RADII, np.sin(angles)), np.outer(_RADII, np.cos(angles))]) * step
    margin = max(1, round(_MARGIN * diameter))
    min_area = _MIN_AREA * np.pi / 4 * diameter**2
    boxes, areas, incomplete = smear.boxes(), smear.areas(), smear.incomplete()
    for k in np.flatnonzero(~incomplete & (areas >= min_area)):
        x0, y0, x1, y1 = boxes[k]
        top, left = max(y0 - 2 * margin, 0), max(x0 - 2 * margin, 0)
        window = np.s_[top : y1 + 2 * margin, left : x1 + 2 * margin]
        cell = smear.labels[window] == k + 1
        centre = np.array(ndimage.center_of_mass(cell))
        points = centre[:, None, None] + grid
        dilated: Mask = ndimage.binary_dilation(cell, iterations=margin)
        soft = ndimage.gaussian_filter(dilated.astype(np.float32), max(0.5, blur))
        weight = ndimage.map_coordinates(soft, points, order=1, mode="constant")
        value = ndimage.map_coordinates(grey[window], points, order=1, mode="nearest")
        yield int(k) + 1, centre[::-1] + np.array([left, top]), _harmonics(weight, value)


def _harmonics(weight: FloatArray, value: FloatArray) -> ComplexArray:
    """Return the harmonics by ring from weights and grey levels (RINGS, ANGLES), with rings weighted by area."""
    area = weight * _RADII[:, None]
    signal = weight * (value - (area * value).sum() / max(area.sum(), 1e-9))
    signal /= max(np.sqrt((signal**2 * _RADII[:, None]).sum()), 1e-9)
    harmonics: ComplexArray = (np.fft.rfft(signal, axis=1) * np.sqrt(_RADII)[:, None])[:, :HARMONICS].astype(
        np.complex64
    )
    return harmonics


@dataclass(frozen=True)
class NearestCells:
    """The nearest cell of each of n cells.

    Parameters
    ----------
    index : (n,) int64 array
        Of the nearest cell in the `CellIndex`.
    correlation : (n,) float64 array
        With the nearest cell, in the best pose.
    margin : (n,) float64 array
        How much nearer the nearest cell is than the third nearest, in Fisher's z: the artanh of one correlation
        minus that of the other, divided by the square root of the relative norm of the cell. Plain round cells have
        many near neighbours, so only a copy has a large margin. Unusual cells have few similar cells and large
        margins by chance; the division corrects for that.
    rotation : (n,) float64 array
        Clockwise rotation of the nearest cell, degrees.
    mirrored : (n,) bool array
        Whether the nearest cell is mirrored top to bottom before the rotation.
    """

    index: npt.NDArray[np.int64]
    correlation: FloatArray
    margin: FloatArray
    rotation: FloatArray
    mirrored: Mask


class CellIndex:
    """Search index over cells, in every rotation and mirrored.

    The components of the harmonics are divided by their standard deviations over the cells. What all red cells have
    in common (dark rim, pale centre) then counts little, and what distinguishes a cell counts much.

    Parameters
    ----------
    cells : CellDescriptors
        At least four.

    Raises
    ------
    DataError
        If there are too few cells.
    """

    def __init__(self, cells: CellDescriptors) -> None:
        if len(cells) <= RUNNERS_UP + 1:
            raise DataError(f"{len(cells)} whole cells are too few to search; give more smears")
        self.cells = cells
        profiles = cells.harmonics[:, :, 0].real
        self._mean_profile = profiles.mean(axis=0)
        sign, _ = self._contrast(cells.harmonics)
        upright = cells.harmonics * sign[:, None, None]
        self._mean = np.zeros(upright.shape[1:], np.complex64)
        self._mean[:, 0] = upright[:, :, 0].mean(axis=0)
        deviation = np.sqrt((np.abs(upright) ** 2).mean(axis=0))
        self._scale = 1 / (deviation + _MIN_DEVIATION * deviation.max() + 1e-9)
        self._median_norm = 1.0
        self._vectors, norms = self._normalised(cells.harmonics, sign)
        self._median_norm = float(np.median(norms))

    def nearest(
        self,
        cells: CellDescriptors,
        *,
        excluded: Sequence[int] | npt.NDArray[np.int64] | None = None,
        on_cell: Callable[[int], object] | None = None,
    ) -> NearestCells:
        """Find the nearest cell of each cell.

        Parameters
        ----------
        cells : CellDescriptors
        excluded : (n,) int array, optional
            For each cell a smear whose cells are ignored; -1 for none.
        on_cell : callable, optional
            Called with the number of cells done.

        Returns
        -------
        NearestCells
        """
        excluded = None if excluded is None else np.asarray(excluded, np.int64)
        sign, cosine = self._contrast(cells.harmonics)
        result = self._nearest(cells.harmonics, sign, excluded, on_cell)
        uncertain = np.flatnonzero(cosine < _MIN_COSINE)
        if len(uncertain):
            negative = self._nearest(
                cells.harmonics[uncertain],
                -sign[uncertain],
                None if excluded is None else excluded[uncertain],
                None,
            )
            better = negative.correlation > result.correlation[uncertain]
            for field in fields(NearestCells):
                getattr(result, field.name)[uncertain[better]] = getattr(negative, field.name)[better]
        return result

    def _nearest(
        self,
        harmonics: ComplexArray,
        sign: npt.NDArray[np.float32],
        excluded: npt.NDArray[np.int64] | None,
        on_cell: Callable[[int], object] | None,
    ) -> NearestCells:
        """Find the nearest cells, given the sign of the contrast of each cell."""
        vectors, norms = self._normalised(harmonics, sign)
        smears = torch.from_numpy(self.cells.smears)
        parts = []
        for start in range(0, len(vectors), _BLOCK):
            block = slice(start, start + _BLOCK)
            ignored = None if excluded is None else smears[None] == torch.from_numpy(excluded[block])[:, None]
            parts.append(self._search(vectors[block], ignored))
            if on_cell is not None:
                on_cell(min(start + _BLOCK, len(vectors)))
        if not parts:
            empty = np.zeros(0)
            return NearestCells(np.zeros(0, np.int64), empty, empty, empty, np.zeros(0, np.bool_))
        result = NearestCells(*(np.concatenate([part[k].numpy() for part in parts]) for k in range(5)))
        return replace(result, margin=result.margin / np.sqrt(norms))

    def _search(self, vectors: torch.Tensor, ignored: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Search for a block of cells: with coarse rotations among all cells, then with fine ones among the best.

        Parameters
        ----------
        vectors : (b, RINGS, HARMONICS) complex64 tensor
        ignored : (b, n) bool tensor, optional
            Cells of the index to ignore.

        Returns
        -------
        tuple of (b,) tensors
            The fields of `NearestCells`, with margins that are not normalised.
        """
        coarse = torch.full((len(vectors), len(self._vectors)), -1.0)
        queries = vectors.permute(2, 0, 1)
        targets = self._vectors.permute(2, 1, 0)
        for pose in (targets.conj(), targets):  # unchanged, mirrored
            product = torch.bmm(queries, pose).permute(1, 2, 0)
            correlations = torch.fft.irfft(product, n=_COARSE) * _COARSE
            coarse = torch.maximum(coarse, correlations.amax(dim=-1))
        if ignored is not None:
            coarse[ignored] = -1.0
        candidates = coarse.topk(min(_CANDIDATES, coarse.shape[1]), dim=1).indices
        fine = torch.empty((2, *candidates.shape))
        rotations = torch.empty((2, *candidates.shape), dtype=torch.int64)
        candidate_vectors = self._vectors[candidates]  # block, candidates, rings, harmonics
        for k, pose in enumerate((candidate_vectors.conj(), candidate_vectors)):
            product = (vectors[:, None] * pose).sum(dim=2)
            correlations = torch.fft.irfft(product, n=_FINE) * _FINE
            fine[k], rotations[k] = correlations.max(dim=-1)
        best, mirrored = fine.max(dim=0)
        if ignored is not None:
            best[torch.gather(ignored, 1, candidates)] = -1.0
        ordered, order = best.sort(dim=1, descending=True)
        first = order[:, :1]
        z = torch.atanh(ordered.double().clamp(-0.999999, 0.999999))
        rotation = torch.gather(torch.gather(rotations, 0, mirrored[None])[0], 1, first)
        return (
            torch.gather(candidates, 1, first)[:, 0],
            ordered[:, 0].double(),
            z[:, 0] - z[:, RUNNERS_UP],
            rotation[:, 0].double() * (360 / _FINE),
            torch.gather(mirrored, 1, first)[:, 0].bool(),
        )

    def _contrast(self, harmonics: ComplexArray) -> tuple[npt.NDArray[np.float32], FloatArray]:
        """Return the sign of the contrast of each cell relative to the mean profile, and their absolute cosine.

        The sign turns a photographic negative back. The cosine is low for a cell with little contrast between rim
        and centre; its sign is uncertain.
        """
        profiles = harmonics[:, :, 0].real
        product = profiles @ self._mean_profile
        norm = np.linalg.norm(profiles, axis=1) * np.linalg.norm(self._mean_profile)
        cosine: FloatArray = np.abs(product) / np.maximum(norm, 1e-9)
        return np.where(product < 0, -1, 1).astype(np.float32), cosine

    def _normalised(
        self, harmonics: ComplexArray, sign: npt.NDArray[np.float32]
    ) -> tuple[torch.Tensor, FloatArray]:
        """Return vectors of norm one, whose products are correlations, and their norms before.

        Norms are relative to that of a median cell of the index: large for unusual cells.
        """
        scaled = (harmonics * sign[:, None, None] - self._mean) * self._scale
        norm = np.maximum(np.sqrt((np.abs(scaled) ** 2 * _MULTIPLICITY).sum(axis=(1, 2))), 1e-9)
        vectors = torch.from_numpy((scaled / norm[:, None, None]).astype(np.complex64))
        return vectors, (norm / self._median_norm).astype(np.float64)
