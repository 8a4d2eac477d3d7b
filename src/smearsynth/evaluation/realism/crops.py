"""Crops of smears at the scale of cells, and their image features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from smearsynth.errors import DataError
from smearsynth.smear import ImageArray, Mask, Smear
from smearsynth.synthesis.networks.features import PerceptualFeatures
from smearsynth.windows import MAX_IGNORED

CELL = 40.0  # px; smears are resized so that the median real cell has this diameter
CROP = 64  # px, 1.6 cell diameters
_MAX_DEVIATION = 0.1  # of the diameter from CELL, relative; resampling would remove more grain than it is worth
_BATCH = 32

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CropFeatures:
    """Feature vectors of crops of several smears.

    Parameters
    ----------
    vectors : (n, d) float64 array
    smears : (n,) int64 array
        Index of the smear of each crop, in reading order.
    """

    vectors: FloatArray
    smears: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of smears."""
        return int(self.smears.max()) + 1

    def subset(self, smears: npt.NDArray[np.int64]) -> CropFeatures:
        """Return the crops of some smears, renumbered from 0 in the order of the argument."""
        parts = [np.flatnonzero(self.smears == k) for k in smears]
        indices = np.repeat(np.arange(len(smears)), [len(part) for part in parts])
        return CropFeatures(self.vectors[np.concatenate(parts)], indices)


def scale_to_cells(diameter: float) -> float:
    """Return the factor by which smears are resized so that cells have a diameter of 40 px.

    Values on crops are then comparable between data sets. Within 10 % of 40 px the factor is 1, because resampling
    changes blur and noise.

    Parameters
    ----------
    diameter : float
        Of a median real cell, px. Real and synthetic smears are resized by the same factor.

    Examples
    --------
    >>> scale_to_cells(39.0), scale_to_cells(100.0)
    (1.0, 0.4)
    """
    return 1.0 if abs(diameter / CELL - 1) <= _MAX_DEVIATION else CELL / diameter


def check_field_sizes(smears: Iterable[Smear], side: int, scale: float = 1.0) -> None:
    """Raise `DataError` for the first smear that, resized by `scale`, is smaller than a crop of `side` px."""
    for smear in smears:
        if min(round(length * scale) for length in smear.shape) < side:
            height, width = smear.shape
            raise DataError(
                f"{smear.name} ({width}×{height} px) is smaller than a crop of {round(side / scale)} px "
                f"({side} px at cells of {CELL:.0f} px); give larger fields or use a smaller crop (--crop)"
            )


def random_crops(
    image: ImageArray, side: int, max_crops: int, rng: np.random.Generator, ignored: Mask | None = None
) -> ImageArray:
    """Cut square crops that do not overlap, without resizing.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        At least `side` px high and wide.
    side : int
        Of a crop, px.
    max_crops : int
    rng : numpy.random.Generator
        Draws the offset of the grid, and a subset of its crops if it has more than `max_crops`.
    ignored : (H, W) bool array, optional
        Pixels without annotation. Crops with more than a quarter of them are left out.

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
    if ignored is not None:
        masks = ignored[top : top + rows * side, left : left + columns * side].reshape(rows, side, columns, side)
        crops = crops[masks.mean(axis=(1, 3)).ravel() <= MAX_IGNORED]
    if len(crops) > max_crops:
        crops = crops[np.sort(rng.choice(len(crops), max_crops, replace=False))]
    return crops


def embed(
    smears: Iterable[Smear],
    side: int,
    features: PerceptualFeatures,
    *,
    scale: float = 1.0,
    max_crops: int = 24,
    rng: int | np.random.Generator = 0,
    on_smear: Callable[[int], object] | None = None,
) -> CropFeatures:
    """Compute the feature vectors of random crops (`PerceptualFeatures.vectors`).

    Parameters
    ----------
    smears : iterable of Smear
        Smears without a crop outside of ignored pixels are skipped; the indices of the result do not count them.
    side : int
        Of a crop, px after resizing.
    features : PerceptualFeatures
    scale : float
        Factor by which the smears are resized, from `scale_to_cells`.
    max_crops : int
        Largest number of crops per smear.
    rng : int or numpy.random.Generator
    on_smear : callable, optional
        Called with the number of smears done.

    Returns
    -------
    CropFeatures

    Raises
    ------
    DataError
        If there are no smears, a smear is smaller than a crop, or no crop is annotated.

    Examples
    --------
    >>> from smearsynth.synthesis.networks.features import load_features
    >>> smear = Smear(np.zeros((70, 100, 3), np.uint8), np.zeros((70, 100), np.int32), np.array([], int))
    >>> embed([smear], 32, load_features("efficientnet_lite0")).smears.tolist()
    [0, 0, 0, 0, 0, 0]
    """
    generator = np.random.default_rng(rng)
    device = next(features.parameters()).device
    vectors: list[FloatArray] = []
    indices: list[npt.NDArray[np.int64]] = []
    for k, smear in enumerate(smears):
        check_field_sizes([smear], side, scale)
        smear = smear.resized(scale)
        crops = random_crops(smear.image, side, max_crops, generator, smear.ignored)
        for start in range(0, len(crops), _BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(crops[start : start + _BATCH])).to(device)
            with torch.inference_mode():
                outputs = features.vectors(batch.permute(0, 3, 1, 2).float() / 127.5 - 1)
            vectors.append(outputs.double().cpu().numpy())
        if len(crops):
            indices.append(np.full(len(crops), len(indices), np.int64))
        if on_smear is not None:
            on_smear(k + 1)
    if not vectors:
        raise DataError("no smears with an annotated crop; give at least one")
    return CropFeatures(np.concatenate(vectors), np.concatenate(indices))
