"""A synthetic slide: a pyramidal TIFF with cells in focus, cells out of focus, and empty background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

UM_PER_PX = 0.25
SHARP, BLURRED, BLANK = (0, 768), (768, 1280), (1280, 2048)  # columns


def slide_pixels(height: int = 1024) -> np.ndarray:
    """Return cells of 7 µm on a grid with random shifts, (H, 2048, 3) uint8."""
    generator = np.random.default_rng(0)
    cells = np.zeros((height, 2048), np.float32)
    y, x = np.mgrid[-18:19, -18:19]
    disc = (y**2 + x**2 <= 14**2).astype(np.float32)
    for row in range(24, height - 24, 44):
        for column in range(24, BLANK[0] - 24, 44):
            cy, cx = row + generator.integers(-4, 5), column + generator.integers(-4, 5)
            cells[cy - 18 : cy + 19, cx - 18 : cx + 19] += disc
    cells = np.minimum(cells, 1)
    cells = ndimage.gaussian_filter(cells, 0.7)
    cells[:, BLURRED[0] :] = ndimage.gaussian_filter(cells[:, BLURRED[0] :], 5)
    pixels = np.array((235, 230, 233)) - cells[..., None] * np.array((40, 100, 80))
    pixels += generator.normal(0, 1.5, pixels.shape)
    return np.clip(pixels, 0, 252).astype(np.uint8)


def write_slide(path: Path, um_per_px: float | None = UM_PER_PX, pixels: np.ndarray | None = None) -> Path:
    """Write a tiled pyramid of three levels; without a pixel size if it is None."""
    levels = [slide_pixels() if pixels is None else pixels]
    for _ in range(2):
        height, width = levels[-1].shape[:2]
        halves = levels[-1][: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, 3)
        levels.append(np.rint(halves.mean(axis=(1, 3))).astype(np.uint8))
    options: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128), "metadata": None}
    if um_per_px is not None:
        options |= {"resolution": (1e4 / um_per_px, 1e4 / um_per_px), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for k, level in enumerate(levels):
            file.write(level, **options, **({"subifds": 2} if k == 0 else {"subfiletype": 1}))
    return path
