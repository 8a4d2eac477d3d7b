from __future__ import annotations

from benefit_results import make_facts, make_result, make_synthesizer
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.report.wording import explanations, setup, unmeasured_warnings, warnings


def with_facts(result: BenefitResult, **changes: object) -> BenefitResult:
    return result.model_copy(update={"facts": make_facts(**changes)})


def test_two_seeds_give_a_warning_and_three_do_not() -> None:
    (warning,) = warnings(make_facts(seeds=2))
    assert "Use three or more seeds" in warning
    assert not list(warnings(make_facts(seeds=3)))


def test_one_seed_and_few_test_smears_give_warnings() -> None:
    seed, images = warnings(make_facts(seeds=1, test=9))
    assert seed.startswith("One seed only.")
    assert images.startswith("Only 9 test smears.")
    (image,) = warnings(make_facts(test=1))
    assert image == "One test smear only. Intervals are bootstrapped over test smears, so there is none."


def test_checkpoints_selected_on_the_test_smears_give_a_warning() -> None:
    assert "optimistically biased" in " ".join(warnings(make_facts(select_by="test")))
    assert not list(warnings(make_facts()))


def test_a_synthesizer_trained_on_more_smears_than_its_arm_gives_a_warning() -> None:
    facts = make_facts(synthesizers={60: make_synthesizer("mine", 60), 10: make_synthesizer("other", 54)})
    (warning,) = warnings(facts)
    assert "for 10 real smears was trained on 54 smears (other)" in warning


def test_a_synthesizer_of_other_cell_sizes_gives_a_warning() -> None:
    misfit = make_synthesizer("other", 60).model_copy(update={"misfit": "generates cells of 40 px"})
    (warning,) = warnings(make_facts(synthesizers={60: misfit}))
    assert warning == "The synthesizer for 60 real smears generates cells of 40 px."


def test_held_out_smears_are_stated_if_there_are_any() -> None:
    result = make_result(("segmentation",), ("RD",), (60,))
    for held_out, smears, selection in (
        (8, "60 for training (8 of them held out for validation)", "within one standard error of the best score"),
        (0, "60 for training", "too few training smears to hold any out"),
    ):
        values = dict(setup(with_facts(result, held_out=held_out)))
        assert values["Real smears"] == f"{smears}, 12 for testing"
        assert selection in values["Checkpoint selection"]
    assert "as in the paper" in dict(setup(with_facts(result, select_by="test")))["Checkpoint selection"]


def test_synthetic_smears_are_described_if_they_were_used() -> None:
    result = make_result(("segmentation",), ("RD", "RD+SD"), (60,))
    values = dict(setup(with_facts(result, stain="augmented")))
    assert values["Synthetic smears"].startswith(
        "900 smears in RD+SD, with 50 % of the training crops; stain augmented"
    )
    assert values["Synthesizer for 60 real smears"] == "mine, 60 smears, hash f00df00df00d"
    assert (
        "stain as in the training smears" in dict(setup(with_facts(result, stain="original")))["Synthetic smears"]
    )
    real = make_result(("segmentation",), ("RD", "RD+aug"), (60,))
    assert not any("ynthe" in name for name in dict(setup(real)))


def test_subsets_are_listed_by_name() -> None:
    result = make_result(("segmentation",), ("RD", "RD+SD"), (60, 2))
    values = dict(setup(with_facts(result, subsets={2: ("slide-a", "slide-b")})))
    assert values["Subset of 2 real smears"] == "slide-a, slide-b"


def test_explanations_cover_what_the_report_contains() -> None:
    text = " ".join(explanations(make_result(("segmentation",), ("RD",), (60,), seeds=1)))
    assert "Dice is the overlap" in text
    assert "AP is COCO AP" not in text
    assert "±" not in text
    assert "95 %" not in text
    text = " ".join(explanations(make_result()))
    assert "AP is COCO AP" in text
    assert "± is the standard deviation over seeds" in text
    count = len(make_result().differences)
    assert f"(of the {count} here, about {count / 20:.0f} by chance)" in text


def test_runs_without_pq_give_a_warning_with_a_remedy() -> None:
    assert not list(unmeasured_warnings(0))
    (warning,) = unmeasured_warnings(1)
    assert warning.startswith("PQ of 1 run was not measured")
    assert "Delete the folder runs/" in warning


def test_pq_is_explained_if_it_was_measured() -> None:
    assert "PQ is panoptic quality" in " ".join(explanations(make_result(("contours",), ("RD",), (60,))))
    assert "PQ is" not in " ".join(explanations(make_result(("detection",), ("RD",), (60,))))
