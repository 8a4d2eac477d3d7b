"""Noise inputs of the generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw_noise(
    shape: tuple[int, int, int], downs: int, generator: torch.Generator, device: torch.device | None = None
) -> list[Tensor]:
    """Draw the noise inputs of G for a batch, on the device of the random generator.

    Parameters
    ----------
    shape : tuple of int
        (B, H, W), in px of the full resolution.
    downs : int
        Number of resolutions.
    generator : torch.Generator
    device : torch.device, optional
        Device of the result; that of `generator` by default.

    Returns
    -------
    list of (B, 1, h, w) float32 tensors
        Standard normal, from coarse to fine.

    Examples
    --------
    >>> [tuple(level.shape) for level in draw_noise((1, 8, 16), 2, torch.Generator())]
    [(1, 1, 4, 8), (1, 1, 8, 16)]
    """
    b, h, w = shape
    return [
        torch.randn(b, 1, h >> k, w >> k, generator=generator, device=generator.device).to(
            device or generator.device
        )
        for k in range(downs - 1, -1, -1)
    ]


def field_noise(seed: int, downs: int, rows: slice, columns: slice, device: torch.device) -> list[Tensor]:
    """Compute the noise inputs of G for a window of a field: a pure function of seed, resolution and position.

    A pixel gets the same noise in every window and on every device, and no memory is needed beyond the window.
    Hash: SplitMix64 (Steele et al. 2014); normal distribution: Box-Muller transform.

    Parameters
    ----------
    seed : int
        From 0 to 2**63 - 1.
    downs : int
        Number of resolutions.
    rows, columns : slice
        Window in px of the full resolution; start and stop are multiples of ``2 ** downs``.
    device : torch.device

    Returns
    -------
    list of (1, 1, h, w) float32 tensors
        Standard normal, from coarse to fine.
    """
    levels = []
    for k in range(downs - 1, -1, -1):
        y = torch.arange(rows.start >> k, rows.stop >> k, device=device)[:, None]
        x = torch.arange(columns.start >> k, columns.stop >> k, device=device)[None]
        # unique for up to 2**30 px per side and 2**4 resolutions; the products overflow on purpose
        bits = _splitmix64(_splitmix64(((y << 30) + x) + (k << 60)) ^ seed)
        radius = torch.sqrt(-2 * torch.log(((bits >> 40 & 0xFFFFFF).float() + 0.5) / 2**24))
        angle = (bits >> 16 & 0xFFFFFF).float() * (2 * math.pi / 2**24)
        levels.append((radius * torch.cos(angle))[None, None])
    return levels


def _splitmix64(z: Tensor) -> Tensor:
    """Return the output function of SplitMix64 of int64 values; masks turn arithmetic shifts into logical ones."""
    z = z + -0x61C8864680B583EB
    z = (z ^ (z >> 30 & 0x3_FFFF_FFFF)) * -0x40A7B892E31B1A47
    z = (z ^ (z >> 27 & 0x1F_FFFF_FFFF)) * -0x6B2FB644ECCEEE15
    return z ^ (z >> 31 & 0x1_FFFF_FFFF)
