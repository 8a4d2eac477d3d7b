"""A fitted law of cell shapes that holds no contour of a real cell: what a model folder may carry and ship.

An outline with vertices at equal steps is told by its turning angles, the change of direction at each vertex.
They are brought to a normal distribution by one monotone map per class, which makes the corners of pressed
cells, the spicules of crenated ones and long smooth arcs alike in kind, and described by the log amplitudes of
their harmonics in `BANDS`, together with the log area. A Gaussian mixture holds the joint law of these 14
numbers. The phases of the harmonics are thrown away: no contour can be rebuilt from the model, and where a
shape starts, how it is turned and whether it is mirrored do not matter.

A sample draws the amplitudes, takes random phases, closes the outline (the level and the first harmonic are
solved for) and is kept with a probability that makes elongation and solidity occur as in the data.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy import special
from scipy.spatial import ConvexHull

from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.files import atomic_write
from smearsynth.shapes.contours import (
    VERTICES,
    ContourArray,
    FloatArray,
    are_simple,
    polygon_areas,
    polygon_centroids,
    resample,
)
from smearsynth.shapes.library import ShapeLibrary
from smearsynth.smear import Mask

#: First and last harmonic of each band; the low ones, which make the form, stand alone.
BANDS = (
    *((k, k) for k in range(2, 9)),
    (9, 10),
    (11, 12),
    (13, 15),
    (16, 19),
    (20, 24),
    (25, 31),
)
MIN_CELLS = 10  # of a class, to learn its forms from it
CELLS_PER_COMPONENT = 100  # of the mixture: a component is an average of many cells, never one cell
MAX_COMPONENTS = 12
MAX_CELLS = 5000  # of a class enter the fit, evenly taken; more change nothing but its time

_LEVELS = np.array([5e-4, 2e-3, 0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97, 0.99, 0.998, 0.9995])
_NORMAL = special.ndtri(_LEVELS)
_TINY = 1e-3  # added to amplitudes before their logarithm
# Levels of the acceptance table's edges. What lies outside them is never drawn: the last few thousandths of
# annotated outlines are mostly merged cells and slips of the hand, and no cell's own extreme is kept.
_GRID = np.array([0.002, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.998])
_CELLS = len(_GRID) - 1
_ROUNDS = 40  # of drawing again what was not accepted
_OWN_CELLS = 20  # of the law's own, among those that the acceptance table follows
_MAX_RATIO = 4.0  # rarer than a quarter of its due is not made good: it would cost too many draws
_SPAN = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
_CLOSING = np.stack([np.ones(VERTICES), np.cos(_SPAN), np.sin(_SPAN)])


class ClassShapes(BaseModel):
    """The law of one class.

    Parameters
    ----------
    cells : int
        Number of cells it was fitted to.
    knots : tuple of float, (15,)
        Quantiles of the turning angles, in units of a circle's.
    mean, std : tuple of float, (14,)
        Of the features: log area (px²), then the log amplitude in each band.
    weights : tuple of float, (k,)
        Of the mixture's components.
    centres : tuple of tuple of float, (k, 14)
        In standardised features.
    factors : tuple of tuple of float, (k, 105)
        Lower triangles of the Cholesky factors of the covariances, row by row.
    elongations, solidities : tuple of float, (8,)
        Edges of the acceptance table.
    acceptance : tuple of float, (49,)
        Probability of keeping a draw, by elongation and solidity, row by row.
    log_area_range : tuple of float
        Outside it nothing is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: int
    knots: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]
    factors: tuple[tuple[float, ...], ...]
    elongations: tuple[float, ...]
    solidities: tuple[float, ...]
    acceptance: tuple[float, ...]
    log_area_range: tuple[float, float]


