"""Losses: values from their definitions, monotonicity and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.networks.discriminators import DiscriminatorOutput
from smearsynth.synthesis.training.losses import (
    colour_loss,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    generator_objective,
    gradient_penalty,
    label_loss,
    perceptual_loss,
)

FORMS = pytest.mark.parametrize("form", ["lsgan", "log"])


def scores(score: float, scales: int = 2) -> list[list[Tensor]]:
    """Return outputs of a discriminator with the same score for all patches."""
    return [[torch.zeros(1, 2, 4, 4), torch.full((1, 1, 3, 3), score)] for _ in range(scales)]


def judgements(outputs: tuple) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
    """Return outputs of the patch discriminators without a label-aware one."""
    real, fake = outputs
    return DiscriminatorOutput(real, None), DiscriminatorOutput(fake, None)


class Pyramid(nn.Module):
    """Perceptual features for tests: the image and the downsampled image."""

    weights = (0.5, 1.0)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image * 1, F.avg_pool2d(image, 4)]


@FORMS
def test_discriminator_loss_is_larger_for_wrong_scores(form):
    right = discriminator_loss(scores(1.0), scores(0.0), form)
    unsure = discriminator_loss(scores(0.5), scores(0.5), form)
    wrong = discriminator_loss(scores(0.0), scores(1.0), form)

    assert wrong > unsure
    assert wrong > right
    if form == "lsgan":
        assert right == 0
    # Real and fake scores both contribute.
    assert discriminator_loss(scores(0.0), scores(0.0), form) > discriminator_loss(scores(1.0), scores(0.0), form)
    assert discriminator_loss(scores(1.0), scores(1.0), form) > discriminator_loss(scores(1.0), scores(0.0), form)


@FORMS
def test_generator_loss_decreases_with_the_score(form):
    assert generator_loss(scores(1.0), form) < generator_loss(scores(0.3), form)
    assert generator_loss(scores(0.3), form) < generator_loss(scores(-2.0), form)


@FORMS
def test_generator_loss_does_not_saturate(form):
    # log(1 - D) of equation 5 would have a gradient near 0 here.
    score = torch.full((1, 1, 3, 3), -8.0, requires_grad=True)
    generator_loss([[score]], form).backward()
    assert score.grad.sum() < -0.9


@FORMS
def test_scales_are_summed(form):
    assert generator_loss(scores(0.2, 3), form).item() == pytest.approx(
        3 * generator_loss(scores(0.2, 1), form).item()
    )
    assert discriminator_loss(scores(0.2, 3), scores(0.4, 3), form).item() == pytest.approx(
        3 * discriminator_loss(scores(0.2, 1), scores(0.4, 1), form).item()
    )


def test_log_form_is_equation_5():
    # D(x) = 0.8 for a real image and 0.3 for a synthetic one; D is the sigmoid of the score.
    real, fake = (scores(math.log(p / (1 - p)), 1) for p in (0.8, 0.3))

    assert discriminator_loss(real, fake, "log").item() == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)
    assert generator_loss(fake, "log").item() == pytest.approx(-math.log(0.3))


def test_least_squares_form():
    assert discriminator_loss(scores(0.8, 1), scores(0.3, 1), "lsgan").item() == pytest.approx(
        (0.2**2 + 0.3**2) / 2
    )
    assert generator_loss(scores(0.3, 1), "lsgan").item() == pytest.approx(0.7**2)


def test_adversarial_loss_ignores_the_features():
    features = scores(0.7)
    for scale in features:
        scale[0] += 100
    assert torch.equal(generator_loss(features, "lsgan"), generator_loss(scores(0.7), "lsgan"))


def layered(value: float, layers: int = 5, scales: int = 2) -> list[list[Tensor]]:
    return [[torch.full((1, 2, 4, 4), value) for _ in range(layers)] for _ in range(scales)]


def test_feature_matching_is_zero_for_equal_features_and_ignores_the_score():
    real = layered(0.5)
    fake = [[x.clone() for x in scale] for scale in real]
    assert feature_matching_loss(real, fake) == 0
    for scale in fake:
        scale[-1] += 3
    assert feature_matching_loss(real, fake) == 0
    fake[0][1] += 1
    assert feature_matching_loss(real, fake) > 0


@pytest.mark.parametrize(("layers", "scales"), [(5, 2), (5, 1), (4, 3)])
def test_feature_matching_has_the_weights_of_the_reference_code(layers, scales):
    # 4 / (n_layers_D + 1) per layer and 1 / num_D per scale; n_layers_D + 2 outputs including the score
    expected = scales * (layers - 1) * 0.25 * 4 / layers / scales

    loss = feature_matching_loss(layered(0.5, layers, scales), layered(0.75, layers, scales))

    assert loss.item() == pytest.approx(expected)


def test_feature_matching_has_gradients_for_fake_only():
    real, fake = layered(0.5), layered(0.9)
    for outputs in (real, fake):
        for scale in outputs:
            for x in scale:
                x.requires_grad_(True)

    feature_matching_loss(real, fake).backward()

    assert all(x.grad is None for scale in real for x in scale)
    assert all((x.grad > 0).all() for scale in fake for x in scale[:-1])
    assert all(x.grad is None for scale in fake for x in (scale[-1],))


def picture(seed: int = 0, side: int = 64) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, side // 8, side // 8, generator=draw) * 1.6 - 0.8
    return F.interpolate(coarse, size=(side, side), mode="nearest")


def test_perceptual_loss_weights_its_stages_and_has_gradients_for_fake_only():
    real = picture().requires_grad_(True)
    fake = (picture() + 0.1).detach().requires_grad_(True)

    loss = perceptual_loss(Pyramid(), real, fake)
    loss.backward()

    assert loss.item() == pytest.approx(0.1 * (0.5 + 1.0), rel=1e-4)
    assert real.grad is None
    assert (fake.grad > 0).all()


def test_colour_loss_depends_on_the_stain_and_not_on_texture():
    real = picture() * 0.5
    chequered = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2 - 1) * 0.4
    # The pattern is strong but has mean zero in every block.
    assert colour_loss(real, real + chequered).item() == pytest.approx(0, abs=1e-6)
    assert colour_loss(real, real + 0.2).item() == pytest.approx(0.2, rel=1e-4)
    stain = torch.tensor([0.3, 0.0, 0.0]).view(1, 3, 1, 1)
    assert colour_loss(real, real + stain).item() == pytest.approx(0.1, rel=1e-4)


def test_colour_loss_depends_on_the_position_of_the_stain():
    real = torch.zeros(1, 3, 64, 64)
    left, right = real.clone(), real.clone()
    left[..., :32], right[..., 32:] = 1, 1
    assert colour_loss(left, right).item() == pytest.approx(1)


def test_objective_weights_the_terms_of_equation_4():
    real, fake = picture(), picture() + 0.1
    outputs = layered(0.5), layered(0.75)
    config = TrainingConfig(feature_matching=10, perceptual=3, colour=7)

    terms = generator_objective(real, fake, real, judgements(outputs), Pyramid(), config)

    assert list(terms) == ["adversarial", "feature_matching", "perceptual", "colour"]
    assert terms["adversarial"].item() == pytest.approx(2 * 0.25**2)
    assert terms["feature_matching"].item() == pytest.approx(10 * feature_matching_loss(*outputs).item())
    assert terms["perceptual"].item() == pytest.approx(3 * 0.15, rel=1e-4)
    assert terms["colour"].item() == pytest.approx(7 * 0.1, rel=1e-4)


def test_terms_with_weight_zero_are_omitted():
    config = TrainingConfig(feature_matching=0, perceptual=0, colour=0)
    outputs = layered(0.5), layered(0.75)
    both = judgements(outputs)
    assert list(generator_objective(picture(), picture(1), picture(), both, Pyramid(), config)) == ["adversarial"]
    without = generator_objective(picture(), picture(1), picture(), both, None, TrainingConfig())
    assert list(without) == ["adversarial", "feature_matching", "colour"]


def test_losses_of_half_precision_outputs_are_fp32():
    halves = [[x.bfloat16() for x in scale] for scale in scores(0.3)]
    for loss in (
        generator_loss(halves, "log"),
        discriminator_loss(halves, halves, "lsgan"),
        feature_matching_loss(halves, halves),
    ):
        assert loss.dtype == torch.float32


def logits_of(classes: Tensor, confidence: float = 4.0) -> Tensor:
    """Return logits (1, 4, H, W) of pixel classes: 0 fake, 1 background, 2 and 3 cells."""
    return confidence * F.one_hot(classes, 4).permute(2, 0, 1)[None].float()


def test_label_loss_is_small_for_the_right_class_only():
    truth = torch.tensor([[1, 1, 1, 1], [1, 1, 2, 3]])
    # The fourth channel, boundaries, is ignored.
    condition = F.one_hot(truth - 1, 4).permute(2, 0, 1)[None].float()
    right, swapped, fake = (
        label_loss(logits_of(x), condition, real=True) for x in (truth, truth % 3 + 1, truth * 0)
    )

    assert right < 0.1 < swapped
    assert right < 0.1 < fake
    assert (
        label_loss(logits_of(truth * 0), condition, real=False)
        < 0.1
        < label_loss(logits_of(truth), condition, real=False)
    )


def test_label_loss_has_equal_weights_for_rare_and_frequent_classes():
    truth = torch.ones(10, 10, dtype=torch.long)
    truth[0, 0] = 2
    condition = F.one_hot(truth - 1, 4).permute(2, 0, 1)[None].float()
    background = torch.ones_like(truth)
    assert label_loss(logits_of(background), condition, real=True) > 1.9  # half of the loss of a wrong pixel


def test_gradient_penalty_is_half_the_squared_gradient_per_score():
    image = torch.randn(2, 3, 8, 8, requires_grad=True)
    scores = [(5 * image).mean(1, keepdim=True), image.sum(1, keepdim=True)]

    penalty = gradient_penalty(scores, image)

    assert penalty.item() == pytest.approx(0.5 * 3 * (5 / 3) ** 2 + 0.5 * 3 * 1, rel=1e-5)
    assert gradient_penalty([scores[0] * 0], image).item() == 0


def test_pixels_without_a_class_do_not_count_in_the_label_loss():
    logits = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    conditions = torch.zeros(1, 3, 4, 6)
    conditions[:, 0, :, :2] = 1
    conditions[:, 1, :, 2:4] = 1  # the last two columns have no class
    for real in (True, False):
        expected = label_loss(logits[..., :4], conditions[..., :4], real=real)
        assert label_loss(logits, conditions, real=real, partial=True).item() == pytest.approx(expected.item())
    full = conditions[..., :4]
    partial = label_loss(logits[..., :4], full, real=False, partial=True)
    assert partial.item() == pytest.approx(label_loss(logits[..., :4], full, real=False).item())
