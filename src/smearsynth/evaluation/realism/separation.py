"""How well a linear classifier separates two sets of feature vectors: AUC, cross-validated by smear."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sklearn.linear_model import LogisticRegression

FOLDS = 5
_INNER_FOLDS = 3  # for the choice of C
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression
_DEFAULT_STRENGTH = 1e-2  # with too few smears for a choice
_MIN_GAIN = 1e-3  # AUC by which a larger C must be better
_MIN_SMEARS = 2  # on either side
DRAWS = 400  # bootstrap samples
_MAX_ITERATIONS, _TOLERANCE = 300, 1e-3

FloatArray: TypeAlias = npt.NDArray[np.floating]
IntArray: TypeAlias = npt.NDArray[np.int64]


class Auc(BaseModel):
    """Area under the ROC curve: 0.5 if the sets cannot be told apart, 1 if every item is recognised.

    Parameters
    ----------
    value : float
    interval : (float, float)
        95 % interval from a bootstrap over smears.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


class Grouped(NamedTuple):
    """Feature vectors of items of several smears.

    Parameters
    ----------
    vectors : (n, d) float array
    smears : (n,) int64 array
        Index of the smear of each item.
    """

    vectors: FloatArray
    smears: IntArray

    @property
    def smear_count(self) -> int:
        """Number of smears with an item."""
        return len(np.unique(self.smears))

    def of_smears(self, smears: IntArray) -> Grouped:
        """Return the items of some smears."""
        chosen = np.isin(self.smears, smears)
        return Grouped(self.vectors[chosen], self.smears[chosen])


class Separation(NamedTuple):
    """Result of `separate`.

    Parameters
    ----------
    auc : Auc
    first_scores, second_scores : (n,) float64 array
        Score of each item from a classifier that was not trained on its smear; the second set scores high.
    """

    auc: Auc
    first_scores: npt.NDArray[np.float64]
    second_scores: npt.NDArray[np.float64]


