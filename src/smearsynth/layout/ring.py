"""TODO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smearsynth.errors import OptionError
from smearsynth.layout.kernels.placement import Job
from smearsynth.layout.kernels.rings import Ring, make_ring
from smearsynth.layout.record import Layout, as_layout, make_job
from smearsynth.layout.workspace import Workspace, check_size, ready
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary


def ring_layout(
    size: tuple[int, int],
    count: int,
    shapes: ShapeLibrary | Workspace,
    *,
    cell_size: float,
    n_init: int = 20,
    n_colours: int = 8,
    augmentation: ShapeAugmentation | None = None,
    mix: Sequence[float] | None = None,
    rng: int | np.random.Generator,
) -> Layout:
    """Lay out cells by the paper's evolving probability map (section 4.1.2), drawn exactly, without the map.

    Cells come one after another. The shape is drawn once; its centre is drawn from P(i) until it overlaps no
    cell and can have a colour that no touching cell has. Where that takes too long, all centres where it fits
    are listed and one is drawn by P(i): an empty list proves that it fits nowhere, and another shape is drawn.
    When 20 shapes in a row fit nowhere the layout ends, with `placed` below `requested`. Red cells of 46 px
    jam at a coverage of 0.52 to 0.55, 760 to 800 cells on 1920×1200.

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    count : int
        Cells to place.
    shapes : ShapeLibrary or Workspace
        A `Workspace` keeps its buffers warm: use it for many layouts.
    cell_size : float
        Mean cell diameter in px, radius of the ring's ridge; σ = cell_size / √(2 ln 2) (paper, section 5.1).
    n_init : int
        Cells placed uniformly before the rings begin.
    n_colours : int
        Palette colours, at most 62.
    augmentation : ShapeAugmentation, optional
        How a drawn shape is varied; ``ShapeAugmentation()`` by default.
    mix : sequence of float, optional
        Probability of each class of the library; by default as frequent as in the library.
    rng : int or numpy.random.Generator

    Returns
    -------
    Layout

    Raises
    ------
    OptionError
        When a parameter is out of its range.
    DataError
        When the library holds no usable shape.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> layout = ring_layout((120, 160), 25, discs, cell_size=12, n_init=5, rng=1)
    >>> layout.placed, bool((layout.x < 160).all())
    (25, True)
    >>> ring_layout((20, 20), 25, discs, cell_size=12, rng=1).placed < 25
    True
    """
    if n_init < 1:
        raise OptionError(f"n_init is {n_init}; the first cell needs a uniform draw, give at least 1")
    job = make_job(count, ready_shapes := ready(shapes), n_colours, augmentation, mix)
    return _lay_out(size, ready_shapes, job._replace(n_init=int(n_init)), make_ring(float(cell_size)), rng)


def uniform_layout(
    size: tuple[int, int],
    count: int,
    shapes: ShapeLibrary | Workspace,
    *,
    n_colours: int = 8,
    augmentation: ShapeAugmentation | None = None,
    mix: Sequence[float] | None = None,
    rng: int | np.random.Generator,
) -> Layout:
    """Lay out cells uniformly, each where it overlaps none: what the paper compares with.

    Parameters, result and errors are those of `ring_layout`, without the ring.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6 * np.stack([np.cos(turn), np.sin(turn)], 1)[None].astype(np.float32)
    >>> uniform_layout((120, 160), 25, ShapeLibrary(disc, np.zeros(1, np.int64)), rng=1).placed
    25
    """
    job = make_job(count, ready_shapes := ready(shapes), n_colours, augmentation, mix)
    # As long as n_init lasts every draw is uniform; the ring is there for the kernel's signature alone.
    return _lay_out(size, ready_shapes, job._replace(n_init=job.requested + 1), make_ring(1.0), rng)


def _lay_out(
    size: tuple[int, int], shapes: Workspace, job: Job, ring: Ring, rng: int | np.random.Generator
) -> Layout:
    size = check_size(size)
    return as_layout(size, shapes, shapes.place(size, job, ring, np.random.default_rng(rng)), job.requested)
