"""The report of the benefit experiment: its numbers are those of the runs, and what is missing breaks nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pages import Page
from smears import analytic_smear
from smearsynth.experiment import ARMS, COMPARED, ArmName, BenefitResult, Difference, Facts, Run
from smearsynth.experiment.arms import OF_FEW
from smearsynth.experiment.records import ImageRow, SynthesizerFacts
from smearsynth.experiment.report.figures import changes, verdict_pair
from smearsynth.experiment.report.page import Example, write_report
from smearsynth.experiment.report.wording import against_all, comparisons, table, warnings
from smearsynth.experiment.report.wording import facts as facts_said
from smearsynth.smear import Smear
from smearsynth.tasks import Prediction
from smearsynth.tasks.config import TaskName
from smearsynth.tasks.pictures import INVENTED, MISSED, RIGHT, prediction_example

TASKS: tuple[TaskName, ...] = ("segmentation", "detection", "contours")


def known(name: str, smears: int) -> SynthesizerFacts:
    return SynthesizerFacts(hash="f00d" * 16, name=name, smears=smears)


def facts(**other: Any) -> Facts:
    usual = {
        "data_set": "my smears", "command": "smearsynth benefit my-smears --seeds 3", "smearsynth": "0.1.0",
        "torch": "2.6", "machine": "2 cores", "preset": "cpu", "device": "cpu", "scale": 0.5, "seeds": 3,
        "select_by": "validation", "train": 60, "held_out": 8, "test": 12, "synthetic": 900, "synthetic_fraction": 0.5,
        "steps": {task: 400 for task in TASKS}, "synthesizers": {60: known("mine", 60)},
        "minutes": 83.0,
    }  # fmt: skip
    return Facts(**{**usual, **other})


def run_of(task: TaskName, arm: ArmName, reals: int, seed: int, images: int = 12) -> Run:
    """A run whose scores follow from what it is of: more real smears and more arms in the name do better."""
    rng = np.random.default_rng([TASKS.index(task), list(ARMS).index(arm), reals, seed])
    level = 0.70 + 0.02 * arm.count("+") + 0.02 * ARMS[arm].real + 0.04 * np.log10(reals)
    scores = np.clip(level + rng.normal(0, 0.03, images), 0, 1)
    rows = tuple(
        ImageRow(
            image=f"field-{k:02d}", score=score, tp=40 + k, fp=int(rng.integers(0, 5)), fn=int(rng.integers(0, 9))
        )
        for k, score in enumerate(scores.tolist())
    )
    return Run(
        task=task, arm=arm, reals=reals, seed=seed, metric="dice" if task == "segmentation" else "ap",
        value=float(scores.mean()), ap50=None if task == "segmentation" else float(scores.mean()) + 0.1,
        smears=reals, steps=400, best_step=350, validation=0.8, seconds=9, key="k",
        synthesizer="f00" if ARMS[arm].synthetic else None, images=rows,
    )  # fmt: skip


def differences_of(runs: Sequence[Run], half: float = 0.02) -> Iterable[Difference]:
    sets = dict.fromkeys((run.task, run.reals, run.metric) for run in runs)
    most = max(run.reals for run in runs)
    for task, reals, metric in sets:
        pairs: list[tuple[ArmName, ArmName, int | None]] = [(arm, base, None) for arm, base in COMPARED]
        pairs += [(arm, base, most) for arm, base in OF_FEW if reals < most]
        for arm, base, all_reals in pairs:
            ours, theirs = (
                [run.value for run in runs if (run.task, run.reals, run.arm) == (task, size, one)]
                for one, size in ((arm, reals), (base, all_reals or reals))
            )
            if ours and theirs:
                mean = fmean(ours) - fmean(theirs)
                yield Difference(
                    task=task, reals=reals, metric=metric, arm=arm, base=base, mean=mean, low=mean - half,
                    high=mean + half, seeds=len(ours), all_reals=all_reals,
                )  # fmt: skip


def result_of(
    tasks: Sequence[TaskName] = TASKS,
    arms: Sequence[ArmName] = tuple(ARMS),
    sizes: Sequence[int] = (60, 10, 3),
    seeds: int = 3,
    images: int = 12,
    half: float = 0.02,
    **other: Any,
) -> BenefitResult:
    runs = [
        run_of(task, arm, size, seed, images)
        for task in tasks
        for arm in arms
        for size in sizes
        for seed in range(seeds)
    ]
    return BenefitResult(
        facts=facts(seeds=seeds, test=images, **other),
        runs=tuple(runs),
        differences=tuple(differences_of(runs, half)),
        verdict=("Segmentation: synthetic smears raised Dice by +0.040 [+0.020, +0.060].",),
    )


def picture(grey: int = 200) -> Any:
    return np.full((40, 90, 3), grey, np.uint8)


def tables(markdown: str) -> list[list[list[str]]]:
    """Cells of the tables of a Markdown file."""
    found: list[list[list[str]]] = [[]]
    for line in markdown.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return [one for one in found if one]


@pytest.fixture(scope="module")
def whole() -> BenefitResult:
    return result_of()


@pytest.fixture(scope="module")
def written(whole: BenefitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a report of all there can be. Only to be read."""
    folder = tmp_path_factory.mktemp("benefit")
    shown = [
        Example("detection", "RD+SD+aug", "field-03", 0.91, "best", picture()),
        Example("detection", "RD+SD+aug", "field-07", 0.52, "worst", picture(90)),
    ]
    write_report(whole, folder, shown)
    return folder


