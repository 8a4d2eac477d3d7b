"""Progress, stop requests, seeds, devices and settings of the process."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading

import pytest
import torch

from smearsynth.errors import OptionError
from smearsynth.runs import SILENT, Execution, Progress, StopRequest, configure_cpu, hash_seed, select_device


def test_the_base_class_of_progress_ignores_all_reports(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.message("text")
    SILENT.advance("stage", 1, None)
    SILENT.step(1, 10, {"loss": 0.5})
    assert isinstance(SILENT, Progress)
    assert capsys.readouterr() == ("", "")


def test_an_execution_has_silent_defaults_and_cannot_be_changed() -> None:
    execution = Execution()
    assert execution.progress is SILENT
    assert dataclasses.astuple(execution)[:4] == ("auto", None, None, "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        execution.device = "cpu"  # type: ignore[misc]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested


def test_the_second_ctrl_c_is_immediate() -> None:
    def interrupt_twice() -> None:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(RuntimeError), StopRequest():
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_stop_request_works_outside_the_main_thread() -> None:
    values = []

    def work() -> None:
        with StopRequest() as stop:
            values.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert values == [False]


def test_seeds_depend_on_all_parts_and_stay_the_same() -> None:
    seeds = {hash_seed(*parts) for parts in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 2**64), (2**64, 2))}
    assert len(seeds) == 6
    assert hash_seed(1, 0) == hash_seed(1)  # trailing zeros do not count
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Smears of a recipe are reproducible only if these values do not change.
    assert hash_seed(0, 1) == 2918264622725855778


@pytest.mark.parametrize("available", [False, True])
def test_auto_selects_cuda_if_available(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert select_device("auto") == ("cuda" if available else "cpu")
    assert select_device("cpu") == "cpu"


def test_unavailable_and_unknown_devices_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="no CUDA device is available"):
        select_device("cuda")
    with pytest.raises(OptionError, match="device 'tpu': choose auto, cpu or cuda"):
        select_device("tpu")


@pytest.mark.parametrize(("cores", "variable", "threads"), [(8, None, 7), (1, None, 1), (8, "2", None)])
def test_one_core_is_left_free_unless_the_environment_sets_the_threads(
    monkeypatch: pytest.MonkeyPatch, cores: int, variable: str | None, threads: int | None
) -> None:
    settings: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", settings.append)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr("ctypes.CDLL", refuse)  # the allocator of the test process stays as it is
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    configure_cpu()
    assert settings == ([] if threads is None else [threads])


def refuse(name: str) -> None:
    raise OSError(name)
