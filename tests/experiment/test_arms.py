from __future__ import annotations

from smearsynth.experiment.arms import ARMS, COMPARISONS, PAPER_SCORES, SUBSET_PAIRS


def test_every_arm_is_compared() -> None:
    assert {name for pair in COMPARISONS for name in pair} == set(ARMS)
    assert len(COMPARISONS) == len(set(COMPARISONS))


def test_the_base_of_a_comparison_has_no_synthetic_smears() -> None:
    assert not any(ARMS[base].synthetic for _, base in (*COMPARISONS, *SUBSET_PAIRS))


def test_scores_of_the_paper() -> None:
    assert {len(row) for row in PAPER_SCORES.values()} == {5}
    assert PAPER_SCORES["segmentation"]["RD+SD+aug"] == 0.964
    assert PAPER_SCORES["detection"]["RD"] == 0.781