class ParametricShapes(BaseModel):
    """Fitted shapes of all classes of a library.

    Parameters
    ----------
    class_names : tuple of str
    classes : dict of str to ClassShapes
        By class name; classes without a cell are not in it.

    Notes
    -----
    From a class with fewer than `MIN_CELLS` cells only the mean and deviation of the log area are taken, the
    deviation at least 0.1 so that no cell's area is repeated; its forms are those of all classes together or,
    when these are too few as well, ellipses with axes up to 1.4 to 1.

    Examples
    --------
    >>> axes = np.linspace(8, 12, 30)[:, None]
    >>> ellipses = np.stack([axes * np.cos(_SPAN), 10 * np.sin(_SPAN) + 0 * axes], -1).astype(np.float32)
    >>> model = ParametricShapes.fit(ShapeLibrary(ellipses, np.zeros(30, np.int64)))
    >>> sampled = model.sample(5, rng=0)
    >>> len(sampled), bool((np.abs(sampled.areas() - 314) < 150).all())
    (5, True)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    class_names: tuple[str, ...]
    classes: dict[str, ClassShapes]

    @classmethod
    def fit(cls, library: ShapeLibrary) -> ParametricShapes:
        """Fit each class of a library; the same library gives the same model.

        Raises
        ------
        DataError
            For an empty library.
        """
        if not len(library):
            raise DataError("the shape library is empty; take it from smears with whole cells")
        fitted = {}
        for index, name in enumerate(library.class_names):
            own = library.contours[library.classes == index]
            if len(own) >= MIN_CELLS:
                fitted[name] = _fit_class(_thinned(own), np.log(polygon_areas(_thinned(own))), len(own))
            elif len(own):
                forms = _thinned(library.contours) if len(library) >= MIN_CELLS else _ellipses()
                fitted[name] = _fit_class(forms, _few_areas(own, len(forms)), len(own))
        return cls(class_names=library.class_names, classes=fitted)

    def sample(self, n: int, rng: int | np.random.Generator, class_name: str | None = None) -> ShapeLibrary:
        """Draw shapes.

        Parameters
        ----------
        n : int
        rng : int or numpy.random.Generator
        class_name : str, optional
            All of this class; by default the classes are drawn with the shares they had in the library.

        Returns
        -------
        ShapeLibrary
            Simple polygons with n contours, in the model's class names.

        Raises
        ------
        OptionError
            For a negative n or a class without shapes.
        """
        if n < 0:
            raise OptionError(f"cannot draw {n} shapes; ask for 0 or more")
        if class_name is not None and class_name not in self.classes:
            known = ", ".join(self.classes)
            raise OptionError(f"no shapes of class {class_name!r} in the model; it has: {known}")
        generator = np.random.default_rng(rng)
        names = list(self.classes) if class_name is None else [class_name]
        shares = np.array([self.classes[name].cells for name in names], np.float64)
        drawn = generator.choice(len(names), size=n, p=shares / shares.sum())
        contours = np.zeros((n, VERTICES, 2), np.float32)
        classes = np.zeros(n, np.int64)
        for k, name in enumerate(names):
            chosen = np.flatnonzero(drawn == k)
            contours[chosen] = _sample_class(self.classes[name], len(chosen), generator)
            classes[chosen] = self.class_names.index(name)
        return ShapeLibrary(contours, classes, self.class_names)

    def save(self, path: Path | str) -> None:
        """Write `to_bytes`, all or nothing."""
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The model as JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def load(cls, path: Path | str) -> ParametricShapes:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            When the file is missing, damaged or something else.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise ModelError("no such shape model; name the file that was saved", path) from error
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"not a shape model ({reason}); fit it anew", path) from error


def _fit_class(contours: ContourArray, log_areas: FloatArray, cells: int) -> ClassShapes:
    from sklearn.mixture import GaussianMixture  # takes most of a second, and sampling does without it

    # A class that borrows its forms needs no finer law than its own few cells could tell.
    most = MAX_COMPONENTS if cells >= MIN_CELLS else 2
    turning = _turning(contours)
    # Strictly rising, so that the map can be inverted even for identical cells.
    knots = np.quantile(turning, _LEVELS) + _TINY * np.arange(len(_LEVELS))
    amplitudes = np.abs(np.fft.rfft(_bend(turning, knots, _NORMAL), axis=1)) / VERTICES
    bands = [np.sqrt((amplitudes[:, low : high + 1] ** 2).mean(axis=1)) for low, high in BANDS]
    features = np.column_stack([log_areas, *(np.log(band + _TINY) for band in bands)])
    mean, std = features.mean(axis=0), np.maximum(features.std(axis=0), _TINY)
    mixture = GaussianMixture(
        n_components=min(max(len(features) // CELLS_PER_COMPONENT, 1), most),
        reg_covar=0.01,
        max_iter=100,
        random_state=0,
    ).fit((features - mean) / std)
    factors = np.linalg.cholesky(mixture.covariances_)
    form = _form(contours)
    lowest, highest = np.quantile(log_areas, _GRID[[0, -1]])
    law = ClassShapes(
        cells=cells,
        knots=_short(knots),
        mean=_short(mean),
        std=_short(std),
        weights=_short(mixture.weights_),
        centres=tuple(_short(centre) for centre in mixture.means_),
        factors=tuple(_short(factor[np.tril_indices(len(mean))]) for factor in factors),
        elongations=_short(_edges(form[:, 0])),
        solidities=_short(_edges(form[:, 1])),
        acceptance=(1.0,) * _CELLS**2,
        log_area_range=(float(lowest) - 0.02, float(highest) + 0.02),
    )
    return law.model_copy(update={"acceptance": _short(_acceptance(law, form))})


def _acceptance(law: ClassShapes, form: FloatArray) -> FloatArray:
    """How often to keep a draw so that elongation and solidity occur as in the data, (49,) from 0 to 1."""
    contours, valid = _draw(law, 3000, np.random.default_rng(0))
    drawn = np.bincount(_table_cell(law, _form(contours[valid])) + 1, minlength=_CELLS**2 + 1)[1:]
    real = np.bincount(_table_cell(law, form) + 1, minlength=_CELLS**2 + 1)[1:]
    share = (drawn + 0.5) / (drawn + 0.5).sum()
    # As if a few cells of the law's own were among the data: with few real cells the table changes little, and
    # with many they alone decide.
    wanted = (real + _OWN_CELLS * share) / (real.sum() + _OWN_CELLS)
    ratio = np.minimum(wanted / share, _MAX_RATIO)
    return np.asarray(ratio / ratio.max())


def _sample_class(law: ClassShapes, n: int, rng: np.random.Generator) -> ContourArray:
    kept: list[ContourArray] = []
    missing = n
    acceptance = np.append(np.array(law.acceptance), 0.0)  # index -1: outside the table
    for _ in range(_ROUNDS):
        if missing <= 0:
            break
        contours, valid = _draw(law, 2 * missing + 16, rng)
        contours = contours[valid]
        keep = rng.random(len(contours)) < acceptance[_table_cell(law, _form(contours))]
        contours = contours[keep][:missing]
        contours = contours[are_simple(contours)]
        kept.append(contours)
        missing -= len(contours)
    if missing > 0:  # the bound of the search is reached: ellipses of the class's mean area are always valid
        ellipses = _ellipses()[rng.integers(_ELLIPSES, size=missing)]
        kept.append((ellipses * np.sqrt(np.exp(law.mean[0]))).astype(np.float32))
    return np.concatenate(kept) if kept else np.zeros((0, VERTICES, 2), np.float32)


def _draw(law: ClassShapes, n: int, rng: np.random.Generator) -> tuple[ContourArray, Mask]:
    """Draw n outlines, (n, VERTICES, 2), and say which of them closed and have an area the class has."""
    size = len(law.mean)
    factors = np.zeros((len(law.weights), size, size))
    factors[:, *np.tril_indices(size)] = np.array(law.factors)
    weights = np.array(law.weights)
    component = rng.choice(len(weights), size=n, p=weights / weights.sum())
    normal = np.einsum("nij,nj->ni", factors[component], rng.standard_normal((n, size)))
    features = (np.array(law.centres)[component] + normal) * np.array(law.std) + np.array(law.mean)
    harmonics = np.zeros((n, VERTICES // 2 + 1), np.complex128)
    for k, (low, high) in enumerate(BANDS):
        part = rng.standard_normal((n, high - low + 1, 2)) @ np.array([1, 1j])
        strength = np.maximum(np.exp(np.minimum(features[:, 1 + k], 2.0)) - _TINY, 0.0)
        part *= (strength / np.sqrt((np.abs(part) ** 2).mean(axis=1)))[:, None]
        harmonics[:, low : high + 1] = part
    outlines, closed = _close(np.fft.irfft(harmonics, VERTICES, axis=1) * VERTICES, np.array(law.knots))
    log_area = features[:, 0]
    inside = (log_area >= law.log_area_range[0]) & (log_area <= law.log_area_range[1])
    own = polygon_areas(outlines)
    valid = closed & inside & (own > 0)
    # The middle of a degenerate outline is not defined; it is dropped by the caller.
    scale = np.sqrt(np.exp(np.where(inside, log_area, 0.0)) / np.where(own > 0, own, 1.0))
    outlines = np.where(valid[:, None, None], outlines * scale[:, None, None], 0.0)
    outlines[valid] -= polygon_centroids(outlines[valid])[:, None]
    return outlines.astype(np.float32), valid


def _close(normal: FloatArray, knots: FloatArray) -> tuple[FloatArray, Mask]:
    """Outlines with the given turning angles (as normal scores), closed by Newton's method on three terms."""
    terms = np.zeros((len(normal), 3))
    step = 1e-4
    for _ in range(15):
        gap, _ = _gap(normal + terms @ _CLOSING, knots)
        open_ = np.abs(gap).max(axis=1) > 1e-6
        if not open_.any():
            break
        base, at, now = normal[open_], terms[open_], gap[open_]
        slopes = [(_gap(base + (at + step * axis) @ _CLOSING, knots)[0] - now) / step for axis in np.eye(3)]
        jacobian = np.stack(slopes, axis=-1) + 1e-9 * np.eye(3)
        move = np.linalg.solve(jacobian, now[..., None])[..., 0]
        length = np.linalg.norm(move, axis=1, keepdims=True)
        terms[open_] = at - move * np.minimum(1.0, 0.5 / np.maximum(length, 1e-12))  # half a deviation at most
    gap, direction = _gap(normal + terms @ _CLOSING, knots)
    edges = np.exp(1j * direction)
    points = np.cumsum(edges - edges.mean(axis=1, keepdims=True), axis=1)
    return np.stack([points.real, points.imag], axis=-1), np.abs(gap).max(axis=1) < 1e-4


