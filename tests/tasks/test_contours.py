from __future__ import annotations

import numpy as np
import pytest
import torch

from smears import analytic_smear, disc_mask, random_smear
from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import Smear
from smearsynth.tasks import Contours, fit
from smearsynth.tasks.contours import contour_mask, separate_cells

PAIR = analytic_smear((64, 96), [(30, 32, 14), (56, 32, 14)])  # touching discs


def large_cells(seed: int) -> Smear:
    """A field of cells of 28 px, most of which touch: an FCN-8s thinks in 8 px."""
    rng = np.random.default_rng(seed)
    centres = [(x, y) for x in range(16, 128, 27) for y in range(16, 128, 27) if rng.random() < 0.7]
    discs = [(x + rng.uniform(-2, 2), y + rng.uniform(-2, 2), rng.uniform(13, 15)) for x, y in centres]
    return analytic_smear((128, 128), discs, noise=3.0, seed=seed, name=str(seed))


@pytest.fixture(scope="module")
def learned() -> Contours:
    """A small model that has seen eight fields of large cells."""
    model = Contours.preset("tiny", steps=200, crop=(96, 96), learning_rate=5e-3)
    fit(model, [large_cells(k) for k in range(8)], validation=[])
    return model


# From probabilities to cells.


def test_a_contour_lies_on_both_sides_of_every_outline() -> None:
    labels = PAIR.labels
    contour = contour_mask(labels, 2)
    assert contour[32, 42:45].all()  # where the two meet
    assert not contour[32, 30]
    assert not contour[5, 5]
    disc = analytic_smear((64, 64), [(32, 32, 15)]).labels
    ring = disc_mask((64, 64), (32, 32, 18)) & ~disc_mask((64, 64), (32, 32, 12))
    assert (contour_mask(disc, 2) & ring).sum() > 0.95 * contour_mask(disc, 2).sum()
    areas = [int(contour_mask(disc, width).sum()) for width in (1, 2, 3)]
    assert areas == sorted(areas)


def test_true_maps_give_the_true_cells_back() -> None:
    for smear in (PAIR, *(large_cells(k) for k in range(5))):
        labels = separate_cells(
            (smear.labels > 0).astype(float), contour_mask(smear.labels, 3).astype(float), smoothing=1
        )
        found = match(label_ious(labels, smear.labels), 0.8)
        assert (found.tp, found.fp) == (smear.count, 0)


def test_touching_cells_are_one_unless_a_contour_stands_out_between_them() -> None:
    cells, neck = (PAIR.labels > 0).astype(float), contour_mask(PAIR.labels, 2)
    inside = 0.0001
    for between, wanted in ((inside, 1), (10 * inside, 1), (1000 * inside, 2), (1.0, 2)):
        contours = np.where(neck, between, inside)
        assert separate_cells(cells, contours, smoothing=0).max() == wanted
    assert separate_cells(cells, np.where(neck, 10 * inside, inside), smoothing=0, depth=2).max() == 2


def test_cells_keep_their_whole_area_and_meet_along_the_contour() -> None:
    labels = separate_cells((PAIR.labels > 0).astype(float), contour_mask(PAIR.labels, 3).astype(float))
    assert ((labels > 0) == (PAIR.labels > 0)).all()
    assert label_ious(labels, PAIR.labels).max(1) == pytest.approx([1, 1], abs=0.05)


def test_small_cells_that_are_all_contour_stay_and_specks_go() -> None:
    smear = analytic_smear((64, 64), [(20, 20, 4), (45, 45, 1)])
    cells, contours = (smear.labels > 0).astype(float), contour_mask(smear.labels, 4).astype(float)
    assert separate_cells(cells, contours, min_area=10).max() == 1
    assert separate_cells(cells, contours).max() == 2
    assert separate_cells(cells * 0, contours).max() == 0


# Learning.


def test_the_loss_is_the_sum_of_both_heads() -> None:
    model = Contours.preset("tiny")
    smears = [random_smear(0)]
    truth = torch.from_numpy(np.stack([smears[0].labels > 0, contour_mask(smears[0].labels, 3)]))[None]
    perfect = 30.0 * truth - 15

    def loss_of(logits: torch.Tensor) -> float:
        model.network.forward = lambda images: logits  # type: ignore[method-assign]
        return float(model.loss(smears))

    assert loss_of(perfect) < 0.01
    assert loss_of(-perfect) > 1.8
    for spoilt in (0, 1):
        half = perfect.clone()
        half[:, spoilt] *= -1
        assert loss_of(half) == pytest.approx(loss_of(-perfect) / 2, rel=0.1)


def test_it_learns_to_tell_touching_cells_apart(learned: Contours) -> None:
    found = learned.predict(PAIR.image)
    assert found.counts() == {"cell": 2}
    assert found.labels is not None
    assert label_ious(found.labels, PAIR.labels).max(0).min() > 0.7


def test_it_is_scored_by_the_ap_of_its_boxes(learned: Contours) -> None:
    unseen = [large_cells(100 + k) for k in range(6)]
    found, fresh = learned.evaluate(unseen), Contours.preset("tiny", seed=1).evaluate(unseen)
    assert found.metric == "ap"
    assert found.ap50 is not None
    assert found.ap50 > 0.6 > fresh.value + 0.4
    assert found.value < found.ap50
    tp, fp, fn = found.counts
    assert tp + fn == sum(smear.count for smear in unseen)
    assert tp > fp + fn
    assert found.precision is not None
    assert found.precision.ap().ap == pytest.approx(found.value, abs=1e-6)
