"""The summary of contact parameters in natural units, as a table and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from conftest import Run
from smears import random_smear
from smearsynth.layout import ContactParameters, InteractionParameters
from smearsynth.layout.contact.summary import ContactSummary, merge_contact_summary
from smearsynth.statistics import measure
from smearsynth.synthesis.model.synthesizer import Synthesizer

TITLE = "Contact layout parameters, fitted to"


def parameters_of(n: int, **form: float) -> ContactParameters:
    """Parameters of n smears with 100 and 400 cells per Mpx in turn, cells of 40 px, one in four attached."""
    rows = [(np.log(100.0 if k % 2 else 400.0), np.log(40.0), np.log(0.1), 0.0) for k in range(n)]
    return ContactParameters(form=InteractionParameters(**form), adhesion=np.log(1 / 3), smears=tuple(rows))


def printed(summary: ContactSummary) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(summary.table())
    return captured.get()


def test_the_values_are_those_of_the_smears() -> None:
    summary = ContactSummary.of(parameters_of(8, gap=0.07, border=1.0))
    assert summary.smears == summary.density.n == 8
    assert (summary.density.mean, summary.density.std) == pytest.approx((250, np.std([100, 400] * 4, ddof=1)))
    assert (summary.diameter.mean, summary.spread.mean) == pytest.approx((40, 0.1))
    assert (summary.adhesion.mean, summary.touch.mean) == pytest.approx((0.25, 0.5))
    assert summary.form.gap == 0.07
    assert summary.border_kept == pytest.approx(0.5, abs=1e-3)


def test_every_parameter_has_a_line_with_its_unit() -> None:
    values = {name: 0.111 + 0.1 * k for k, name in enumerate(InteractionParameters.model_fields)}
    parameters = parameters_of(8, **values).model_copy(
        update={"class_adhesion": {"platelet": -1.0}, "empty": 0.125}
    )
    lines = printed(ContactSummary.of(parameters)).splitlines()
    for name, value in values.items():
        (line,) = [line for line in lines if line[2:].startswith(name)]
        assert f"{value:.3f}" in line
    (density,) = [line for line in lines if line[2:].startswith("density")]
    assert density.replace("│", "").split()[-5:] == ["250", "160", "cells", "per", "Mpx"]
    (platelet,) = [line for line in lines if "adhesion of platelet" in line]
    assert f"{1 / (1 + 3 * np.e):.3f}" in platelet
    assert any("without a cell" in line and "0.125" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_few_smears_give_a_note_on_the_spread() -> None:
    assert "typical 20 % in density" in " ".join(printed(ContactSummary.of(parameters_of(1))).split())
    assert "typical" not in printed(ContactSummary.of(parameters_of(20)))


def test_the_summary_is_merged_into_the_statistics() -> None:
    statistics, summary = measure([random_smear(0)]), ContactSummary.of(parameters_of(3))
    record = json.loads(merge_contact_summary(statistics, summary))
    assert record.pop("layout") == summary.model_dump()
    assert record == json.loads(statistics.to_json())


def test_stats_fits_the_parameters_that_training_stores(run: Run, tiny_folder: Path, smear_folder: Path) -> None:
    fitted = run("stats", smear_folder, "--split", "train", "--layout", "--json")
    stored = run("stats", tiny_folder, "--json")
    assert (fitted.code, stored.code) == (0, 0)
    record = json.loads(fitted.out)
    assert record.pop("read_from") == "label images of 9 smears"
    assert (record.pop("cells"), record.pop("left_out")) == (60, {})
    assert record == json.loads(stored.out)
    parameters = Synthesizer.load(tiny_folder).contact
    assert parameters is not None
    assert json.loads(stored.out)["layout"] == ContactSummary.of(parameters).model_dump()
    assert "layout" not in json.loads(run("stats", smear_folder, "--json").out)


def test_stats_and_info_show_the_parameters_of_a_model(run: Run, tiny_folder: Path) -> None:
    for command in ("stats", "info"):
        result = run(command, tiny_folder)
        assert result.code == 0
        assert f"{TITLE} 6 smears" in result.out
    assert "Statistics of 6 smears" in run("stats", tiny_folder).out
    assert f"{TITLE} 144 smears" in run("stats", "default").out


def test_a_model_without_contact_parameters_shows_none(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    old = shutil.copytree(tiny_folder, tmp_path / "old")
    (old / "layout.json").unlink()
    sums = (old / "SHA256SUMS").read_text().splitlines(keepends=True)
    (old / "SHA256SUMS").write_text("".join(line for line in sums if "layout.json" not in line))
    for command in ("stats", "info"):
        result = run(command, old)
        assert result.code == 0
        assert TITLE not in result.out
    assert "layout" not in json.loads(run("stats", old, "--json").out)


def test_options_on_smears_are_refused_for_a_model(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    result = run("stats", tiny_folder, "--split", "train")
    assert result.code == 2
    assert f"error: {tiny_folder} is a model" in result.err
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    (broken / "SHA256SUMS").unlink()
    assert f"error: {broken}: not a model folder, SHA256SUMS is missing" in run("stats", broken).err
