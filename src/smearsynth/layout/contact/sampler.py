"""Contact layouts: cells touch, overlap, leave areas empty and are cut by the border as in real smears."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smearsynth.layout.contact.parameters import ContactParameters, FloatArray, SmearParameters
from smearsynth.layout.kernels.placement import Job
from smearsynth.layout.kernels.sliding import Adhesion
from smearsynth.layout.record import Layout, as_layout, make_job
from smearsynth.layout.workspace import Workspace, as_workspace, check_size
from smearsynth.shapes import ShapeAugmentation, ShapeLibrary

_WAVES = 8  # in the density field
_WAVELENGTHS = (8.0, 40.0)  # cell diameters
_GRID_STEP = 2.0  # of the density field, cell diameters
_MAX_GRID = 256  # grid cells per side
_MAX_DEVIATION = 3.0  # standard deviations of the size within a class
_MIN_FREE_TRIES = 2000
_PIXELS_PER_FREE_TRY = 768
_DENSE_COVERAGE = 0.55  # cells that are placed one by one jam at this coverage
_SPARSE_COVERAGE = 0.5  # in denser fields, the coverage placed one by one; the rest is then pushed in between


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
    """Place cells as in real smears.

    Cells are placed one after another on the canvas and a margin of one cell around it. Cells that lie only in the
    margin are then dropped. The border thus cuts cells as often as by chance; `InteractionParameters.border`
    determines how many of them stay. A cell is attached with the probability ``parameters.adhesion``: it approaches
    a random placed cell from a random direction, slides until they touch, and then keeps a gap or moves partly
    under it. A free cell is placed by the density field of the smear. A shape is drawn once; if it does not fit at
    one position, others are tried. After 20 shapes in a row that do not fit, the layout ends with `placed` below
    `requested`.

    Parameters
    ----------
    size : tuple of int
        Canvas (height, width) in px.
    count : int
        Number of visible cells, including those cut by the border.
    shapes : ShapeLibrary or Workspace
        A `Workspace` keeps its buffers between calls, which is faster for many layouts.
    parameters : ContactParameters or SmearParameters
        Of a data set, from which the parameters of one smear are drawn; or of one smear. The intensity is not used.
    n_colours, augmentation, mix
        As in `ring_layout`.
    rng : int or numpy.random.Generator

    Returns
    -------
    Layout
        Where cells overlap, the later one is on top. Centres may lie outside the canvas; every cell has a pixel on
        it.

    Raises
    ------
    OptionError
        If a parameter is out of its range.
    DataError
        If the library has no usable shape.

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 6 * np.stack([np.cos(angle), np.sin(angle)], 1)[None].astype(np.float32)
    >>> discs = ShapeLibrary(disc, np.zeros(1, np.int64))
    >>> contact_layout((120, 160), 25, discs, parameters=SmearParameters(adhesion=0.5), rng=1).placed
    25
    >>> contact_layout((20, 20), 250, discs, parameters=SmearParameters(adhesion=0.5), rng=1).placed < 250
    True
    """
    size = check_size(size)
    generator = np.random.default_rng(rng)
    workspace = as_workspace(shapes)
    job = make_job(count, workspace, n_colours, augmentation, mix)
    smear = parameters.draw(generator) if isinstance(parameters, ContactParameters) else parameters
    factors, diameter = shape_sizes(workspace, smear, job.odds)
    job = job._replace(sizes=factors)
    contact = _kernel_parameters(size, job, smear, workspace, diameter, generator)
    cells = workspace.place_contact(size, job, contact, generator)
    return as_layout(size, workspace, cells, job.requested)


def _kernel_parameters(
    size: tuple[int, int],
    job: Job,
    smear: SmearParameters,
    workspace: Workspace,
    diameter: float,
    generator: np.random.Generator,
) -> Adhesion:
    """Convert the parameters of a smear to pixels and cell numbers on a canvas with its margin."""
    margin = workspace.reach(job)
    canvas = size[0] + 2 * margin, size[1] + 2 * margin
    canvas_area, area = canvas[0] * canvas[1], size[0] * size[1]
    form, count = smear.form, job.requested
    coverage = count * math.pi * diameter**2 / 4 / area
    free_cells = (1 - smear.adhesion) * count * canvas[0] * canvas[1] / area
    adhesion = smear.adhesion_of(workspace.shapes.class_names)
    return Adhesion(
        adhesion=adhesion,
        strongest=float(adhesion.max()),
        seeds=int(form.seeds * free_cells),
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
        free_tries=max(_MIN_FREE_TRIES, canvas_area // _PIXELS_PER_FREE_TRY),
        sparse=count if coverage < _DENSE_COVERAGE else math.ceil(_SPARSE_COVERAGE / coverage * count),
    )


def shape_sizes(
    shapes: Workspace, smear: SmearParameters, odds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """Return a factor per shape that gives the cells the mean diameter and the spread of a smear.

    The cells of one smear vary less in size than those of a data set. Every class keeps its size relative to the
    others.

    Parameters
    ----------
    shapes : Workspace
    smear : SmearParameters
    odds : (n_classes,) float64 array
        Probability of each class.

    Returns
    -------
    factors : (n,) float64 array
    diameter : float
        Mean diameter at these class probabilities, px.
    """
    sizes = shapes.sizes
    library_mean = float(odds @ sizes.means)
    if smear.diameter is None:
        return shapes.unscaled, library_mean
    # The diameter of a smear refers to the class frequencies of the library, not to `odds`.
    factor = smear.diameter / float(shapes.odds @ sizes.means)
    pooled_std = math.sqrt(shapes.odds @ sizes.deviations**2)
    deviations = sizes.deviations * (smear.spread / pooled_std if pooled_std > 1e-6 else 1.0)
    log_means = np.log(sizes.means * factor) - deviations**2 / 2
    scores = np.clip(sizes.scores, -_MAX_DEVIATION, _MAX_DEVIATION)
    logs = log_means[sizes.classes] + deviations[sizes.classes] * scores - sizes.logs
    return np.exp(logs), factor * library_mean


def density_field(
    canvas: tuple[int, int], diameter: float, unevenness: float, rng: np.random.Generator
) -> FloatArray:
    """Draw the density over a canvas: the exponential of a sum of random plane waves, on a coarse grid.

    The wavelengths are 8 to 40 cell diameters. Smears differ in their unevenness: the standard deviation of the
    logarithm is the absolute value of a normal variable with the standard deviation `unevenness`.

    Returns
    -------
    (rows, columns) float64 array
        Density relative to its maximum.
    """
    rows, columns = (min(max(1, math.ceil(side / (_GRID_STEP * diameter))), _MAX_GRID) for side in canvas)
    draws = rng.random((3, _WAVES))
    deviation = abs(rng.standard_normal()) * unevenness
    if deviation == 0:
        return np.ones((1, 1))
    low, high = np.log(_WAVELENGTHS)
    frequencies = 2 * math.pi / (np.exp(low + (high - low) * draws[0]) * diameter)
    angles, phases = 2 * math.pi * draws[1:]
    y = (np.arange(rows) + 0.5) * (canvas[0] / rows)
    x = (np.arange(columns) + 0.5) * (canvas[1] / columns)
    waves = np.zeros((rows, columns))
    for frequency, angle, phase in zip(frequencies, angles, phases, strict=True):
        waves += np.cos(frequency * (math.cos(angle) * x + math.sin(angle) * y[:, None]) + phase)
    field = np.exp(deviation * math.sqrt(2 / _WAVES) * waves)
    return np.asarray(field / field.max())
