"""Parametric model of cell shapes that contains no contour of a real cell, so that it can be passed on.

An outline with equally spaced vertices is described by its turning angles, the change of direction at each vertex.
One monotone map per class transforms them to a normal distribution, which treats corners of pressed cells, spicules
of crenated cells and long smooth arcs alike. The features are the log amplitudes of their harmonics in `BANDS` and
the log area. A Gaussian mixture models the joint distribution of these 14 features. The phases of the harmonics are
discarded: no contour can be reconstructed from the model, and start point, rotation and mirroring of a shape do not
matter.

A sample draws the amplitudes, uses random phases, closes the outline (by solving for the mean and the first
harmonic) and is accepted with a probability that reproduces the distribution of elongation and solidity.
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

#: First and last harmonic of each band; low harmonics, which determine the form, have bands of their own.
BANDS = (
    *((k, k) for k in range(2, 9)),
    (9, 10),
    (11, 12),
    (13, 15),
    (16, 19),
    (20, 24),
    (25, 31),
)
MIN_CELLS = 10  # smallest number of cells of a class to fit its forms
CELLS_PER_COMPONENT = 100  # a mixture component averages many cells
MAX_COMPONENTS = 12
MAX_CELLS = 5000  # largest number of cells per class in the fit, evenly subsampled

_LEVELS = np.array([5e-4, 2e-3, 0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.7, 0.85, 0.93, 0.97, 0.99, 0.998, 0.9995])
_NORMAL = special.ndtri(_LEVELS)
_TINY = 1e-3  # added to amplitudes before the logarithm
# Quantiles of the edges of the acceptance table. Shapes outside are never drawn, because the most extreme annotated
# outlines are mostly merged cells and annotation errors, and because no extreme of a single cell should be
# reproduced.
_GRID = np.array([0.002, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.998])
_CELLS = len(_GRID) - 1
_ROUNDS = 40  # largest number of rounds of rejection sampling
_PSEUDO_COUNTS = 20  # number of pseudo-counts from the model in the acceptance table
_MAX_RATIO = 4.0  # larger corrections would need too many draws
_PHASES = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
_CLOSING_TERMS = np.stack([np.ones(VERTICES), np.cos(_PHASES), np.sin(_PHASES)])


class ClassShapes(BaseModel):
    """Shape model of one class.

    Parameters
    ----------
    cells : int
        Number of cells of the fit.
    knots : tuple of float, (15,)
        Quantiles of the turning angles, relative to those of a circle.
    mean, std : tuple of float, (14,)
        Mean and standard deviation of the features: log area (px²), then the log amplitude in each band.
    weights : tuple of float, (k,)
        Weights of the mixture components.
    centres : tuple of tuple of float, (k, 14)
        Centres of the components, in standardised features.
    factors : tuple of tuple of float, (k, 105)
        Lower triangles of the Cholesky factors of the covariances, row by row.
    elongations, solidities : tuple of float, (8,)
        Edges of the acceptance table.
    acceptance : tuple of float, (49,)
        Acceptance probability by elongation and solidity, row by row.
    log_area_range : tuple of float
        Range of the log area of samples.
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
    """Shape models of all classes of a library.

    Parameters
    ----------
    class_names : tuple of str
    classes : dict of str to ClassShapes
        By class name; classes without cells are missing.

    Notes
    -----
    For a class with fewer than `MIN_CELLS` cells only mean and standard deviation of the log area are fitted (at
    least 0.1, so that no area of a real cell is repeated). Its forms are those of all classes or, if these are too
    few as well, ellipses with axis ratios up to 1.4.

    Examples
    --------
    >>> axes = np.linspace(8, 12, 30)[:, None]
    >>> ellipses = np.stack([axes * np.cos(_PHASES), 10 * np.sin(_PHASES) + 0 * axes], -1).astype(np.float32)
    >>> model = ParametricShapes.fit(ShapeLibrary(ellipses, np.zeros(30, np.int64)))
    >>> shapes = model.sample(5, rng=0)
    >>> len(shapes), bool((np.abs(shapes.areas() - 314) < 150).all())
    (5, True)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    class_names: tuple[str, ...]
    classes: dict[str, ClassShapes]

    @classmethod
    def fit(cls, library: ShapeLibrary) -> ParametricShapes:
        """Fit each class of a library; the result is deterministic.

        Raises
        ------
        DataError
            If the library is empty.
        """
        if not len(library):
            raise DataError("the shape library is empty; extract it from smears with whole cells")
        models = {}
        for index, name in enumerate(library.class_names):
            contours = library.contours[library.classes == index]
            if len(contours) >= MIN_CELLS:
                sample = _subsample(contours)
                models[name] = _fit_class(sample, np.log(polygon_areas(sample)), len(contours))
            elif len(contours):
                forms = _subsample(library.contours) if len(library) >= MIN_CELLS else _ellipses()
                models[name] = _fit_class(forms, _normal_log_areas(contours, len(forms)), len(contours))
        return cls(class_names=library.class_names, classes=models)

    def sample(self, n: int, rng: int | np.random.Generator, class_name: str | None = None) -> ShapeLibrary:
        """Draw shapes.

        Parameters
        ----------
        n : int
        rng : int or numpy.random.Generator
        class_name : str, optional
            Draw this class only. By default classes are drawn with their frequencies in the library.

        Returns
        -------
        ShapeLibrary
            n simple polygons, with the class names of the model.

        Raises
        ------
        OptionError
            If n is negative, or the class has no shapes.
        """
        if n < 0:
            raise OptionError(f"cannot draw {n} shapes; n must be 0 or more")
        if class_name is not None and class_name not in self.classes:
            raise OptionError(f"no shapes of class {class_name!r}; classes of the model: {', '.join(self.classes)}")
        generator = np.random.default_rng(rng)
        names = list(self.classes) if class_name is None else [class_name]
        frequencies = np.array([self.classes[name].cells for name in names], np.float64)
        indices = generator.choice(len(names), size=n, p=frequencies / frequencies.sum())
        contours = np.zeros((n, VERTICES, 2), np.float32)
        classes = np.zeros(n, np.int64)
        for k, name in enumerate(names):
            selected = np.flatnonzero(indices == k)
            contours[selected] = _sample_class(self.classes[name], len(selected), generator)
            classes[selected] = self.class_names.index(name)
        return ShapeLibrary(contours, classes, self.class_names)

    def save(self, path: Path | str) -> None:
        """Write `to_bytes` to a file, atomically."""
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the model as JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def load(cls, path: Path | str) -> ParametricShapes:
        """Read a file written by `save`.

        Raises
        ------
        ModelError
            If the file is missing, damaged or of another kind.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise ModelError("no such shape model; check the path", path) from error
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"not a shape model ({reason}); fit it again", path) from error


