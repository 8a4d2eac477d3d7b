"""Losses of equations 4 to 7 of Bailo, Ham and Shin 2019, as pure functions of discriminator outputs and images.

The output of a discriminator is one list of tensors per scale: the features of its layers and, last, the score map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.networks.discriminators import DiscriminatorOutput
from smearsynth.synthesis.networks.features import PerceptualFeatures

Outputs = Sequence[Sequence[Tensor]]


def discriminator_loss(real: Outputs, fake: Outputs, form: str) -> Tensor:
    """Return the loss of D: equation 5 (``log``) or its least-squares form (``lsgan``).

    Parameters
    ----------
    real, fake : list of lists of tensors
        Outputs for real and for synthetic images.
    form : {"lsgan", "log"}

    Returns
    -------
    scalar tensor
        Sum over the scales; small if real scores are high and fake scores are low.
    """
    return sum(
        (0.5 * (_score(r[-1], True, form) + _score(f[-1], False, form)) for r, f in zip(real, fake, strict=True)),
        start=torch.zeros((), device=real[0][-1].device),
    )


def generator_loss(fake: Outputs, form: str) -> Tensor:
    """Return the adversarial loss of G (equation 5, non-saturating): small if its images are scored as real."""
    return sum((_score(f[-1], True, form) for f in fake), start=torch.zeros((), device=fake[0][-1].device))


def feature_matching_loss(real: Outputs, fake: Outputs) -> Tensor:
    """Return equation 6: the mean L1 distance of the features of all layers except the score.

    As in the reference code, a layer has the weight 4 / (layers + 1) and a scale 1 / scales, so that the loss does
    not depend on the depth of D. Gradients flow to `fake` only.
    """
    total = torch.zeros((), device=fake[0][-1].device)
    for r, f in zip(real, fake, strict=True):
        weight = 4.0 / len(r) / len(real)
        for a, b in zip(r[:-1], f[:-1], strict=True):
            total = total + weight * _distance(a.detach(), b)
    return total


def label_loss(logits: Tensor, condition: Tensor, *, real: bool, partial: bool = False) -> Tensor:
    """Return the cross entropy of the label-aware D with pixel classes, or with "fake" (Sushko et al. 2021).

    G minimises the loss of its images with ``real=True``. All classes have the same total weight, however rare.

    Parameters
    ----------
    logits : (B, classes + 2, H, W) float tensor
        Channels: fake, background, classes.
    condition : (B, C, H, W) float tensor
        Channels: background and classes; further channels are ignored. Pixels with 0 in all of them do not count.
    real : bool
        Target: True for the classes, False for "fake".
    partial : bool
        Whether there may be pixels without a class.
    """
    logs = logits.float().log_softmax(1)
    if not real and partial:
        known = condition[:, : logits.shape[1] - 1].float().sum(1)
        return -(logs[:, 0] * known).sum() / known.sum().clamp(min=1)
    if not real:
        return -logs[:, 0].mean()
    target = condition[:, : logits.shape[1] - 1].float()
    counts = target.sum((0, 2, 3))
    weights = target.sum() / (counts.clamp(min=1) * (counts > 0).sum().clamp(min=1))
    return -(logs[:, 1:] * target * weights[:, None, None]).sum() / target.sum().clamp(min=1)


def gradient_penalty(scores: Sequence[Tensor], image: Tensor) -> Tensor:
    """Return R1 (Mescheder et al. 2018): half the squared gradient of D at real images, per patch score.

    Parameters
    ----------
    scores : sequence of tensors
        Score maps of the scales.
    image : (B, 3, H, W) float tensor
        Real images, which require gradients.
    """
    total = torch.zeros((), device=image.device)
    for score in scores:
        (gradient,) = torch.autograd.grad(score.float().sum(), image, create_graph=True)
        total = total + 0.5 * gradient.float().square().sum() / score.numel()
    return total


def perceptual_loss(features: PerceptualFeatures, real: Tensor, fake: Tensor) -> Tensor:
    """Return equation 7: the weighted mean L1 distance of fixed features.

    The weights of the stages are those of the features, for VGG19 1/32, 1/16, ..., 1 from fine to coarse as in the
    reference code.

    Parameters
    ----------
    features : PerceptualFeatures
    real, fake : (B, 3, H, W) float tensors
        RGB in [-1, 1].
    """
    with torch.no_grad():
        targets = features(real)
    outputs = features(fake)
    total = torch.zeros((), device=fake.device)
    for weight, a, b in zip(features.weights, targets, outputs, strict=True):
        total = total + weight * _distance(a, b)
    return total


def colour_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the L1 distance at 1/16 of the resolution: it keeps the stain and leaves texture to D."""
    return F.l1_loss(F.avg_pool2d(fake, 16), F.avg_pool2d(real, 16))


def generator_objective(
    real: Tensor,
    fake: Tensor,
    condition: Tensor,
    outputs: tuple[DiscriminatorOutput, DiscriminatorOutput],
    features: PerceptualFeatures | None,
    config: TrainingConfig,
) -> dict[str, Tensor]:
    """Return the weighted terms of equation 4 by name; G minimises their sum.

    Parameters
    ----------
    real, fake : (B, 3, H, W) float tensors
    condition : (B, C, H, W) float tensor
        Input of the discriminators.
    outputs : tuple of Judgement
        Discriminator outputs for `real` and `fake`.
    features : PerceptualFeatures or None
        None omits the perceptual term.
    config : TrainingConfig
        Weights of the terms.
    """
    out_real, out_fake = outputs
    terms = {"adversarial": generator_loss(out_fake.scales, config.adversarial)}
    if config.feature_matching:
        terms["feature_matching"] = config.feature_matching * feature_matching_loss(
            out_real.scales, out_fake.scales
        )
    if out_fake.pixels is not None and config.label_weight:
        terms["labels"] = config.label_weight * label_loss(out_fake.pixels, condition, real=True)
    if config.perceptual and features is not None:
        terms["perceptual"] = config.perceptual * perceptual_loss(features, real, fake)
    if config.colour:
        terms["colour"] = config.colour * colour_loss(real, fake)
    return terms


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean L1 distance; only the sum is in fp32, half-precision inputs need no copies."""
    return (b - a).abs().mean(dtype=torch.float32)


def _score(score: Tensor, real: bool, form: str) -> Tensor:
    score = score.float()
    if form == "lsgan":
        return ((score - float(real)) ** 2).mean()
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, float(real)))
