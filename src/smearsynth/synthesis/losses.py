"""Equations 4 to 7 of Bailo, Ham and Shin 2019, as pure functions of discriminator outputs and images.

A discriminator output is one list of tensors per scale: the features of every layer, the score map last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from smearsynth.synthesis.config import TrainingConfig
from smearsynth.synthesis.features import PerceptualFeatures

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
            total = total + weight * F.l1_loss(b.float(), a.detach().float())
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
        total = total + weight * F.l1_loss(b.float(), a.float())
    return total


def colour_loss(real: Tensor, fake: Tensor) -> Tensor:
    """L1 distance at 1/16 of the resolution: holds the stain, leaves pallor and texture to the discriminators."""
    return F.l1_loss(F.avg_pool2d(fake, 16), F.avg_pool2d(real, 16))


def generator_objective(
    real: Tensor,
    fake: Tensor,
    judged: tuple[Outputs, Outputs],
    features: PerceptualFeatures | None,
    config: TrainingConfig,
) -> dict[str, Tensor]:
    """The weighted terms of equation 4, by name; G minimises their sum.

    Parameters
    ----------
    real, fake : (B, 3, H, W) float tensors
    judged : tuple of outputs
        Discriminator outputs for `real` and for `fake`.
    features : PerceptualFeatures or None
        None leaves the perceptual term out.
    config : TrainingConfig
        The weights.
    """
    of_real, of_fake = judged
    terms = {"adversarial": generator_loss(of_fake, config.adversarial)}
    if config.feature_matching:
        terms["feature_matching"] = config.feature_matching * feature_matching_loss(of_real, of_fake)
    if config.perceptual and features is not None:
        terms["perceptual"] = config.perceptual * perceptual_loss(features, real, fake)
    if config.colour:
        terms["colour"] = config.colour * colour_loss(real, fake)
    return terms


def _score(score: Tensor, wanted_real: bool, form: str) -> Tensor:
    score = score.float()
    if form == "lsgan":
        return ((score - float(wanted_real)) ** 2).mean()
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, float(wanted_real)))
