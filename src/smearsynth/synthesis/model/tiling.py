"""Synthesis and encoding of fields of any size, in tiles without seams.

The receptive field of the networks is limited to their reach. A tile that is computed with a margin of that width
therefore has the same pixels as the whole field. Tiles of at most `MAX_TILE_PIXELS` bound the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.synthesis.networks.conditioning import condition, paint_styles, pool_sums
from smearsynth.synthesis.networks.generator import Encoder, Generator
from smearsynth.synthesis.networks.noise import field_noise
from smearsynth.synthesis.styles.clusters import Styles

# Pixels of a tile with its margins. A field of 1920 × 1200 px is one tile (about 1.1 GB in fp32).
MAX_TILE_PIXELS = 2_400_000

# Reach of the encoder, px: 7×7 at full resolution, 3×3 three times at half resolution, rounded up to the grid.
_ENCODER_REACH = 16


@dataclass(frozen=True)
class Tile:
    """One axis of a tile, px: the window is computed, its core is used."""

    core: slice
    window: slice

    @property
    def inner(self) -> slice:
        """Core relative to the window."""
        return slice(self.core.start - self.window.start, self.core.stop - self.window.start)


def tiles(shape: tuple[int, int], grid: int, reach: int, max_pixels: int) -> Iterator[tuple[Tile, Tile]]:
    """Yield tiles that cover a field; windows start on a grid and extend `reach` px beyond their core.

    Parameters
    ----------
    shape : tuple of int
        (H, W) in px, multiples of `grid`.
    grid, reach : int
        In px; `reach` is a multiple of `grid`.
    max_pixels : int
        Largest number of pixels of a window; one grid cell with its margins is always allowed.

    Yields
    ------
    tuple of Tile
        Vertical and horizontal axis.
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

    for rows in axis(shape[0], sides[0]):
        for columns in axis(shape[1], sides[1]):
            yield rows, columns


@torch.no_grad()  # inference mode cannot be compiled
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
        Row 0 is the background.
    rng : int or Generator
        For the noise input.
    max_tile_pixels : int
        Largest tile; the small generator needs about 500 bytes per pixel in fp32.
    precision : torch.dtype
        ``torch.bfloat16`` runs the convolutions in bf16.
    debris : (H, W) bool array, optional
        For a generator with debris channel. Default: no debris.

    Returns
    -------
    (H, W, 3) uint8 array
        RGB.
    """
    grid = 1 << generator.downs
    height, width = labels.shape
    # A multiple of the grid, at least two coarse pixels: padding by reflection needs a neighbour.
    padding = [(0, max(2 * grid, -(-side // grid) * grid) - side) for side in labels.shape]
    device, dtype = generator.last.weight.device, generator.last.weight.dtype
    field = _on_device(labels, padding, device)
    debris_mask = None
    if generator.config.debris:
        debris_mask = (
            torch.zeros_like(field, dtype=torch.bool) if debris is None else _on_device(debris, padding, device)
        )
    seed = int(np.random.default_rng(rng).integers(2**63 - 1))
    channels_of = torch.from_numpy(np.concatenate([[0], classes + 1])).long()[None].to(device)
    vectors = torch.from_numpy(styles)[None].to(device)
    n_classes = len(generator.config.class_names)
    image = np.empty((*field.shape[1:], 3), np.uint8)
    for rows, columns in tiles(image.shape[:2], grid, generator.reach, max_tile_pixels):
        window = field[:, rows.window, columns.window]
        window_debris = None if debris_mask is None else debris_mask[:, rows.window, columns.window]
        conditions = condition(window, channels_of, n_classes, window_debris).to(dtype)
        noise = field_noise(seed, generator.downs, rows.window, columns.window, device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output = generator(conditions, paint_styles(vectors, window), noise)
        core = output[0, :, rows.inner, columns.inner].float()
        image[rows.core, columns.core] = _to_uint8(core)
    return image[:height, :width]


def _on_device(plane: LabelArray | Mask, padding: list[tuple[int, int]], device: torch.device) -> Tensor:
    if any(after for _, after in padding):
        return torch.from_numpy(np.pad(plane, padding, mode="symmetric"))[None].to(device)
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
    """Return the style of each instance of a smear: the mean of the encoder features over its pixels.

    Parameters
    ----------
    encoder : Encoder
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    n : int
        Number of instances.
    scale : float
        Scale at which the encoder was trained; the field is resized by this factor.
    max_tile_pixels : int
        Largest tile.

    Returns
    -------
    (n + 1, S) float32 array
        Row 0 is the background. Rows of instances without a pixel are zero.
    """
    if scale != 1.0:
        return _encode_resized(encoder, image, labels, n, scale)
    device = next(encoder.parameters()).device
    sums: Tensor | None = None
    areas: Tensor | None = None
    # The grid is 2, because the encoder halves the resolution once; it pads an odd last row or column itself.
    for rows, columns in tiles(labels.shape, 2, _ENCODER_REACH, max_tile_pixels):
        window = np.ascontiguousarray(image[rows.window, columns.window])
        pixels = torch.from_numpy(window).permute(2, 0, 1)[None].to(device).float() / 127.5 - 1
        features = encoder(pixels)[:, :, rows.inner, columns.inner]
        core = torch.from_numpy(np.ascontiguousarray(labels[rows.core, columns.core]))[None].to(device)
        tile_sums, tile_areas = pool_sums(features, core, n)
        sums = tile_sums if sums is None else sums + tile_sums
        areas = tile_areas if areas is None else areas + tile_areas
    assert sums is not None
    assert areas is not None
    styles: Styles = (sums / areas.clamp(min=1))[0].cpu().numpy()
    return styles


def encode_smear(encoder: Encoder, smear: Smear, scale: float = 1.0) -> Styles:
    """Return the styles of the background (row 0) and of the cells of a smear, (n + 1, S) float32.

    Ignored pixels are not part of the background, unless all other pixels belong to cells.

    Parameters
    ----------
    encoder : Encoder
    smear : Smear
    scale : float
        Scale at which the encoder was trained.
    """
    if smear.ignored is None:
        return encode_field(encoder, smear.image, smear.labels, smear.count, scale=scale)
    labels = np.where(smear.ignored, smear.count + 1, smear.labels).astype(np.int32)
    styles = encode_field(encoder, smear.image, labels, smear.count + 1, scale=scale)
    if not smear.background().any():
        styles[0] = styles[-1]
    return styles[:-1]


def _encode_resized(encoder: Encoder, image: ImageArray, labels: LabelArray, n: int, scale: float) -> Styles:
    """Return the styles of a resized field; instances that vanish by resizing get the mean of the others."""
    height, width = (max(1, round(side * scale)) for side in labels.shape)
    small_image = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    small_labels = np.array(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    styles = encode_field(encoder, small_image, small_labels, n)
    visible = np.bincount(small_labels.ravel(), minlength=n + 1) > 0
    vanished = ~visible & (np.bincount(labels.ravel(), minlength=n + 1) > 0)
    others = visible.copy()
    others[0] = False  # the background only if there is nothing else
    styles[vanished] = styles[others if others.any() else visible].mean(0)
    return styles


def _to_uint8(pixels: Tensor) -> npt.NDArray[np.uint8]:
    scaled = ((pixels + 1) * 127.5).round_().clamp_(0, 255).byte()
    array: npt.NDArray[np.uint8] = scaled.permute(1, 2, 0).contiguous().cpu().numpy()
    return array
