"""Distances between two sets of crops (KID, FID, density, coverage), with smears as the independent units.

Crops of one smear share its stain and focus. If they are treated as independent, two halves of the same real smears
appear different and every interval is too narrow. Therefore pairs of crops of one smear are left out, and intervals
come from a bootstrap over smears.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from smearsynth.evaluation.realism.crops import CropFeatures, FloatArray

NEIGHBOURS = 5
DRAWS = 400  # bootstrap samples

Range: TypeAlias = tuple[float, float]


class Estimate(BaseModel):
    """A distance with its interval.

    Parameters
    ----------
    value : float
    interval : (float, float)
        95 % interval from a bootstrap over smears.
    reference : (float, float), optional
        Range of the same distance between two halves of the real smears; None if it was not or cannot be computed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    interval: Range
    reference: Range | None = None


class KernelSums:
    """Sums of the KID kernel over pairs of crops, by smear, so that the KID of a bootstrap sample is fast.

    The kernel is (x·y / d + 1)³ (Bińkowski et al. 2018, *Demystifying MMD GANs*, section 4).

    Parameters
    ----------
    first, second : CropFeatures
    """

    def __init__(self, first: CropFeatures, second: CropFeatures) -> None:
        self.within_first = _without_diagonal(_kernel_sums(first, first))
        self.within_second = _without_diagonal(_kernel_sums(second, second))
        self.between = _kernel_sums(first, second)
        self.first_sizes = np.bincount(first.smears).astype(np.float64)
        self.second_sizes = np.bincount(second.smears).astype(np.float64)

    def kid(self, first_weights: FloatArray | None = None, second_weights: FloatArray | None = None) -> float:
        """Compute the unbiased squared maximum mean discrepancy.

        Pairs of crops of one smear are left out, as Bińkowski et al. leave out pairs of an image with itself.

        Parameters
        ----------
        first_weights, second_weights : (n,) float64 array, optional
            How often each smear is counted; once by default.
        """
        a = np.ones(len(self.first_sizes)) if first_weights is None else first_weights
        b = np.ones(len(self.second_sizes)) if second_weights is None else second_weights
        na, nb = a * self.first_sizes, b * self.second_sizes
        pairs_a = na.sum() ** 2 - (na**2).sum()
        pairs_b = nb.sum() ** 2 - (nb**2).sum()
        return float(
            a @ self.within_first @ a / pairs_a
            + b @ self.within_second @ b / pairs_b
            - 2 * (a @ self.between @ b) / (na.sum() * nb.sum())
        )


def kid(first: CropFeatures, second: CropFeatures, rng: np.random.Generator, *, draws: int = DRAWS) -> Estimate:
    """Compute the kernel inception distance (see `KernelSums`).

    Parameters
    ----------
    first, second : CropFeatures
    rng : numpy.random.Generator
        For the bootstrap over smears.
    draws : int
        Number of bootstrap samples; 0 gives an interval of width 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def sample(mean):
    ...     return CropFeatures(rng.normal(mean, 1, (60, 4)), np.arange(60) // 6)
    >>> kid(sample(0), sample(0), rng).value < 0.3 < kid(sample(0), sample(1), rng).value
    True
    """
    sums = KernelSums(first, second)
    samples = [sums.kid(_weights(first.count, rng), _weights(second.count, rng)) for _ in range(draws)]
    return _estimate(sums.kid(), samples)


def fid(
    first: CropFeatures, second: CropFeatures, rng: np.random.Generator, *, draws: int = DRAWS // 8
) -> Estimate:
    """Compute the Fréchet distance of two Gaussians (Heusel et al. 2017, equation 6).

    It is biased upwards, more so with fewer crops: compare it only between equal numbers of crops.

    Parameters
    ----------
    first, second : CropFeatures
    rng : numpy.random.Generator
        For the bootstrap over smears.
    draws : int
        Number of bootstrap samples; 0 gives an interval of width 0.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> crops = CropFeatures(rng.normal(0, 1, (400, 3)), np.arange(400) // 20)
    >>> shifted = CropFeatures(crops.vectors + 1, crops.smears)
    >>> round(fid(crops, shifted, rng).value, 6)
    3.0
    """
    first_moments, second_moments = _Moments(first), _Moments(second)
    samples = [
        _frechet(
            *first_moments.weighted(_weights(first.count, rng)),
            *second_moments.weighted(_weights(second.count, rng)),
        )
        for _ in range(draws)
    ]
    value = _frechet(*first_moments.weighted(), *second_moments.weighted())
    # A bootstrap sample holds fewer different smears, which raises its FID. The mean increase is subtracted.
    bias = float(np.mean(samples)) - value if samples else 0.0
    return _estimate(value, [max(sample - bias, 0.0) for sample in samples])