# Numbers


def test_a_cell_is_the_mean_of_its_runs_with_their_spread(whole: BenefitResult, written: Path) -> None:
    segmentation = tables((written / "report.md").read_text())[0]
    values = [run.value for run in whole.runs_of("segmentation", "RD+copy-paste", 60)]
    row = dict(zip(segmentation[0], segmentation[2], strict=True))
    assert row[""] == "Dice, 60 real smears"
    assert row["RD+copy-paste"] == f"{fmean(values):.3f} ± {stdev(values):.3f}"
    assert row["RD+copy-paste"] in Page(written / "report.html").text


def test_the_papers_numbers_stand_beneath_ours_with_dashes(whole: BenefitResult) -> None:
    blocks = dict(zip(whole.tasks, table(whole), strict=True))
    ours, paper = blocks["segmentation"].lines[:2]
    assert (ours.kind, paper.kind) == ("score", "paper")
    assert paper.cells == ("0.961", "0.848", "0.962", "–", "–", "0.948", "0.964")
    assert blocks["contours"].lines[1].cells[-1] == "0.895"
    assert "other smears" in paper.name


def test_counts_are_summed_over_images_and_averaged_over_seeds(whole: BenefitResult) -> None:
    runs = whole.runs_of("detection", "RD", 60)
    fp = fmean(sum(row.fp for row in run.images) for run in runs)
    line = next(line for line in table(whole)[1].lines if line.name == "TP / FP / FN, 60 real smears")
    tp, shown, _ = line.cells[0].split(" / ")
    assert tp == str(sum(40 + k for k in range(12)))
    assert float(shown) == pytest.approx(fp, abs=0.05)


def test_ap50_is_shown_where_there_is_one(whole: BenefitResult) -> None:
    segmentation, detection, _ = table(whole)
    assert not any("AP50" in line.name for line in segmentation.lines)
    line = next(line for line in detection.lines if line.name == "AP50, 10 real smears")
    assert line.cells[0].startswith(f"{fmean(run.ap50 or 0 for run in whole.runs_of('detection', 'RD', 10)):.3f}")


def test_an_interval_is_read_by_where_it_lies_and_carries_its_digits() -> None:
    made = result_of(("detection",), ("RD", "RD+SD"), (60,))
    (base,) = made.differences

    def cell(mean: float, half: float, seeds: int = 3) -> tuple[str, str]:
        changed = {"mean": mean, "low": mean - half, "high": mean + half, "seeds": seeds}
        one = base.model_copy(update=changed)
        (found,) = comparisons(made.model_copy(update={"differences": (one,)}))
        return found.cells[0]

    assert cell(0.0312, 0.01) == ("+0.031 [+0.021, +0.041] ▲", "better")
    assert cell(-0.0312, 0.01) == ("−0.031 [−0.041, −0.021] ▼", "worse")
    assert cell(0.0312, 0.234) == ("+0.03 [−0.20, +0.27]", "open")
    assert cell(-0.0002, 0.01)[0].startswith("−0.000 ")
    assert cell(0.05, 0, seeds=1) == ("+0.050, no interval (1 seed)", "open")


def test_images_that_changed_most_come_first() -> None:
    made = result_of(("segmentation",), ("RD+aug", "RD+SD+aug"), (60,), seeds=2)
    fallen = [
        run.model_copy(update={"images": (run.images[0].model_copy(update={"score": 0.1}), *run.images[1:])})
        if run.arm == "RD+SD+aug"
        else run
        for run in made.runs
    ]
    made = made.model_copy(update={"runs": tuple(fallen)})
    first = changes(made, "segmentation", "RD+SD+aug", "RD+aug")[0]
    before = fmean(run.images[0].score for run in made.runs_of("segmentation", "RD+aug", 60))
    assert first == ("field-00", pytest.approx(before), pytest.approx(0.1))
    assert verdict_pair(result_of(("segmentation",), ("RD", "RD+SD")), "segmentation") == ("RD+SD", "RD")


# The files


