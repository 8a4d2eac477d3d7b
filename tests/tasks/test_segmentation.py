from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smears import analytic_smear, random_smear
from smearsynth.tasks import FitRun, Segmentation, fit
from smearsynth.tasks.config import FcnConfig
from smearsynth.tasks.fcn import Fcn8s, collate, collate_masks, dice_loss


@pytest.fixture(scope="module")
def learned() -> Segmentation:
    """A small model that has seen smears 0 to 7."""
    model = Segmentation.preset("tiny", steps=60, seed=2)
    fit(model, [random_smear(k) for k in range(8)])
    return model


# The loss and the network.


def test_the_loss_is_the_papers_dice() -> None:
    rng = np.random.default_rng(0)
    p, t = torch.from_numpy(rng.random((2, 30, 40))), torch.from_numpy(rng.random((2, 30, 40)) < 0.3)
    everywhere = torch.ones_like(t)
    found = float(dice_loss(torch.logit(p), t, everywhere))
    literal = 1 - 2 * float((p * t).sum()) / float((p**2).sum() + t.sum())  # equation 8
    assert found == pytest.approx(literal, abs=1e-3)
    flipped = float(dice_loss(torch.logit(1 - p), t, everywhere))
    truth = float(dice_loss(20.0 * t - 10, t, everywhere))
    assert truth < 0.001 < found
    assert float(dice_loss(-(20.0 * t - 10), t, everywhere)) > max(found, flipped)


def test_padding_does_not_count_in_the_loss() -> None:
    smears = [analytic_smear((40, 64)), analytic_smear((64, 40), [(20, 30, 9)])]
    batch = collate(smears, torch.device("cpu"))
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.valid.sum((1, 2)).tolist() == [40 * 64, 64 * 40]
    target = collate_masks([smear.labels > 0 for smear in smears], batch)
    assert target.sum((1, 2)).tolist() == [int((smear.labels > 0).sum()) for smear in smears]
    good = 20.0 * target - 10
    spoilt = torch.where(batch.valid, good, 10.0)
    assert float(dice_loss(spoilt, target, batch.valid)) == float(dice_loss(good, target, batch.valid))


def test_without_cells_the_loss_asks_for_none() -> None:
    none, valid = torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    logits = torch.zeros(1, 8, 8, requires_grad=True)
    dice_loss(logits, none, valid).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_the_network_has_the_layers_of_vgg16_and_both_skips() -> None:
    with torch.device("meta"):
        network = Fcn8s(FcnConfig())
    shapes = [tuple(m.weight.shape) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [out for out, *_ in shapes[:13]] == widths
    assert shapes[13:] == [(4096, 512, 7, 7), (4096, 4096, 1, 1), (1, 4096, 1, 1), (1, 256, 1, 1), (1, 512, 1, 1)]


@pytest.mark.parametrize(("filters", "head"), [(4, 8), (9, 30), (36, 100)])
def test_any_width_can_be_built(filters: int, head: int) -> None:
    network = Fcn8s(FcnConfig(filters=filters, head=head))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert all(norm.num_channels >= 4 * norm.num_groups or norm.num_groups == 1 for norm in norms)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_scores_of_pool3_and_pool4_reach_the_output() -> None:
    network = Fcn8s(FcnConfig(filters=4, head=8, dropout=0.0)).eval()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = network(image)
    for layer in (network.score_pool3, network.score_pool4):
        torch.nn.init.zeros_(layer.weight)
        assert not torch.allclose(network(image), before)
        before = network(image)


def test_upsampling_starts_as_bilinear_interpolation() -> None:
    network = Fcn8s(FcnConfig(filters=4, head=8))
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    up = network.eightfold(ramp)[0, 0, 16:-16, 16:-16]
    wanted = torch.nn.functional.interpolate(ramp, scale_factor=8, mode="bilinear")[0, 0, 16:-16, 16:-16]
    assert torch.allclose(up, wanted, atol=1e-5)


# Fit, predict, evaluate.


def test_it_learns_to_segment_smears_it_has_not_seen(learned: Segmentation) -> None:
    unseen = [random_smear(100 + k) for k in range(4)]
    fresh = Segmentation.preset("tiny", seed=2).evaluate(unseen)
    found = learned.evaluate(unseen)
    assert found.metric == "dice"
    assert found.value > 0.85 > fresh.value + 0.1
    assert found.value == pytest.approx(np.mean([image.score for image in found.images]))
    assert [image.name for image in found.images] == [smear.name for smear in unseen]


def test_a_prediction_covers_the_cells_at_any_size(learned: Segmentation) -> None:
    smear = analytic_smear((70, 101), [(30, 30, 11), (75, 40, 11)])
    found = learned.predict(smear.image)
    assert found.labels is not None
    assert found.labels.shape == (70, 101)
    assert found.counts() == {"cell": 2}
    for box, truth in zip(sorted(found.boxes.tolist()), sorted(smear.boxes().tolist()), strict=True):
        assert box == pytest.approx(truth, abs=4)
    assert ((found.scores > 0.5) & (found.scores <= 1)).all()


def test_cells_that_touch_are_one_component_and_counted_as_such(learned: Segmentation) -> None:
    touching = analytic_smear((64, 96), [(30, 32, 11), (52, 32, 11)])
    score = learned.evaluate([touching]).images[0]
    assert score.score > 0.8
    assert (score.tp + score.fp, score.tp + score.fn) == (1, 2)


def test_an_image_without_cells_scores_one_only_when_left_empty(learned: Segmentation) -> None:
    empty = analytic_smear((64, 64), [])
    model = Segmentation.preset("tiny")
    torch.nn.init.zeros_(model.network.deep[-1].weight)
    for bias, wanted in ((-9.0, 1.0), (9.0, 0.0)):
        for layer in (model.network.score_pool3, model.network.score_pool4):
            torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(model.network.deep[-1].bias, bias)
        assert model.evaluate([empty]).value == wanted


def test_the_batch_does_not_change_what_is_said_of_a_smear(learned: Segmentation) -> None:
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    network = learned.network.eval()
    together = network(images)
    assert torch.allclose(together[1:2], network(images[1:2]), atol=1e-4)


@pytest.mark.realdata
def test_it_reads_real_smears(real_data: Path) -> None:
    from smearsynth.datasets import open_smears

    smears = open_smears(real_data / "chula", split="train", limit=6)
    model = Segmentation.preset("cpu", steps=8, batch=2, validate_every=8)
    report = fit(model, smears, FitRun())
    assert report.history[-1]["loss"] < 0.5
