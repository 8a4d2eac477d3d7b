"""What every long computation needs: a clean stop, progress callbacks, seeds, and the device it runs on."""

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
    """Receives the progress of a long computation. This base class ignores it; override what you want to show.

    Examples
    --------
    >>> class Printed(Progress):
    ...     def advance(self, stage, done, total=None):
    ...         print(f"{stage}: {done} of {total}")
    >>> Printed().advance("measuring", 3, 9)
    measuring: 3 of 9
    """

    def message(self, text: str) -> None:
        """Receive one line about what happens now or what the user should know."""

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        """Receive how many items of a stage are done; `total` is None while it is unknown."""

    def step(self, step: int, total: int, losses: Mapping[str, float] | None = None) -> None:
        """Receive the number of training steps done; `losses` are given now and then."""


SILENT = Progress()


@dataclass(frozen=True)
class Execution:
    """How a long computation is executed. None of it changes the result.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
    time_limit : float, optional
        Stop cleanly after this many minutes, as after Ctrl-C.
    workers : int, optional
        Number of processes; each function states its default.
    command : str
        Command line to name in reports and model cards.
    progress : Progress
        Receives messages and progress.

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
    """Context in which the first Ctrl-C (or a scheduler's SIGTERM) sets `asked`; a second Ctrl-C is immediate.

    Examples
    --------
    >>> with StopRequest() as stop:
    ...     stop.asked
    False
    """

    def __init__(self) -> None:
        self.asked = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        # handlers can be set in the main thread alone; elsewhere the caller sets `asked` itself
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        while self._former:
            number, handler = self._former.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]


def hash_seed(*parts: int) -> int:
    """A 63-bit seed from several numbers, well mixed.

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
    import torch  # takes seconds

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise OptionError("no CUDA device is available; use --device cpu")
    return "cpu"


def configure_cpu() -> None:
    """Set the number of PyTorch threads and the memory allocator of this process for the work of smearsynth.

    The command line calls this once. A program that imports smearsynth keeps its own settings.
    """
    import torch  # takes seconds

    if "OMP_NUM_THREADS" not in os.environ:
        # One core stays free. Threads that wait for a core that is busy with other work slow the others down 16 times
        # (256 × 256 px on two cores at a load of 3: 2.06 s with two threads, 0.13 s with one).
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    # glibc keeps large blocks for the next layer instead of returning them and requesting zeroed pages again. A field of
    # 1920 × 1200 px takes 3.4 s of processor time instead of 5.3 s, and 2.3 GB instead of 1.9 GB.
    mmap_threshold, trim_threshold = -3, -1  # constants of malloc.h
    with suppress(OSError, AttributeError):  # not glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
