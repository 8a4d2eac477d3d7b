"""The paper's Figure 4: masks and probability maps of the ring layout while cells are added."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.files import atomic_write
from smearsynth.layout.painting import paint_colours
from smearsynth.layout.record import Layout
from smearsynth.layout.ring import ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace, as_workspace, check_size
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary
from smearsynth.smear import ImageArray

PAPER_COUNTS = (20, 100, 400, 500)  # on 1920 × 1200 px, with cells of 46 px
_PAPER_ROOM = 1920 * 1200 / 46**2
_CUTOFF = 6.0  # of the Gaussian, standard deviations
_WIDTH = 12.0  # inches
_DPI = 160
_BACKGROUND, _INK, _EDGE = "#ffffff", "#222222", "#bbbbbb"


def scaled_counts(size: tuple[int, int], cell_size: float) -> tuple[int, ...]:
    """Return the paper's counts 20, 100, 400 and 500, scaled to the same density on another canvas.

    Examples
    --------
    >>> scaled_counts((1200, 1920), 46), scaled_counts((480, 640), 46)
    ((20, 100, 400, 500), (3, 13, 53, 67))
    """
    height, width = check_size(size)
    factor = height * width / cell_size**2 / _PAPER_ROOM
    return tuple(max(rank, round(count * factor)) for rank, count in enumerate(PAPER_COUNTS, 1))


def probability_map(layout: Layout, *, cell_size: float, n_init: int = 20) -> npt.NDArray[np.float64]:
    """Return P(i), equation 3 of the paper, for the cell after the last one of a layout, as a map of the canvas.

    It is for display. `ring_layout` samples from P(i) without a map.

    Parameters
    ----------
    layout : Layout
    cell_size, n_init
        As in `ring_layout`.

    Returns
    -------
    probabilities : (H, W) float64 array
        Sums to 1.

    Examples
    --------
    >>> one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    >>> pose = np.zeros(1), np.ones(1), np.zeros(1, bool)
    >>> layout = Layout(30, 40, zero, *pose, 9 * one, 8 * one, zero, one, 1)
    >>> probabilities = probability_map(layout, cell_size=6, n_init=1)
    >>> round(float(probabilities.sum()), 9), bool(probabilities[8, 9] < probabilities[8, 15])
    (1.0, True)
    """
    height, width = layout.size
    i = layout.placed + 1
    uniform_terms = min(i, n_init)
    probabilities = np.full((height, width), uniform_terms / (height * width))
    sigma = cell_size / math.sqrt(2 * math.log(2))
    radius = math.ceil(_CUTOFF * sigma)
    offsets = np.arange(-radius, radius + 1)
    squared = offsets[:, None] ** 2.0 + offsets**2
    gauss = np.exp(-squared / (2 * sigma**2))
    ring = np.where(squared < cell_size**2, 1 - gauss, gauss)
    for x, y in zip(layout.x[n_init - 1 :], layout.y[n_init - 1 :], strict=True):
        top, bottom = max(0, y - radius), min(height, y + radius + 1)
        left, right = max(0, x - radius), min(width, x + radius + 1)
        part = ring[top - y + radius : bottom - y + radius, left - x + radius : right - x + radius]
        probabilities[top:bottom, left:right] += part / max(float(part.sum()), np.finfo(np.float64).tiny)
    probabilities /= probabilities.sum()
    return probabilities


def write_figure4(
    size: tuple[int, int],
    counts: Sequence[int] | None,
    shapes: ShapeLibrary | Workspace,
    *,
    cell_size: float,
    n_init: int = 20,
    augmentation: ShapeAugmentation | None = None,
    rng: int | np.random.Generator,
    path: Path | str,
) -> Path:
    """Draw the paper's Figure 4 for a canvas and shapes, and write it as PNG.

    The upper part shows one ring layout while cells are added, in palette colours, and the probability map of the
    next centre. The lower part compares uniform placement with the complete ring layout.

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    counts : sequence of int, optional
        Number of cells at each stage, increasing; the last one is for the comparison. By default `scaled_counts`.
    shapes : ShapeLibrary or Workspace
    cell_size, n_init, augmentation, rng
        As in `ring_layout`.
    path : Path or str
        The file to write.

    Returns
    -------
    path : Path

    Raises
    ------
    OptionError
        If `counts` is not increasing or has fewer than two entries.
    DataError
        If the file cannot be written.
    """
    stage_counts = scaled_counts(size, cell_size) if counts is None else tuple(int(count) for count in counts)
    if len(stage_counts) < 2 or stage_counts[0] < 0 or any(b <= a for a, b in pairwise(stage_counts)):
        raise OptionError(f"counts {stage_counts}; give two or more increasing numbers of cells")
    generator = np.random.default_rng(rng)
    workspace = as_workspace(shapes)
    total = stage_counts[-1]
    ring = ring_layout(
        size, total, workspace, cell_size=cell_size, n_init=n_init, augmentation=augmentation, rng=generator
    )
    uniform = uniform_layout(size, total, workspace, augmentation=augmentation, rng=generator)
    stages = [ring.first(count) for count in stage_counts[:-1]]
    maps = [probability_map(stage, cell_size=cell_size, n_init=n_init) for stage in stages]
    images = [paint_colours(stage, workspace) for stage in stages]
    comparison = {
        f"Uniform placement, {uniform.placed} cells": paint_colours(uniform, workspace),
        f"Ring layout, {ring.placed} cells": paint_colours(ring, workspace),
    }
    figure = _draw(stages, images, maps, comparison, n_init)
    return _write_png(figure, Path(path))


def _draw(
    stages: Sequence[Layout],
    images: Sequence[ImageArray],
    maps: Sequence[npt.NDArray[np.float64]],
    comparison: dict[str, ImageArray],
    n_init: int,
) -> Any:
    from matplotlib.figure import Figure

    height, width = stages[0].size
    aspect, columns = height / width, len(stages)
    small, large = _WIDTH / columns * aspect, _WIDTH / 2 * aspect
    figure = Figure(figsize=(_WIDTH, 2 * small + large + 1.1), facecolor=_BACKGROUND, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.05, h_pad=0.05)
    parts: Any = figure.subfigures(2, 1, height_ratios=(2 * small + 0.7, large + 0.4))
    upper, lower = parts
    axes = upper.subplots(2, columns, squeeze=False)
    for column, (stage, image, probabilities) in enumerate(zip(stages, images, maps, strict=True)):
        _show(axes[0, column], image, f"{stage.placed} cells")
        # Relative to the uniform distribution. Each map has its own scale, from black for 0: with a common scale
        # the later maps, which vary less, would be dark.
        relative = probabilities * probabilities.size
        span = f"{relative.min():.2f} to {relative.max():.2f} × uniform"
        title = f"next centre: {'uniform' if stage.placed < n_init else span}"
        _show(axes[1, column], relative, title, cmap="magma", vmin=0, vmax=max(1.5, float(relative.max())))
    for axis, (title, image) in zip(lower.subplots(1, 2), comparison.items(), strict=True):
        _show(axis, image, title)
    return figure


def _show(axes: Any, image: npt.NDArray[Any], title: str, **colours: Any) -> None:
    axes.imshow(image, interpolation="antialiased", **colours)
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(_EDGE)


def _write_png(figure: Any, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)  # renders without a display
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": "smearsynth", "synthetic": "true"})
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path
