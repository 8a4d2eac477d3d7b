from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smears import random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.experiment.plan import Settings
from smearsynth.experiment.preparing import (
    check_smears,
    is_finished,
    prepare,
    synthesizer_folder,
    synthesizer_preset,
)
from smearsynth.runs import Execution, Progress
from smearsynth.statistics.measuring import measure
from smearsynth.synthesis.model.synthesizer import Synthesizer


class Messages(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def test_a_synthesizer_of_other_cell_sizes_is_described(
    smear_folder: Path, tiny: Synthesizer, tmp_path: Path, settings: Settings
) -> None:
    train, test = (open_smears(smear_folder, split=split) for split in ("train", "test"))
    statistics = measure(train)
    width = statistics.cell_width.model_copy(update={"mean": 99.0})
    larger = statistics.model_copy(update={"cell_width": width, "cell_height": width})
    for name, model_statistics in (("same", statistics), ("other", larger)):
        replace(tiny, statistics=model_statistics).save(tmp_path / name)
        experiment = prepare(train, test, settings, tmp_path / "out", {6: tmp_path / name})
        assert experiment is not None
        misfit = experiment.sources[6].facts.misfit
        assert bool(misfit) == (name == "other")
    assert misfit is not None
    assert misfit.startswith("generates cells of 99 px, but the cells of these smears measure")
    assert "(--scale)" in misfit


def test_smears_in_both_splits_are_refused(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", [random_smear(k) for k in range(6)], splits=("train", "train", "test"))
    for kind in ("images", "labels"):
        shutil.copy(data / kind / "smear-00.png", data / kind / "smear-02.png")
    with pytest.raises(DataError, match="data: 1 smear in both the training and the test split; keep each in one"):
        check_smears(open_smears(data, split="train"), open_smears(data, split="test"))


def test_a_split_without_a_cell_is_refused(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(6)]
    blank = np.zeros_like(smears[0].labels)
    smears[2::3] = [replace(smear, labels=blank, classes=np.array([], np.int64)) for smear in smears[2::3]]
    data = write_folder(tmp_path / "data", smears, splits=("train", "train", "test"))
    train, test = (open_smears(data, split=split) for split in ("train", "test"))
    with pytest.raises(DataError, match="data: no cell in the test smears"):
        check_smears(train, test)
    with pytest.raises(DataError, match="data: no cell in the training smears"):
        check_smears(test, train)


def test_an_output_that_is_a_file_is_refused(smear_folder: Path, tmp_path: Path, settings: Settings) -> None:
    train, test = (open_smears(smear_folder, split=split) for split in ("train", "test"))
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="out: is a file; choose a folder"):
        prepare(train, test, settings, tmp_path / "out")


def test_a_missing_synthesizer_is_trained_on_its_smears_only(
    smear_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    from smearsynth.synthesis import config

    monkeypatch.setitem(config.PRESETS, "cpu", config.preset("tiny", steps=2))
    train, test = (open_smears(smear_folder, split=split) for split in ("train", "test"))
    progress = Messages()
    sizes = settings.model_copy(update={"sizes": (4,)})
    experiment = prepare(train, test, sizes, tmp_path, execution=Execution(device="cpu", progress=progress))
    assert experiment is not None
    folder = synthesizer_folder(tmp_path, experiment.digests[0], 4, None)
    assert experiment.sources[4].folder == folder
    assert is_finished(folder)
    assert not is_finished(tmp_path)
    assert Synthesizer.load(folder).config.data.smears == experiment.sources[4].facts.smears == 4
    assert any("training a synthesizer on 4 real smears, 2 steps" in text for text in progress.texts)
    again = prepare(train, test, sizes, tmp_path, execution=Execution(device="cpu", progress=Messages()))
    assert again is not None
    assert again.sources == experiment.sources


def test_synthesizer_folders_depend_on_smears_and_pretrained_model(tiny: Synthesizer) -> None:
    folder, digests = Path("out"), [f"hash-{k}" for k in range(6)]
    folders = {
        synthesizer_folder(folder, digests, 4, None),
        synthesizer_folder(folder, digests, 6, None),
        synthesizer_folder(folder, digests, 6, tiny),
        synthesizer_folder(folder, [*digests[1:], "other"], 6, None),
    }
    assert len(folders) == 4
    assert all(path.parent == folder for path in folders)


def test_fine_tuning_takes_fewer_steps() -> None:
    assert synthesizer_preset("cpu", fine_tuning=True).steps == 3000 < synthesizer_preset("cpu").steps
