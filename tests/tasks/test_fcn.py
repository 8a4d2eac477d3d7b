"""Tests of the FCN-8s and of the Dice loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smears import analytic_smear, partly_annotated, random_smear
from smearsynth.tasks.config import FcnConfig
from smearsynth.tasks.fcn import Fcn8s, as_input, collate, collate_masks, dice_loss, probabilities


def small_network(outputs: int = 1) -> Fcn8s:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Fcn8s(FcnConfig(filters=4, head=8, dropout=0.5), outputs).eval()


def random_images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch))


# The loss.


def test_the_loss_is_equation_8_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    p, t = torch.from_numpy(rng.random((2, 30, 40))), torch.from_numpy(rng.random((2, 30, 40)) < 0.3)
    valid = torch.ones_like(t)
    loss = float(dice_loss(torch.logit(p), t, valid))
    equation_8 = 1 - 2 * float((p * t).sum()) / float((p**2).sum() + t.sum())
    assert loss == pytest.approx(equation_8, abs=1e-3)
    inverted = float(dice_loss(torch.logit(1 - p), t, valid))
    assert float(dice_loss(20.0 * t - 10, t, valid)) < 0.001 < loss
    assert float(dice_loss(-(20.0 * t - 10), t, valid)) > max(loss, inverted)


def test_padding_does_not_count_in_the_loss() -> None:
    smears = [analytic_smear((40, 64)), analytic_smear((64, 40), [(20, 30, 9)])]
    batch = collate(smears, torch.device("cpu"))
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.valid.sum((1, 2)).tolist() == [40 * 64, 64 * 40]
    target = collate_masks([smear.labels > 0 for smear in smears], batch)
    assert target.sum((1, 2)).tolist() == [int((smear.labels > 0).sum()) for smear in smears]
    logits = 20.0 * target - 10
    wrong_padding = torch.where(batch.valid, logits, 10.0)
    loss = float(dice_loss(logits, target, batch.valid))
    assert float(dice_loss(wrong_padding, target, batch.valid)) == loss
    assert float(dice_loss(logits, target | ~batch.valid, batch.valid)) == loss


def test_a_batch_without_cells_has_a_gradient_towards_no_cells() -> None:
    target, valid = torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    logits = torch.zeros(1, 8, 8, requires_grad=True)
    dice_loss(logits, target, valid).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


# The network.


def test_the_network_has_the_layers_of_vgg16_and_both_skip_connections() -> None:
    with torch.device("meta"):
        network = Fcn8s(FcnConfig())
    shapes = [tuple(m.weight.shape) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    filters = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert [out for out, *_ in shapes[:13]] == filters
    assert shapes[13:] == [(4096, 512, 7, 7), (4096, 4096, 1, 1), (1, 4096, 1, 1), (1, 256, 1, 1), (1, 512, 1, 1)]


@pytest.mark.parametrize(("filters", "head"), [(4, 8), (9, 30), (36, 100)])
def test_any_width_can_be_built(filters: int, head: int) -> None:
    network = Fcn8s(FcnConfig(filters=filters, head=head))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert all(norm.num_channels >= 4 * norm.num_groups or norm.num_groups == 1 for norm in norms)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_scores_of_pool3_and_pool4_reach_the_output() -> None:
    network, image = small_network(), random_images(1)
    logits = network(image)
    for layer in (network.score_pool3, network.score_pool4):
        torch.nn.init.zeros_(layer.weight)
        assert not torch.allclose(network(image), logits)
        logits = network(image)


def test_upsampling_is_initially_bilinear_interpolation() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    upsampled = small_network().eightfold(ramp)[0, 0, 16:-16, 16:-16]
    bilinear = torch.nn.functional.interpolate(ramp, scale_factor=8, mode="bilinear")[0, 0, 16:-16, 16:-16]
    assert torch.allclose(upsampled, bilinear, atol=1e-5)


def test_the_output_of_an_image_does_not_depend_on_its_batch() -> None:
    network, images = small_network(), random_images(3)
    assert torch.allclose(network(images)[1:2], network(images[1:2]), atol=1e-4)


def test_probabilities_are_the_sigmoid_of_the_logits_of_one_image() -> None:
    network, image = small_network(2).train(), random_smear(0, (40, 50)).image
    maps = probabilities(network, image)
    assert maps.shape == (2, 40, 50)
    inputs = as_input(image[None], torch.device("cpu"))
    assert (float(inputs.min()), float(inputs.max())) == pytest.approx(
        (image.min() / 127.5 - 1, image.max() / 127.5 - 1)
    )
    with torch.no_grad():
        assert np.allclose(maps, network.eval()(inputs)[0].sigmoid().numpy())


def test_ignored_pixels_do_not_count_in_the_loss() -> None:
    smear = analytic_smear((40, 60), [(12, 20, 8), (45, 20, 8)])
    half = partly_annotated(smear, 30)
    batch = collate([half, half], torch.device("cpu"))
    assert half.ignored is not None
    assert (batch.valid.numpy() == ~half.ignored).all()
    target = collate_masks([half.labels > 0] * 2, batch)
    perfect = (
        torch.from_numpy(smear.labels > 0).float().expand(2, -1, -1) * 40 - 20
    )  # finds the unlabelled cell too
    assert float(dice_loss(perfect, target, batch.valid)) == pytest.approx(0, abs=1e-4)
    assert float(dice_loss(perfect, target, torch.ones_like(batch.valid))) > 0.2
