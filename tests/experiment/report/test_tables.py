from __future__ import annotations

from statistics import fmean, stdev

import pytest

from benefit_results import make_result
from smearsynth.experiment.records import BenefitResult
from smearsynth.experiment.report.tables import (
    columns,
    comparisons,
    image_changes,
    largest_changes,
    score_table,
    subset_comparisons,
    verdict_pair,
)


@pytest.fixture(scope="module")
def result() -> BenefitResult:
    return make_result()


def test_a_score_is_the_mean_of_its_runs_with_their_standard_deviation(result: BenefitResult) -> None:
    values = [run.value for run in result.runs_of("segmentation", "RD+copy-paste", 60)]
    line = score_table(result)[0].lines[0]
    assert line.name == "Dice, 60 real smears"
    cells = dict(zip(columns(result), line.cells, strict=True))
    assert cells["RD+copy-paste"] == f"{fmean(values):.3f} ± {stdev(values):.3f}"


def test_the_scores_of_the_paper_follow_the_first_line(result: BenefitResult) -> None:
    blocks = dict(zip(result.tasks, score_table(result), strict=True))
    first, paper = blocks["segmentation"].lines[:2]
    assert (first.kind, paper.kind) == ("score", "paper")
    assert paper.cells == ("0.961", "0.848", "0.962", "–", "–", "0.948", "0.964")
    assert blocks["contours"].lines[1].cells[-1] == "0.895"
    assert "other smears" in paper.name


def test_counts_are_summed_over_images_and_averaged_over_seeds(result: BenefitResult) -> None:
    runs = result.runs_of("detection", "RD", 60)
    fp = fmean(sum(row.fp for row in run.images) for run in runs)
    line = next(line for line in score_table(result)[1].lines if line.name == "TP / FP / FN, 60 real smears")
    tp, fp_text, _ = line.cells[0].split(" / ")
    assert tp == str(sum(40 + k for k in range(12)))
    assert float(fp_text) == pytest.approx(fp, abs=0.05)


def test_ap50_is_a_line_of_tasks_that_have_it(result: BenefitResult) -> None:
    segmentation, detection, _ = score_table(result)
    assert not any("AP50" in line.name for line in segmentation.lines)
    line = next(line for line in detection.lines if line.name == "AP50, 10 real smears")
    assert line.cells[0].startswith(f"{fmean(run.ap50 or 0 for run in result.runs_of('detection', 'RD', 10)):.3f}")


def test_one_seed_has_no_standard_deviation() -> None:
    result = make_result(("detection",), ("RD+aug", "RD+SD+aug"), (10, 3), seeds=1)
    assert "±" not in "".join(cell for line in score_table(result)[0].lines for cell in line.cells)


def test_fewer_seeds_than_expected_are_stated() -> None:
    result = make_result(("segmentation",), ("RD", "SD"), (60,))
    runs = [run for run in result.runs if run.arm == "RD" or run.seed == 0]
    cells = score_table(result.model_copy(update={"runs": tuple(runs)}))[0].lines[0].cells
    assert "seed" not in cells[0]
    assert cells[1].endswith("(1 seed)")


def test_a_difference_shows_its_conclusion_and_the_digits_of_its_interval() -> None:
    result = make_result(("detection",), ("RD", "RD+SD"), (60,))
    (difference,) = result.differences

    def cell(mean: float, half_width: float, seeds: int = 3) -> tuple[str, str]:
        changes = {"mean": mean, "low": mean - half_width, "high": mean + half_width, "seeds": seeds}
        changed = result.model_copy(update={"differences": (difference.model_copy(update=changes),)})
        (row,) = comparisons(changed)
        return row.cells[0]

    assert cell(0.0312, 0.01) == ("+0.031 [+0.021, +0.041] ▲", "better")
    assert cell(-0.0312, 0.01) == ("−0.031 [−0.041, −0.021] ▼", "worse")
    assert cell(0.0312, 0.234) == ("+0.03 [−0.20, +0.27]", "inconclusive")
    assert cell(-0.0002, 0.01)[0].startswith("−0.000 ")
    assert cell(0.05, 0, seeds=1) == ("+0.050, no interval (1 seed)", "inconclusive")


def test_subsets_are_compared_with_all_real_smears_in_a_table_of_their_own(result: BenefitResult) -> None:
    rows = list(subset_comparisons(result))
    assert [(row.pair, row.reals) for row in rows[:2]] == [
        ("RD+SD+aug − RD+aug of 60", 10),
        ("RD+SD+aug − RD+aug of 60", 3),
    ]
    assert rows[-1].pair == "RD − RD of 60"
    assert all(row.cells[0].conclusion == "worse" for row in rows if row.pair.startswith("RD − "))
    assert not any("of 60" in row.pair for row in comparisons(result))


def test_images_with_the_largest_change_come_first() -> None:
    result = make_result(("segmentation",), ("RD+aug", "RD+SD+aug"), (60,), seeds=2)
    runs = [
        run.model_copy(update={"images": (run.images[0].model_copy(update={"score": 0.1}), *run.images[1:])})
        if run.arm == "RD+SD+aug"
        else run
        for run in result.runs
    ]
    result = result.model_copy(update={"runs": tuple(runs)})
    first = image_changes(result, "segmentation", "RD+SD+aug", "RD+aug")[0]
    before = fmean(run.images[0].score for run in result.runs_of("segmentation", "RD+aug", 60))
    assert first == ("field-00", pytest.approx(before), pytest.approx(0.1))
    ((heading, lines),) = largest_changes(result)
    assert heading == "Segmentation, Dice in RD+aug → RD+SD+aug"
    assert len(lines) == 3
    assert lines[0] == f"field-00: {before:.2f} → 0.10"
    assert verdict_pair(make_result(("segmentation",), ("RD", "RD+SD")), "segmentation") == ("RD+SD", "RD")
