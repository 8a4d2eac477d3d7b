"""Layouts by contact: cells stick together, overlap, leave areas empty and are cut by the border as real ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smearsynth.layout.contact.parameters import ContactParameters, FloatArray, SmearParameters
from smearsynth.layout.kernels.sliding import Adhesion
from smearsynth.layout.record import Layout, as_layout, make_job
from smearsynth.layout.workspace import Workspace, check_size, as_workspace
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary

_WAVES = 8  # of the density field
_WAVELENGTHS = (8.0, 40.0)  # diameters
_FIELD_CELL = 2.0  # diameters
_MAX_FIELD = 256  # cells a side
_FAR_OUT = 3.0  # standard deviations of the size within a class
_MIN_FREE_TRIES = 2000
_DENSE = 0.55  # coverage at which cells jam that are placed one by one
_HALF = 0.5  # coverage up to which the cells of a denser field are, before the rest is pushed in between


def contact_layout(
    size: tuple[int, int],
    count: int,
    shapes: ShapeLibrary | Workspace,
    *,
    parameters: ContactParameters | SmearParameters,
    n_colours: int = 8,
    augmentation: ShapeAugmentation | None = None,
    mix: Sequence[float] | None = None,
    rng: int | np.random.Generator,
) -> Layout:
    """Lay out cells as they lie in real smears.

    The field is laid out with a margin of one cell round it, and what lies in the margin alone is dropped: cells
    are cut by the border as often as chance cuts them, and annotated as often as the law says. Cells come one
    after another. With the probability ``law.adhesion`` a cell is attached: it comes in from a random side to a
    cell drawn from all those placed, slides until it touches, and then keeps a gap or lies partly under it.
    Otherwise it goes where there is room, as often as the law's density field says. A shape is drawn once; where
    it finds no place it slides up to cells until it does. When 20 shapes in a row find none the layout ends, with
    `placed` below `requested`.

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    count : int
        Cells to see on it, those cut by its border included.
    shapes : ShapeLibrary or Workspace
        A `Workspace` keeps its buffers warm: use it for many layouts.
    parameters : ContactParameters or SmearParameters
        Of a data set: the parameters of one of its smears are drawn. Or of one smear. Its intensity is not used.
    n_colours, augmentation, mix
        As in `ring_layout`.
    rng : int or numpy.random.Generator

    Returns
    -------
    Layout
        The later cell lies on top. Centres may lie off the canvas; every cell has a pixel on it.

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
    >>> contact_layout((120, 160), 25, discs, parameters=SmearParameters(adhesion=0.5), rng=1).placed
    25
    >>> contact_layout((20, 20), 250, discs, parameters=SmearParameters(adhesion=0.5), rng=1).placed < 250
    True
    """
    size = check_size(size)
    generator = np.random.default_rng(rng)
    warm = as_workspace(shapes)
    job = make_job(count, warm, n_colours, augmentation, mix)
    smear = parameters.draw(generator) if isinstance(parameters, ContactParameters) else parameters
    scale, diameter = shape_sizes(warm, smear, job.odds)
    job = job._replace(sizes=scale)
    margin = warm.reach(job)
    canvas = size[0] + 2 * margin, size[1] + 2 * margin
    form = smear.form
    coverage = count * math.pi * diameter**2 / 4 / (size[0] * size[1])
    free = (1 - smear.adhesion) * count * canvas[0] * canvas[1] / (size[0] * size[1])
    adhesion = smear.adhesion_of(warm.shapes.class_names)
    reading = Adhesion(
        adhesion=adhesion,
        strongest=float(adhesion.max()),
        seeds=int(form.seeds * free),
        overlap=form.overlap,
        depth=form.depth * diameter,
        touch=smear.touch,
        gap=form.gap * diameter,
        growth=form.growth,
        chain=form.chain,
        border=form.border,
        diameter=diameter,
        margin=margin,
        field=density_field(canvas, diameter, form.unevenness, generator),
        free_tries=max(_MIN_FREE_TRIES, canvas[0] * canvas[1] // 768),
        sparse=count if coverage < _DENSE else math.ceil(_HALF / coverage * count),
    )
    cells = warm.place_contact(size, job, reading, generator)
    return as_layout(size, warm, cells, job.requested)


def shape_sizes(
    shapes: Workspace, law: SmearParameters, odds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """Factor on each shape, so that a smear's cells are as large, and as unlike in size, as its law says.

    Cells of one smear are more alike than those of a data set. Every class keeps its size relative to the others.

    Returns
    -------
    factors : (n,) float64 array
    diameter : float
        Mean diameter, px.
    """
    sizes = shapes.sizes
    present = float(odds @ sizes.means)
    if law.diameter is None:
        return shapes.unscaled, present
    # The law is that of the library's own mix of classes, whatever mix is asked for.
    factor = law.diameter / float(shapes.odds @ sizes.means)
    pooled = math.sqrt(shapes.odds @ sizes.deviations**2)
    deviations = sizes.deviations * (law.spread / pooled if pooled > 1e-6 else 1.0)
    middles = np.log(sizes.means * factor) - deviations**2 / 2
    scores = np.clip(sizes.scores, -_FAR_OUT, _FAR_OUT)
    return np.exp(middles[sizes.classes] + deviations[sizes.classes] * scores - sizes.logs), factor * present


def density_field(
    canvas: tuple[int, int], diameter: float, unevenness: float, rng: np.random.Generator
) -> FloatArray:
    """Density over a canvas relative to its maximum: the exponential of a sum of random waves, on a coarse grid.

    The waves are 8 to 40 diameters long. How uneven a smear is differs from smear to smear: the deviation of the
    logarithm is that of a normal variable with `unevenness` for its own.

    Returns
    -------
    (rows, columns) float64 array
        1 at its maximum.
    """
    rows, columns = (min(max(1, math.ceil(side / (_FIELD_CELL * diameter))), _MAX_FIELD) for side in canvas)
    draws = rng.random((3, _WAVES))
    deviation = abs(rng.standard_normal()) * unevenness
    if deviation == 0:
        return np.ones((1, 1))
    low, high = np.log(_WAVELENGTHS)
    wave = 2 * math.pi / (np.exp(low + (high - low) * draws[0]) * diameter)
    turn, phase = 2 * math.pi * draws[1:]
    y = (np.arange(rows) + 0.5) * (canvas[0] / rows)
    x = (np.arange(columns) + 0.5) * (canvas[1] / columns)
    ripple = np.zeros((rows, columns))
    for k, a, p in zip(wave, turn, phase, strict=True):
        ripple += np.cos(k * (math.cos(a) * x + math.sin(a) * y[:, None]) + p)
    field = np.exp(deviation * math.sqrt(2 / _WAVES) * ripple)
    return np.asarray(field / field.max())
