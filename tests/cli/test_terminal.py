"""What the commands print."""

from __future__ import annotations

import warnings

import pytest

from smearsynth.cli.terminal import TerminalProgress, plain_warnings


def test_a_warning_is_a_line_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_warnings():
        for _ in range(2):
            warnings.warn("a.json: 1 crowd annotation left out", stacklevel=1)
            warnings.warn("soon gone", FutureWarning, stacklevel=1)
    said = capsys.readouterr().err.splitlines()
    assert said == ["a.json: 1 crowd annotation left out", "FutureWarning: soon gone"]


def test_a_log_file_gets_a_line_with_the_time_left_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    clock = iter(range(0, 10_000, 10))
    with TerminalProgress(clock=lambda: next(clock)) as progress:
        for step in range(1, 9):
            progress.step(step, 8, {"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["training: 4 of 8, 10.00 s each, 0.7 min left", "training: 7 of 8, 10.00 s each, 0.2 min left"]


def test_the_time_left_of_a_second_training_starts_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    times = iter([0, 60, 120, 10_000, 10_060])
    with TerminalProgress(clock=lambda: next(times)) as progress:
        for step in (1, 2, 3, 1, 2):
            progress.step(step, 3)
    assert capsys.readouterr().err.splitlines()[-1] == "training: 2 of 3, 60.00 s each, 1.0 min left"


def test_quiet_progress_shows_messages_only(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(range(0, 100_000, 100))
    with TerminalProgress(quiet=True, clock=lambda: next(times)) as progress:
        progress.message("one line")
        for done in range(5):
            progress.advance("measuring", done, 5)
    assert capsys.readouterr() == ("", "one line\n")
