"""Tests of the contour model and of the separation of touching cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smears import analytic_smear, disc_mask, random_smear
from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import Smear
from smearsynth.tasks.base import Prediction
from smearsynth.tasks.contours import Contours, contour_mask, separate_cells
from smearsynth.tasks.fitting import fit

TOUCHING_CELLS = analytic_smear((64, 96), [(30, 32, 14), (56, 32, 14)])


def large_cells(seed: int) -> Smear:
    """Return a field of cells of 28 px, most of which touch; an FCN-8s resolves details of 8 px."""
    rng = np.random.default_rng(seed)
    centres = [(x, y) for x in range(16, 128, 27) for y in range(16, 128, 27) if rng.random() < 0.7]
    discs = [(x + rng.uniform(-2, 2), y + rng.uniform(-2, 2), rng.uniform(13, 15)) for x, y in centres]
    return analytic_smear((128, 128), discs, noise=3.0, seed=seed, name=str(seed))


@pytest.fixture(scope="module")
def trained_model() -> Contours:
    """A small model trained on eight fields of large cells."""
    model = Contours.preset("tiny", steps=200, crop=(96, 96), learning_rate=5e-3)
    fit(model, [large_cells(k) for k in range(8)], validation=[])
    return model


# From probabilities to cells.


def test_a_contour_lies_on_both_sides_of_every_outline() -> None:
    contour = contour_mask(TOUCHING_CELLS.labels, 2)
    assert contour[32, 42:45].all()  # between the cells
    assert not contour[32, 30]
    assert not contour[5, 5]
    disc = analytic_smear((64, 64), [(32, 32, 15)]).labels
    ring = disc_mask((64, 64), (32, 32, 18)) & ~disc_mask((64, 64), (32, 32, 12))
    assert (contour_mask(disc, 2) & ring).sum() > 0.95 * contour_mask(disc, 2).sum()
    areas = [int(contour_mask(disc, width).sum()) for width in (1, 2, 3)]
    assert areas == sorted(areas)


def test_true_masks_give_the_true_cells() -> None:
    for smear in (TOUCHING_CELLS, *(large_cells(k) for k in range(5))):
        labels = separate_cells(
            (smear.labels > 0).astype(float), contour_mask(smear.labels, 3).astype(float), smoothing=1
        )
        matches = match(label_ious(labels, smear.labels), 0.8)
        assert (matches.tp, matches.fp) == (smear.count, 0)


def test_touching_cells_are_separated_by_a_ridge_of_the_given_depth() -> None:
    cells, contours = (TOUCHING_CELLS.labels > 0).astype(float), contour_mask(TOUCHING_CELLS.labels, 2)
    inside = 0.0001
    for ridge, count in ((inside, 1), (10 * inside, 1), (1000 * inside, 2), (1.0, 2)):
        assert separate_cells(cells, np.where(contours, ridge, inside), smoothing=0).max() == count
    assert separate_cells(cells, np.where(contours, 10 * inside, inside), smoothing=0, depth=2).max() == 2


def test_separated_cells_cover_the_mask_and_meet_at_the_contour() -> None:
    smear = TOUCHING_CELLS
    labels = separate_cells((smear.labels > 0).astype(float), contour_mask(smear.labels, 3).astype(float))
    assert ((labels > 0) == (smear.labels > 0)).all()
    assert label_ious(labels, smear.labels).max(1) == pytest.approx([1, 1], abs=0.05)


def test_cells_smaller_than_their_contour_are_kept_and_specks_are_removed() -> None:
    smear = analytic_smear((64, 64), [(20, 20, 4), (45, 45, 1)])
    cells, contours = (smear.labels > 0).astype(float), contour_mask(smear.labels, 4).astype(float)
    assert separate_cells(cells, contours, min_area=10).max() == 1
    assert separate_cells(cells, contours).max() == 2
    assert separate_cells(cells * 0, contours).max() == 0


# Training.


def test_the_loss_is_the_sum_of_both_outputs() -> None:
    model = Contours.preset("tiny")
    smears = [random_smear(0)]
    target = torch.from_numpy(np.stack([smears[0].labels > 0, contour_mask(smears[0].labels, 3)]))[None]
    perfect = 30.0 * target - 15

    def loss_of(logits: torch.Tensor) -> float:
        model.network.forward = lambda images: logits  # type: ignore[method-assign]
        return float(model.loss(smears))

    assert loss_of(perfect) < 0.01
    assert loss_of(-perfect) > 1.8
    for output in (0, 1):
        one_inverted = perfect.clone()
        one_inverted[:, output] *= -1
        assert loss_of(one_inverted) == pytest.approx(loss_of(-perfect) / 2, rel=0.1)


def test_a_trained_model_separates_touching_cells(trained_model: Contours) -> None:
    prediction = trained_model.predict(TOUCHING_CELLS.image)
    assert prediction.counts() == {"cell": 2}
    assert prediction.labels is not None
    assert label_ious(prediction.labels, TOUCHING_CELLS.labels).max(0).min() > 0.7


def test_a_trained_model_has_a_higher_box_ap_than_an_untrained_one(trained_model: Contours) -> None:
    test_smears = [large_cells(100 + k) for k in range(6)]
    trained, untrained = trained_model.evaluate(test_smears), Contours.preset("tiny", seed=1).evaluate(test_smears)
    assert trained.metric == "ap"
    assert trained.ap50 is not None
    assert trained.ap50 > 0.6 > untrained.value + 0.4
    assert trained.value < trained.ap50
    tp, fp, fn = trained.counts
    assert tp + fn == sum(smear.count for smear in test_smears)
    assert tp > fp + fn
    assert trained.pq is not None
    assert untrained.pq is not None
    assert trained.pq > 0.5 > untrained.pq + 0.3
    assert trained.precision is not None
    assert trained.precision.ap().ap == pytest.approx(trained.value, abs=1e-6)


def test_cells_are_counted_by_their_labels_and_not_by_their_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    smear = analytic_smear((64, 64), [(32, 32, 14)])
    rim = smear.labels * contour_mask(smear.labels, 3)  # the same box, but little of the area
    model = Contours.preset("tiny")
    prediction = Prediction.of_labels(rim, np.ones(1), ("cell",))
    monkeypatch.setattr(model, "predict", lambda image: prediction)
    evaluation = model.evaluate([smear])
    assert evaluation.value == pytest.approx(1)  # AP of boxes
    assert (evaluation.counts, evaluation.pq, evaluation.images[0].score) == ((0, 1, 1), 0, 0)
