"""Shared parts of long computations: progress callbacks, stop requests, seeds and devices."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType, TracebackType

import numpy as np

from smearsynth.errors import OptionError


class Progress:
    """Receiver of the progress of a long computation.

    The methods of this base class do nothing; override those that you need.

    Examples
    --------
    >>> class PrintedProgress(Progress):
    ...     def advance(self, stage, done, total=None):
    ...         print(f"{stage}: {done} of {total}")
    >>> PrintedProgress().advance("measuring", 3, 9)
    measuring: 3 of 9
    """

    def message(self, text: str) -> None:
        """Receive a message of one line."""

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        """Receive the number of finished items of a stage; `total` is None if unknown."""

    def step(self, step: int, total: int, losses: Mapping[str, float] | None = None) -> None:
        """Receive the number of finished training steps, and from time to time the mean `losses`."""


SILENT = Progress()


@dataclass(frozen=True)
class Execution:
    """Settings of the execution of a long computation. They do not change what is computed.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "auto" is a CUDA device if one is available, else the CPU.
    time_limit : float, optional
        Stop after this time in minutes, as after Ctrl-C: results so far are saved.
    workers : int, optional
        Number of processes; each function states its default.
    command : str
        Command line, recorded in reports and model cards.
    progress : Progress
        Receiver of messages and progress.

    Examples
    --------
    >>> Execution(device="cpu", time_limit=30).time_limit
    30
    """

    device: str = "auto"
    time_limit: float | None = None
    workers: int | None = None
    command: str = ""
    progress: Progress = SILENT


class StopRequest:
    """Context manager in which the first Ctrl-C or SIGTERM sets `requested`; a second one has its usual effect.

    Attributes
    ----------
    requested : bool
        Whether the computation should stop at the next suitable point.

    Examples
    --------
    >>> with StopRequest() as stop:
    ...     stop.requested
    False
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous_handlers: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        # Python sets signal handlers only in the main thread; in other threads the caller sets `asked`.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous_handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        while self._previous_handlers:
            number, handler = self._previous_handlers.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]


def hash_seed(*parts: int) -> int:
    """Return a 63-bit seed that depends on all parts and their order.

    Trailing zeros do not count: compare only seeds of the same number of parts.

    Parameters
    ----------
    *parts : int
        Non-negative numbers, such as the seed of a run and the index of an image.

    Examples
    --------
    >>> hash_seed(0, 1) != hash_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence(parts).generate_state(1, "u8")[0] >> 1)


def select_device(name: str) -> str:
    """Resolve a device name to "cpu" or "cuda".

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
        "auto" is a CUDA device if one is available, else the CPU.

    Raises
    ------
    OptionError
        If the name is unknown or no CUDA device is available.

    Examples
    --------
    >>> select_device("cpu")
    'cpu'
    """
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"device {name!r}: choose auto, cpu or cuda")
    if name == "cpu":
        return name
    import torch  # imported here because it takes seconds

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise OptionError("no CUDA device is available; use --device cpu")
    return "cpu"


def configure_cpu() -> None:
    """Set the number of PyTorch threads and the memory allocator of this process.

    The command line calls this once; importing smearsynth does not change these settings. The environment variable
    OMP_NUM_THREADS takes precedence for the number of threads.
    """
    import torch  # imported here because it takes seconds

    if "OMP_NUM_THREADS" not in os.environ:
        # One core is left free: if a core is busy with other work, the threads wait for each other and run up to
        # 16 times slower (256 × 256 px on two cores at a load of 3: 2.06 s with two threads, 0.13 s with one).
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    # glibc keeps large blocks for the next layer instead of releasing them and requesting zeroed pages again.
    # A field of 1920 × 1200 px takes 3.4 s of processor time instead of 5.3 s, but 2.3 GB instead of 1.9 GB.
    mmap_threshold, trim_threshold = -3, -1  # constants of malloc.h
    with suppress(OSError, AttributeError):  # systems without glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
