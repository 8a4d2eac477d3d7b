"""Execution of the work items of an experiment, in this process or in several, with a clean stop."""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading
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

_TIMED_TRAIN, _TIMED_TEST = 4, 2  # smears used to estimate times


class Pool(NamedTuple):
    """A work item: the synthetic smears of a seed and stain, which the runs are trained on."""

    reals: int
    seed: int
    stain: StainName
    draw: int = 0


Work = Job | Pool
OnDone = Callable[[Work], object]


def remaining_work(experiment: Experiment) -> list[Work]:
    """Return the runs without a stored result, after the pools of synthetic smears that they need."""
    settings, n_train = experiment.settings, len(experiment.train)
    jobs = [job for job in settings.jobs(n_train) if experiment.load_result(experiment.key(job)) is None]
    pools = dict.fromkeys(
        Pool(job.reals, job.seed, settings.stain_for(job.arm), job.draw) for job in jobs if ARMS[job.arm].synthetic
    )
    return [*pools, *jobs]


def estimate_seconds(experiment: Experiment, work: Sequence[Work], workers: int) -> float:
    """Estimate the time of work items from a few training steps, test smears and synthetic smears."""
    item_seconds: dict[str, float] = {}
    total = 0.0
    for item in work:
        kind = "pool" if isinstance(item, Pool) else item.task
        if kind not in item_seconds:
            item_seconds[kind] = (
                _time_pool(experiment, item) if isinstance(item, Pool) else _time_job(experiment, item)
            )
        total += item_seconds[kind]
    return total / workers


def _time_pool(experiment: Experiment, pool: Pool) -> float:
    stream = SyntheticSmears(experiment.source(pool.reals, pool.draw).folder, device=experiment.device)
    stream.make(0)  # compiles
    started = time.perf_counter()
    stream.make(1)
    return (time.perf_counter() - started) * experiment.settings.pool_size(pool.reals, pool.stain)


def _time_job(experiment: Experiment, job: Job) -> float:
    task = experiment.task(job)
    config = task.config.fit
    seconds = config.steps * benchmark_steps(task, experiment.train[:_TIMED_TRAIN], experiment.device)
    test = experiment.test[:_TIMED_TEST]
    started = time.perf_counter()
    task.to(experiment.device).evaluate(test)
    seconds_per_smear = (time.perf_counter() - started) / len(test)
    validated = experiment.selection_count(job) * config.steps / config.validate_every
    return seconds + (len(experiment.test) + validated) * seconds_per_smear


def run_all(
    experiment: Experiment,
    work: Sequence[Work],
    *,
    workers: int = 1,
    deadline: float = math.inf,
    on_done: OnDone = lambda work: None,
) -> bool:
    """Execute work items. Ctrl-C stops cleanly: finished items and the state of unfinished ones are kept.

    Parameters
    ----------
    experiment : Experiment
    work : sequence of Pool and Job
        Pools are executed first, because runs may need them.
    workers : int
        Number of processes, each with one thread. With 1 everything runs in this process.
    deadline : float
        Stop, as after Ctrl-C, when `time.monotonic` reaches this value.
    on_done : callable
        Called after each item.

    Returns
    -------
    bool
        False if it was stopped before the end.

    Raises
    ------
    DataError
        If a process dies, for example because memory runs out.
    """
    pools = [item for item in work if isinstance(item, Pool)]
    jobs = [item for item in work if isinstance(item, Job)]
    with StopRequest() as stop:

        def is_stopped() -> bool:
            return stop.requested or time.monotonic() > deadline

        if workers == 1:
            items: list[Work] = [*pools, *jobs]
            return all(_execute_and_report(experiment, item, is_stopped, on_done) for item in items)
        with _process_pool(experiment, workers) as (executor, stop_event):
            return all(
                _execute_in_processes(executor, part, stop_event, is_stopped, on_done) for part in (pools, jobs)
            )


def _execute_and_report(
    experiment: Experiment, item: Work, is_stopped: Callable[[], bool], on_done: OnDone
) -> bool:
    if is_stopped() or not _execute(experiment, item, is_stopped):
        return False
    on_done(item)
    return True


def _execute(experiment: Experiment, item: Work, is_stopped: Callable[[], bool]) -> bool:
    interrupted = False

    def interrupt(done: int) -> None:
        # The loops of training and generation end cleanly at Ctrl-C. Raise it once when this process should stop.
        # Outside the main thread they do not receive it; the stop then takes effect after this item.
        nonlocal interrupted
        if is_stopped() and not interrupted and threading.current_thread() is threading.main_thread():
            interrupted = True
            signal.raise_signal(signal.SIGINT)

    if isinstance(item, Pool):
        return experiment.make_pool(*item, interrupt)
    return experiment.run(item, interrupt)


@contextmanager
def _process_pool(experiment: Experiment, workers: int) -> Iterator[tuple[ProcessPoolExecutor, Event]]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    stop_event = context.Event()
    executor = ProcessPoolExecutor(workers, context, _initialise_worker, (experiment, stop_event))
    try:
        yield executor, stop_event
    finally:
        stop_event.set()
        executor.shutdown(cancel_futures=True)


def _execute_in_processes(
    executor: ProcessPoolExecutor,
    work: Sequence[Work],
    stop_event: Event,
    is_stopped: Callable[[], bool],
    on_done: OnDone,
) -> bool:
    with _sigint_blocked():  # the processes start here
        pending: dict[Future[bool], Work] = {executor.submit(_execute_in_worker, item): item for item in work}
    complete = True
    while pending:
        done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        if is_stopped():
            stop_event.set()
            for future in pending:
                future.cancel()
        for future in done:
            item = pending.pop(future)
            if future.cancelled() or not _outcome(future, is_stopped):
                complete = False
            else:
                on_done(item)
    return complete


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT in this process and in processes that start meanwhile, until they unblock it.

    A terminal sends Ctrl-C to all of them. It would kill a process that is still importing PyTorch.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _outcome(future: Future[bool], is_stopped: Callable[[], bool]) -> bool:
    try:
        return future.result()
    except BrokenProcessPool:
        if is_stopped():  # the SIGTERM of a scheduler kills processes that are still starting
            return False
        raise DataError(
            "a process of the experiment died, possibly because memory ran out; run again with fewer --workers, "
            "finished results are kept"
        ) from None


_worker: tuple[Experiment, Event] | None = None  # state of a worker process


def _initialise_worker(experiment: Experiment, stop_event: Event) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the main process handles it, and sets the event
    if hasattr(signal, "pthread_sigmask"):  # `_execute` raises SIGINT in this process, so it must not be blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    _worker = experiment, stop_event


def _execute_in_worker(item: Work) -> bool:
    assert _worker is not None
    experiment, stop_event = _worker
    return not stop_event.is_set() and _execute(experiment, item, stop_event.is_set)
