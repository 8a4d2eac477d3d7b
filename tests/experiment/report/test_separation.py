"""Tests of the tables on the separation of cells."""

from __future__ import annotations

import pytest

from benefit_results import make_result
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.report.separation import arm_cell, separation_tables, unmeasured_runs
from smearsynth.experiment.summary import differences
from smearsynth.metrics.intervals import BootstrapScore


@pytest.fixture(scope="module")
def result() -> BenefitResult:
    result = make_result(arms=("RD+aug", "RD+SD+aug"), sizes=(60, 10))
    scored = [(run, BootstrapScore.of_scores([row.score for row in run.images])) for run in result.runs]
    return result.model_copy(update={"differences": differences(scored)})


def without_pq(result: BenefitResult) -> BenefitResult:
    """Return a result as a version wrote it that did not measure PQ."""
    runs = [
        run.model_copy(update={"images": tuple(row.model_copy(update={"pq": None}) for row in run.images)})
        for run in result.runs
    ]
    return result.model_copy(update={"runs": tuple(runs)})


def test_tasks_that_predict_labels_have_a_row_per_arm_and_per_pair(result: BenefitResult) -> None:
    tables = separation_tables(result)
    assert [table.title for table in tables] == ["Segmentation", "Detection from segmentation"]
    assert tables[0].head == ("PQ", "TP", "FP", "FN")
    assert [(row.pair, row.reals) for row in tables[0].arms] == [
        ("RD+aug", 60), ("RD+aug", 10), ("RD+SD+aug", 60), ("RD+SD+aug", 10),
    ]  # fmt: skip
    assert [(row.pair, row.reals) for row in tables[0].differences] == [
        ("RD+SD+aug − RD+aug", 60),
        ("RD+SD+aug − RD+aug", 10),
    ]
    assert all(len(row.cells) == 4 for row in (*tables[0].arms, *tables[0].differences))


def test_an_arm_has_its_mean_over_seeds_with_an_interval(result: BenefitResult) -> None:
    runs = result.runs_of("segmentation", "RD+aug", 60)
    assert arm_cell(runs, "tp").startswith("546 [")
    mean = sum(run.pq or 0 for run in runs) / len(runs)
    assert float(arm_cell(runs, "pq").split(" ")[0]) == pytest.approx(mean, abs=0.001)
    single = runs[0].model_copy(update={"images": runs[0].images[:1]})
    assert arm_cell([single], "tp") == "40, no interval"


def test_runs_without_pq_are_counted_and_left_out(result: BenefitResult) -> None:
    former = without_pq(result)
    assert unmeasured_runs(result) == 0
    assert unmeasured_runs(former) == 2 * 2 * 2 * 3
    assert separation_tables(former) == ()
