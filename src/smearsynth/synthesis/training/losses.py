"""Equations 4 to 7 of Bailo, Ham and Shin 2019, as pure functions of discriminator outputs and images.

A discriminator output is one list of tensors per scale: the features of every layer, the score map last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.networks.discriminators import Judgement
from smearsynth.synthesis.networks.features import PerceptualFeatures

Outputs = Sequence[Sequence[Tensor]]


def discriminator_loss(real: Outputs, fake: Outputs, form: str) -> Tensor:
    """What D minimises: equation 5 as it stands (``log``) or its least-squares form (``lsgan``).

    Parameters
    ----------
    real, fake : list of lists of tensors
        Outputs for real and for synthesised images.
    form : {"lsgan", "log"}

    Returns
    -------
    scalar tensor
        Sum over the scales; small when real scores are high and fake ones low.
    """
    return sum(
        (0.5 * (_score(r[-1], True, form) + _score(f[-1], False, form)) for r, f in zip(real, fake, strict=True)),
        start=torch.zeros((), device=real[0][-1].device),
    )


def generator_loss(fake: Outputs, form: str) -> Tensor:
    """The adversarial part of what G minimises: its images be scored as real ones (equation 5, non-saturating)."""
    return sum((_score(f[-1], True, form) for f in fake), start=torch.zeros((), device=fake[0][-1].device))


def feature_matching_loss(real: Outputs, fake: Outputs) -> Tensor:
    """Equation 6: mean L1 distance of the features of every layer but the score.

    As in the reference, each layer counts 4 / (layers + 1) and each scale 1 / scales, so that networks of
    other depths keep the same weight. Gradients flow to `fake` alone.
    """
    total = torch.zeros((), device=fake[0][-1].device)
    for r, f in zip(real, fake, strict=True):
        weight = 4.0 / len(r) / len(real)
        for a, b in zip(r[:-1], f[:-1], strict=True):
            total = total + weight * _distance(a.detach(), b)
    return total


def label_loss(logits: Tensor, condition: Tensor, *, real: bool) -> Tensor:
    """What the label-aware D minimises: cross entropy with the class of every pixel, or with "fake".

    G minimises that of its images with ``real=True``: every pixel be taken for its class (Sushko et al. 2021).
    Rare classes weigh as much as frequent ones.

    Parameters
    ----------
    logits : (B, classes + 2, H, W) float tensor
        Fake, background, classes.
    condition : (B, C, H, W) float tensor
        Background and classes first; what follows has no part here.
    real : bool
        Whether the images are to be told as real.
    """
    logs = logits.float().log_softmax(1)
    if not real:
        return -logs[:, 0].mean()
    wanted = condition[:, : logits.shape[1] - 1].float()
    counts = wanted.sum((0, 2, 3))
    weights = wanted.sum() / (counts.clamp(min=1) * (counts > 0).sum().clamp(min=1))
    return -(logs[:, 1:] * wanted * weights[:, None, None]).sum() / wanted.sum().clamp(min=1)


def slope_penalty(scores: Sequence[Tensor], image: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018): half the squared gradient of D at real images, per score of a patch.

    Parameters
    ----------
    scores : sequence of tensors
        Score maps of the scales.
    image : (B, 3, H, W) float tensor
        What they judge; it requires a gradient.
    """
    total = torch.zeros((), device=image.device)
    for score in scores:
        (slope,) = torch.autograd.grad(score.float().sum(), image, create_graph=True)
        total = total + 0.5 * slope.float().square().sum() / score.numel()
    return total


def perceptual_loss(features: PerceptualFeatures, real: Tensor, fake: Tensor) -> Tensor:
    """Equation 7 on fixed features F, layers weighted 1/32, 1/16, ..., 1 from fine to coarse as in the reference.

    Parameters
    ----------
    features : PerceptualFeatures
    real, fake : (B, 3, H, W) float tensors
        RGB in [-1, 1].
    """
    with torch.no_grad():
        wanted = features(real)
    got = features(fake)
    total = torch.zeros((), device=fake.device)
    for weight, a, b in zip(features.weights, wanted, got, strict=True):
        total = total + weight * _distance(a, b)
    return total


def colour_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L1 distance at 1/16 of the resolution: holds the stain, leaves pallor and texture to the discriminators."""
    return F.l1_loss(F.avg_pool2d(fake, 16), F.avg_pool2d(real, 16))


def generator_objective(
    real: Tensor,
    fake: Tensor,
    condition: Tensor,
    judged: tuple[Judgement, Judgement],
    features: PerceptualFeatures | None,
    config: TrainingConfig,
) -> dict[str, Tensor]:
    """The weighted terms of equation 4, by name; G minimises their sum.

    Parameters
    ----------
    real, fake : (B, 3, H, W) float tensors
    condition : (B, C, H, W) float tensor
        As the discriminators saw it.
    judged : tuple of Judgement
        Of `real` and of `fake`.
    features : PerceptualFeatures or None
        None leaves the perceptual term out.
    config : TrainingConfig
        The weights.
    """
    of_real, of_fake = judged
    terms = {"adversarial": generator_loss(of_fake.scales, config.adversarial)}
    if config.feature_matching:
        terms["feature_matching"] = config.feature_matching * feature_matching_loss(of_real.scales, of_fake.scales)
    if of_fake.pixels is not None and config.label_weight:
        terms["labels"] = config.label_weight * label_loss(of_fake.pixels, condition, real=True)
    if config.perceptual and features is not None:
        terms["perceptual"] = config.perceptual * perceptual_loss(features, real, fake)
    if config.colour:
        terms["colour"] = config.colour * colour_loss(real, fake)
    return terms


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean L1 distance; halves need no copies in full precision, only the sum does."""
    return (b - a).abs().mean(dtype=torch.float32)


def _score(score: Tensor, wanted_real: bool, form: str) -> Tensor:
    score = score.float()
    if form == "lsgan":
        return ((score - float(wanted_real)) ** 2).mean()
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, float(wanted_real)))
