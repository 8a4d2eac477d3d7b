"""Training of a task model: one visible loop over explicit state.

Everything random is drawn from (seed, step), and the state on disk holds step, weights, moments and the best
weights so far: an interrupted run continues where it stopped, bit-identically on the CPU.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from smearsynth.datasets import SmearFolder
from smearsynth.errors import ModelError
from smearsynth.files import make_folder
from smearsynth.runs import StopRequest, hash_seed
from smearsynth.smear import Smear, digest
from smearsynth.tasks.augment import named_augment
from smearsynth.tasks.base import Task, drawing_from
from smearsynth.tasks.config import FitConfig
from smearsynth.tasks.folder import (
    CONTENT,
    FitReport,
    FitState,
    finished_report,
    load_state,
    save_model,
    save_state,
)
from smearsynth.tasks.samples import Chosen, SmearSupply, draw_samples


@dataclass(frozen=True)
class FitRun:
    """Where and how a training runs; none of it changes the result.

    Parameters
    ----------
    folder : Path, optional
        Gets the model, and the state of an unfinished run. None keeps all in memory.
    device : str
        cpu or cuda.
    save_every : int
        Steps between states.
    time_limit : float, optional
        Stop after so long, state saved, as if interrupted.
    on_step : callable, optional
        Called with (step, figures or None) after every step, for a progress bar.
    """

    folder: Path | None = None
    device: str = "cpu"
    save_every: int = 100
    time_limit: float | None = None
    on_step: Callable[[int, dict[str, float] | None], None] | None = None


def learning_rate(config: FitConfig, step: int) -> float:
    """Linear warm-up, then along a cosine to zero after the last step.

    Examples
    --------
    >>> config = FitConfig(steps=110, warm_up=10, learning_rate=1.0)
    >>> [round(learning_rate(config, step), 2) for step in (0, 9, 60, 109)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(config.steps - config.warm_up, 1)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def hold_out(smears: Sequence[Smear], config: FitConfig) -> tuple[Sequence[Smear], Sequence[Smear]]:
    """Divide smears into those to train on and those to choose the best weights by, drawn by the seed.

    Examples
    --------
    >>> empty = [Smear(np.zeros((2, 2, 3), "u1"), np.zeros((2, 2), "i4"), np.array([], int))] * 10
    >>> [len(part) for part in hold_out(empty, FitConfig())]
    [8, 2]
    """
    held = config.held_out_of(len(smears))
    order = np.random.default_rng([config.seed, 1 << 40]).permutation(len(smears))
    return Chosen(smears, sorted(order[held:].tolist())), Chosen(smears, sorted(order[:held].tolist()))


def fit(
    task: Task,
    smears: Sequence[Smear] | Iterable[Smear],
    run: FitRun | None = None,
    *,
    validation: Sequence[Smear] | None = None,
) -> FitReport:
    """Train a task model in place; with a folder, from the state there if there is one.

    Parameters
    ----------
    task : Task
        A fresh model; it ends with the best weights.
    smears : sequence or iterable of Smear
        A sequence is drawn from at random; of a stream (no length), such as `SyntheticSmears`, every step
        sees new smears. With a folder to keep the model in, a `SmearFolder` or a list is read once before.
    run : FitRun, optional
    validation : sequence of Smear, optional
        To choose the best weights by. When None some of `smears` are held out (see `hold_out`); of a stream
        none can be, and the last weights are kept.

    Returns
    -------
    FitReport
        ``report.finished`` is False when the run was stopped early; call again to continue.

    Raises
    ------
    DataError
        When there are no smears, or a stream ends.
    ModelError
        When the folder holds another model, one of other smears or a damaged state, or training diverges.

    Examples
    --------
    >>> from smearsynth.tasks.segmentation import Segmentation
    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[10:30, 10:30] = 1
    >>> smear = Smear(np.where(labels[..., None] > 0, 90, 200).repeat(3, 2).astype("u1"), labels, np.array([0]))
    >>> fit(Segmentation.preset("tiny", steps=2), [smear]).finished
    True
    """
    run, config = run or FitRun(), task.config.fit
    task.to(run.device)
    if isinstance(smears, SmearFolder):
        task.scale = smears.scale
    state = FitState.fresh(task, _described(smears, content=run.folder is not None))
    if run.folder is not None and (done := finished_report(run.folder, state)) is not None:
        return done
    if validation is None and isinstance(smears, Sequence):
        smears, validation = hold_out(smears, config)
    if run.folder is not None:
        load_state(run.folder, state)
        make_folder(run.folder)
    supply, augment = SmearSupply(smears, state.step), named_augment(config.augment, config.changes)
    deadline = math.inf if run.time_limit is None else time.monotonic() + 60 * run.time_limit
    ending = False
    with StopRequest() as stop:
        while state.step < config.steps and not ending:
            samples = draw_samples(supply.at(state.step), config, state.step, augment)
            rate = learning_rate(config, state.step)
            state.optimiser.param_groups[0]["lr"] = rate
            task.network.train()
            with drawing_from(hash_seed(config.seed, state.step), task.device):
                loss = task.loss(samples)
            state.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(task.network.parameters(), config.clip)
            state.optimiser.step()

            state.step += 1
            state.losses.append(loss.detach())
            done_all = state.step == config.steps
            ending = done_all or stop.asked or time.monotonic() > deadline
            row = None
            if state.step % config.validate_every == 0 or done_all:
                row = _measure(task, state, validation or [])
            if run.on_step:
                run.on_step(state.step, row)
            if run.folder is not None and not done_all and (ending or state.step % run.save_every == 0):
                save_state(run.folder, state)
    if state.step == config.steps:
        if state.best is not None:
            task.network.load_state_dict(state.best)
        if run.folder is not None:
            save_model(run.folder, task, state.report)
    return state.report


def benchmark_steps(task: Task, smears: Sequence[Smear], device: str, steps: int = 6) -> float:
    """Median seconds of a training step; the first warms up. The task given is left as it is."""
    trial = type(task)(task.config.with_fit(steps=steps, held_out=0, validate_every=steps))
    marks: list[float] = []
    run = FitRun(device=device, on_step=lambda step, row: marks.append(time.monotonic()))
    if not fit(trial, smears, run).finished:
        raise KeyboardInterrupt
    return median(later - earlier for earlier, later in pairwise(marks))


def _measure(task: Task, state: FitState, validation: Sequence[Smear]) -> dict[str, float]:
    """Loss since the last row and validation score; keeps the weights when they are as good as any so far."""
    loss = float(torch.stack(state.losses).mean())
    state.losses.clear()
    if not math.isfinite(loss):
        raise ModelError(f"training diverged at step {state.step}; lower the learning rate")
    row = {"loss": loss}
    found = task.evaluate(validation) if len(validation) else None
    if found is not None and not math.isnan(found.value):  # as AP is of smears without a cell
        row["validation"] = found.value
        state.keep_best(found.resampled())
    state.history.append({"step": state.step, **row})
    return row


def _described(smears: Sequence[Smear] | Iterable[Smear], *, content: bool) -> str:
    """What tells smears from others, so that a run does not go on with other ones; with `content` all are read."""
    if not isinstance(smears, Sequence):
        return "a stream"
    said = f"{len(smears)} smears"
    if isinstance(smears, SmearFolder):
        said += f", names and scale {_short_hash((smears.names, smears.scale))}"
    # other sequences may be longer than what they draw from
    if content and isinstance(smears, SmearFolder | list | tuple):
        said += f"{CONTENT}{_short_hash([digest(smear) for smear in smears])}"
    return said


def _short_hash(fact: object) -> str:
    return hashlib.sha256(repr(fact).encode()).hexdigest()[:12]
