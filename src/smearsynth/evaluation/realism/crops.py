"""Crops of smears at the scale of cells, and what fixed image features say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from smearsynth.errors import DataError
from smearsynth.smear import ImageArray, Smear
from smearsynth.synthesis.networks.features import PerceptualFeatures

SIDES = (32, 64, 128, 256, 512)  # px
_ROUND_A_CELL = 1.5  # diameters that a crop spans at least
_BATCH = 32

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CropFeatures:
    """Feature vectors of crops of several smears.

    Parameters
    ----------
    vectors : (n, d) float64 array
    smears : (n,) int64 array
        Position of the smear of each crop in the order read, 0 to the number of smears less 1.
    """

    vectors: FloatArray
    smears: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of smears."""
        return int(self.smears.max()) + 1

    def of(self, chosen: npt.NDArray[np.int64]) -> CropFeatures:
        """The crops of some smears, numbered in the order given."""
        parts = [np.flatnonzero(self.smears == k) for k in chosen]
        numbers = np.repeat(np.arange(len(chosen)), [len(part) for part in parts])
        return CropFeatures(self.vectors[np.concatenate(parts)], numbers)


def crop_side(diameter: float) -> int:
    """Side of the crops for cells of a diameter in px: the least of 32 to 512 px that spans 1.5 of them.

    Examples
    --------
    >>> crop_side(40.0), crop_side(105.0)
    (64, 256)
    """
    return next((side for side in SIDES if side >= _ROUND_A_CELL * diameter), SIDES[-1])


def refuse_small(smears: Iterable[Smear], side: int) -> None:
    """Raise `DataError` for the first smear that is smaller than a crop of this side in px."""
    for smear in smears:
        if min(smear.shape) < side:
            height, width = smear.shape
            raise DataError(
                f"{smear.name} ({width}×{height} px) is smaller than a crop of {side} px; give larger fields or a "
                "smaller crop (--crop)"
            )


def random_crops(image: ImageArray, side: int, most: int, rng: np.random.Generator) -> ImageArray:
    """Square crops that do not overlap, at the pixels' own size: no resizing, so that blur and grain are seen.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    side : int
        px; fields must be as large at least.
    most : int
        Number of crops at most.
    rng : numpy.random.Generator
        Draws where the grid begins and, of a large field, which of its crops are taken.

    Returns
    -------
    (n, side, side, 3) uint8 array

    Examples
    --------
    >>> random_crops(np.zeros((70, 100, 3), np.uint8), 32, 9, np.random.default_rng(0)).shape
    (6, 32, 32, 3)
    """
    height, width = image.shape[:2]
    rows, columns = height // side, width // side
    top = int(rng.integers(height - rows * side + 1))
    left = int(rng.integers(width - columns * side + 1))
    grid = image[top : top + rows * side, left : left + columns * side]
    crops = grid.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    if len(crops) > most:
        crops = crops[np.sort(rng.choice(len(crops), most, replace=False))]
    return crops


def embed(
    smears: Iterable[Smear],
    side: int,
    net: PerceptualFeatures,
    *,
    most: int = 24,
    rng: int | np.random.Generator = 0,
    on_smear: Callable[[int], object] | None = None,
) -> CropFeatures:
    """Feature vectors of crops, as the features themselves sum up an image (`PerceptualFeatures.vectors`).

    Parameters
    ----------
    smears : iterable of Smear
    side : int
        Of a crop, px.
    net : PerceptualFeatures
    most : int
        Crops of a smear.
    rng : int or numpy.random.Generator
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    CropFeatures

    Raises
    ------
    DataError
        When a smear is smaller than a crop.
    """
    generator = np.random.default_rng(rng)
    device = next(net.parameters()).device
    vectors, numbers = [], []
    for k, smear in enumerate(smears):
        refuse_small([smear], side)
        crops = random_crops(smear.image, side, most, generator)
        for start in range(0, len(crops), _BATCH):
            some = torch.from_numpy(np.ascontiguousarray(crops[start : start + _BATCH])).to(device)
            with torch.inference_mode():
                pooled = net.vectors(some.permute(0, 3, 1, 2).float() / 127.5 - 1)
            vectors.append(pooled.double().cpu().numpy())
        numbers.append(np.full(len(crops), k, np.int64))
        if on_smear is not None:
            on_smear(k + 1)
    if not vectors:
        raise DataError("no smears to look at; give some")
    return CropFeatures(np.concatenate(vectors), np.concatenate(numbers))
