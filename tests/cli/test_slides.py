"""The command that cuts fields from a slide."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import error_of, left_behind
from conftest import Run
from slide_files import write_slide


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tiffslide", reason="tiffslide is not installed (extra slides)")
    return write_slide(tmp_path_factory.mktemp("slide") / "s.tif")


def test_fields_and_report(run: Run, slide: Path, tmp_path: Path) -> None:
    arguments = ("cut-fields", slide, "-o", tmp_path, "--um-per-px", 0.25, "--size", "160x128", "-n", 3)
    ran = run(*arguments)
    assert ran.code == 0, ran.err
    assert f"3 of 3 fields in {tmp_path}; skipped 0 without cells and" in ran.out
    assert "fields.png" in ran.out
    fields = json.loads(run(*arguments, "--json").out)["fields"]
    assert sorted(f"images/{field['file']}" for field in fields) == [
        name for name in left_behind(tmp_path) if name.startswith("images/")
    ]


def test_a_dry_run_reports_the_number_of_fields(run: Run, slide: Path, tmp_path: Path) -> None:
    arguments = ("cut-fields", slide, "-o", tmp_path / "out", "--um-per-px", 0.25, "--size", "128x128", "--dry-run")
    ran = run(*arguments)
    assert ran.out.splitlines()[0] == "slide: 2048×1024 px of 0.25 µm"
    assert ran.out.splitlines()[1].endswith("fields on stained area; up to 50 would be written")
    assert json.loads(run(*arguments, "--json").out)["candidates"] >= 80
    assert left_behind(tmp_path) == []


def test_bad_input_is_one_line(run: Run, slide: Path, tmp_path: Path) -> None:
    unknown = write_slide(tmp_path / "unknown.tif", None)
    base = ("-o", tmp_path / "out", "--um-per-px", 0.25)
    assert f"error: {unknown}: has no pixel size; give it with --slide-um-per-px" in error_of(
        run("cut-fields", unknown, *base)
    )
    assert "does not exist" in error_of(run("cut-fields", tmp_path / "no.svs", *base))
    assert "size '10': give width and height" in error_of(run("cut-fields", slide, *base, "--size", "10"))
    assert left_behind(tmp_path / "out") == []
    ran = run("cut-fields", unknown, *base, "--slide-um-per-px", 0.5, "--size", "256x256", "-n", 1)
    assert ran.code == 0, ran.err


def test_the_package_for_slides_is_imported_on_use_only() -> None:
    code = (
        "import sys, smearsynth, smearsynth.cli.app as app; app.main(['--help']); "
        "app.main(['cut-fields', '--help']); assert not {'tiffslide', 'zarr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
