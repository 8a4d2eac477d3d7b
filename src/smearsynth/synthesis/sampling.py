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
from torch import Tensor

from smearsynth.smear import ImageArray, LabelArray, Mask
from smearsynth.synthesis.conditioning import condition, paint_styles, pool_sums
from smearsynth.synthesis.networks import Encoder, Generator, draw_noise
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


@torch.inference_mode()
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
    field = np.pad(labels, padded, mode="symmetric")
    h, w = field.shape
    device = next(generator.parameters()).device
    seed = int(np.random.default_rng(rng).integers(2**63 - 1))
    noise = draw_noise((1, h, w), generator.downs, torch.Generator().manual_seed(seed))
    channels_of = torch.from_numpy(np.concatenate([[0], classes + 1])).long()[None].to(device)
    vectors = torch.from_numpy(styles)[None].to(device)
    n_classes = len(generator.config.class_names)
    blobs = None
    if generator.config.debris:
        blobs = np.zeros(field.shape, bool) if debris is None else np.pad(debris, padded, mode="symmetric")
    image = np.empty((h, w, 3), np.uint8)
    for down, across in tiles((h, w), grid, generator.reach, max_tile_pixels):
        window = (down.window, across.window)
        own = torch.from_numpy(np.ascontiguousarray(field[window]))[None].to(device)
        seen = None if blobs is None else torch.from_numpy(np.ascontiguousarray(blobs[window]))[None].to(device)
        given = condition(own, channels_of, n_classes, seen)
        grains = [
            level[
                :,
                :,
                down.window.start >> k : down.window.stop >> k,
                across.window.start >> k : across.window.stop >> k,
            ].to(device)
            for k, level in zip(range(generator.downs - 1, -1, -1), noise, strict=True)
        ]
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            painted = generator(given, paint_styles(vectors, own), grains)
        core = painted[0, :, down.inner, across.inner].float()
        image[down.core, across.core] = _bytes(core)
    return image[:height, :width]


@torch.inference_mode()
def encode_field(
    encoder: Encoder, image: ImageArray, labels: LabelArray, n: int, *, max_tile_pixels: int = MAX_TILE_PIXELS
) -> Styles:
    """Style of every instance of a smear: the mean of the encoder's features over it.

    Parameters
    ----------
    encoder : Encoder
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    n : int
        Number of instances.

    Returns
    -------
    (n + 1, S) float32 array
        Row 0 the background; zeros where an instance has no pixel.
    """
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


def _bytes(pixels: Tensor) -> npt.NDArray[np.uint8]:
    scaled = ((pixels + 1) * 127.5).round_().clamp_(0, 255).byte()
    array: npt.NDArray[np.uint8] = scaled.permute(1, 2, 0).cpu().numpy()
    return array
