"""Terminal output: result lines, one-line errors, and progress with speed and time left."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from smearsynth.runs import Progress

out = Console()
err = Console(stderr=True)

_LINE_EVERY = 30.0  # seconds between two progress lines in a log file


@dataclass
class _Stage:
    """State of one progress bar: its first and last counts, the time of the first, and that of the last line."""

    bar: TaskID
    first: int
    last: int
    started: float
    printed: float


class TerminalProgress(Progress):
    """Progress on stderr: bars on a terminal, a line every 30 s in a log file.

    Parameters
    ----------
    quiet : bool
        Show messages only. For commands that print JSON.
    clock : callable
        Seconds, monotonic. For tests.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._stages: dict[str, _Stage] = {}
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=err,
            disable=quiet or not err.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def message(self, text: str) -> None:
        """Print a line on stderr."""
        say(err, text)

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        """Show how many items of a stage are done."""
        self._show(stage, done, total)

    def step(self, step: int, total: int, losses: Mapping[str, float] | None = None) -> None:
        """Show the training step, the seconds per step and the losses."""
        self._show("training", step, total, losses)

    def _show(self, name: str, done: int, total: int | None, losses: Mapping[str, float] | None = None) -> None:
        now = self._clock()
        stage = self._stages.get(name)
        if stage is None:
            stage = _Stage(self._bars.add_task(name, total=total, detail=""), done, done, now, now)
            self._stages[name] = stage
        if done < stage.last:  # another training, or the same stage again
            stage.first, stage.started = done, now
            self._bars.reset(stage.bar, total=total)
        stage.last = done
        self._bars.update(stage.bar, completed=done, total=total)
        pace = (now - stage.started) / max(done - stage.first, 1)
        if losses:
            values = " ".join(f"{name} {value:z.2f}" for name, value in losses.items())
            self._bars.update(stage.bar, detail=f"{pace:.2f} s/step  {values}")
        if self._bars.disable and not self._quiet and now - stage.printed >= _LINE_EVERY:
            stage.printed = now
            say(err, _line(name, done, total, pace))


def _line(name: str, done: int, total: int | None, pace: float) -> str:
    """Return a progress line for a log file.

    Examples
    --------
    >>> _line("training", 100, 400, 0.5)
    'training: 100 of 400, 0.50 s each, 2.5 min left'
    """
    if total is None:
        return f"{name}: {done}, {pace:.2f} s each"
    return f"{name}: {done} of {total}, {pace:.2f} s each, {pace * (total - done) / 60:.1f} min left"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print each warning once, as a line on stderr without the source line that raised it."""
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        text = str(message) if category is UserWarning else f"{category.__name__}: {message}"
        if text not in printed:
            printed.add(text)
            say(err, text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def say(console: Console, text: str) -> None:
    """Print text as it is: no wrapping, no markup."""
    console.print(Text(text), soft_wrap=True)


def fail(problem: str) -> None:
    """Print an error as one line on stderr."""
    err.print(Text.assemble(("error:", "red"), " ", " ".join(problem.split())), soft_wrap=True)
