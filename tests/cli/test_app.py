"""What a user can do wrong, through every command: one line that names culprit and remedy, exit code 2."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import error_of, left_behind
from conftest import Run
from smears import analytic_smear, random_smear, write_folder
from smearsynth.cli import options
from smearsynth.datasets import open_smears
from smearsynth.synthesis.training import checkpoint

COMMANDS = [
    "stats",
    "cut-fields",
    "masks",
    "demo",
    "train",
    "generate",
    "info",
    "export",
    "train-task",
    "predict",
    "score",
    "benefit",
    "realism",
    "audit",
    "check-layout",
]


# Help.


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert "Usage: smearsynth " + command in ran.out
    assert ran.err == ""


def test_help_names_all_commands_and_is_shown_for_want_of_one(run: Run) -> None:
    requested = run("--help")
    assert requested.code == 0
    assert all(f"│ {command}" in requested.out for command in COMMANDS)
    bare = run()
    assert bare.code == 2
    assert bare.out.split() == requested.out.split()
    assert bare.err == ""


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "smearsynth", "stats", "/no/where"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "error: /no/where: does not exist; name a folder of annotated smears\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sta",), "No such command 'sta'"),
        (("stats",), "Missing argument"),
        (("stats", "x", "--colour"), "No such option: --colour"),
        (("stats", "x", "--limit", "few"), "Invalid value for '--limit'"),
        (("stats", "x", "--limit", "0"), "Invalid value for '--limit'"),
        (("generate",), "Missing option '--output'"),
    ],
)
def test_a_mistyped_command_line_says_where_help_is(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments)
    assert said in error_of(ran)
    assert error_of(ran).endswith("; see --help")
    assert ran.err.count("\n") == 1


# Bad smears, for each command that reads some.


def no_image(folder: Path) -> None:
    (folder / "images" / "a.png").write_text("These are not the pixels you are looking for.")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Four smears in a folder that another program could have written."""
    folder = write_folder(
        tmp_path / "data", [analytic_smear(noise=2, seed=k, name=n) for k, n in enumerate("abcd")]
    )
    (folder / "classes.json").unlink()
    return folder


def test_dry_run_lists_every_bad_smear_and_fails(run: Run, foreign: Path, tmp_path: Path) -> None:
    no_image(foreign)
    (foreign / "labels" / "c.png").write_bytes((foreign / "labels" / "c.png").read_bytes()[:70])
    ran = run("train", foreign, "-o", tmp_path / "m", "--preset", "tiny", "--dry-run")
    assert "2 of 4 smears cannot be read" in error_of(ran)
    assert "images/a.png: is not an image" in ran.err
    assert "labels/c.png: is truncated" in ran.err
    assert left_behind(tmp_path / "m") == []


