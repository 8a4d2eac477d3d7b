"""Runs of an experiment side by side, in processes of their own, until all are done or someone asks to stop."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import NamedTuple

import torch

from smearsynth.errors import DataError
from smearsynth.experiment.arms import ARMS
from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.runs import StopRequest
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.tasks.fitting import benchmark_steps


class Pool(NamedTuple):
    """The synthetic smears of a seed with original or augmented stain, to be made before the runs."""

    reals: int
    seed: int
    stain: StainName


Work = Job | Pool


def work_of(experiment: Experiment) -> list[Work]:
    """What is left to do: pools of synthetic smears that runs not yet done draw from, and these runs."""
    settings, train = experiment.settings, len(experiment.train)
    jobs = [job for job in settings.jobs(train) if experiment.stored(experiment.key(job)) is None]
    pools = dict.fromkeys(
        Pool(job.reals, job.seed, settings.stain_of(job.arm)) for job in jobs if ARMS[job.arm].synthetic
    )
    return [*pools, *jobs]


def expected_seconds(experiment: Experiment, work: Sequence[Work], workers: int) -> float:
    """How long work takes, by some steps of each task, a few test smears and one synthetic smear."""
    pace: dict[str, float] = {}
    total = 0.0
    for one in work:
        kind = "pool" if isinstance(one, Pool) else one.task
        if kind not in pace:
            pace[kind] = _timed(experiment, one)
        total += pace[kind]
    return total / workers


def _timed(experiment: Experiment, one: Work) -> float:
    if isinstance(one, Pool):
        stream = SyntheticSmears(experiment.sources[one.reals].folder, device=experiment.device)
        stream.make(0)
        started = time.perf_counter()
        stream.make(1)
        return (time.perf_counter() - started) * experiment.settings.pool_of(one.reals, one.stain)
    task = experiment.task(one)
    fit = task.config.fit
    few = experiment.test[:2]
    seconds = fit.steps * benchmark_steps(task, experiment.train[:4], experiment.device)
    started = time.perf_counter()
    task.to(experiment.device).evaluate(few)
    scored = len(experiment.test) + experiment.chosen_by(one) * fit.steps / fit.validate_every
    return seconds + scored * (time.perf_counter() - started) / len(few)


OnDone = Callable[[Work], object]


def run_all(
    experiment: Experiment, work: Sequence[Work], *, workers: int = 1, on_done: OnDone = lambda work: None
) -> bool:
    """Do all work; False when it was stopped before its end, what is done being kept.

    Parameters
    ----------
    experiment : Experiment
    work : sequence of Pool and Job
        All pools first: runs may need them.
    workers : int
        Processes, each with one thread; 1 does all in this one.
    on_done : callable
        Called after each piece.

    Raises
    ------
    DataError
        When a process dies, as for want of memory.
    """
    pools = [one for one in work if isinstance(one, Pool)]
    jobs = [one for one in work if isinstance(one, Job)]
    if workers == 1:
        with StopRequest() as stop:
            first: list[Work] = [*pools, *jobs]
            return all(_do(experiment, one, lambda: stop.asked, on_done) for one in first)
    with StopRequest() as stop, _processes(experiment, workers) as (executor, ending):
        return all(_together(executor, part, ending, stop, on_done) for part in (pools, jobs))


def _do(experiment: Experiment, one: Work, asked: Callable[[], bool], on_done: OnDone) -> bool:
    if asked() or not _one(experiment, one, asked):
        return False
    on_done(one)
    return True


def _one(experiment: Experiment, one: Work, asked: Callable[[], bool]) -> bool:
    passed_on = False

    def heed(done: int) -> None:
        # the loops of training and writing end cleanly at Ctrl-C: pass it on as such, once
        nonlocal passed_on
        if asked() and not passed_on:
            passed_on = True
            signal.raise_signal(signal.SIGINT)

    if isinstance(one, Pool):
        return experiment.make_pool(*one, heed)
    return experiment.run(one, heed)


@contextmanager
def _processes(experiment: Experiment, workers: int) -> Iterator[tuple[ProcessPoolExecutor, Event]]:
    context = multiprocessing.get_context("spawn")  # forks of a process that runs threads may hang
    ending = context.Event()
    executor = ProcessPoolExecutor(workers, context, _begin, (experiment, ending))
    try:
        yield executor, ending
    finally:
        ending.set()
        executor.shutdown(cancel_futures=True)


def _together(
    executor: ProcessPoolExecutor, work: Sequence[Work], ending: Event, stop: StopRequest, on_done: OnDone
) -> bool:
    with _unheard():  # the processes start here
        waiting: dict[Future[bool], Work] = {executor.submit(_in_process, one): one for one in work}
    complete = True
    while waiting:
        done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        if stop.asked:
            ending.set()
            for future in waiting:
                future.cancel()
        for future in done:
            one = waiting.pop(future)
            if future.cancelled() or not _result(future, stop):
                complete = False
            else:
                on_done(one)
    return complete


@contextmanager
def _unheard() -> Iterator[None]:
    """Ctrl-C waits for the end of this, and processes started meanwhile do not hear it until they say so.

    A terminal sends it to all of them, and a process that still imports PyTorch would die of it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _result(future: Future[bool], stop: StopRequest) -> bool:
    try:
        return future.result()
    except BrokenProcessPool:
        if stop.asked:  # a scheduler's SIGTERM ends those that are only starting
            return False
        raise DataError(
            "a process of the experiment died, perhaps for want of memory; run again with fewer --workers, "
            "what is done is kept"
        ) from None


_own: tuple[Experiment, Event] | None = None  # of a worker process


def _begin(experiment: Experiment, ending: Event) -> None:
    global _own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process alone answers, by the event
    if hasattr(signal, "pthread_sigmask"):  # a loop passes the event on to itself as a signal, which it has to hear
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    _own = experiment, ending


def _in_process(one: Work) -> bool:
    assert _own is not None
    experiment, ending = _own
    return not ending.is_set() and _one(experiment, one, ending.is_set)
