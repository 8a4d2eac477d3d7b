"""Differentiable discriminator augmentation of real and synthetic crops (Zhao, Karras et al. 2020).

With few smears D memorises the crops. Rotated, scaled and recoloured copies prevent this. G does not learn to
imitate the augmentation, because the gradient is propagated through it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

COLUMNS = 9  # cosine and sine divided by the scale, saturation, three gains, three shifts

_LOG_SCALE = 0.22  # range of the logarithm of the scale: from 0.8 to 1.25
_SATURATION = (0.5, 1.5)
_GAIN = 0.25
_SHIFT = 0.2


def draw_changes(n: int, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw the augmentation parameters of `n` crops.

    Parameters
    ----------
    n : int
    fraction : float
        Expected fraction of augmented crops.
    rng : Generator

    Returns
    -------
    (n, COLUMNS) float32 array
        Rows of crops without augmentation are the identity.

    Examples
    --------
    >>> draw_changes(1, 0.0, np.random.default_rng(0)).tolist()
    [[1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    angle = rng.uniform(0, 2 * np.pi, (n, 1))
    scale = np.exp(rng.uniform(-_LOG_SCALE, _LOG_SCALE, (n, 1)))
    changes = np.concatenate(
        [
            np.cos(angle) / scale,
            np.sin(angle) / scale,
            rng.uniform(*_SATURATION, (n, 1)),
            1 + rng.uniform(-_GAIN, _GAIN, (n, 3)),
            rng.uniform(-_SHIFT, _SHIFT, (n, 3)),
        ],
        1,
    )
    changes[rng.random(n) >= fraction] = (1, 0, 1, 1, 1, 1, 0, 0, 0)
    return changes.astype(np.float32)


def augment_for_discriminator(condition: Tensor, image: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Augment conditions and images.

    Parameters
    ----------
    condition : (B, C, H, W) float tensor
        Rotated and scaled with the image, by nearest neighbour.
    image : (B, 3, H, W) float tensor
        RGB in [-1, 1]; extended by reflection.
    changes : (B, COLUMNS) float tensor
        From `draw_changes`.

    Returns
    -------
    tuple of tensors
        Augmented condition and image, in the same shapes.
    """
    height, width = image.shape[-2:]
    cosine, sine = changes[:, 0], changes[:, 1]
    zero = torch.zeros_like(cosine)
    # The coordinates of affine_grid run from -1 to 1 along both sides, whatever their lengths.
    rows = (
        torch.stack([cosine, -sine * height / width, zero], 1),
        torch.stack([sine * width / height, cosine, zero], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), [len(image), 1, height, width], align_corners=False)
    rotated = F.grid_sample(image.float(), grid, padding_mode="reflection", align_corners=False)
    conditions = F.grid_sample(
        condition.float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    grey = rotated.mean(1, keepdim=True)
    saturation, gain, shift = (part[:, :, None, None] for part in torch.split(changes[:, 2:], [1, 3, 3], 1))
    return conditions, (grey + saturation * (rotated - grey)) * gain + shift