def test_both_forms_hold_everything(written: Path) -> None:
    page, markdown = Page(written / "report.html"), (written / "report.md").read_text()
    headings = re.findall(r"^## (.*)$", markdown, re.M)
    assert headings == [
        "Scores", "Differences", "How many real smears", "Best and worst predictions", "How each image fared",
        "What it was made of", "How to read it",
    ]  # fmt: skip
    places = [page.text.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    for text in ("my smears", "raised Dice by", "smearsynth benefit my-smears --seeds 3", "field-07", "900"):
        assert text in page.text
        assert text in markdown
    assert page.text.index("raised Dice by") < page.text.index("Scores")


def test_the_page_stands_alone_and_the_markdown_has_its_figures(written: Path) -> None:
    html = (written / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<script", html)
    sources = [str(one["src"]) for one in Page(written / "report.html").all("img")]
    assert len(sources) == 5
    assert all(source.startswith("data:image/") for source in sources)
    files = re.findall(r"!\[.*\]\((.*)\)", (written / "report.md").read_text())
    assert sorted(files) == sorted(path.relative_to(written).as_posix() for path in (written / "figures").iterdir())
    assert {Image.open(written / file).format for file in files} == {"PNG"}
    best = next(file for file in files if file.endswith("detection-best.png"))
    assert (np.asarray(Image.open(written / best)) == picture()).all()


def test_every_row_of_a_table_has_as_many_cells_as_its_head(written: Path) -> None:
    found = tables((written / "report.md").read_text())
    assert [len(one[0]) for one in found] == [8, 8, 8, 5, 5]
    assert all({len(row) for row in one} == {len(one[0])} for one in found)


def test_few_real_smears_stand_against_all_of_them_and_apart_from_the_other_differences(
    whole: BenefitResult, written: Path
) -> None:
    rows = list(against_all(whole))
    assert [(row.pair, row.reals) for row in rows[:2]] == [
        ("RD+SD+aug − RD+aug of 60", 10),
        ("RD+SD+aug − RD+aug of 60", 3),
    ]
    assert rows[-1].pair == "RD − RD of 60"
    assert all(row.cells[0].reading == "worse" for row in rows if row.pair.startswith("RD − "))
    assert not any("of 60" in row.pair for row in comparisons(whole))
    assert "RD+SD − RD of 60" in Page(written / "report.html").text


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    made = result_of(("segmentation",), ("RD+aug", "RD+SD+aug"), (60,), data_set="a<b>|c_d", command="run <x> ```")
    runs = [
        run.model_copy(
            update={"images": tuple(row.model_copy(update={"image": "<i>|$x"}) for row in run.images[:1])}
        )
        for run in made.runs
    ]
    shown = [Example("segmentation", "RD", "<script>", 0.5, "worst", picture())]
    html, markdown = write_report(made.model_copy(update={"runs": tuple(runs)}), tmp_path, shown)
    page = Page(html)
    assert not page.all("b")
    assert not page.all("i")
    assert not page.all("script")
    assert "a<b>|c_d" in page.text
    assert "<i>|$x" in page.text
    text = markdown.read_text()
    assert "a\\<b\\>\\|c\\_d" in text
    assert "````sh\nrun <x> ```\n````" in text
    assert all({len(row) for row in one} == {len(one[0])} for one in tables(text))


def test_a_name_that_is_no_utf8_does_not_break_the_report(tmp_path: Path) -> None:
    html, markdown = write_report(result_of(("segmentation",), ("RD",), (60,), data_set="bad\udcff"), tmp_path)
    assert "bad?" in html.read_text(encoding="utf-8")
    assert "bad?" in markdown.read_text(encoding="utf-8")


# What is missing


def test_without_more_sizes_or_pairs_or_pictures_their_sections_are_left_out(tmp_path: Path) -> None:
    _, markdown = write_report(result_of(("contours",), ("SD", "RD+copy-paste"), (60,)), tmp_path)
    text = markdown.read_text()
    assert re.findall(r"^## (.*)$", text, re.M) == ["Scores", "What it was made of", "How to read it"]
    assert not (tmp_path / "figures").exists()
    row = dict(zip(*(tables(text)[0][k] for k in (0, 2)), strict=True))
    assert row["RD"] == "–"
    assert row["SD"] != "–"
    assert "SD+aug" not in row  # neither run here nor in the paper
    real, _ = write_report(result_of(("contours",), ("RD", "RD+aug"), (60,)), tmp_path / "real")
    assert "Synthesizer" not in Page(real).text


def test_one_seed_and_one_image_are_warned_of(tmp_path: Path) -> None:
    made = result_of(("detection",), ("RD+aug", "RD+SD+aug"), (10, 3), seeds=1, images=1, half=0)
    html, _ = write_report(made, tmp_path)
    text = Page(html).text
    assert "One seed" in text
    assert "of one smear there is none" in text
    assert "no interval" in text
    assert "±" not in "".join(cell for line in table(made)[0].lines for cell in line.cells)


def test_two_seeds_are_warned_of_and_three_are_not() -> None:
    (said,) = warnings(facts(seeds=2))
    assert "Three seeds or more" in said
    assert not list(warnings(facts(seeds=3)))


def test_what_is_held_out_is_said_where_any_is() -> None:
    made = result_of(("segmentation",), ("RD",), (60,))
    for held, said in ((8, "60 to train on (8 of them held out)"), (0, "60 to train on")):
        told = dict(facts_said(made.model_copy(update={"facts": facts(held_out=held)})))
        assert told["Real smears"] == f"{said}, 12 to test on"


def test_a_synthesizer_that_does_not_fit_is_warned_of_and_nothing_held_out_is_said() -> None:
    misfit = known("other", 60).model_copy(update={"misfit": "paints cells of 40 px: it does not fit"})
    (said,) = warnings(facts(synthesizers={60: misfit}))
    assert said == "The synthesizer beside 60 real smears paints cells of 40 px: it does not fit."
    made = result_of(("segmentation",), ("RD",), (60,))
    for held, chosen in ((0, "the last are kept"), (8, "the smears held out")):
        told = dict(facts_said(made.model_copy(update={"facts": facts(held_out=held)})))
        assert chosen in told["Best weights by"]


def test_the_papers_habit_is_flagged_and_the_sound_way_is_not() -> None:
    assert "flatters all arms" in " ".join(warnings(facts(select_by="test")))
    assert not list(warnings(facts()))


def test_a_synthesizer_that_knows_more_smears_than_its_arm_is_warned_of() -> None:
    made = facts(synthesizers={60: known("mine", 60), 10: known("other", 54)})
    (said,) = warnings(made)
    assert "beside 10 real smears has learned from 54 (other)" in said


def test_which_real_smears_were_at_hand_is_said(tmp_path: Path) -> None:
    made = result_of(("segmentation",), ("RD", "RD+SD"), (60, 2))
    said = facts(at_hand={2: ("slide-a", "slide-b")}, synthesizers={60: known("mine", 60), 2: known("few", 2)})
    _, markdown = write_report(made.model_copy(update={"facts": said}), tmp_path)
    text = markdown.read_text()
    assert "**The 2 real smears:** slide-a, slide-b" in text
    assert "**Synthesizer beside 60 real smears:** mine, 60 smears, hash f00df00df00d" in text
    assert "**Synthesizer beside 2 real smears:** few, 2 smears, hash f00df00df00d" in text


def test_fewer_seeds_than_asked_are_said() -> None:
    made = result_of(("segmentation",), ("RD", "SD"), (60,))
    runs = [run for run in made.runs if run.arm == "RD" or run.seed == 0]
    cells = table(made.model_copy(update={"runs": tuple(runs)}))[0].lines[0].cells
    assert "seed" not in cells[0]
    assert cells[1].endswith("(1 seed)")


# Examples


def halves(made: Any, smear: Smear) -> tuple[Any, Any]:
    width = smear.shape[1]
    return made[:, :width], made[:, -width:]


def has(half: Any, colour: tuple[int, int, int]) -> Any:
    return (half == colour).all(2)


def test_missed_cells_are_red_and_invented_ones_orange() -> None:
    smear = analytic_smear()
    boxes = np.concatenate([smear.boxes()[1:], [[2, 40, 14, 52]]]).astype(np.float32)
    found = Prediction(boxes, np.ones(3, np.float32), np.zeros(3, np.int64), ("cell",))
    left, right = halves(prediction_example(smear, found, "detection"), smear)
    assert set(smear.labels[has(left, MISSED)].tolist()) == {1}
    assert not has(left, INVENTED).any()
    y, x = np.nonzero(has(right, INVENTED))
    assert (x.min(), x.max(), y.min(), y.max()) == (2, 13, 40, 51)
    assert not has(right, MISSED).any()
    same = halves(prediction_example(smear, true_to(smear), "contours"), smear)
    assert all(has(half, RIGHT).any() and not (has(half, MISSED) | has(half, INVENTED)).any() for half in same)


def true_to(smear: Smear) -> Prediction:
    return Prediction.of_labels(smear.labels, np.ones(smear.count), ("cell",))


def test_segmentation_is_shown_by_its_pixels() -> None:
    smear = analytic_smear()
    found = np.where(smear.labels == 1, 0, smear.labels > 0).astype(np.int32)
    found[50:60, 5:15] = 2
    made = prediction_example(smear, Prediction.of_labels(found, np.ones(2), ("cell",)), "segmentation")
    left, right = halves(made, smear)
    assert not has(left, MISSED).any()
    changed = (right != smear.image).any(2)
    assert changed[smear.labels == 1].all()
    assert changed[50:60, 5:15].all()
    red, green = right[smear.labels == 1].mean(0)[:2]
    assert red - green > 90
