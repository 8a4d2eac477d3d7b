"""Ctrl-C and SIGTERM as a request to stop at the next clean point."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

import numpy as np

from smearsynth.errors import OptionError

if TYPE_CHECKING:  # PyTorch takes seconds to import
    pass


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


def device_of(name: str) -> str:
    """The device meant by auto, cpu or cuda; sets the number of threads for the CPU."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        # One core stays free: threads that wait for a core that is busy elsewhere slow the others down 16 times
        # (256 × 256 px on two cores at a load of 3: 2.06 s with two threads, 0.13 s with one).
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    _keep_memory()
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise OptionError(f"device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("no CUDA device here; use --device cpu")
    return name


def _keep_memory() -> None:
    """Have glibc keep large blocks for the next layer, not give them back and ask for zeroed pages again.

    A field of 1920 × 1200 px takes 3.4 s of processor time instead of 5.3, and 2.3 GB instead of 1.9. Of a process
    of ours alone: a program that imports smearsynth keeps its own settings.
    """
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