def test_one_smear_smaller_than_the_crop_is_enough(run: Run, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", [random_smear(1, (50, 60))])
    assert run("train", data, "-o", tmp_path / "m", "--preset", "tiny", "--steps", 2).code == 0
    assert run("generate", "-m", tmp_path / "m", "-o", tmp_path / "g", "-n", 1).code == 0
    assert open_smears(tmp_path / "g")[0].shape == (50, 60)


def test_a_class_without_cells_is_named(run: Run, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", [analytic_smear(class_names=("red cell", "white cell"))])
    line = error_of(run("train", data, "-o", tmp_path / "m", "--preset", "tiny"))
    assert line.startswith(f"error: {data}: no cell of class white cell")
    assert "--classes one" in line
    assert run("train", data, "-o", tmp_path / "m", "--preset", "tiny", "--steps", 1, "--classes", "one").code == 0


# Bad models.


# Absurd options.

DRAWING = [
    (("--size", "-64x64"), "size '-64x64': give width and height in px, such as 1920x1200"),
    (("--size", "0x10"), "size 0x10: give 1 to 32768 px per side"),
    (("--size", "10"), "size '10': give width and height"),
    (("--size", "10x"), "size '10x': give width and height"),
    (("--size", "1000000x1000000"), "size 1000000x1000000: give 1 to 32768 px per side and at most 128 Mpx"),
    (("--size", "30000x30000"), "at most 128 Mpx"),
    (("--size", "9" * 5000 + "x1"), "give width and height"),
    (("--layout", "spiral"), "Invalid value for '--layout'"),
    (("-n", "0"), "Invalid value for '-n'"),
    (("--seed", "-1"), "Invalid value for '--seed'"),
]
PAINTING = [
    (("--light", "dim"), "Invalid value for '--light'"),
    (("--stain", "blue"), "Invalid value for '--stain'"),
    (("--style", "mauve"), "style 'mauve': choose joint, independent, or a cluster from 0 to"),
    (("--style", "999"), "style '999': choose joint"),
    (("--format", "yolo9000"), "format must be one of labels, palette"),
    (("--density", "-1"), "give a factor from 0 to 100"),
    (("--density", "nan"), "give a factor from 0 to 100"),
    (("--density", "inf"), "give a factor from 0 to 100"),
    (("--device", "abacus"), "Invalid value for '--device'"),
    (
        ("--style-of", "nameless"),
        "nameless: does not exist; give the path of a photograph, or FOLDER:NAME",
    ),
]


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [*(("generate", *case) for case in (*DRAWING, *PAINTING)), *(("masks", *case) for case in DRAWING)],
)
def test_absurd_options_leave_nothing(
    run: Run, tmp_path: Path, tiny_folder: Path, command: str, options: tuple[str, str], said: str
) -> None:
    out = tmp_path / "out"
    ran = run(command, "-m", tiny_folder, "-o", out, *options)
    assert said in error_of(ran)
    assert ran.err.count("\n") == 1
    assert not out.exists()


def test_a_style_of_no_such_smear_lists_those_there_are(
    run: Run, tmp_path: Path, tiny_folder: Path, smear_folder: Path
) -> None:
    ran = run("generate", "-m", tiny_folder, "-o", tmp_path / "out", "--style-of", f"{smear_folder}:smear-77")
    assert f"{smear_folder}: has no smear 'smear-77'; it has smear-00" in error_of(ran)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "huge"), "Invalid value for '--preset'"),
        (("--steps", "0"), "Invalid value for '--steps'"),
        (("--batch", "-3"), "Invalid value for '--batch'"),
        (("--batch", "5000"), "batch: Input should be less than or equal to 1024"),
        (("--precision", "fp8"), "Invalid value for '--precision'"),
        (("--features", "vibes"), "features 'vibes': choose efficientnet_lite0, vgg19, none or the folder"),
        (("--features", "vgg19", "--vgg", "/no/weights"), "/no/weights: no such weight file"),
        (("--scale", "0"), "scale must be above 0 and at most 16"),
        (("--scale", "-1"), "scale must be above 0"),
        (("--scale", "nan"), "scale must be above 0"),
        (("--scale", "1e-9"), "no whole cell"),
        (("--classes", "many"), "Invalid value for '--classes'"),
        (("--split", "val"), "has no split 'val'; existing splits: train, test"),
        (("--limit", "0"), "Invalid value for '--limit'"),
        (("--limit", "-1"), "Invalid value for '--limit'"),
        (("--time-limit", "-1"), "Invalid value for '--time-limit'"),
        (("--time-limit", "nan"), "Invalid value for '--time-limit'"),
        (("--seed", str(2**64)), "seed: Input should be less than"),
        (("--device", "abacus"), "Invalid value for '--device'"),
    ],
)
def test_absurd_training_options_leave_nothing(
    run: Run, tmp_path: Path, smear_folder: Path, options: tuple[str, ...], said: str
) -> None:
    preset = () if "--preset" in options else ("--preset", "tiny")
    ran = run("train", smear_folder, "-o", tmp_path / "m", *preset, *options)
    assert said in error_of(ran)
    assert not (tmp_path / "m").exists()


# Outputs that cannot be.


def writing(command: str, tiny_folder: Path, smear_folder: Path, out: Path) -> tuple[object, ...]:
    return {
        "generate": ("generate", "-m", tiny_folder, "-o", out, "-n", 2),
        "masks": ("masks", "-m", tiny_folder, "-o", out, "-n", 2),
        "train": ("train", smear_folder, "-o", out, "--preset", "tiny", "--steps", 2),
        "explain": ("masks", "-m", tiny_folder, "-o", out, "--explain", "--size", "64x64"),
    }[command]


@pytest.mark.parametrize("command", ["generate", "masks", "train", "explain"])
def test_an_output_that_cannot_be_is_named(
    run: Run, tmp_path: Path, tiny_folder: Path, smear_folder: Path, command: str
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file / "below",) if command == "explain" else (file, file / "below"):
        line = error_of(run(*writing(command, tiny_folder, smear_folder, out)))
        assert line.startswith(f"error: {out}")
        assert " a folder " in line or "choose another folder" in line
    assert file.read_text() == "mine"
    assert left_behind(tmp_path) == ["file"]


