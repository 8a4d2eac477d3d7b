"""Input of the generator: the condition from labels, and styles pooled over instances and painted onto pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STRIP_PIXELS = 16_384  # pixels summed in float32 before the sums of strips are added


def instance_boundaries(labels: Tensor) -> Tensor:
    """Return the pixels that have a 4-neighbour of another instance; the background counts as an instance.

    Parameters
    ----------
    labels : (B, H, W) integer tensor

    Returns
    -------
    (B, H, W) bool tensor

    Examples
    --------
    >>> instance_boundaries(torch.tensor([[[0, 0, 1, 2, 2, 2]]])).int().tolist()
    [[[0, 1, 1, 1, 0, 0]]]
    """
    edges = torch.zeros_like(labels, dtype=torch.bool)
    horizontal = labels[:, :, 1:] != labels[:, :, :-1]
    edges[:, :, 1:] |= horizontal
    edges[:, :, :-1] |= horizontal
    vertical = labels[:, 1:] != labels[:, :-1]
    edges[:, 1:] |= vertical
    edges[:, :-1] |= vertical
    return edges


def condition(labels: Tensor, channels_of: Tensor, n_classes: int, debris: Tensor | None = None) -> Tensor:
    """Return the condition: one-hot classes, instance boundaries and, if passed, debris.

    Parameters
    ----------
    labels : (B, H, W) integer tensor
        Instance labels.
    channels_of : (B, n + 1) int64 tensor
        One-hot channel of each label: 0 for the background, class id + 1 for the cells.
    n_classes : int
        Number of cell classes.
    debris : (B, H, W) bool tensor, optional

    Returns
    -------
    (B, n_classes + 2, H, W) float32 tensor
        Background, classes, boundaries; with debris one channel more.

    Examples
    --------
    >>> condition(torch.tensor([[[0, 1]]]), torch.tensor([[0, 1]]), 1)[0, :, 0].tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    channel = channels_of.gather(1, labels.flatten(1).long()).view(labels.shape)
    # Boolean planes: one_hot would return int64, eight times the size.
    planes = [channel == k for k in range(n_classes + 1)]
    planes.append(instance_boundaries(labels))
    if debris is not None:
        planes.append(debris)
    return torch.stack(planes, 1).float()


def pool_sums(features: Tensor, labels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the features over each instance, and its area in px.

    One pass over the pixels (`index_add`) for any number of instances.

    Parameters
    ----------
    features : (B, S, H, W) float tensor
    labels : (B, H, W) integer tensor
        Values 0..n.
    n : int
        Largest label.

    Returns
    -------
    sums : (B, n + 1, S) float32 tensor
    areas : (B, n + 1, 1) float32 tensor
    """
    b, s, h, w = features.shape
    # Summed per strip of rows first: a float32 sum over a whole field has an error of up to 1 %.
    strips = max(1, min(-(-h * w // _STRIP_PIXELS), h, h * w // (n + 1)))
    strip = torch.arange(h, device=labels.device).view(1, h, 1) * strips // h
    offset = torch.arange(b, device=labels.device).view(b, 1, 1) * strips + strip
    index = (labels.long() + offset * (n + 1)).flatten()
    # Contiguous rows of S values, so that the addition of a pixel touches one cache line.
    rows = features.float().permute(0, 2, 3, 1).reshape(-1, s)
    sums = torch.zeros(b * strips * (n + 1), s, device=features.device).index_add(0, index, rows)
    # bincount would synchronise with the GPU.
    areas = torch.zeros(len(sums), device=features.device).index_add(0, index, torch.ones_like(rows[:, 0]))
    return sums.view(b, strips, n + 1, s).sum(1), areas.view(b, strips, n + 1, 1).sum(1)


def pool_instances(features: Tensor, labels: Tensor, n: int) -> Tensor:
    """Return the mean of the features over each instance: the instance-wise pooling of pix2pixHD.

    Labels without pixels get zeros.

    Parameters
    ----------
    features, labels, n
        As in `pool_sums`.

    Returns
    -------
    (B, n + 1, S) float32 tensor
        Row 0 is the background.

    Examples
    --------
    >>> pool_instances(torch.tensor([[[[1.0, 2.0, 4.0]]]]), torch.tensor([[[0, 2, 2]]]), 2)[0, :, 0].tolist()
    [1.0, 0.0, 3.0]
    """
    sums, areas = pool_sums(features, labels, n)
    return sums / areas.clamp(min=1)


def paint_styles(styles: Tensor, labels: Tensor) -> Tensor:
    """Return the style of its instance at every pixel, the inverse of `pool_instances`.

    Parameters
    ----------
    styles : (B, n + 1, S) float tensor
    labels : (B, H, W) integer tensor

    Returns
    -------
    (B, S, H, W) float tensor

    Examples
    --------
    >>> paint_styles(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0, 1, 1]]])).tolist()
    [[[[1.0, 2.0, 2.0]]]]
    """
    b, n_rows, s = styles.shape
    if labels.is_cuda and not torch.is_grad_enabled():
        # Per channel, because gathering short rows is slow on a GPU (10 times slower at 1920 × 1200 px).
        return torch.stack([rows.t()[:, ids.long()] for rows, ids in zip(styles, labels, strict=True)])
    offset = torch.arange(b, device=labels.device).view(b, 1, 1) * n_rows
    painted: Tensor = F.embedding(labels.long() + offset, styles.reshape(b * n_rows, s))
    return painted.permute(0, 3, 1, 2)
