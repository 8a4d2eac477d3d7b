"""How far two sets of images lie apart: KID, FID, density and coverage, with smears as what is independent.

Crops of one smear share its stain and focus. Taken for independent, they make two halves of the same real smears
look apart and any interval too narrow. So pairs of crops of one smear are left out, and intervals come from
resampling smears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.evaluation.realism.crops import CropFeatures, FloatArray

NEIGHBOURS = 5
DRAWS = 400  # of a bootstrap


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class KernelSums:
    """Sums of the kernel of KID over pairs of crops, smear by smear, from which any sample of them is quick.

    The kernel is (x·y / d + 1)³ (Bińkowski et al. 2018, *Demystifying MMD GANs*, section 4).

    Parameters
    ----------
    one, other : CropFeatures
    """

    def __init__(self, one: CropFeatures, other: CropFeatures) -> None:
        self.within_one = _without_diagonal(_kernel_sums(one, one))
        self.within_other = _without_diagonal(_kernel_sums(other, other))
        self.between = _kernel_sums(one, other)
        self.sizes_one = np.bincount(one.smears).astype(np.float64)
        self.sizes_other = np.bincount(other.smears).astype(np.float64)

    def kid(self, one: FloatArray | None = None, other: FloatArray | None = None) -> float:
        """Unbiased squared maximum mean discrepancy, of smears that count as often as these weights say.

        Pairs within a smear are left out, as Bińkowski et al. leave out pairs of an image with itself.
        """
        a = np.ones(len(self.sizes_one)) if one is None else one
        b = np.ones(len(self.sizes_other)) if other is None else other
        na, nb = a * self.sizes_one, b * self.sizes_other
        pairs_a = na.sum() ** 2 - (na**2).sum()
        pairs_b = nb.sum() ** 2 - (nb**2).sum()
        return float(
            a @ self.within_one @ a / pairs_a
            + b @ self.within_other @ b / pairs_b
            - 2 * (a @ self.between @ b) / (na.sum() * nb.sum())
        )


def kid(one: CropFeatures, other: CropFeatures, rng: np.random.Generator, *, draws: int = DRAWS) -> Estimate:
    """Kernel inception distance, with the interval of a bootstrap over smears (none for 0 draws); see `KernelSums`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def made(shift):
    ...     return CropFeatures(rng.normal(shift, 1, (60, 4)), np.arange(60) // 6)
    >>> kid(made(0), made(0), rng).value < 0.3 < kid(made(0), made(1), rng).value
    True
    """
    sums = KernelSums(one, other)
    drawn = [sums.kid(_weights(one.count, rng), _weights(other.count, rng)) for _ in range(draws)]
    return _estimate(sums.kid(), drawn)


def fid(one: CropFeatures, other: CropFeatures, rng: np.random.Generator, *, draws: int = DRAWS // 8) -> Estimate:
    """Fréchet distance of two Gaussians (Heusel et al. 2017, equation 6), with a bootstrap over smears.

    It is biased upwards, the more the fewer crops there are: compare it at equal numbers only.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> one = CropFeatures(rng.normal(0, 1, (400, 3)), np.arange(400) // 20)
    >>> moved = CropFeatures(one.vectors + 1, one.smears)
    >>> round(fid(one, moved, rng).value, 6)
    3.0
    """
    ours, theirs = _Moments(one), _Moments(other)
    drawn = [
        _frechet(*ours.of(_weights(one.count, rng)), *theirs.of(_weights(other.count, rng))) for _ in range(draws)
    ]
    value = _frechet(*ours.of(), *theirs.of())
    # a sample holds fewer different smears, which raises every one of its figures: moved back by the mean
    rise = float(np.mean(drawn)) - value if drawn else 0.0
    return _estimate(value, [max(one - rise, 0.0) for one in drawn])


def density_and_coverage(
    real: CropFeatures, other: CropFeatures, rng: np.random.Generator, *, k: int = NEIGHBOURS, draws: int = DRAWS
) -> tuple[Estimate, Estimate] | None:
    """Density and coverage (Naeem et al. 2020, equations 3 and 4); None where there are too few crops for them.

    The ball around a real crop reaches to its k-th nearest real crop of another smear. Density is how many balls
    hold a synthetic crop, over k: near 1 where it is as real ones are, 0 far from them all. Coverage is the share
    of balls that hold any: low where the synthetic ones lack what real ones have. With fewer than 2k real crops
    outside a smear a ball is as wide as all of them, and fewer than 2k synthetic ones leave balls empty by chance.

    Parameters
    ----------
    real, other : CropFeatures
    rng : numpy.random.Generator
        Of the bootstrap over smears.
    k, draws : int

    Returns
    -------
    (density, coverage) : tuple of Estimate, or None

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> real = CropFeatures(rng.normal(0, 1, (200, 3)), np.arange(200) // 10)
    >>> far = CropFeatures(real.vectors + 50, real.smears)
    >>> [figure.value for figure in density_and_coverage(real, far, rng)]
    [0.0, 0.0]
    """
    elsewhere = len(real.vectors) - int(np.bincount(real.smears).max())
    if min(elsewhere, len(other.vectors)) < 2 * k:
        return None
    among = _squared_distances(real.vectors, real.vectors)
    among[real.smears[:, None] == real.smears] = np.inf
    radii = np.partition(among, k - 1, axis=1)[:, k - 1]
    inside = _squared_distances(real.vectors, other.vectors) <= radii[:, None]
    density = _mean_of_smears(inside.sum(axis=0) / k, other.smears, rng, draws)
    return density, _mean_of_smears(inside.any(axis=1), real.smears, rng, draws)


def _mean_of_smears(
    of_crops: npt.ArrayLike, smears: npt.NDArray[np.int64], rng: np.random.Generator, draws: int
) -> Estimate:
    values = np.asarray(of_crops, np.float64)
    sums, sizes = np.bincount(smears, values), np.bincount(smears).astype(np.float64)
    drawn = []
    for _ in range(draws):
        weights = _weights(len(sums), rng)
        drawn.append(float(weights @ sums / (weights @ sizes)))
    return _estimate(float(values.mean()), drawn)


def _kernel_sums(one: CropFeatures, other: CropFeatures) -> FloatArray:
    kernel = (one.vectors @ other.vectors.T / one.vectors.shape[1] + 1) ** 3
    rows = np.zeros((one.count, kernel.shape[1]))
    np.add.at(rows, one.smears, kernel)
    sums = np.zeros((other.count, one.count))
    np.add.at(sums, other.smears, rows.T)
    return sums.T


def _without_diagonal(sums: FloatArray) -> FloatArray:
    np.fill_diagonal(sums, 0.0)
    return sums


class _Moments:
    """Sums of vectors and of their products, smear by smear."""

    def __init__(self, crops: CropFeatures) -> None:
        self._centre = crops.vectors.mean(axis=0)  # taken off, so that nothing cancels
        parts = [crops.vectors[crops.smears == k] - self._centre for k in range(crops.count)]
        self._sizes = np.array([len(part) for part in parts], np.float64)
        self._sums = np.stack([part.sum(axis=0) for part in parts])
        self._products = np.stack([part.T @ part for part in parts])

    def of(self, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Mean and covariance."""
        counts = np.ones(len(self._sizes)) if weights is None else weights
        n = float(counts @ self._sizes)
        mean = counts @ self._sums / n
        products = np.tensordot(counts, self._products, axes=1)
        covariance = (products - n * np.outer(mean, mean)) / max(n - 1, 1)
        return mean + self._centre, covariance


def _frechet(mean: FloatArray, covariance: FloatArray, other_mean: FloatArray, other: FloatArray) -> float:
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr (C C')^½ is the sum of the roots of the eigenvalues of C^½ C' C^½, which is symmetric
    crossed = np.linalg.eigvalsh(root @ other @ root)
    shared = float(np.sqrt(np.maximum(crossed, 0)).sum())
    return float(((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other) - 2 * shared)


def _squared_distances(one: FloatArray, other: FloatArray) -> FloatArray:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.asarray(np.maximum(squares, 0))


def _weights(n: int, rng: np.random.Generator) -> FloatArray:
    """How often each of n smears is in a bootstrap sample, which holds two different ones at least."""
    while True:
        weights = rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)
        if (weights > 0).sum() > 1:
            return weights


def _estimate(value: float, drawn: list[float]) -> Estimate:
    low, high = np.quantile(drawn or [value], [0.025, 0.975])
    return Estimate(value, float(low), float(high))
