"""Differences between two ways of training, with intervals that hold for other images and for other seeds.

Both are drawn: the test images, and the seeds of training. An interval over images alone says "better" of two equal
ways far too often, because one lucky training moves all images together. The two variances are added (crossed
random effects), and few seeds give wide intervals, by Student's t with the degrees of freedom of Satterthwaite
(*Biometrics Bulletin* 2, 1946).
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
DRAWS = 400  # samples of the images: their variance to within a fourteenth


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


class Resampled(NamedTuple):
    """The score of one model on its test images, and on bootstrap samples of them.

    Samples depend on the number of images alone, so that two models scored on the same images are paired.

    Parameters
    ----------
    value : float
    draws : (DRAWS,) float64 array
    images : int
    """

    value: float
    draws: FloatArray
    images: int

    @classmethod
    def of_scores(cls, scores: npt.ArrayLike) -> Resampled:
        """Of a score that is the mean over images, (n,).

        Examples
        --------
        >>> Resampled.of_scores([0.5, 1.0]).value
        0.75
        """
        each = np.asarray(scores, np.float64)
        if not each.size:
            raise DataError("no images were scored; name smears to test on")
        return cls(float(each.mean()), _samples(each.size) @ each / each.size, each.size)

    @classmethod
    def of_precision(cls, record: PrecisionRecord) -> Resampled:
        """Of COCO AP; NaN where a sample holds no cell."""
        images = len(record.true)
        draws = np.array([record.ap(weights).ap for weights in _samples(images)])
        return cls(record.ap().ap, draws, images)


def standard_error(first: Resampled, second: Resampled) -> float:
    """Of the difference of two scores on the same images, by the draw of the images; 0 of one image, unknown there.

    Examples
    --------
    >>> one, other = Resampled.of_scores([0.8, 0.9, 0.7, 0.8]), Resampled.of_scores([0.7, 0.9, 0.8, 0.8])
    >>> round(standard_error(one, other), 2), standard_error(one, one)
    (0.04, 0.0)
    """
    apart = first.draws - second.draws
    apart = apart[~np.isnan(apart)]
    spare = first.images - 1
    return float(apart.std() * (first.images / spare) ** 0.5) if apart.size and spare else 0.0


def paired_interval(first: Sequence[Resampled], second: Sequence[Resampled], *, level: float = 0.95) -> Interval:
    """Mean score of `first` minus that of `second`, over the same seeds and images.

    Parameters
    ----------
    first, second : sequence of Resampled
        One model for each seed, the same seeds on either side. With one seed the interval is over images alone;
        with one image it has no width.
    level : float

    Raises
    ------
    DataError
        When the scores are not of as many images and seeds, or of none.

    Examples
    --------
    >>> better, worse = (Resampled.of_scores(scores) for scores in ([0.9, 0.8, 0.9], [0.8, 0.7, 0.8]))
    >>> paired_interval([better], [worse]).low > 0
    True

    Two seeds that contradict each other tell little, however many images there are:

    >>> high, middle, low = (Resampled.of_scores([score] * 50) for score in (0.9, 0.8, 0.7))
    >>> paired_interval([high, low], [middle, middle]).low < -0.5
    True
    """
    sizes = {one.images for one in (*first, *second)}
    if len(sizes) != 1 or len(first) != len(second):
        raise DataError("scores of different images cannot be paired; score the same images by as many seeds")
    images, seeds = sizes.pop(), len(first)
    observed = np.array([a.value - b.value for a, b in zip(first, second, strict=True)])
    drawn = np.stack([a.draws - b.draws for a, b in zip(first, second, strict=True)])
    drawn = drawn[:, ~np.isnan(drawn).any(0)]
    mean = float(observed.mean())
    if images == 1:  # chance of training is known, that of the images is not
        return Interval(mean, mean, mean)
    if seeds == 1 or not drawn.size:
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if drawn.size else (np.nan, np.nan)
        return Interval(mean, float(low), float(high))
    # Variances of the mean: by the draw of images (a bootstrap shows (n - 1)/n of it), and by the draw of seeds.
    # What a seed does to single images is in both and is taken out once: averaging over seeds shows how much it is.
    spare = max(images - 1, 1)
    of_images = drawn.mean(0).var() * images / spare
    of_seeds = observed.var(ddof=1) / seeds
    shared = (drawn.var(1).mean() * images / spare - of_images) / (seeds - 1)
    total = of_images + max(of_seeds - max(shared, 0), 0)
    if not total > 0:
        return Interval(mean, mean, mean)
    # Satterthwaite's degrees of freedom of a sum of variances; they are no fewer than those of its least certain
    # part, which the formula does not know where a part is taken out again
    freedom = max(total**2 / (of_images**2 / spare + of_seeds**2 / (seeds - 1)), min(seeds - 1, spare))
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(total))
    return Interval(mean, mean - reach, mean + reach)


def _samples(images: int) -> npt.NDArray[np.int64]:
    """How often each image is in each bootstrap sample, (DRAWS, images); the same for as many images."""
    generator = np.random.default_rng([0, images])
    return generator.multinomial(images, np.full(images, 1 / images), DRAWS)
