"""Painting whole fields: any size in, the same size out, in tiles that leave no seam.

The networks look no further than their reach, so a tile with that margin around it gets exactly the pixels it
would get in one piece. Memory is bounded by `MAX_TILE_PIXELS`, whatever the field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from smearsynth.smear import ImageArray, LabelArray, Mask
from smearsynth.synthesis.networks.conditioning import condition, paint_styles, pool_sums
from smearsynth.synthesis.networks.generator import Encoder, Generator, field_noise
from smearsynth.synthesis.styles import Styles

# of one tile with its margins; 1920 × 1200 goes in one piece (about 1.1 GB in fp32)
MAX_TILE_PIXELS = 2_400_000

# halo of the encoder: 7×7 at full, 3×3 three times at half resolution, rounded up to the grid
_ENCODER_REACH = 16


@dataclass(frozen=True)
class Tile:
    """One axis of a tile, in px: the core that is kept and the window that is computed."""

    core: slice
    window: slice

    @property
    def inner(self) -> slice:
        """The core within the window."""
        return slice(self.core.start - self.window.start, self.core.stop - self.window.start)


def tiles(shape: tuple[int, int], grid: int, reach: int, max_pixels: int) -> Iterator[tuple[Tile, Tile]]:
    """Cut a field into tiles whose windows start on the grid and reach `reach` px beyond their core.

    Parameters
    ----------
    shape : tuple of int
        (H, W) in px, multiples of `grid`.
    grid, reach : int
        `reach` a multiple of `grid`.
    max_pixels : int
        Bound on the pixels of a window (a window is never smaller than one grid cell and its margins).

    Yields
    ------
    tuple of Tile
        Down and across.
    """
    if shape[0] * shape[1] <= max_pixels:
        sides = shape
    else:
        side = max(grid, (int(max_pixels**0.5) - 2 * reach) // grid * grid)
        sides = (side, side)

    def axis(length: int, side: int) -> list[Tile]:
        return [
            Tile(
                slice(start, min(start + side, length)),
                slice(max(0, start - reach), min(start + side + reach, length)),
            )
            for start in range(0, length, side)
        ]

    for down in axis(shape[0], sides[0]):
        for across in axis(shape[1], sides[1]):
            yield down, across


@torch.no_grad()  # not inference mode: what runs in it cannot be compiled
def paint_field(
    generator: Generator,
    labels: LabelArray,
    classes: npt.NDArray[np.int64],
    styles: Styles,
    rng: int | np.random.Generator,
    *,
    max_tile_pixels: int = MAX_TILE_PIXELS,
    precision: torch.dtype = torch.float32,
    debris: Mask | None = None,
) -> ImageArray:
    """Synthesise the image of a field.

    Parameters
    ----------
    generator : Generator
        On its device, in evaluation mode.
    labels : (H, W) int32 array
    classes : (n,) int64 array
    styles : (n + 1, S) float32 array
        Row 0 the background.
    rng : int or Generator
        For the noise input alone.
    max_tile_pixels : int
        Memory bound: about 500 bytes a pixel in fp32 for the small generator.
    precision : torch.dtype
        ``torch.bfloat16`` runs the convolutions in bf16.
    debris : (H, W) bool array, optional
        For a generator that is told of it; none when not given.

    Returns
    -------
    (H, W, 3) uint8 array
        RGB.
    """
    grid = 1 << generator.downs
    height, width = labels.shape
    # at least two coarse pixels (reflection needs a neighbour), and a multiple of the grid
    padded = [(0, max(2 * grid, -(-side // grid) * grid) - side) for side in labels.shape]
    device, own_precision = generator.last.weight.device, generator.last.weight.dtype
    field = _on_device(labels, padded, device)
    blobs = None
    if generator.config.debris:
        blobs = torch.zeros_like(field, dtype=torch.bool) if debris is None else _on_device(debris, padded, device)
    seed = int(np.random.default_rng(rng).integers(2**63 - 1))
    channels_of = torch.from_numpy(np.concatenate([[0], classes + 1])).long()[None].to(device)
    vectors = torch.from_numpy(styles)[None].to(device)
    n_classes = len(generator.config.class_names)
    image = np.empty((*field.shape[1:], 3), np.uint8)
    for down, across in tiles(image.shape[:2], grid, generator.reach, max_tile_pixels):
        own = field[:, down.window, across.window]
        seen = None if blobs is None else blobs[:, down.window, across.window]
        given = condition(own, channels_of, n_classes, seen).to(own_precision)
        noise = field_noise(seed, generator.downs, down.window, across.window, device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            painted = generator(given, paint_styles(vectors, own), noise)
        core = painted[0, :, down.inner, across.inner].float()
        image[down.core, across.core] = _bytes(core)
    return image[:height, :width]


def _on_device(plane: LabelArray | Mask, padded: list[tuple[int, int]], device: torch.device) -> Tensor:
    if any(after for _, after in padded):
        return torch.from_numpy(np.pad(plane, padded, mode="symmetric"))[None].to(device)
    return torch.from_numpy(np.ascontiguousarray(plane))[None].to(device)


@torch.inference_mode()
def encode_field(
    encoder: Encoder,
    image: ImageArray,
    labels: LabelArray,
    n: int,
    *,
    scale: float = 1.0,
    max_tile_pixels: int = MAX_TILE_PIXELS,
) -> Styles:
    """Style of every instance of a smear: the mean of the encoder's features over it.

    Parameters
    ----------
    encoder : Encoder
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    n : int
        Number of instances.
    scale : float
        Size at which the encoder has learned to look, relative to the field.
    max_tile_pixels : int
        Memory bound.

    Returns
    -------
    (n + 1, S) float32 array
        Row 0 the background; zeros where an instance has no pixel (at full size).
    """
    if scale != 1.0:
        return _encode_small(encoder, image, labels, n, scale)
    device = next(encoder.parameters()).device
    sums: Tensor | None = None
    areas: Tensor | None = None
    # the encoder halves the resolution once; an odd last row or column is its own affair
    for down, across in tiles(labels.shape, 2, _ENCODER_REACH, max_tile_pixels):
        window = np.ascontiguousarray(image[down.window, across.window])
        pixels = torch.from_numpy(window).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1
        features = encoder(pixels)[:, :, down.inner, across.inner]
        own = torch.from_numpy(np.ascontiguousarray(labels[down.core, across.core]))[None].to(device)
        part, area = pool_sums(features, own, n)
        sums = part if sums is None else sums + part
        areas = area if areas is None else areas + area
    assert sums is not None
    assert areas is not None
    styles: Styles = (sums / areas.clamp(min=1))[0].cpu().numpy()
    return styles


def _encode_small(encoder: Encoder, image: ImageArray, labels: LabelArray, n: int, scale: float) -> Styles:
    """Styles from the downsized field; instances that vanish there take the mean of the others."""
    height, width = (max(1, round(side * scale)) for side in labels.shape)
    small = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    fewer = np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    styles = encode_field(encoder, small, fewer, n)
    there = np.bincount(fewer.ravel(), minlength=n + 1) > 0
    lost = ~there & (np.bincount(labels.ravel(), minlength=n + 1) > 0)
    others = there.copy()
    others[0] = False
    styles[lost] = styles[others if others.any() else there].mean(0)
    return styles


def _bytes(pixels: Tensor) -> npt.NDArray[np.uint8]:
    scaled = ((pixels + 1) * 127.5).round_().clamp_(0, 255).byte()
    array: npt.NDArray[np.uint8] = scaled.permute(1, 2, 0).contiguous().cpu().numpy()
    return array
