from __future__ import annotations

import json
from pathlib import Path

import pytest

from benefit_results import make_difference, make_facts, make_result, make_synthesizer
from smearsynth.errors import DataError
from smearsynth.experiment.facts import synthesizer_warnings
from smearsynth.experiment.records import BenefitResult, decimals


def test_a_saved_result_loads_unchanged(tmp_path: Path) -> None:
    result = make_result(seeds=2, subsets={3: ("a", "b", "c")})
    result.save(tmp_path / "benefit.json")
    assert BenefitResult.load(tmp_path / "benefit.json") == result


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    for text in ('{"rows": []}', "[]", "{"):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(
            DataError, match=r"other.json: not a result of `smearsynth benefit`; run the command again"
        ):
            BenefitResult.load(tmp_path / "other.json")


def test_json_has_a_flat_row_per_image() -> None:
    record = json.loads(make_result(("segmentation",), ("RD", "RD+SD"), (10,), seeds=2).to_json())
    assert len(record["rows"]) == 2 * 2 * 12
    names = {"data_set", "task", "arm", "reals", "seed", "draw", "image", "score", "tp", "fp", "fn", "pq"}
    assert set(record["rows"][0]) == names
    assert {"arm", "base", "mean", "low", "high", "data_set"} <= set(record["intervals"][0])


def test_field_names_of_format_1_are_translated(tmp_path: Path) -> None:
    result = make_result(("segmentation",), ("RD",), (10,), subsets={3: ("a", "b", "c")}, stain="augmented")
    facts = json.loads(result.to_json())["facts"]
    former = {"share": facts.pop("synthetic_fraction"), "best_by": facts.pop("select_by")}
    former |= {"at_hand": facts.pop("subsets"), "stain": "varied"}
    text = json.dumps({**json.loads(result.to_json()), "facts": facts | former})
    (tmp_path / "benefit.json").write_text(text)
    assert BenefitResult.load(tmp_path / "benefit.json") == result


def test_a_conclusion_needs_an_interval_that_excludes_0_and_two_seeds() -> None:
    assert make_difference(low=0.01, high=0.03).conclusion == "better"
    assert make_difference(mean=-0.02, low=-0.03, high=-0.01).conclusion == "worse"
    assert make_difference(low=-0.01, high=0.05).conclusion == "inconclusive"
    assert make_difference(low=0.01, high=0.03, seeds=1).conclusion == "inconclusive"
    assert make_difference(low=0.02, high=0.02).conclusion == "inconclusive"
    assert not make_difference(low=0.02, high=0.02).has_interval


def test_decimals_follow_the_uncertainty() -> None:
    assert [decimals(half_width) for half_width in (0.3, 0.1, 0.05, 0.004, 0.0)] == [2, 2, 3, 4, 3]
    assert str(make_difference(mean=0.0312, low=-0.2, high=0.262)) == "+0.03 [-0.20, +0.26]"


def test_runs_and_differences_are_selected_by_name() -> None:
    result = make_result(("detection",), ("RD", "RD+SD"), (60, 3), seeds=2)
    runs = result.runs_of("detection", "RD", 3)
    assert [(run.arm, run.reals, run.seed) for run in runs] == [("RD", 3, 0), ("RD", 3, 1)]
    assert (result.tasks, result.sizes, result.metric_of("detection")) == (("detection",), (60, 3), "ap")
    assert result.difference("detection", 3, "RD+SD", "RD") != result.difference("detection", 3, "RD+SD", "RD", 60)
    assert result.difference("detection", 3, "SD", "RD") is None
    assert runs[0].counts[0] == sum(40 + k for k in range(12))


def test_a_synthesizer_of_more_smears_or_other_cell_sizes_gives_warnings() -> None:
    assert synthesizer_warnings({10: make_synthesizer("mine", 10)}) == []
    other = make_synthesizer("other", 54)
    (sentence,) = synthesizer_warnings({54: other, 10: other, 3: other})
    assert sentence.startswith("The synthesizer for 10 and 3 real smears was trained on 54 smears (other).")
    misfit = make_synthesizer("other", 1).model_copy(update={"misfit": "generates cells of 40 px"})
    assert synthesizer_warnings({1: misfit}) == ["The synthesizer for 1 real smear generates cells of 40 px."]


def test_facts_reject_unknown_fields() -> None:
    with pytest.raises(ValueError, match="colour"):
        make_facts(colour="red")


def test_runs_have_pq_and_counts_with_intervals_in_json() -> None:
    result = make_result(("segmentation", "detection"), ("RD",), (10,), seeds=1)
    segmentation, detection = json.loads(result.to_json())["runs"]
    run = result.runs[0]
    assert (segmentation["tp"], segmentation["fp"], segmentation["fn"]) == run.counts
    assert segmentation["pq"] == run.pq
    weights = [row.tp + (row.fp + row.fn) / 2 for row in run.images]
    total = sum((row.pq or 0) * weight for row, weight in zip(run.images, weights, strict=True))
    assert run.pq == pytest.approx(total / sum(weights))
    assert segmentation["pq_interval"][0] < run.pq < segmentation["pq_interval"][1]
    assert (detection["pq"], detection["pq_interval"], detection["tp"]) == (None, None, run.counts[0])


def test_results_without_pq_are_read(tmp_path: Path) -> None:
    result = make_result(("segmentation",), ("RD",), (10,))
    record = json.loads(result.to_json())
    for row in record["rows"]:
        del row["pq"]
    names = [name + part for name in ("pq", "tp", "fp", "fn") for part in ("", "_interval")]
    record["runs"] = [{name: run[name] for name in run if name not in names} for run in record["runs"]]
    (tmp_path / "benefit.json").write_text(json.dumps(record))
    loaded = BenefitResult.load(tmp_path / "benefit.json")
    assert {run.pq for run in loaded.runs} == {None}
    assert [run.counts for run in loaded.runs] == [run.counts for run in result.runs]
    loaded.save(tmp_path / "again.json")
    assert BenefitResult.load(tmp_path / "again.json") == loaded


def test_fewer_errors_are_better_and_counts_have_no_decimals() -> None:
    for metric, conclusion in (("tp", "worse"), ("pq", "worse"), ("fp", "better"), ("fn", "better")):
        item = make_difference(metric=metric, mean=-45.0, low=-78.4, high=-12.2)
        assert item.conclusion == conclusion
    assert str(make_difference(metric="tp", mean=-45.0, low=-78.4, high=-12.2)) == "-45 [-78, -12]"
