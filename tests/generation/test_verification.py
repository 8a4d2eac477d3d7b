"""The test of labels against a segmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.generation import verification
from smearsynth.generation.verification import label_check
from smearsynth.runs import Execution, Progress
from smearsynth.smear import ImageArray, Smear


class DarkPixels:
    """A segmenter: cells are darker than the background in green."""

    def probability(self, image: ImageArray) -> npt.NDArray[np.float32]:
        green = image[..., 1].astype(np.float32)
        return (green < np.median(green) - 25).astype(np.float32)


class Messages(Progress):
    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int | None]] = []

    def advance(self, stage: str, done: int, total: int | None = None) -> None:
        self.stages.append((stage, done, total))


def shifted(smear: Smear) -> Smear:
    return Smear(smear.image, np.roll(smear.labels, 9, axis=1), smear.classes, name=smear.name)


def test_labels_that_are_shifted_are_rejected(smear_folder: Path) -> None:
    progress = Messages()
    accept = label_check(smear_folder, segmenter=DarkPixels(), execution=Execution("cpu", progress=progress))
    smears = [random_smear(k) for k in range(20, 28)]
    assert np.mean([accept(smear) for smear in smears]) > 0.8
    assert not any(accept(shifted(smear)) for smear in smears)
    # the limits are set on the split test, which trains no segmenter
    assert progress.stages == [("real labels", k, 3) for k in (1, 2, 3)]


def test_a_segmenter_is_trained_on_the_training_split(smear_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def train(smears: object, folder: object, *, seed: int, execution: Execution) -> DarkPixels:
        calls.append((smears, folder, seed))
        return DarkPixels()

    monkeypatch.setattr(verification, "load_or_train_segmenter", train)
    accept = label_check(open_smears(smear_folder), seed=5, execution=Execution("cpu"))
    assert accept(random_smear(20))
    ((smears, folder, seed),) = calls
    assert smears.names == open_smears(smear_folder, split="train").names  # type: ignore[attr-defined]
    assert (folder, seed) == (None, 5)
    label_check(smear_folder, segmenter="my-segmenter", execution=Execution("cpu"))
    assert calls[1][1] == "my-segmenter"


def test_real_smears_are_read_at_the_scale_of_the_model(
    smear_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []

    class Recording(DarkPixels):
        def probability(self, image: ImageArray) -> npt.NDArray[np.float32]:
            shapes.append(image.shape)
            return super().probability(image)

    label_check(smear_folder, segmenter=Recording(), scale=0.5)
    assert set(shapes) == {(48, 48, 3)}


def test_smears_without_cells_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "empty", [analytic_smear(discs=[], name=name) for name in "abcd"])
    with pytest.raises(DataError, match=f"^{folder}: no whole cell"):
        label_check(folder, segmenter=DarkPixels())
