from __future__ import annotations

import pytest

from benefit_results import make_difference
from smearsynth.experiment.records import Difference
from smearsynth.experiment.verdict import verdict

MIXED = make_difference()
SYNTHETIC = make_difference(arm="SD")
SUBSET = make_difference(reals=3, all_reals=9)


def change(item: Difference, **changes: object) -> Difference:
    return item.model_copy(update=changes)


def test_plain_arms_are_used_if_augmented_arms_were_not_run() -> None:
    plain = [MIXED, make_difference(base="RD+aug"), SYNTHETIC, make_difference(arm="RD+aug")]
    arms = [sentence.split("; ")[1] for sentence in verdict(plain)]
    assert arms == ["RD+SD minus RD, 3 seeds).", "SD minus RD, 3 seeds)."]
    augmented = [make_difference(arm="RD+SD+aug", base="RD+aug"), make_difference(arm="SD+aug", base="RD+aug")]
    arms = [sentence.split("; ")[1] for sentence in verdict([*plain, *augmented])]
    assert arms == ["RD+SD+aug minus RD+aug, 3 seeds).", "SD+aug minus RD+aug, 3 seeds)."]


def test_without_synthetic_smears_there_is_no_conclusion() -> None:
    (sentence,) = verdict([make_difference(arm="RD+aug")])
    assert sentence.startswith("The benefit of synthetic smears was not tested")
    assert verdict([]) == (sentence,)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "adding synthetic smears increased Dice by 0.020 (95 % interval +0.010 to +0.030;"),
        (
            {"mean": -0.02, "low": -0.03, "high": -0.01},
            "adding synthetic smears decreased Dice by 0.020 (95 % interval -0.030 to -0.010;",
        ),
        (
            {"low": -0.01},
            "no effect of adding synthetic smears was shown. Dice difference: +0.020 (95 % interval -0.010 to",
        ),
        ({"base": "RD+aug"}, "replacing the classic augmentations with synthetic smears increased Dice by 0.020"),
        ({"base": "RD+copy-paste"}, "replacing copy-paste augmentation with synthetic smears increased Dice by"),
    ],
)
def test_sentences_about_mixed_arms(changes: dict[str, object], sentence: str) -> None:
    assert verdict([change(MIXED, **changes)])[0].startswith(f"Segmentation, 9 real smears: {sentence}")


def test_sentences_about_synthetic_smears_alone() -> None:
    assert "Dice after training on synthetic smears alone was higher than after" in verdict([SYNTHETIC])[0]
    lower = change(SYNTHETIC, mean=-0.02, low=-0.03, high=-0.01)
    assert "alone was lower than after training on real smears, by 0.020 (95 %" in verdict([lower])[0]
    assert "no difference was shown between training on" in verdict([change(SYNTHETIC, low=-0.01)])[0]


def test_sentences_about_subsets() -> None:
    (sentence,) = verdict([SUBSET, make_difference(arm="RD", reals=3, all_reals=9)])
    assert sentence == (
        "Segmentation: Dice with 3 real smears plus synthetic smears was higher than with 9 real smears, by 0.020 "
        "(95 % interval +0.010 to +0.030; RD+SD of 3 minus RD of 9, 3 seeds)."
    )
    assert (
        "was lower than with 9 real smears, by" in verdict([change(SUBSET, mean=-0.02, low=-0.03, high=-0.01)])[0]
    )
    (sentence,) = verdict([change(SUBSET, low=-0.01)])
    assert "no difference was shown between 3 real smears plus synthetic smears and 9 real smears." in sentence


@pytest.mark.parametrize("item", [MIXED, SYNTHETIC, SUBSET])
def test_one_seed_gives_no_conclusion(item: Difference) -> None:
    (sentence,) = verdict([change(item, seeds=1)])
    assert "no conclusion about" in sentence
    assert "because each arm was trained with one seed only. Dice difference: +0.020" in sentence
    assert "(95 % interval over test smears only +0.010 to +0.030; " in sentence
    assert sentence.endswith(", 1 seed).")


@pytest.mark.parametrize("item", [MIXED, SYNTHETIC, SUBSET])
def test_an_interval_wider_than_the_scale_of_scores_gives_no_conclusion(item: Difference) -> None:
    (sentence,) = verdict([change(item, low=-3.0)])
    assert "because there are too few test smears and seeds. Dice difference: +0.02 (95 %" in sentence


def test_a_difference_without_interval_gives_no_conclusion() -> None:
    (sentence,) = verdict([change(MIXED, low=0.02, high=0.02)])
    assert sentence == (
        "Segmentation, 9 real smears: no conclusion about adding synthetic smears, because there is no interval. "
        "Dice difference: +0.020 (RD+SD minus RD, 3 seeds)."
    )


def separation(**tp: float) -> list[Difference]:
    """Return a rise of Dice with a difference in TP, and one in PQ of the same sign."""
    sign = 1 if tp["mean"] > 0 else -1
    pq = {"mean": 0.01 * sign, "low": 0.01 * sign - 0.02, "high": 0.01 * sign + 0.02}
    return [MIXED, make_difference(metric="tp", **tp), make_difference(metric="pq", **pq)]


def test_the_verdict_states_whether_more_or_fewer_cells_are_separated() -> None:
    dice, cells = verdict(separation(mean=45, low=12, high=78))
    assert "adding synthetic smears increased Dice by 0.020" in dice
    assert cells == (
        "Segmentation, 9 real smears: RD+SD separates 45 more cells than RD (TP difference: +45, 95 % interval +12 "
        "to +78; PQ difference: +0.010, 95 % interval -0.010 to +0.030; 3 seeds)."
    )
    _, cells, _ = verdict(separation(mean=-45, low=-78, high=-12))
    assert "RD+SD separates 45 fewer cells than RD (TP difference: -45, 95 % interval -78 to -12;" in cells
    assert "no difference was shown between the numbers of cells" in verdict(separation(mean=4, low=-9, high=17))[1]


def test_a_rise_of_dice_with_fewer_cells_gives_a_warning() -> None:
    (_, _, warning) = verdict(separation(mean=-45, low=-78, high=-12))
    assert warning == (
        "Warning: Segmentation, 9 real smears: Dice rises while TP and PQ fall. Do not judge the separation of "
        "cells by Dice."
    )
    (_, _, warning) = verdict(separation(mean=-4, low=-17, high=9))
    assert "Dice rises while TP and PQ fall, which may be chance." in warning
    assert not any("Warning" in sentence for sentence in verdict(separation(mean=45, low=12, high=78)))
    _, *cells = separation(mean=-45, low=-78, high=-12)
    falling = change(MIXED, mean=-0.02, low=-0.03, high=-0.01)
    assert not any("Warning" in sentence for sentence in verdict([falling, *cells]))


def test_one_seed_gives_no_conclusion_about_separation() -> None:
    items = [change(item, seeds=1) for item in separation(mean=-45, low=-78, high=-12)]
    _, cells, warning = verdict(items)
    assert "no conclusion about the number of cells that RD+SD and RD separate, because each arm was" in cells
    assert "which may be chance" in warning


def test_differences_in_cells_do_not_replace_those_in_scores() -> None:
    sentences = verdict([make_difference(metric=metric) for metric in ("dice", "pq", "tp", "fp", "fn")])
    assert len(sentences) == 2
    assert "increased Dice by 0.020" in sentences[0]
    assert verdict([MIXED]) == sentences[:1]  # results without PQ
