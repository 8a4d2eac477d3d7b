"""The verdict: sentences about the differences between arms."""

from __future__ import annotations

from collections.abc import Sequence

from smearsynth.experiment.arms import ARMS, MIXED_PAIRS, SUBSET_PAIRS, SYNTHETIC_PAIRS, ArmName
from smearsynth.experiment.records import METRIC_NAMES, TASK_TITLES, Difference, counted

_MAX_WIDTH = 1.0  # of an interval that says anything: scores lie between 0 and 1


def verdict(differences: Sequence[Difference]) -> tuple[str, ...]:
    """Describe the benefit of synthetic smears in sentences.

    Parameters
    ----------
    differences : sequence of Difference

    Returns
    -------
    tuple of str
        First on synthetic smears added to real ones, then on subsets of the real smears compared with all of them,
        then on synthetic smears alone. For each task and number of real smears the first available pair of arms
        is used. One seed gives no conclusion: of two equal arms, the one with the luckier training scores higher.

    Examples
    --------
    >>> pair = dict(task="detection", reals=10, metric="ap", seeds=3, arm="RD+SD+aug", base="RD+aug")
    >>> print(*verdict([Difference(mean=0.031, low=0.012, high=0.049, **pair)]))  # doctest: +NORMALIZE_WHITESPACE
    Detection, 10 real smears: adding synthetic smears increased AP by 0.031 (95 % interval +0.012 to +0.049;
    RD+SD+aug minus RD+aug, 3 seeds).
    >>> print(*verdict([Difference(mean=0.001, low=-0.01, high=0.012, **pair)]))  # doctest: +NORMALIZE_WHITESPACE
    Detection, 10 real smears: no effect of adding synthetic smears was shown. AP difference: +0.001 (95 % interval
    -0.010 to +0.012; RD+SD+aug minus RD+aug, 3 seeds).
    """
    with_interval = [item for item in differences if item.has_interval]
    sentences = (
        *map(_describe_mixed, _first_pairs(differences, MIXED_PAIRS)),
        *map(_describe_subset, _first_pairs(with_interval, SUBSET_PAIRS[:2], against_all=True)),
        *map(_describe_synthetic, _first_pairs(with_interval, SYNTHETIC_PAIRS)),
    )
    return sentences or (
        "The benefit of synthetic smears was not tested: no arm with synthetic smears was run with its base.",
    )


def _first_pairs(
    differences: Sequence[Difference], pairs: Sequence[tuple[ArmName, ArmName]], *, against_all: bool = False
) -> list[Difference]:
    """Return the first available pair of arms for each task and number of real smears."""
    candidates = {
        (item.task, item.reals, item.arm, item.base): item
        for item in differences
        if (item.all_reals is not None) == against_all
    }
    first = []
    for task, reals in dict.fromkeys((item.task, item.reals) for item in differences):
        available = [candidates[task, reals, *pair] for pair in pairs if (task, reals, *pair) in candidates]
        first += available[:1]
    return first


def _describe_mixed(item: Difference) -> str:
    subject, treatment = f"{TASK_TITLES[item.task]}, {counted(item.reals, 'real smear')}", _treatment(item)
    if reason := _no_conclusion(item):
        return f"{subject}: no conclusion about {treatment}, because {reason}. {_difference(item)}"
    if item.conclusion == "inconclusive":
        return f"{subject}: no effect of {treatment} was shown. {_difference(item)}"
    effect = "increased" if item.conclusion == "better" else "decreased"
    return f"{subject}: {treatment} {effect} {METRIC_NAMES[item.metric]} by {_size(item)} {_details(item)}."


def _describe_subset(item: Difference) -> str:
    metric, title = METRIC_NAMES[item.metric], TASK_TITLES[item.task]
    subset, whole = f"{counted(item.reals, 'real smear')} plus synthetic smears", f"{item.all_reals} real smears"
    if reason := _no_conclusion(item):
        return f"{title}: no conclusion about {subset} compared with {whole}, because {reason}. {_difference(item)}"
    if item.conclusion == "inconclusive":
        return f"{title}: no difference was shown between {subset} and {whole}. {_difference(item)}"
    relation = "higher" if item.conclusion == "better" else "lower"
    return f"{title}: {metric} with {subset} was {relation} than with {whole}, by {_size(item)} {_details(item)}."


def _describe_synthetic(item: Difference) -> str:
    metric, subject = METRIC_NAMES[item.metric], f"{TASK_TITLES[item.task]}, {counted(item.reals, 'real smear')}"
    if reason := _no_conclusion(item):
        return f"{subject}: no conclusion about synthetic smears alone, because {reason}. {_difference(item)}"
    if item.conclusion == "inconclusive":
        return (
            f"{subject}: no difference was shown between training on synthetic smears alone and on real smears. "
            f"{_difference(item)}"
        )
    relation = "higher" if item.conclusion == "better" else "lower"
    return (
        f"{subject}: {metric} after training on synthetic smears alone was {relation} than after training on real "
        f"smears, by {_size(item)} {_details(item)}."
    )


def _treatment(item: Difference) -> str:
    """Return how a mixed arm differs from its base."""
    augment = ARMS[item.base].augment
    if augment == ARMS[item.arm].augment:
        return "adding synthetic smears"
    replaced = "copy-paste augmentation" if augment == "copy-paste" else "the classic augmentations"
    return f"replacing {replaced} with synthetic smears"


def _no_conclusion(item: Difference) -> str | None:
    """Return why a difference allows no conclusion, not even that an effect is small; None if it allows one."""
    if not item.has_interval:
        return "there is no interval"
    if item.seeds == 1:
        return "each arm was trained with one seed only"
    if item.conclusion == "inconclusive" and item.high - item.low > _MAX_WIDTH:
        return "there are too few test smears and seeds"
    return None


def _size(item: Difference) -> str:
    return f"{abs(item.mean):.{item.digits}f}"


def _difference(item: Difference) -> str:
    return f"{METRIC_NAMES[item.metric]} difference: {item.format(item.mean)} {_details(item)}."


def _details(item: Difference) -> str:
    """Return the interval, the arms and the number of seeds in parentheses."""
    arms = f"{item.arm} minus {item.base}"
    if item.all_reals is not None:
        arms = f"{item.arm} of {item.reals} minus {item.base} of {item.all_reals}"
    parts = f"{arms}, {counted(item.seeds, 'seed')}"
    if not item.has_interval:
        return f"({parts})"
    scope = " over test smears only" if item.seeds == 1 else ""
    return f"(95 % interval{scope} {item.format(item.low)} to {item.format(item.high)}; {parts})"
