"""The verdict: sentences about the differences between arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from smearsynth.experiment.arms import ARMS, MIXED_PAIRS, SUBSET_PAIRS, SYNTHETIC_PAIRS, ArmName
from smearsynth.experiment.facts import counted
from smearsynth.experiment.records import METRIC_NAMES, TASK_TITLES, ComparedMetric, Difference
from smearsynth.metrics.panoptic import CELL_METRICS
from smearsynth.tasks.config import TaskName

_MAX_WIDTH = 1.0  # of an interval that says anything: scores lie between 0 and 1
_Pair = tuple[TaskName, int, ArmName, ArmName, int | None]  # identifies the arms of a difference


def verdict(differences: Sequence[Difference]) -> tuple[str, ...]:
    """Describe the benefit of synthetic smears in sentences.

    Parameters
    ----------
    differences : sequence of Difference

    Returns
    -------
    tuple of str
        First on synthetic smears added to real ones: Dice or AP, how many cells are separated, and a warning where
        Dice or AP rises while fewer cells are separated or PQ falls. Then on subsets of the real smears compared
        with all of them, then on synthetic smears alone. For each task and number of real smears the first
        available pair of arms
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
    cells: dict[tuple[ComparedMetric, _Pair], Difference] = {
        (item.metric, _pair(item)): item for item in differences if item.metric in CELL_METRICS
    }
    differences = [item for item in differences if item.metric not in CELL_METRICS]
    with_interval = [item for item in differences if item.has_interval]
    mixed = _first_pairs(differences, MIXED_PAIRS)
    sentences = (
        *(sentence for item in mixed for sentence in (_describe_mixed(item), *_describe_separation(item, cells))),
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


def _describe_separation(
    item: Difference, cells: Mapping[tuple[ComparedMetric, _Pair], Difference]
) -> Iterator[str]:
    """Yield how many cells the arm separates compared with its base, and a warning if only Dice or AP rises."""
    tp, pq = (cells.get((metric, _pair(item))) for metric in ("tp", "pq"))
    if tp is None or pq is None:
        return
    subject = f"{TASK_TITLES[item.task]}, {counted(item.reals, 'real smear')}"
    figures = f"{_figure(tp)}; {_figure(pq)}; {tp.repeats}"
    if tp.mean == 0 and not tp.has_interval and pq.has_interval:
        yield f"{subject}: {item.arm} and {item.base} separate equal numbers of cells ({figures})."
    elif reason := _no_conclusion(tp):
        yield (
            f"{subject}: no conclusion about the number of cells that {item.arm} and {item.base} separate, because "
            f"{reason} ({figures})."
        )
    elif tp.conclusion == "inconclusive":
        yield (
            f"{subject}: no difference was shown between the numbers of cells that {item.arm} and {item.base} "
            f"separate ({figures})."
        )
    else:
        relation = "more" if tp.mean > 0 else "fewer"
        yield f"{subject}: {item.arm} separates {_size(tp)} {relation} cells than {item.base} ({figures})."
    falling = [loss for loss in (tp, pq) if loss.mean < 0]
    if item.mean > 0 and falling:
        names = " and ".join(METRIC_NAMES[loss.metric] for loss in falling)
        shown = any(loss.conclusion == "worse" for loss in falling)
        chance = "" if shown else ", which may be chance"
        verb = "fall" if len(falling) > 1 else "falls"
        yield (
            f"Warning: {subject}: {METRIC_NAMES[item.metric]} rises while {names} {verb}{chance}. Do not judge the "
            f"separation of cells by {METRIC_NAMES[item.metric]}."
        )


def _pair(item: Difference) -> _Pair:
    """Return what identifies the two arms that are compared."""
    return item.task, item.reals, item.arm, item.base, item.all_reals


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
    if not item.is_repeated:
        return "each arm was trained with one seed only"
    if item.is_score and item.conclusion == "inconclusive" and item.high - item.low > _MAX_WIDTH:
        return "there are too few test smears and seeds"
    return None


def _size(item: Difference) -> str:
    return f"{abs(item.mean):.{item.digits}f}"


def _difference(item: Difference) -> str:
    return f"{METRIC_NAMES[item.metric]} difference: {item.format(item.mean)} {_details(item)}."


def _figure(item: Difference) -> str:
    """Return a difference and its interval, as part of a sentence."""
    text = f"{METRIC_NAMES[item.metric]} difference: {item.format(item.mean)}"
    if not item.has_interval:
        return text
    return f"{text}, 95 % interval{_scope(item)} {item.format(item.low)} to {item.format(item.high)}"


def _details(item: Difference) -> str:
    """Return the interval, the arms and the number of seeds in parentheses."""
    arms = f"{item.arm} minus {item.base}"
    if item.all_reals is not None:
        arms = f"{item.arm} of {item.reals} minus {item.base} of {item.all_reals}"
    parts = f"{arms}, {item.repeats}"
    if not item.has_interval:
        return f"({parts})"
    return f"(95 % interval{_scope(item)} {item.format(item.low)} to {item.format(item.high)}; {parts})"


def _scope(item: Difference) -> str:
    """Return what the interval covers, where that is unusual."""
    if not item.is_repeated:
        return " over test smears only"
    return " over choices of the real smears, seeds and test smears" if item.draws > 1 else ""