def density_and_coverage(
    real: CropFeatures,
    synthetic: CropFeatures,
    rng: np.random.Generator,
    *,
    k: int = NEIGHBOURS,
    draws: int = DRAWS,
) -> tuple[Estimate, Estimate] | None:
    """Compute density and coverage (Naeem et al. 2020, equations 3 and 4).

    The ball around a real crop reaches to its k-th nearest real crop of another smear. Density is the mean number
    of balls that contain a synthetic crop, divided by k: about 1 if synthetic crops are distributed as real ones, 0
    if they are far from all of them. Coverage is the fraction of balls that contain a synthetic crop: low if
    synthetic crops lack some of the variety of real ones.

    Parameters
    ----------
    real, synthetic : CropFeatures
    rng : numpy.random.Generator
        For the bootstrap over smears.
    k : int
        Number of neighbours.
    draws : int
        Number of bootstrap samples; 0 gives intervals of width 0.

    Returns
    -------
    (density, coverage) : tuple of Estimate, or None
        None if there are too few crops. With fewer than 2k real crops outside a smear, a ball contains most of
        them. With fewer than 2k synthetic crops, balls are empty by chance.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> real = CropFeatures(rng.normal(0, 1, (200, 3)), np.arange(200) // 10)
    >>> far = CropFeatures(real.vectors + 50, real.smears)
    >>> [estimate.value for estimate in density_and_coverage(real, far, rng)]
    [0.0, 0.0]
    """
    crops_of_other_smears = len(real.vectors) - int(np.bincount(real.smears).max())
    if min(crops_of_other_smears, len(synthetic.vectors)) < 2 * k:
        return None
    real_distances = _squared_distances(real.vectors, real.vectors)
    real_distances[real.smears[:, None] == real.smears] = np.inf
    radii = np.partition(real_distances, k - 1, axis=1)[:, k - 1]
    inside = _squared_distances(real.vectors, synthetic.vectors) <= radii[:, None]
    density = _mean_over_crops(inside.sum(axis=0) / k, synthetic.smears, rng, draws)
    return density, _mean_over_crops(inside.any(axis=1), real.smears, rng, draws)


def _mean_over_crops(
    crop_values: npt.ArrayLike, smears: npt.NDArray[np.int64], rng: np.random.Generator, draws: int
) -> Estimate:
    values = np.asarray(crop_values, np.float64)
    sums, sizes = np.bincount(smears, values), np.bincount(smears).astype(np.float64)
    samples = []
    for _ in range(draws):
        weights = _weights(len(sums), rng)
        samples.append(float(weights @ sums / (weights @ sizes)))
    return _estimate(float(values.mean()), samples)


def _kernel_sums(first: CropFeatures, second: CropFeatures) -> FloatArray:
    kernel = (first.vectors @ second.vectors.T / first.vectors.shape[1] + 1) ** 3
    rows = np.zeros((first.count, kernel.shape[1]))
    np.add.at(rows, first.smears, kernel)
    sums = np.zeros((second.count, first.count))
    np.add.at(sums, second.smears, rows.T)
    return sums.T


def _without_diagonal(sums: FloatArray) -> FloatArray:
    np.fill_diagonal(sums, 0.0)
    return sums


class _Moments:
    """Sums of vectors and of their products, by smear."""

    def __init__(self, crops: CropFeatures) -> None:
        self._centre = crops.vectors.mean(axis=0)  # subtracted to avoid cancellation
        parts = [crops.vectors[crops.smears == k] - self._centre for k in range(crops.count)]
        self._sizes = np.array([len(part) for part in parts], np.float64)
        self._sums = np.stack([part.sum(axis=0) for part in parts])
        self._products = np.stack([part.T @ part for part in parts])

    def weighted(self, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return mean and covariance, with each smear counted as often as its weight."""
        counts = np.ones(len(self._sizes)) if weights is None else weights
        n = float(counts @ self._sizes)
        mean = counts @ self._sums / n
        products = np.tensordot(counts, self._products, axes=1)
        covariance = (products - n * np.outer(mean, mean)) / max(n - 1, 1)
        return mean + self._centre, covariance


def _frechet(
    first_mean: FloatArray, first_covariance: FloatArray, second_mean: FloatArray, second_covariance: FloatArray
) -> float:
    values, vectors = np.linalg.eigh(first_covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr (C C')^½ is the sum of the square roots of the eigenvalues of C^½ C' C^½, which is symmetric
    eigenvalues = np.linalg.eigvalsh(root @ second_covariance @ root)
    trace_of_root = float(np.sqrt(np.maximum(eigenvalues, 0)).sum())
    squared_shift = ((first_mean - second_mean) ** 2).sum()
    return float(squared_shift + np.trace(first_covariance) + np.trace(second_covariance) - 2 * trace_of_root)


def _squared_distances(first: FloatArray, second: FloatArray) -> FloatArray:
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.asarray(np.maximum(squares, 0))


def _weights(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw how often each of n smears is in a bootstrap sample of at least two different smears."""
    while True:
        weights = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        if (weights > 0).sum() > 1:
            return weights


def _estimate(value: float, samples: Sequence[float]) -> Estimate:
    low, high = np.quantile(samples or [value], [0.025, 0.975])
    return Estimate(value=value, interval=(float(low), float(high)))
