"""What the commands print: lines as they stand, one-line errors, progress with speed and time left."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

out = Console()
err = Console(stderr=True)


class Tick(Protocol):
    """What moves a bar."""

    def __call__(self, done: int, total: int | None = None) -> object:
        """Show the number done, and the number in all where that is known only now."""


@contextmanager
def progress(label: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Tick]:
    """A bar on a terminal's stderr with speed and time left; gives the function to call with the number done."""
    with Progress(*_bar_columns(), console=err, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)


@contextmanager
def training_progress(steps: int, *, every: int = 500) -> Iterator[Callable[[int, dict[str, float] | None], None]]:
    """As `progress`, with seconds a step and the losses; on a pipe, a line every so many steps.

    Several trainings may follow each other: one that begins at an earlier step than the last was at is another.
    """
    first: tuple[float, int] = 0.0, 0
    last = steps + 1
    losses_column = TextColumn("[dim]{task.fields[losses]}")
    with Progress(*_bar_columns(), losses_column, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("training", total=steps, losses="")

        def on_step(step: int, losses: dict[str, float] | None) -> None:
            nonlocal first, last
            now = time.monotonic()
            if step < last:
                first = now, step
            last = step
            bar.update(task, completed=step)
            if losses:
                pace = (now - first[0]) / max(step - first[1], 1)
                shown = " ".join(f"{name} {value:z.2f}" for name, value in losses.items())
                bar.update(task, losses=f"{pace:.2f} s/step  {shown}")
                if not err.is_terminal and step % every == 0:
                    left = pace * (steps - step) / 60
                    say(err, f"step {step}/{steps} {pace:.3f} s/step, {left:.0f} min left, {shown}")

        yield on_step


@contextmanager
def stages(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], object]]:
    """As `progress`, a bar for each stage; gives the function to call with its name, what is done, and all."""
    with Progress(*_bar_columns(), console=err, disable=quiet or not err.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def on_stage(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield on_stage


def _bar_columns() -> list[ProgressColumn]:
    return [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings as lines on stderr, each once: without Python's name of the file and line that warned."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        text = str(message) if category is UserWarning else f"{category.__name__}: {message}"
        if text not in said:
            said.add(text)
            say(err, text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def say(console: Console, text: str) -> None:
    """Print as it stands: nothing wrapped, no bracket in a path taken for markup."""
    console.print(Text(text), soft_wrap=True)


def fail(problem: str) -> None:
    """One line on stderr."""
    err.print(Text.assemble(("error:", "red"), " ", " ".join(problem.split())), soft_wrap=True)
