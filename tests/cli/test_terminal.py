"""What the commands print."""

from __future__ import annotations

import warnings

import pytest

from smearsynth.cli.terminal import plain_warnings, training_progress


def test_a_warning_is_a_line_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_warnings():
        for _ in range(2):
            warnings.warn("a.json: 1 crowd annotation left out", stacklevel=1)
            warnings.warn("soon gone", FutureWarning, stacklevel=1)
    said = capsys.readouterr().err.splitlines()
    assert said == ["a.json: 1 crowd annotation left out", "FutureWarning: soon gone"]


def test_a_loss_that_rounding_puts_below_zero_is_shown_as_zero(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with training_progress(2, every=1) as on_step:
        on_step(1, {"loss": -1e-7, "other": -0.25})
    assert capsys.readouterr().err.strip().endswith("loss 0.00 other -0.25")


def test_the_time_left_of_a_second_training_is_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr("smearsynth.cli.terminal.time.monotonic", lambda: next(clock))
    with training_progress(3, every=1) as on_step:
        for step in (1, 2, 3, 1, 2):
            on_step(step, {"loss": 1.0})
    assert [line.split(",")[1] for line in capsys.readouterr().err.splitlines()][1::3] == [" 1 min left"] * 2