def _gap(normal: FloatArray, knots: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Measure what keeps outlines from closing, (n, 3): excess of turn, end minus start; and directions."""
    angles = _bend(normal, _NORMAL, knots) * (2 * np.pi / VERTICES)
    direction = np.cumsum(angles, axis=1)
    end = np.exp(1j * direction).mean(axis=1)
    return np.column_stack([angles.sum(axis=1) / (2 * np.pi) - 1, end.real, end.imag]), direction


def _turning(contours: ContourArray) -> FloatArray:
    """Find the turning angle at each vertex, (n, VERTICES); the mean of each outline is 1, a circle's."""
    points = contours[..., 0].astype(np.float64) + 1j * contours[..., 1]
    edges = np.roll(points, -1, axis=1) - points
    turning = np.angle(np.roll(edges, -1, axis=1) / edges) * (VERTICES / (2 * np.pi))
    return np.asarray(turning * np.sign(turning.sum(axis=1, keepdims=True)))


def _bend(values: FloatArray, at: FloatArray, to: FloatArray) -> FloatArray:
    """Map values by the rising broken line that takes the knots `at` to `to`, straight beyond the ends."""
    below = (values - at[0]) * ((to[1] - to[0]) / (at[1] - at[0]))
    above = (values - at[-1]) * ((to[-1] - to[-2]) / (at[-1] - at[-2]))
    return np.asarray(np.interp(values, at, to) + np.minimum(below, 0) + np.maximum(above, 0))


def _form(contours: ContourArray) -> FloatArray:
    """Log elongation (ratio of the axes of the vertices' covariance) and solidity of each contour, (n, 2)."""
    points = contours.astype(np.float64)
    points = points - points.mean(axis=1, keepdims=True)
    spread = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", points, points))
    elongation = 0.5 * np.log(np.maximum(spread[:, 1], 1e-12) / np.maximum(spread[:, 0], 1e-12))
    hull = np.array([ConvexHull(outline).volume for outline in points]).reshape(len(points))
    return np.column_stack([elongation, np.minimum(polygon_areas(contours) / hull, 1.0)])


def _edges(values: FloatArray) -> FloatArray:
    """Edges of the acceptance table along one axis, with room at the ends for cells all alike."""
    edges: FloatArray = np.quantile(values, _GRID)
    margin = 0.02 * (edges[-1] - edges[0]) + 0.005
    edges[0] -= margin
    edges[-1] += margin
    return edges


def _table_cell(law: ClassShapes, form: FloatArray) -> npt.NDArray[np.int64]:
    """Cell of the acceptance table, row by row, or -1 outside it, (n,)."""
    row = np.searchsorted(np.array(law.elongations), form[:, 0], side="right") - 1
    column = np.searchsorted(np.array(law.solidities), form[:, 1], side="right") - 1
    outside = (row < 0) | (row >= _CELLS) | (column < 0) | (column >= _CELLS)
    return np.where(outside, -1, row * _CELLS + column).astype(np.int64)


_ELLIPSES = 50


def _ellipses() -> ContourArray:
    """Ellipses of unit area with axes from 1 to 1.4 to 1, (50, VERTICES, 2): the forms of a cell unknown."""
    outlines = []
    for ratio in np.linspace(1, 1.4, _ELLIPSES):
        turn = np.linspace(0, 2 * np.pi, 8 * VERTICES, endpoint=False)
        outline = np.stack([np.cos(turn) * math.sqrt(ratio), np.sin(turn) / math.sqrt(ratio)], axis=1)
        outlines.append(resample(outline, VERTICES))
    unit = np.stack(outlines)
    return (unit / np.sqrt(polygon_areas(unit))[:, None, None]).astype(np.float32)


def _thinned(contours: ContourArray) -> ContourArray:
    return contours[:: math.ceil(len(contours) / MAX_CELLS)]


def _few_areas(own: ContourArray, n: int) -> FloatArray:
    """Log areas, (n,) in no order, of a normal law about those of a few cells."""
    areas = np.log(polygon_areas(own))
    levels = special.ndtri((np.arange(n) + 0.5) / n)
    shuffled = np.random.default_rng(0).permutation(levels)
    drawn: FloatArray = areas.mean() + max(float(areas.std()), 0.1) * shuffled
    return drawn


def _short(values: npt.ArrayLike) -> tuple[float, ...]:
    """Five digits are far below what the data determine, and keep the file small."""
    return tuple(float(f"{value:.5g}") for value in np.asarray(values, np.float64).ravel())
