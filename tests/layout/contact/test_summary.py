"""The contact law as users see it: the numbers of the law, with words and units, in the table and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from conftest import Run
from smearsynth.layout import InteractionParameters, ContactParameters
from smearsynth.layout.contact.summary import ContactSummary
from smearsynth.synthesis.model.synthesizer import Synthesizer


def law_of(n: int, **form: float) -> ContactParameters:
    """A law of n smears, of 100 and 400 cells per Mpx in turn, cells of 40 px, one in four attached."""
    rows = [(np.log(100.0 if k % 2 else 400.0), np.log(40.0), np.log(0.1), 0.0) for k in range(n)]
    return ContactParameters(form=InteractionParameters(**form), adhesion=np.log(1 / 3), smears=tuple(rows))


def printed(summary: ContactSummary) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(summary.table())
    return captured.get()


def test_the_figures_are_those_of_the_smears() -> None:
    summary = ContactSummary.of(law_of(8, gap=0.07, border=1.0))
    assert summary.smears == summary.density.n == 8
    assert (summary.density.mean, summary.density.std) == pytest.approx((250, np.std([100, 400] * 4, ddof=1)))
    assert (summary.diameter.mean, summary.spread.mean) == pytest.approx((40, 0.1))
    assert (summary.adhesion.mean, summary.touch.mean) == pytest.approx((0.25, 0.5))
    assert summary.form.gap == 0.07
    assert summary.border_kept == pytest.approx(0.5, abs=1e-3)


def test_every_parameter_has_its_line_with_a_unit() -> None:
    values = {name: 0.111 + 0.1 * k for k, name in enumerate(InteractionParameters.model_fields)}
    lines = printed(ContactSummary.of(law_of(8, **values))).splitlines()
    for name, value in values.items():
        (line,) = [line for line in lines if line[2:].startswith(name)]
        assert f"{value:.3f}" in line
    (density,) = [line for line in lines if line[2:].startswith("density")]
    assert density.replace("│", "").split()[-5:] == ["250", "160", "cells", "per", "Mpx"]
    assert max(map(len, lines)) <= 80


def test_few_smears_are_said_to_tell_little_of_the_spread() -> None:
    assert "as smears usually do" in " ".join(printed(ContactSummary.of(law_of(1))).split())
    assert "usually" not in printed(ContactSummary.of(law_of(20)))


def test_stats_fits_the_law_that_training_stores(run: Run, tiny_folder: Path, smear_folder: Path) -> None:
    fitted = run("stats", smear_folder, "--split", "train", "--layout", "--json")
    stored = run("stats", tiny_folder, "--json")
    assert (fitted.code, stored.code, fitted.err) == (0, 0, "")
    assert json.loads(fitted.out) == json.loads(stored.out)
    law = Synthesizer.load(tiny_folder).contact
    assert law is not None
    assert json.loads(stored.out)["layout"] == ContactSummary.of(law).model_dump()
    assert "layout" not in json.loads(run("stats", smear_folder, "--json").out)


def test_stats_and_info_show_the_law_of_a_model(run: Run, tiny_folder: Path) -> None:
    for command in ("stats", "info"):
        ran = run(command, tiny_folder)
        assert ran.code == 0
        assert "Contact law, fitted to 6 smears" in ran.out
    assert "Statistics of 6 smears" in run("stats", tiny_folder).out
    assert "Contact law, fitted to 144 smears" in run("stats", "default").out


def test_a_model_without_a_law_shows_none(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    old = shutil.copytree(tiny_folder, tmp_path / "old")
    (old / "layout.json").unlink()
    sums = (old / "SHA256SUMS").read_text().splitlines(keepends=True)
    (old / "SHA256SUMS").write_text("".join(line for line in sums if "layout.json" not in line))
    for command in ("stats", "info"):
        ran = run(command, old)
        assert ran.code == 0
        assert "Contact law" not in ran.out
    assert "layout" not in json.loads(run("stats", old, "--json").out)


def test_options_on_smears_are_refused_for_a_model(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    ran = run("stats", tiny_folder, "--split", "train")
    assert ran.code == 2
    assert f"error: {tiny_folder} is a model" in ran.err
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    (broken / "SHA256SUMS").unlink()
    assert f"error: {broken}: not a model folder, SHA256SUMS is missing" in run("stats", broken).err