@pytest.mark.parametrize("command", ["generate", "masks", "train", "explain"])
def test_no_permission_to_write_is_one_line(
    run: Run, tmp_path: Path, tiny_folder: Path, smear_folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    mkdir = Path.mkdir

    def forbidden(self: Path, *args: Any, **options: Any) -> None:
        if tmp_path / "closed" in (self, *self.parents):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        mkdir(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", forbidden)
    out = tmp_path / "closed" / "out"
    line = error_of(run(*writing(command, tiny_folder, smear_folder, out)))
    assert line.startswith(f"error: {out}")
    assert "no permission to write here; choose another folder" in line


# A full disk.


@pytest.mark.parametrize("images", [0, 1, 2, 5])
def test_a_full_disk_while_generating_leaves_whole_smears_and_can_be_continued(
    run: Run,
    tmp_path: Path,
    tiny_folder: Path,
    disk_full: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    images: int,
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = ("generate", "-m", tiny_folder, "-n", 3, "--size", "48x48", "--no-sheet")
    assert run(*arguments, "-o", whole).code == 0
    with monkeypatch.context():
        disk_full(images)
        line = error_of(run(*arguments, "-o", out))
        monkeypatch.undo()
    culprit = out / ("labels" if images % 2 else "images") / f"smear-{images // 2:06d}.png"
    assert line == (
        f"error: {culprit}: the disk is full; free some space and run the same command again, "
        "it continues where it stopped"
    )
    there = left_behind(out)
    assert not [name for name in there if name.endswith(".part")]
    for k in range(3):
        pair = {f"images/smear-{k:06d}.png", f"labels/smear-{k:06d}.png"} & set(there)
        assert len(pair) == (2 if k < images // 2 else 0)
    assert run(*arguments, "-o", out).code == 0
    assert left_behind(out) == left_behind(whole)
    for name in left_behind(whole):
        if (whole / name).is_file():
            assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_full_disk_while_training_is_one_line(
    run: Run, tmp_path: Path, smear_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    arguments = ("train", smear_folder, "-o", tmp_path / "m", "--preset", "tiny", "--steps", 2)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        line = error_of(run(*arguments))
    assert line.startswith(
        f"error: {tmp_path / 'm' / 'state'}: the training state cannot be written (No space left"
    )
    assert not list((tmp_path / "m" / "state").glob("*step*"))
    assert run(*arguments).code == 0


# The rest.


def test_too_little_memory_is_one_line(
    run: Run, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    for error in (
        MemoryError("Unable to allocate 3 TiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121]\nDefaultCPUAllocator: can't allocate memory"),
    ):

        def exhausted(self: object, *args: object, error: Exception = error, **options: object) -> None:
            raise error

        monkeypatch.setattr(Synthesizer, "paint", exhausted)
        line = error_of(run("generate", "-m", tiny_folder, "-o", tmp_path / "out"))
        assert line.startswith("error: out of memory")
        assert "smaller --size" in line


def test_a_fault_of_our_own_keeps_its_traceback(
    run: Run, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    def wrong(self: object, *args: object, **options: object) -> None:
        raise RuntimeError("a shape of our own making")

    monkeypatch.setattr(Synthesizer, "paint", wrong)
    with pytest.raises(RuntimeError, match="our own making"):
        run("generate", "-m", tiny_folder, "-o", tmp_path / "out")


def test_ctrl_c_is_no_error(run: Run, smear_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "open_smears", stopped)
    ran = run("stats", smear_folder)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err in ("", "interrupted\n")


def test_names_with_brackets_and_long_paths_are_printed_whole_and_on_one_line(
    run: Run, tmp_path: Path, tiny_folder: Path
) -> None:
    out = tmp_path / "[bold]loud[/bold]" / ("long " * 40).strip()
    ran = run("generate", "-m", tiny_folder, "-o", out, "-n", 1, "--size", "32x32", "--no-sheet")
    assert ran.code == 0
    assert ran.out == f"1 smears in {out}\n"
    ran = run("stats", out / "[red]nowhere")
    assert ran.err == f"error: {out / '[red]nowhere'}: does not exist; name a folder of annotated smears\n"


def test_a_pipe_that_is_closed_early_is_no_traceback(smear_folder: Path) -> None:
    command = f"{sys.executable} -m smearsynth stats {smear_folder} --json | head -c 1"
    ran = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert ran.stdout == "{"
    assert "Traceback" not in ran.stderr
