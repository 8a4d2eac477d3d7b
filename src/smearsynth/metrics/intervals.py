"""Confidence intervals of scores and of their differences between two conditions, over images and training seeds.

Both the test images and the training seeds are random samples. An interval over images alone reports a difference
between two equal conditions far too often, because one favourable training run shifts the scores of all images
together. The two variances are added (crossed random effects). With few seeds the interval is wide: it uses
Student's t with the degrees of freedom of Satterthwaite (*Biometrics Bulletin* 2, 1946).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from smearsynth.errors import DataError
from smearsynth.metrics.average_precision import PrecisionRecord

FloatArray = npt.NDArray[np.float64]
DRAWS = 400  # bootstrap samples of the images; they estimate the variance to within 1/14 (√(2/400))


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


class BootstrapScore(NamedTuple):
    """Score of one model on its test images and on bootstrap samples of them.

    The samples depend on the number of images alone, so that the draws of two models scored on the same images are
    paired.

    Parameters
    ----------
    value : float
        Score on the test images.
    draws : (DRAWS,) float64 array
        Score on each bootstrap sample.
    images : int
        Number of test images.
    """

    value: float
    draws: FloatArray
    images: int

    @classmethod
    def of_scores(cls, scores: npt.ArrayLike) -> BootstrapScore:
        """Compute the mean of scores of single images, (n,), and of their bootstrap samples.

        Raises
        ------
        DataError
            If there are no scores.

        Examples
        --------
        >>> BootstrapScore.of_scores([0.5, 1.0]).value
        0.75
        """
        values = np.asarray(scores, np.float64)
        if not values.size:
            raise DataError("no images were scored; select test smears")
        return cls(float(values.mean()), _samples(values.size) @ values / values.size, values.size)

    @classmethod
    def of_totals(cls, counts: npt.ArrayLike) -> BootstrapScore:
        """Compute the sum of counts of single images, (n,), and of their bootstrap samples.

        Raises
        ------
        DataError
            If there are no counts.

        Examples
        --------
        >>> BootstrapScore.of_totals([12, 30]).value
        42.0
        """
        mean = cls.of_scores(counts)
        return cls(mean.value * mean.images, mean.draws * mean.images, mean.images)

    @classmethod
    def of_ratio(cls, numerators: FloatArray, denominators: FloatArray) -> BootstrapScore:
        """Compute the ratio of two sums over images, and of those of bootstrap samples; 1 where both sums are 0.

        Parameters
        ----------
        numerators, denominators : (n,) float64 array
            Terms of single images, at least one.

        Examples
        --------
        >>> BootstrapScore.of_ratio(np.array([1.0, 3.0]), np.array([2.0, 6.0])).value
        0.5
        """
        above, below = cls.of_totals(numerators), cls.of_totals(denominators)
        draws = np.divide(above.draws, below.draws, out=np.ones(DRAWS), where=below.draws > 0)
        return cls(above.value / below.value if below.value else 1.0, draws, above.images)

    @classmethod
    def of_precision(cls, record: PrecisionRecord) -> BootstrapScore:
        """Compute COCO AP and its bootstrap samples; NaN for samples without annotated cells."""
        images = len(record.annotations)
        draws = np.array([record.ap(weights).ap for weights in _samples(images)])
        return cls(record.ap().ap, draws, images)


def average(scores: Sequence[BootstrapScore]) -> BootstrapScore:
    """Return the mean of scores on the same images, with its bootstrap samples.

    Parameters
    ----------
    scores : sequence of BootstrapScore
        At least one, such as the seeds of one choice of the training smears.

    Examples
    --------
    >>> scores = [BootstrapScore.of_scores([0.5, 1.0]), BootstrapScore.of_scores([0.25, 0.75])]
    >>> average(scores).value
    0.625
    """
    values = np.mean([score.value for score in scores])
    return BootstrapScore(float(values), np.mean([score.draws for score in scores], axis=0), scores[0].images)


def standard_error(first: BootstrapScore, second: BootstrapScore) -> float:
    """Estimate the standard error, over images, of the difference of two scores on the same images.

    It is 0 for a single image, where it cannot be estimated.

    Examples
    --------
    >>> first = BootstrapScore.of_scores([0.8, 0.9, 0.7, 0.8])
    >>> second = BootstrapScore.of_scores([0.7, 0.9, 0.8, 0.8])
    >>> round(standard_error(first, second), 2), standard_error(first, first)
    (0.04, 0.0)
    """
    differences = first.draws - second.draws
    differences = differences[~np.isnan(differences)]
    freedom = first.images - 1
    return float(differences.std() * (first.images / freedom) ** 0.5) if differences.size and freedom else 0.0


def paired_interval(
    first: Sequence[BootstrapScore], second: Sequence[BootstrapScore], *, level: float = 0.95
) -> Interval:
    """Compute the mean score of `first` minus that of `second` with its confidence interval.

    Parameters
    ----------
    first, second : sequence of BootstrapScore
        One model per seed, with the same seeds and test images on both sides. With one seed the interval is over
        images alone; with one image its width is 0. With several choices of the training smears one score per
        choice, the `average` over its seeds: the interval then covers the choice, the seeds and the images.
    level : float
        Confidence level.

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If the numbers of images or seeds differ, or there are no scores.

    Examples
    --------
    >>> better, worse = (BootstrapScore.of_scores(scores) for scores in ([0.9, 0.8, 0.9], [0.8, 0.7, 0.8]))
    >>> paired_interval([better], [worse]).low > 0
    True

    If two seeds contradict each other, the interval is wide for any number of images:

    >>> high, middle, low = (BootstrapScore.of_scores([score] * 50) for score in (0.9, 0.8, 0.7))
    >>> paired_interval([high, low], [middle, middle]).low < -0.5
    True
    """
    sizes = {score.images for score in (*first, *second)}
    if len(sizes) != 1 or len(first) != len(second):
        raise DataError(
            "scores of different images or seeds cannot be paired; score both conditions on the same images "
            "with an equal number of seeds"
        )
    images, seeds = sizes.pop(), len(first)
    observed = np.array([a.value - b.value for a, b in zip(first, second, strict=True)])
    draws = np.stack([a.draws - b.draws for a, b in zip(first, second, strict=True)])
    draws = draws[:, ~np.isnan(draws).any(0)]
    mean = float(observed.mean())
    if images == 1:  # the variance between images cannot be estimated
        return Interval(mean, mean, mean)
    if seeds == 1 or not draws.size:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]) if draws.size else (np.nan, np.nan)
        return Interval(mean, float(low), float(high))
    total, freedom = _variance(observed, draws, images)
    if not total > 0:
        return Interval(mean, mean, mean)
    half_width = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(total))
    return Interval(mean, mean - half_width, mean + half_width)


def mean_interval(scores: Sequence[BootstrapScore], *, level: float = 0.95) -> Interval:
    """Compute the mean score of one condition with its confidence interval.

    Parameters
    ----------
    scores : sequence of BootstrapScore
        One model per seed, all on the same test images. With one seed the interval is over images alone; with one
        image its width is 0.
    level : float
        Confidence level.

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If there are no scores, or their numbers of images differ.

    Examples
    --------
    >>> interval = mean_interval([BootstrapScore.of_scores([0.6, 0.8, 0.7, 0.9])])
    >>> round(interval.mean, 3), 0.6 < interval.low < 0.75 < interval.high < 0.9
    (0.75, True)
    """
    return paired_interval(
        scores, [BootstrapScore(0.0, np.zeros(DRAWS), score.images) for score in scores], level=level
    )


def _variance(observed: FloatArray, draws: FloatArray, images: int) -> tuple[float, float]:
    """Compute the variance of the mean difference over seeds and images, and its degrees of freedom.

    Parameters
    ----------
    observed : (seeds,) float64 array
        Differences on the test images.
    draws : (seeds, DRAWS) float64 array
        Differences on the bootstrap samples.
    images : int
    """
    seeds, image_freedom = len(observed), max(images - 1, 1)
    # A bootstrap underestimates the variance by the factor (n - 1)/n.
    by_images = draws.mean(0).var() * images / image_freedom
    by_seeds = observed.var(ddof=1) / seeds
    # The interaction of seeds and images is part of both variances and is subtracted once. Averaging over seeds
    # reduces it, which shows its size.
    interaction = (draws.var(1).mean() * images / image_freedom - by_images) / (seeds - 1)
    total = by_images + max(by_seeds - max(interaction, 0), 0)
    if not total > 0:
        return 0.0, float(image_freedom)
    # Satterthwaite's degrees of freedom of a sum of variances. They are at least those of the least certain part,
    # which the formula underestimates after the subtraction.
    freedom = total**2 / (by_images**2 / image_freedom + by_seeds**2 / (seeds - 1))
    return float(total), float(max(freedom, min(seeds - 1, image_freedom)))


def _samples(images: int) -> npt.NDArray[np.int64]:
    """Return how often each image occurs in each bootstrap sample, (DRAWS, images); fixed per number of images."""
    generator = np.random.default_rng([0, images])
    return generator.multinomial(images, np.full(images, 1 / images), DRAWS)
