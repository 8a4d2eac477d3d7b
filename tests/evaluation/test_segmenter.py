"""The segmenter that checks labels: loaded from a folder, or trained with progress."""

import numpy as np
import pytest

from smears import random_smear
from smearsynth.datasets import open_smears
from smearsynth.errors import ModelError
from smearsynth.evaluation import segmenter as module
from smearsynth.evaluation.segmenter import load_or_train_segmenter
from smearsynth.runs import Execution, Progress
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.folder import save_model
from smearsynth.tasks.segmentation import Segmentation


class Recorder(Progress):
    def __init__(self):
        self.calls = []

    def advance(self, stage, done, total=None):
        self.calls.append((stage, done, total))


@pytest.fixture
def short_training(monkeypatch):
    """The preset "cpu" has the size and the number of steps of a test."""
    presets = []

    class Short(Segmentation):
        @classmethod
        def preset(cls, name, **changes):
            presets.append((name, changes))
            return Segmentation.preset("tiny", steps=3, **changes)

    monkeypatch.setattr(module, "Segmentation", Short)
    return presets


def test_a_model_folder_is_loaded(smear_folder, tmp_path):
    model = Segmentation.preset("tiny", seed=4)
    save_model(tmp_path / "model", model)
    loaded = load_or_train_segmenter(
        open_smears(smear_folder), tmp_path / "model", execution=Execution(device="cpu")
    )
    image = random_smear(0).image
    assert np.array_equal(loaded.probability(image), model.probability(image))
    save_model(tmp_path / "contours", Contours.preset("tiny"))
    with pytest.raises(ModelError, match="contours"):
        load_or_train_segmenter(open_smears(smear_folder), tmp_path / "contours")


def test_without_a_folder_a_model_is_trained(smear_folder, short_training):
    progress = Recorder()
    execution = Execution(device="cpu", progress=progress)
    load_or_train_segmenter(open_smears(smear_folder), seed=7, execution=execution)
    assert short_training == [("cpu", {"seed": 7})]
    assert progress.calls == [("training a segmenter", k, 3) for k in (1, 2, 3)]


def test_a_stopped_training_gives_no_segmenter(smear_folder, short_training):
    with pytest.raises(KeyboardInterrupt):
        load_or_train_segmenter(open_smears(smear_folder), execution=Execution(device="cpu", time_limit=0))