def _fit_class(contours: ContourArray, log_areas: FloatArray, cells: int) -> ClassShapes:
    from sklearn.mixture import GaussianMixture  # imports slowly, and sampling does not need it

    # A class with forms of other classes needs no more components than its few cells support.
    max_components = MAX_COMPONENTS if cells >= MIN_CELLS else 2
    turning = _turning(contours)
    # Strictly increasing, so that the map is invertible even for identical cells.
    knots = np.quantile(turning, _LEVELS) + _TINY * np.arange(len(_LEVELS))
    amplitudes = np.abs(np.fft.rfft(_map_linearly(turning, knots, _NORMAL), axis=1)) / VERTICES
    bands = [np.sqrt((amplitudes[:, low : high + 1] ** 2).mean(axis=1)) for low, high in BANDS]
    features = np.column_stack([log_areas, *(np.log(band + _TINY) for band in bands)])
    mean, std = features.mean(axis=0), np.maximum(features.std(axis=0), _TINY)
    mixture = GaussianMixture(
        n_components=min(max(len(features) // CELLS_PER_COMPONENT, 1), max_components),
        reg_covar=0.01,
        max_iter=100,
        random_state=0,
    ).fit((features - mean) / std)
    factors = np.linalg.cholesky(mixture.covariances_)
    form = _form(contours)
    lowest, highest = np.quantile(log_areas, _GRID[[0, -1]])
    model = ClassShapes(
        cells=cells,
        knots=_round(knots),
        mean=_round(mean),
        std=_round(std),
        weights=_round(mixture.weights_),
        centres=tuple(_round(centre) for centre in mixture.means_),
        factors=tuple(_round(factor[np.tril_indices(len(mean))]) for factor in factors),
        elongations=_round(_edges(form[:, 0])),
        solidities=_round(_edges(form[:, 1])),
        acceptance=(1.0,) * _CELLS**2,
        log_area_range=(float(lowest) - 0.02, float(highest) + 0.02),
    )
    return model.model_copy(update={"acceptance": _round(_acceptance(model, form))})


def _acceptance(model: ClassShapes, form: FloatArray) -> FloatArray:
    """Compute the acceptance probabilities that reproduce elongation and solidity of the data, (49,)."""
    contours, valid = _draw(model, 3000, np.random.default_rng(0))
    samples = np.bincount(_table_cell(model, _form(contours[valid])) + 1, minlength=_CELLS**2 + 1)[1:]
    real = np.bincount(_table_cell(model, form) + 1, minlength=_CELLS**2 + 1)[1:]
    frequency = (samples + 0.5) / (samples + 0.5).sum()
    # Pseudo-counts of the model regularise the table: with few real cells it stays close to 1, with many they
    # decide.
    target = (real + _PSEUDO_COUNTS * frequency) / (real.sum() + _PSEUDO_COUNTS)
    ratio = np.minimum(target / frequency, _MAX_RATIO)
    return np.asarray(ratio / ratio.max())


def _sample_class(model: ClassShapes, n: int, rng: np.random.Generator) -> ContourArray:
    parts: list[ContourArray] = []
    missing = n
    acceptance = np.append(np.array(model.acceptance), 0.0)  # index -1 is outside the table
    for _ in range(_ROUNDS):
        if missing <= 0:
            break
        contours, valid = _draw(model, 2 * missing + 16, rng)
        contours = contours[valid]
        keep = rng.random(len(contours)) < acceptance[_table_cell(model, _form(contours))]
        contours = contours[keep][:missing]
        contours = contours[are_simple(contours)]
        parts.append(contours)
        missing -= len(contours)
    if missing > 0:  # the limit is reached; ellipses of the mean area of the class are always valid
        ellipses = _ellipses()[rng.integers(_ELLIPSES, size=missing)]
        parts.append((ellipses * np.sqrt(np.exp(model.mean[0]))).astype(np.float32))
    return np.concatenate(parts) if parts else np.zeros((0, VERTICES, 2), np.float32)


def _draw(model: ClassShapes, n: int, rng: np.random.Generator) -> tuple[ContourArray, Mask]:
    """Draw n outlines, (n, VERTICES, 2); return also which are closed and have a valid area."""
    size = len(model.mean)
    factors = np.zeros((len(model.weights), size, size))
    factors[:, *np.tril_indices(size)] = np.array(model.factors)
    weights = np.array(model.weights)
    component = rng.choice(len(weights), size=n, p=weights / weights.sum())
    normal = np.einsum("nij,nj->ni", factors[component], rng.standard_normal((n, size)))
    features = (np.array(model.centres)[component] + normal) * np.array(model.std) + np.array(model.mean)
    harmonics = np.zeros((n, VERTICES // 2 + 1), np.complex128)
    for k, (low, high) in enumerate(BANDS):
        part = rng.standard_normal((n, high - low + 1, 2)) @ np.array([1, 1j])
        strength = np.maximum(np.exp(np.minimum(features[:, 1 + k], 2.0)) - _TINY, 0.0)
        part *= (strength / np.sqrt((np.abs(part) ** 2).mean(axis=1)))[:, None]
        harmonics[:, low : high + 1] = part
    outlines, closed = _close(np.fft.irfft(harmonics, VERTICES, axis=1) * VERTICES, np.array(model.knots))
    log_area = features[:, 0]
    inside = (log_area >= model.log_area_range[0]) & (log_area <= model.log_area_range[1])
    areas = polygon_areas(outlines)
    valid = closed & inside & (areas > 0)
    # The centroid of a degenerate outline is not defined; the caller drops it.
    scale = np.sqrt(np.exp(np.where(inside, log_area, 0.0)) / np.where(areas > 0, areas, 1.0))
    outlines = np.where(valid[:, None, None], outlines * scale[:, None, None], 0.0)
    outlines[valid] -= polygon_centroids(outlines[valid])[:, None]
    return outlines.astype(np.float32), valid


def _close(normal: FloatArray, knots: FloatArray) -> tuple[FloatArray, Mask]:
    """Compute outlines from turning angles (as normal scores), closed by Newton's method on three terms."""
    terms = np.zeros((len(normal), 3))
    step = 1e-4
    for _ in range(15):
        error, _ = _closing_error(normal + terms @ _CLOSING_TERMS, knots)
        unclosed = np.abs(error).max(axis=1) > 1e-6
        if not unclosed.any():
            break
        base, start, current = normal[unclosed], terms[unclosed], error[unclosed]
        slopes = [
            (_closing_error(base + (start + step * axis) @ _CLOSING_TERMS, knots)[0] - current) / step
            for axis in np.eye(3)
        ]
        jacobian = np.stack(slopes, axis=-1) + 1e-9 * np.eye(3)
        move = np.linalg.solve(jacobian, current[..., None])[..., 0]
        length = np.linalg.norm(move, axis=1, keepdims=True)
        # A step of at most half a standard deviation.
        terms[unclosed] = start - move * np.minimum(1.0, 0.5 / np.maximum(length, 1e-12))
    error, direction = _closing_error(normal + terms @ _CLOSING_TERMS, knots)
    edges = np.exp(1j * direction)
    points = np.cumsum(edges - edges.mean(axis=1, keepdims=True), axis=1)
    return np.stack([points.real, points.imag], axis=-1), np.abs(error).max(axis=1) < 1e-4


def _closing_error(normal: FloatArray, knots: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the closing error of outlines, (n, 3): excess rotation and end minus start; and the directions."""
    angles = _map_linearly(normal, _NORMAL, knots) * (2 * np.pi / VERTICES)
    direction = np.cumsum(angles, axis=1)
    end = np.exp(1j * direction).mean(axis=1)
    return np.column_stack([angles.sum(axis=1) / (2 * np.pi) - 1, end.real, end.imag]), direction


def _turning(contours: ContourArray) -> FloatArray:
    """Compute the turning angle at each vertex, (n, VERTICES); the mean per outline is 1."""
    points = contours[..., 0].astype(np.float64) + 1j * contours[..., 1]
    edges = np.roll(points, -1, axis=1) - points
    turning = np.angle(np.roll(edges, -1, axis=1) / edges) * (VERTICES / (2 * np.pi))
    return np.asarray(turning * np.sign(turning.sum(axis=1, keepdims=True)))


def _map_linearly(values: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Map values by the increasing piecewise linear function with the knots (x, y), extrapolated linearly."""
    below = (values - x[0]) * ((y[1] - y[0]) / (x[1] - x[0]))
    above = (values - x[-1]) * ((y[-1] - y[-2]) / (x[-1] - x[-2]))
    return np.asarray(np.interp(values, x, y) + np.minimum(below, 0) + np.maximum(above, 0))


def _form(contours: ContourArray) -> FloatArray:
    """Compute log elongation (axis ratio of the covariance of the vertices) and solidity of contours, (n, 2)."""
    points = contours.astype(np.float64)
    points = points - points.mean(axis=1, keepdims=True)
    spread = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", points, points))
    elongation = 0.5 * np.log(np.maximum(spread[:, 1], 1e-12) / np.maximum(spread[:, 0], 1e-12))
    hull = np.array([ConvexHull(outline).volume for outline in points]).reshape(len(points))
    return np.column_stack([elongation, np.minimum(polygon_areas(contours) / hull, 1.0)])


def _edges(values: FloatArray) -> FloatArray:
    """Compute the edges of the acceptance table along one axis, with a margin for identical cells."""
    edges: FloatArray = np.quantile(values, _GRID)
    margin = 0.02 * (edges[-1] - edges[0]) + 0.005
    edges[0] -= margin
    edges[-1] += margin
    return edges


def _table_cell(model: ClassShapes, form: FloatArray) -> npt.NDArray[np.int64]:
    """Return the index into the acceptance table, row by row, or -1 outside, (n,)."""
    row = np.searchsorted(np.array(model.elongations), form[:, 0], side="right") - 1
    column = np.searchsorted(np.array(model.solidities), form[:, 1], side="right") - 1
    outside = (row < 0) | (row >= _CELLS) | (column < 0) | (column >= _CELLS)
    return np.where(outside, -1, row * _CELLS + column).astype(np.int64)


_ELLIPSES = 50


def _ellipses() -> ContourArray:
    """Return ellipses of unit area with axis ratios from 1 to 1.4, (50, VERTICES, 2)."""
    outlines = []
    for ratio in np.linspace(1, 1.4, _ELLIPSES):
        angle = np.linspace(0, 2 * np.pi, 8 * VERTICES, endpoint=False)
        outline = np.stack([np.cos(angle) * math.sqrt(ratio), np.sin(angle) / math.sqrt(ratio)], axis=1)
        outlines.append(resample(outline, VERTICES))
    unit = np.stack(outlines)
    return (unit / np.sqrt(polygon_areas(unit))[:, None, None]).astype(np.float32)


def _subsample(contours: ContourArray) -> ContourArray:
    """Return at most `MAX_CELLS` contours at equal intervals."""
    return contours[:: math.ceil(len(contours) / MAX_CELLS)]


def _normal_log_areas(contours: ContourArray, n: int) -> FloatArray:
    """Return log areas, (n,) in random order, of a normal distribution fitted to a few cells."""
    areas = np.log(polygon_areas(contours))
    levels = special.ndtri((np.arange(n) + 0.5) / n)
    normal = np.random.default_rng(0).permutation(levels)
    return np.asarray(areas.mean() + max(float(areas.std()), 0.1) * normal)


def _round(values: npt.ArrayLike) -> tuple[float, ...]:
    """Round to five digits, which is finer than the data determine and keeps the file small."""
    return tuple(float(f"{value:.5g}") for value in np.asarray(values, np.float64).ravel())