def separate(first: Grouped, second: Grouped, rng: int | np.random.Generator = 0) -> Separation | None:
    """Train a logistic regression to tell two sets apart, and test it on smears that it was not trained on.

    Both sets are divided by smear into five folds (fewer with fewer smears). The strength of the regularisation is
    chosen within the training folds, also by smear. Both sets have equal weight.

    Parameters
    ----------
    first, second : Grouped
    rng : int or numpy.random.Generator
        For the folds and the bootstrap.

    Returns
    -------
    Separation or None
        None if a set has items of fewer than two smears.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def sample(mean):
    ...     return Grouped(rng.normal(mean, 1, (120, 4)), np.arange(120) // 6)
    >>> separate(sample(0), sample(0)).auc.value < 0.65 < 0.9 < separate(sample(0), sample(1.5)).auc.value
    True
    """
    if min(first.smear_count, second.smear_count) < _MIN_SMEARS:
        return None
    generator = np.random.default_rng(rng)
    vectors = np.concatenate([first.vectors, second.vectors]).astype(np.float32)
    is_second = np.repeat([False, True], [len(first.vectors), len(second.vectors)])
    groups = np.concatenate([first.smears, second.smears + first.smears.max() + 1])
    folds = _draw_folds(groups, is_second, FOLDS, generator)
    scores = np.empty(len(groups))
    for fold in range(folds.max() + 1):
        train, test = folds != fold, folds == fold
        strength = _choose_strength(vectors[train], is_second[train], groups[train], generator)
        scores[test] = _fit_and_score(vectors[train], is_second[train], vectors[test], strength)
    value = _weighted_auc(scores, is_second)
    samples = [
        _weighted_auc(scores, is_second, _bootstrap_weights(groups, is_second, generator)) for _ in range(DRAWS)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    auc = Auc(value=value, interval=(float(low), float(high)))
    return Separation(auc, scores[~is_second], scores[is_second])


def separate_halves(items: Grouped, rng: int | np.random.Generator = 0, *, halvings: int = 3) -> Auc | None:
    """Separate two halves of the same smears, as a control: the AUC should be near 0.5.

    Parameters
    ----------
    items : Grouped
    rng : int or numpy.random.Generator
    halvings : int
        Number of random halvings.

    Returns
    -------
    Auc or None
        Means of the value and of the bounds over the halvings. None for fewer than four smears.

    Examples
    --------
    >>> items = Grouped(np.random.default_rng(0).normal(0, 1, (200, 4)), np.arange(200) // 5)
    >>> 0.3 < separate_halves(items).value < 0.65
    True
    """
    generator = np.random.default_rng(rng)
    rows = []
    for _ in range(halvings):
        order = generator.permutation(np.unique(items.smears))
        half = len(order) // 2
        result = separate(items.of_smears(order[:half]), items.of_smears(order[half:]), generator)
        if result is None:
            return None
        rows.append((result.auc.value, *result.auc.interval))
    value, low, high = np.mean(rows, axis=0).tolist()
    return Auc(value=value, interval=(low, high))


def _draw_folds(
    groups: IntArray, is_second: npt.NDArray[np.bool_], count: int, rng: np.random.Generator
) -> IntArray:
    """Assign each item a fold; items of one smear have the same fold, and each fold has smears of both sets."""
    sides = [np.unique(groups[is_second == side]) for side in (False, True)]
    count = min(count, *(len(side) for side in sides))
    folds = np.zeros(len(groups), np.int64)
    for side in sides:
        of_group = dict(zip(rng.permutation(side).tolist(), (np.arange(len(side)) % count).tolist(), strict=True))
        items = np.isin(groups, side)
        folds[items] = [of_group[group] for group in groups[items].tolist()]
    return folds


def _choose_strength(
    vectors: FloatArray, is_second: npt.NDArray[np.bool_], groups: IntArray, rng: np.random.Generator
) -> float:
    """Choose C by the mean AUC of inner folds; a larger C must be better by 0.001."""
    if min(len(np.unique(groups[is_second == side])) for side in (False, True)) < _MIN_SMEARS:
        return _DEFAULT_STRENGTH
    folds = _draw_folds(groups, is_second, _INNER_FOLDS, rng)
    best, best_auc = _STRENGTHS[0], -1.0
    for strength in _STRENGTHS:
        aucs = []
        for fold in range(folds.max() + 1):
            train, test = folds != fold, folds == fold
            scores = _fit_and_score(vectors[train], is_second[train], vectors[test], strength)
            aucs.append(_weighted_auc(scores, is_second[test]))
        if np.mean(aucs) > best_auc + _MIN_GAIN:
            best, best_auc = strength, float(np.mean(aucs))
    return best


def _fit_and_score(
    vectors: FloatArray, is_second: npt.NDArray[np.bool_], others: FloatArray, strength: float
) -> npt.NDArray[np.float64]:
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0)
    deviation[deviation == 0] = 1
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    model.fit((vectors - mean) / deviation, is_second)
    return np.asarray(model.decision_function((others - mean) / deviation), np.float64)


def _weighted_auc(
    scores: npt.NDArray[np.float64],
    is_second: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64] | None = None,
) -> float:
    """Return the probability that an item of the second set scores above one of the first; ties count half."""
    weights = np.ones(len(scores)) if weights is None else weights
    levels, level = np.unique(scores, return_inverse=True)
    first = np.bincount(level, np.where(is_second, 0, weights), len(levels))
    second = np.bincount(level, np.where(is_second, weights, 0), len(levels))
    below = np.cumsum(first) - first / 2
    return float(below @ second / (first.sum() * second.sum()))


def _bootstrap_weights(
    groups: IntArray, is_second: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw smears with replacement, separately in both sets; return how often each item is counted."""
    counts = np.zeros(int(groups.max()) + 1)
    for side in (False, True):
        smears = np.unique(groups[is_second == side])
        counts[smears] = rng.multinomial(len(smears), np.full(len(smears), 1 / len(smears)))
    return counts[groups]
