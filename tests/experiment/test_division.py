"""Division into training smears and test smears, and refusal of synthesizers that have seen a test smear."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from smears import random_smear, write_folder
from smearsynth.datasets import fingerprints_of, open_smears
from smearsynth.errors import DataError
from smearsynth.experiment.division import check_synthesizers, divide
from smearsynth.formats.training_smears import TrainingSmears, TrainingSource
from smearsynth.runs import Progress
from smearsynth.synthesis.model.folder import add_training_smears, load_training_smears


class Recorder(Progress):
    def __init__(self) -> None:
        self.text = ""

    def message(self, text: str) -> None:
        self.text += f"{text}\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine smears without splits; every third is a test smear by default."""
    return write_folder(tmp_path / "data", [random_smear(k) for k in range(9)])


def model_of(tiny_folder: Path, target: Path, data: Path, training: list[int], held_out: list[int]) -> Path:
    """Return a copy of a model that records these training smears and held-out smears."""
    shutil.copytree(tiny_folder, target)
    prints = fingerprints_of(open_smears(data))
    record = TrainingSmears(
        sources=(TrainingSource(data="data", smears=tuple(prints[k] for k in training)),),
        held_out=tuple(prints[k] for k in held_out),
    )
    add_training_smears(target, record)
    assert load_training_smears(target) == record
    return target


def test_smears_without_splits_are_divided(data: Path) -> None:
    recorder = Recorder()
    train, test = divide(open_smears(data)[:7], progress=recorder)
    assert test.names == ("smear-01", "smear-04")
    assert sorted(train.names + test.names) == [f"smear-{k:02d}" for k in range(7)]
    assert "no split.csv: every third smear becomes a test smear" in recorder.text
    with pytest.raises(DataError, match="data: 2 smears; training and testing need at least 3"):
        divide(open_smears(data)[:2])


def test_the_smears_that_a_model_held_out_are_the_test_smears(
    data: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    without = model_of(tiny_folder, tmp_path / "without", data, [0, 1, 2], [])
    model = model_of(tiny_folder, tmp_path / "model", data, [0, 1, 2, 3, 4, 5], [6, 8])
    recorder = Recorder()
    train, test = divide(open_smears(data), models=[without, model], progress=recorder)
    assert test.names == ("smear-06", "smear-08")
    assert len(train) == 7
    assert f"the 2 smears that {model} held out are the test smears" in recorder.text
    assert check_synthesizers(train, test, {"the synthesizer m": model}) == ()
    other = write_folder(tmp_path / "other", [random_smear(k) for k in range(20, 26)])
    assert divide(open_smears(other), models=[model])[1].names == ("smear-21", "smear-24")


def test_a_model_that_has_seen_test_smears_is_refused(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    model = model_of(tiny_folder, tmp_path / "model", data, list(range(9)), [])
    train, test = divide(open_smears(data), models=[model])
    with pytest.raises(DataError) as caught:
        check_synthesizers(train, test, {"the synthesizer m": model})
    text = str(caught.value)
    assert text.startswith(f"{data}: 3 of 3 test smears were training smears of the synthesizer m: smear-01, ")
    assert "train it again with held-out smears (train --hold-out third)" in text
    assert "--allow-leak" in text
    assert "\n" not in text
    (warning,) = check_synthesizers(train, test, {"the synthesizer m": model}, allow_leak=True)
    assert "3 of 3 test smears were training smears of the synthesizer m" in warning
    unseen = model_of(tiny_folder, tmp_path / "unseen", data, [0, 2, 3, 5, 6, 8], [])
    assert check_synthesizers(train, test, {"the synthesizer u": unseen}) == ()


def test_scale_annotation_and_compression_do_not_hide_a_leak(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    model = model_of(tiny_folder, tmp_path / "model", data, [1, 4], [])
    copy = tmp_path / "copy"
    (copy / "images").mkdir(parents=True)
    shutil.copytree(data / "labels", copy / "labels")
    for path in (data / "images").iterdir():
        Image.open(path).convert("RGB").save(copy / "images" / f"{path.stem}.jpg", quality=75)
    for folder, scale in ((data, 0.5), (copy, 1.0)):
        train, test = divide(open_smears(folder, scale=scale))
        with pytest.raises(DataError, match="2 of 3 test smears were training smears"):
            check_synthesizers(train, test, {"the synthesizer m": model})


def test_a_model_without_record_is_a_warning(data: Path, tiny_folder: Path, tmp_path: Path) -> None:
    old = shutil.copytree(tiny_folder, tmp_path / "old")
    sums = (old / "SHA256SUMS").read_text().splitlines(keepends=True)
    (old / "SHA256SUMS").write_text("".join(line for line in sums if "training-smears" not in line))
    assert load_training_smears(old) is None
    (warning,) = check_synthesizers(*divide(open_smears(data)), {"the synthesizer old": old})
    assert warning == "The synthesizer old does not record its training smears. It may have seen the test smears."


def test_an_image_in_both_splits_is_refused_even_with_another_annotation(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", [random_smear(k) for k in range(4)], splits=("train", "test"))
    for name in ("images", "labels"):
        shutil.copy(data / name / "smear-00.png", data / name / "smear-01.png")
    train, test = divide(open_smears(data, classes="one"))
    with pytest.raises(DataError, match="1 smear in both the training and the test split"):
        check_synthesizers(train, test, {})
