"""A figure that explains the layout, like the paper's Figure 4: masks and probability maps as cells are placed."""

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
from smearsynth.layout.painting import paint_colours
from smearsynth.layout.record import Layout
from smearsynth.layout.ring import ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace, check_size, as_workspace
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary

FIGURE_4_COUNTS = (20, 100, 400, 500)  # of the paper, on 1920×1200 with cells of 46 px
_FIGURE_4_CELLS = 1920 * 1200 / 46**2
_REACH = 6.0  # standard deviations of the Gaussian that are kept
_WIDTH = 12.0  # inches
_GROUND, _INK, _EDGE = "#ffffff", "#222222", "#bbbbbb"


def figure_4_counts(size: tuple[int, int], cell_size: float) -> tuple[int, ...]:
    """The paper's counts 20, 100, 400 and 500 at the same density on another canvas.

    Examples
    --------
    >>> figure_4_counts((1200, 1920), 46), figure_4_counts((480, 640), 46)
    ((20, 100, 400, 500), (3, 13, 53, 67))
    """
    height, width = check_size(size)
    share = height * width / cell_size**2 / _FIGURE_4_CELLS
    return tuple(max(rank, round(count * share)) for rank, count in enumerate(FIGURE_4_COUNTS, 1))


def probability_map(layout: Layout, *, cell_size: float, n_init: int = 20) -> npt.NDArray[np.float64]:
    """P(i) for the cell after the last one of a layout (equation 3), as a map of the whole canvas.

    It is made for looking at: drawing needs no map.

    Parameters
    ----------
    layout : Layout
    cell_size, n_init
        As in `ring_layout`.

    Returns
    -------
    law : (H, W) float64 array
        Sums to one.

    Examples
    --------
    >>> one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    >>> pose = np.zeros(1), np.ones(1), np.zeros(1, bool)
    >>> layout = Layout(30, 40, zero, *pose, 9 * one, 8 * one, zero, one, 1)
    >>> law = probability_map(layout, cell_size=6, n_init=1)
    >>> round(float(law.sum()), 9), bool(law[8, 9] < law[8, 15])
    (1.0, True)
    """
    height, width = layout.size
    i = layout.placed + 1
    uniform_parts = min(i, n_init)
    law = np.full((height, width), uniform_parts / (height * width))
    sigma = cell_size / math.sqrt(2 * math.log(2))
    reach = math.ceil(_REACH * sigma)
    away = np.arange(-reach, reach + 1)
    squared = away[:, None] ** 2.0 + away**2
    gauss = np.exp(-squared / (2 * sigma**2))
    ring = np.where(squared < cell_size**2, 1 - gauss, gauss)
    for x, y in zip(layout.x[n_init - 1 :], layout.y[n_init - 1 :], strict=True):
        top, bottom = max(0, y - reach), min(height, y + reach + 1)
        left, right = max(0, x - reach), min(width, x + reach + 1)
        part = ring[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
        law[top:bottom, left:right] += part / max(float(part.sum()), np.finfo(np.float64).tiny)
    law /= law.sum()
    return law


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
    """Draw a figure like the paper's Figure 4 and write it as PNG.

    Above, one ring layout as it grows: its cells in palette colours and the probability map of the next centre.
    Below, uniform placement beside the finished ring layout.

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    counts : sequence of int, optional
        Cells at each stage, rising, the last one of the comparison; the paper's 20, 100, 400 and 500, scaled to
        the canvas, when None.
    shapes : ShapeLibrary or Workspace
    cell_size, n_init, augmentation, rng
        As in `ring_layout`.
    path : Path or str
        File to write; it appears when it is whole.

    Returns
    -------
    path : Path

    Raises
    ------
    OptionError
        When `counts` is not rising or has fewer than two entries.
    """
    stages = figure_4_counts(size, cell_size) if counts is None else tuple(int(count) for count in counts)
    if len(stages) < 2 or stages[0] < 0 or any(b <= a for a, b in pairwise(stages)):
        raise OptionError(f"counts {stages}; give two or more rising numbers of cells")
    generator = np.random.default_rng(rng)
    warm = as_workspace(shapes)
    ring = ring_layout(
        size, stages[-1], warm, cell_size=cell_size, n_init=n_init, augmentation=augmentation, rng=generator
    )
    uniform = uniform_layout(size, stages[-1], warm, augmentation=augmentation, rng=generator)
    grown = [ring.first(count) for count in stages[:-1]]
    maps = [probability_map(stage, cell_size=cell_size, n_init=n_init) for stage in grown]
    masks = [paint_colours(stage, warm) for stage in grown]
    pair = {
        f"Uniform placement, {uniform.placed} cells": paint_colours(uniform, warm),
        f"Ring layout, {ring.placed} cells": paint_colours(ring, warm),
    }
    return _write_figure(_draw(grown, masks, maps, pair, n_init), Path(path))


def _draw(
    grown: Sequence[Layout],
    masks: Sequence[npt.NDArray[np.uint8]],
    maps: Sequence[npt.NDArray[np.float64]],
    pair: dict[str, npt.NDArray[np.uint8]],
    n_init: int,
) -> Any:
    from matplotlib.figure import Figure

    height, width = grown[0].size
    aspect, columns = height / width, len(grown)
    small, large = _WIDTH / columns * aspect, _WIDTH / 2 * aspect
    figure = Figure(figsize=(_WIDTH, 2 * small + large + 1.1), facecolor=_GROUND, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.05, h_pad=0.05)
    halves: Any = figure.subfigures(2, 1, height_ratios=(2 * small + 0.7, large + 0.4))
    top, bottom = halves
    above = top.subplots(2, columns, squeeze=False)
    for column, (stage, mask, law) in enumerate(zip(grown, masks, maps, strict=True)):
        _show(above[0, column], mask, f"{stage.placed} cells")
        # In units of the uniform law: 1 is as likely as anywhere. Each map has its own scale, black for none: a
        # common one would leave the later, flatter maps in the dark.
        relative = law * law.size
        spread = f"{relative.min():.2f} to {relative.max():.2f} × uniform"
        title = f"next centre: {'uniform' if stage.placed < n_init else spread}"
        _show(above[1, column], relative, title, cmap="magma", vmin=0, vmax=max(1.5, float(relative.max())))
    below = bottom.subplots(1, 2)
    for axes, (title, mask) in zip(below, pair.items(), strict=True):
        _show(axes, mask, title)
    return figure


def _show(axes: Any, picture: npt.NDArray[Any], title: str, **colours: Any) -> None:
    axes.imshow(picture, interpolation="antialiased", **colours)
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(_EDGE)


def _write_figure(figure: Any, path: Path) -> Path:
    """Render by Agg and put the file in place whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": "smearsynth", "synthetic": "true"})
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(buffer.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
