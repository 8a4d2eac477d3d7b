"""Training of a task model: one loop over explicit state.

All random numbers are drawn from (seed, step). The state on disk holds step, weights, moments and the best weights,
so an interrupted run continues bit-identically on the CPU.
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
from smearsynth.tasks.base import Task, torch_seed
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
from smearsynth.tasks.samples import SmearSupply, Subset, draw_samples


@dataclass(frozen=True)
class FitRun:
    """Where and how a training runs. None of it changes the result.

    Parameters
    ----------
    folder : Path, optional
        Folder of the model and of the state of an unfinished run. None keeps everything in memory.
    device : str
        cpu or cuda.
    save_every : int
        Steps between states.
    time_limit : float, optional
        Save the state and stop after this many minutes, as after Ctrl-C.
    on_step : callable, optional
        Called with (step, loss and validation score or None) after every step.
    """

    folder: Path | None = None
    device: str = "cpu"
    save_every: int = 100
    time_limit: float | None = None
    on_step: Callable[[int, dict[str, float] | None], None] | None = None


def learning_rate(config: FitConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine decay to zero.

    Examples
    --------
    >>> config = FitConfig(steps=110, warm_up=10, learning_rate=1.0)
    >>> [round(learning_rate(config, step), 2) for step in (0, 9, 60, 109)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    finished = (step - config.warm_up) / max(config.steps - config.warm_up, 1)
    return config.learning_rate * (1 + math.cos(math.pi * finished)) / 2


def hold_out(smears: Sequence[Smear], config: FitConfig) -> tuple[Sequence[Smear], Sequence[Smear]]:
    """Divide smears at random, by the seed, into training smears and smears to select the weights.

    Examples
    --------
    >>> empty = [Smear(np.zeros((2, 2, 3), "u1"), np.zeros((2, 2), "i4"), np.array([], int))] * 10
    >>> [len(part) for part in hold_out(empty, FitConfig())]
    [8, 2]
    """
    held_out = config.held_out_of(len(smears))
    order = np.random.default_rng([config.seed, 1 << 40]).permutation(len(smears))
    return Subset(smears, sorted(order[held_out:].tolist())), Subset(smears, sorted(order[:held_out].tolist()))


def fit(
    task: Task,
    smears: Sequence[Smear] | Iterable[Smear],
    run: FitRun | None = None,
    *,
    validation: Sequence[Smear] | None = None,
) -> FitReport:
    """Train a task model in place; with a folder, continue from the state there.

    Parameters
    ----------
    task : Task
        A new model; it receives the selected weights.
    smears : sequence or iterable of Smear
        Crops are drawn at random from a sequence. A stream (no length), such as `SyntheticSmears`, gives new smears
        at every step. With `run.folder`, a `SmearFolder` or list is read once to compute its hash.
    run : FitRun, optional
    validation : sequence of Smear, optional
        Smears to select the weights. Default: some of `smears` are held out (`hold_out`); for a stream the last
        weights are used.

    Returns
    -------
    FitReport
        ``report.finished`` is False if the run was stopped early; call again to continue.

    Raises
    ------
    DataError
        If there are no smears, or a stream ends.
    ModelError
        If the folder holds another model or a damaged state, or training diverges.

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
    state = FitState.fresh(task, _describe(smears, content=run.folder is not None))
    if run.folder is not None and (finished := finished_report(run.folder, state)) is not None:
        return finished
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
            with torch_seed(hash_seed(config.seed, state.step), task.device):
                loss = task.loss(samples)
            state.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(task.network.parameters(), config.clip)
            state.optimiser.step()

            state.step += 1
            state.losses.append(loss.detach())
            complete = state.step == config.steps
            ending = complete or stop.requested or time.monotonic() > deadline
            row = None
            if state.step % config.validate_every == 0 or complete:
                row = _measure(task, state, validation or [])
            if run.on_step:
                run.on_step(state.step, row)
            if run.folder is not None and not complete and (ending or state.step % run.save_every == 0):
                save_state(run.folder, state)
    if state.step == config.steps:
        if state.best is not None:
            task.network.load_state_dict(state.best)
        if run.folder is not None:
            save_model(run.folder, task, state.report)
    return state.report


def benchmark_steps(task: Task, smears: Sequence[Smear], device: str, steps: int = 6) -> float:
    """Return the median seconds of a training step, without the first step. The task is not changed."""
    trial = type(task)(task.config.with_fit(steps=steps, held_out=0, validate_every=steps))
    marks: list[float] = []
    run = FitRun(device=device, on_step=lambda step, row: marks.append(time.monotonic()))
    if not fit(trial, smears, run).finished:
        raise KeyboardInterrupt
    return median(later - earlier for earlier, later in pairwise(marks))


def _measure(task: Task, state: FitState, validation: Sequence[Smear]) -> dict[str, float]:
    """Return mean loss and validation score, and store the weights if they are among the best."""
    loss = float(torch.stack(state.losses).mean())
    state.losses.clear()
    if not math.isfinite(loss):
        raise ModelError(f"training diverged at step {state.step}; lower the learning rate")
    row = {"loss": loss}
    # smears in which all pixels are ignored cannot be scored
    annotated = any(smear.annotated_area() for smear in validation)
    evaluation = task.evaluate(validation) if annotated else None
    # the AP of smears without a cell is not defined
    if evaluation is not None and not math.isnan(evaluation.value):
        row["validation"] = evaluation.value
        state.keep_best(evaluation.resampled())
    state.history.append({"step": state.step, **row})
    return row


def _describe(smears: Sequence[Smear] | Iterable[Smear], *, content: bool) -> str:
    """Describe smears, so that a run does not continue with other ones; with `content` all are hashed."""
    if not isinstance(smears, Sequence):
        return "a stream"
    description = f"{len(smears)} smears"
    if isinstance(smears, SmearFolder):
        description += f", names and scale {_short_hash((smears.names, smears.scale))}"
    # other sequences may be longer than their distinct smears
    if content and isinstance(smears, SmearFolder | list | tuple):
        description += f"{CONTENT}{_short_hash([digest(smear) for smear in smears])}"
    return description


def _short_hash(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
