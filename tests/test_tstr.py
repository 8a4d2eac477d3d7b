"""The benchmark that trains on synthetic smears and tests on real ones: its rows are published."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "tstr.py"


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tstr", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: object) -> dict[str, Any]:
    given = ["tstr.py", *arguments, "--preset", "tiny", "--steps", 3, "--seeds", 1, "--out", out]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in given])
    assert bench.main() == 0
    return dict(json.loads(out.read_text()))


def test_four_arms_are_scored_on_the_test_split_and_kept(
    bench: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    smear_folder: Path,
    tiny_folder: Path,
    two_class_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "tstr.json"
    where = ("analytic", "--data", smear_folder.parent)
    only_real = measured(bench, monkeypatch, out, *where)
    assert [row["arm"] for row in only_real["rows"]] == ["RD", "RD+aug"]
    assert "no synthesizer for SD" in capsys.readouterr().err
    found = measured(bench, monkeypatch, out, *where, "--model", f"analytic={tiny_folder}")
    rows = {row["arm"]: row for row in found["rows"]}
    assert sorted(rows) == ["RD", "RD+aug", "SD", "SD+aug"]
    assert [row["key"] for row in found["rows"][:2]] == [row["key"] for row in only_real["rows"]]
    for row in rows.values():
        assert (row["data_set"], row["seed"], row["smears"], row["steps"]) == ("analytic", 0, 6, 3)
        assert list(row["dice_of_images"]) == ["smear-02", "smear-05", "smear-08"]
        assert row["dice"] == pytest.approx(sum(row["dice_of_images"].values()) / 3, abs=1e-5)
    assert (rows["RD"]["model"], rows["SD"]["model"]) == (None, rows["SD+aug"]["model"])
    difference = next(one for one in found["intervals"] if (one["arm"], one["base"]) == ("SD", "RD"))
    assert difference["mean"] == pytest.approx(rows["SD"]["dice"] - rows["RD"]["dice"], abs=1e-5)
    assert difference["low"] <= difference["mean"] <= difference["high"]
    # another synthesizer: its arms are done anew, the real ones stand
    other = measured(bench, monkeypatch, out, *where, "--model", f"analytic={two_class_folder}")
    anew = {row["arm"]: row for row in other["rows"]}
    assert {arm for arm in anew if anew[arm]["key"] != rows[arm]["key"]} == {"SD", "SD+aug"}
    assert len(other["rows"]) == 4
