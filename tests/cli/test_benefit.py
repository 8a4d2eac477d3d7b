"""The command benefit: its options, what it prints, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Run
from smearsynth.experiment.records import BenefitResult


def test_the_command_estimates_runs_and_continues(
    run: Run, smear_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        "benefit",
        smear_folder,
        "-o",
        out,
        "-m",
        tiny_folder,
        "--preset",
        "tiny",
        "--steps",
        2,
        "--seeds",
        2,
    ]
    command += ["--synthetic", 3, "--tasks", "segmentation", "--arms", "RD+aug,RD+SD+aug", "--workers", 1]
    estimate = run(*command, "--dry-run")
    assert estimate.code == 0
    assert "6 work items" in estimate.err
    assert json.loads(run(*command, "--dry-run", "--json").out)["work_items"] == 6
    assert not (out / "runs").exists()
    first = run(*command)
    assert first.code == 0, first.err
    assert "6 real smears" in first.out
    assert (out / "report.html").exists()
    result = BenefitResult.load(out / "benefit.json")
    assert result.facts.command.startswith("smearsynth benefit ")
    again = json.loads(run(*command, "--json").out)
    assert [item["key"] for item in again["runs"]] == [item.key for item in result.runs]
    assert len(again["rows"]) == 4 * 3


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tasks", "counting"], "--tasks 'counting': choose from segmentation"),
        (["--arms", "RD,XD"], "--arms 'XD': choose from RD"),
        (["--sizes", "3,many"], "--sizes '3,many'"),
        (["--sizes", "7"], "size 7: the data have 6 training smears"),
        (["--select-by", "luck"], "validation"),
        (["--stain", "blue"], "original"),
        (["--test-split", "train"], "cannot be both"),
        (["--preset", "huge"], "huge"),
        (["--synthetic-fraction", "1.5"], "0.99"),
        (["--test-split", "holdout"], "has no split 'holdout'"),
        (["-m", "nowhere"], "nowhere"),
        (["-m", "default", "--sizes", "3"], "model default is for 6 real smears, but the experiment uses 3"),
        (
            ["-m", "5=default", "--sizes", "3,all"],
            "for 5 real smears, but the experiment uses 6, 3",
        ),
        (["--steps", "1" + 20 * "0"], "steps: Input should be less than or equal to 10000000"),
    ],
)
def test_wrong_options_are_one_line(
    run: Run, smear_folder: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    result = run("benefit", smear_folder, "-o", tmp_path / "out", "--preset", "tiny", *options)
    assert result.code == 2
    assert problem in result.err
    assert result.err.count("\n") == 1


def test_an_output_folder_with_smears_is_refused(run: Run, smear_folder: Path) -> None:
    result = run("benefit", smear_folder, "-o", smear_folder)
    assert result.code == 2
    assert "analytic: contains smears; choose another output folder" in result.err
