"""Tests of the segmentation model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from smears import analytic_smear, partly_annotated, random_smear
from smearsynth.datasets import open_smears
from smearsynth.smear import Smear
from smearsynth.tasks.fitting import FitRun, fit
from smearsynth.tasks.segmentation import Segmentation


@pytest.fixture(scope="module")
def trained_model() -> Segmentation:
    """A small model trained on smears 0 to 7."""
    model = Segmentation.preset("tiny", steps=60, seed=2)
    fit(model, [random_smear(k) for k in range(8)])
    return model


def test_a_trained_model_has_a_higher_dice_than_an_untrained_one(trained_model: Segmentation) -> None:
    test_smears = [random_smear(100 + k) for k in range(4)]
    untrained = Segmentation.preset("tiny", seed=2).evaluate(test_smears)
    trained = trained_model.evaluate(test_smears)
    assert trained.metric == "dice"
    assert trained.value > 0.85 > untrained.value + 0.1
    assert trained.value == pytest.approx(np.mean([image.score for image in trained.images]))
    assert [image.name for image in trained.images] == [smear.name for smear in test_smears]


def test_a_prediction_covers_the_cells_of_an_image_of_any_size(trained_model: Segmentation) -> None:
    smear = analytic_smear((70, 101), [(30, 30, 11), (75, 40, 11)])
    prediction = trained_model.predict(smear.image)
    assert prediction.labels is not None
    assert prediction.labels.shape == (70, 101)
    assert prediction.counts() == {"cell": 2}
    for box, true_box in zip(sorted(prediction.boxes.tolist()), sorted(smear.boxes().tolist()), strict=True):
        assert box == pytest.approx(true_box, abs=4)
    assert ((prediction.scores > 0.5) & (prediction.scores <= 1)).all()


def test_touching_cells_are_counted_as_one_component(trained_model: Segmentation) -> None:
    touching = analytic_smear((64, 96), [(30, 32, 11), (52, 32, 11)])
    score = trained_model.evaluate([touching]).images[0]
    assert score.score > 0.8
    assert (score.tp + score.fp, score.tp + score.fn) == (1, 2)
    assert score.pq is not None
    assert score.pq < 0.5  # two cells as one


def test_an_image_without_cells_scores_one_only_for_an_empty_prediction() -> None:
    empty = analytic_smear((64, 64), [])
    model = Segmentation.preset("tiny")
    torch.nn.init.zeros_(model.network.deep[-1].weight)
    for layer in (model.network.score_pool3, model.network.score_pool4):
        torch.nn.init.zeros_(layer.weight)
    for bias, dice in ((-9.0, 1.0), (9.0, 0.0)):
        torch.nn.init.constant_(model.network.deep[-1].bias, bias)
        assert model.evaluate([empty]).value == dice


@pytest.mark.realdata
def test_real_smears_can_be_used_for_training(real_data: Path) -> None:
    smears = open_smears(real_data / "chula", split="train", limit=6)
    model = Segmentation.preset("cpu", steps=8, batch=2, validate_every=8)
    report = fit(model, smears, FitRun())
    assert report.history[-1]["loss"] < 0.5


def test_ignored_pixels_do_not_count_in_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analytic_smear((60, 120), [(15, 20, 9), (40, 40, 9), (80, 20, 9), (105, 40, 9)])
    half = partly_annotated(whole, 60)
    model = Segmentation.preset("tiny")
    monkeypatch.setattr(model, "probability", lambda image: (whole.labels > 0).astype(np.float32))
    evaluation = model.evaluate([half])
    assert evaluation.value == 1
    assert evaluation.counts == (2, 0, 0)
    assert evaluation.pq == 1
    unmarked = model.evaluate([replace(half, ignored=None)])
    assert unmarked.value < 0.8
    assert unmarked.counts == (unmarked.tp, unmarked.fp, unmarked.fn) == (2, 2, 0)
    assert unmarked.pq == pytest.approx(2 / 3)


def test_a_component_that_reaches_into_ignored_pixels_is_scored_on_its_annotated_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = np.zeros((30, 60), np.int32)
    labels[10:20, 20:30] = 1  # cut by the ignored region; the cell goes on to column 45
    ignored = np.zeros(labels.shape, bool)
    ignored[:, 30:] = True
    smear = Smear(np.zeros((30, 60, 3), np.uint8), labels, np.array([0]), ignored=ignored)
    found = np.zeros(labels.shape, np.float32)
    found[10:20, 20:45] = 1
    model = Segmentation.preset("tiny")
    monkeypatch.setattr(model, "probability", lambda image: found)
    evaluation = model.evaluate([smear])
    assert evaluation.counts == (1, 0, 0)
    assert evaluation.value == evaluation.pq == 1
