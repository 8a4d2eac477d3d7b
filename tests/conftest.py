from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

# Numba looks at the file of a kernel alone, not at those it calls: a cache per state of all of them is never stale.
_SOURCE = Path(__file__).resolve().parents[1] / "src" / "smearsynth"
_KERNELS = b"".join(path.read_bytes() for path in (*sorted(_SOURCE.glob("layout/*.py")), _SOURCE / "masks.py"))
_STATE = hashlib.sha256(_KERNELS).hexdigest()[:16]
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"smearsynth-numba-{_STATE}"))

from smears import random_smear, write_folder


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
