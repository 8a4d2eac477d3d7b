from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smearsynth.experiment.experiment import Experiment
from smearsynth.experiment.plan import Job, Settings
from smearsynth.experiment.running import Pool, estimate_seconds, remaining_work, run_all


def test_runs_are_executed_once_and_damaged_results_again(experiment: Experiment, settings: Settings) -> None:
    work = remaining_work(experiment)
    pools = [Pool(6, 0, "original"), Pool(6, 0, "augmented")]
    assert work == [*pools, *(Job("segmentation", arm, 6, 0) for arm in settings.arms)]
    assert estimate_seconds(experiment, work, 1) > 0
    done: list[object] = []
    assert run_all(experiment, work, on_done=done.append)
    assert done == work
    assert remaining_work(experiment) == []
    results = {job.arm: experiment.load_result(experiment.key(job)) for job in work if isinstance(job, Job)}
    runs = {arm: result[0] for arm, result in results.items() if result is not None}
    assert [runs[arm].smears for arm in settings.arms] == [5, 5, 9]
    assert runs["RD"].synthesizer is None
    assert runs["SD"].synthesizer == experiment.sources[6].hash
    for run in runs.values():
        assert [row.image for row in run.images] == list(experiment.test.names)
        assert run.value == pytest.approx(np.mean([row.score for row in run.images]), abs=1e-5)
        assert (experiment.model_folder(Job(run.task, run.arm, 6, 0)) / "weights.safetensors").exists()
    assert not any((experiment.folder / "unfinished").iterdir())
    (experiment.folder / "runs" / f"{runs['SD'].key}.json").write_text("{")
    (experiment.folder / "runs" / f"{runs['RD'].key}.npy").write_bytes(b"")  # as after a full disk
    jobs = [Job("segmentation", arm, 6, 0) for arm in ("RD", "SD")]
    assert remaining_work(experiment) == [Pool(6, 0, "original"), *jobs]  # type: ignore[comparison-overlap]
    assert run_all(experiment, remaining_work(experiment))
    again = experiment.load_result(runs["SD"].key)
    assert again is not None
    assert again[0].images == runs["SD"].images


def test_processes_give_the_same_results(experiment: Experiment, tmp_path: Path) -> None:
    work = remaining_work(experiment)
    assert run_all(experiment, work, workers=2)
    other = replace(experiment, folder=tmp_path / "alone")
    assert run_all(other, work)
    for job in work:
        if not isinstance(job, Job):
            continue
        pair = [item.load_result(item.key(job)) for item in (experiment, other)]
        assert pair[0] is not None
        assert pair[1] is not None
        assert pair[0][0].images == pair[1][0].images


def test_after_the_deadline_nothing_is_executed(experiment: Experiment) -> None:
    work = remaining_work(experiment)
    assert not run_all(experiment, work, deadline=time.monotonic() - 1)
    assert remaining_work(experiment) == work
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_deadline_interrupts_a_training_and_keeps_its_state(experiment: Experiment) -> None:
    job = Job("segmentation", "RD", 6, 0)
    slow = replace(experiment, settings=experiment.settings.model_copy(update={"steps": 100_000}))
    assert not run_all(slow, [job], deadline=time.monotonic() + 1)
    assert any((experiment.folder / "unfinished" / slow.key(job)).iterdir())


def test_ctrl_c_while_processes_start_ends_cleanly(
    experiment: Experiment, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt_as_a_terminal() -> None:
        while not multiprocessing.active_children():
            time.sleep(0.005)
        time.sleep(0.2)  # the processes import PyTorch
        for pid in (*(child.pid for child in multiprocessing.active_children()), os.getpid()):
            os.kill(pid or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt_as_a_terminal)
    thread.start()
    assert not run_all(experiment, remaining_work(experiment), workers=2)
    thread.join()
    assert "Traceback" not in capfd.readouterr().err
    assert not list((experiment.folder / "runs").glob("*"))
