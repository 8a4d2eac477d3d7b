"""Differentiable augmentation: what D sees is changed, real and synthesised crops alike (Zhao, Karras et al. 2020).

From few smears D learns the crops by heart. Turned, scaled and recoloured copies keep it from that; G is not taught
the changes, because the gradient flows back through them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

COLUMNS = 9  # cosine and sine over the scale, saturation, three gains, three shifts

_SCALE = 0.22  # of the logarithm: from 0.8 to 1.25
_SATURATION = (0.5, 1.5)
_GAIN = 0.25
_SHIFT = 0.2


def draw_changes(n: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw the changes of `n` crops; `share` of them are changed, the rows of the others are the identity.

    Returns
    -------
    (n, COLUMNS) float32 array

    Examples
    --------
    >>> draw_changes(1, 0.0, np.random.default_rng(0)).tolist()
    [[1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]
    """
    angle = rng.uniform(0, 2 * np.pi, (n, 1))
    scale = np.exp(rng.uniform(-_SCALE, _SCALE, (n, 1)))
    drawn = np.concatenate(
        [
            np.cos(angle) / scale,
            np.sin(angle) / scale,
            rng.uniform(*_SATURATION, (n, 1)),
            1 + rng.uniform(-_GAIN, _GAIN, (n, 3)),
            rng.uniform(-_SHIFT, _SHIFT, (n, 3)),
        ],
        1,
    )
    drawn[rng.random(n) >= share] = (1, 0, 1, 1, 1, 1, 0, 0, 0)
    return drawn.astype(np.float32)


def augment_for_discriminator(condition: Tensor, image: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Change conditions and images as drawn.

    Parameters
    ----------
    condition : (B, C, H, W) float tensor
        Turned and scaled with the image, by nearest pixel.
    image : (B, 3, H, W) float tensor
        RGB in [-1, 1]; beyond the edge it goes on by reflection.
    changes : (B, COLUMNS) float tensor

    Returns
    -------
    tuple of tensors
        Of the same shapes.
    """
    height, width = image.shape[-2:]
    cosine, sine = changes[:, 0], changes[:, 1]
    nothing = torch.zeros_like(cosine)
    # coordinates run from -1 to 1 over either side, whatever their lengths
    rows = (
        torch.stack([cosine, -sine * height / width, nothing], 1),
        torch.stack([sine * width / height, cosine, nothing], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), [len(image), 1, height, width], align_corners=False)
    turned = F.grid_sample(image.float(), grid, padding_mode="reflection", align_corners=False)
    seen = F.grid_sample(condition.float(), grid, mode="nearest", padding_mode="reflection", align_corners=False)
    grey = turned.mean(1, keepdim=True)
    saturation, gain, shift = (part[:, :, None, None] for part in torch.split(changes[:, 2:], [1, 3, 3], 1))
    return seen, (grey + saturation * (turned - grey)) * gain + shift
