# ruff: noqa: E402 -- what torch and numba read from the environment is set before they are imported
from __future__ import annotations

import hashlib
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: beside other work one thread beats two by far

# A shell that starts a job in the background has it ignore Ctrl-C; the tests of Ctrl-C need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Numba looks at the file of a kernel alone, not at those it calls: a cache per state of all of them is never stale.
_SOURCE = Path(__file__).resolve().parents[1] / "src" / "smearsynth"
_KERNELS = b"".join(path.read_bytes() for path in (*sorted(_SOURCE.glob("layout/**/*.py")),))
_STATE = hashlib.sha256(_KERNELS).hexdigest()[:16]
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"smearsynth-numba-{_STATE}"))

from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.loop import TrainingRun
from smearsynth.synthesis.training.pipeline import train_synthesizer


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real smears: SMEARSYNTH_DATA, else ../shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SMEARSYNTH_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real smears at {folder}; name their folder in SMEARSYNTH_DATA")
    return folder


@pytest.fixture(scope="session")
def smear_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine coloured 96 × 96 px smears of one class, six in split train, three in test. Only to be read."""
    folder = tmp_path_factory.mktemp("smears") / "analytic"
    return write_folder(folder, (random_smear(i) for i in range(9)), splits=("train", "train", "test"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, smear_folder: Path) -> Path:
    """Model folder of the tiny preset, trained for 30 steps on `smear_folder`. Only to be read."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    source = DataSource(name="analytic", smears=6, split="train", licence="CC0-1.0", citation="none")
    train_synthesizer(
        open_smears(smear_folder, split="train"), preset("tiny", steps=30), TrainingRun(folder), source=source
    )
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Synthesizer:
    """The model of `tiny_folder`. Not to be changed."""
    return Synthesizer.load(tiny_folder)


@pytest.fixture(scope="session")
def two_class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder of two classes, hardly trained. Only to be read."""
    smears = [random_smear(i, class_names=("red cell", "white cell")) for i in range(4)]
    folder = tmp_path_factory.mktemp("models") / "two"
    train_synthesizer(smears, preset("tiny", class_names=("red cell", "white cell"), steps=2), TrainingRun(folder))
    return folder


class Ran(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line in this process: run("stats", folder) gives (code, out, err)."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Ran:
        from smearsynth.cli.app import main

        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return call
