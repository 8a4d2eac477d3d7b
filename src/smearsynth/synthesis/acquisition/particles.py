"""Particles: objects in the background without annotation, such as platelets, debris, smudges and ghost cells.

They are measured on the backgrounds of real smears and drawn at the same rates. Each is an ellipse with a soft rim
that absorbs light; its shape and colour are those of a measured particle, its place is random. No pixel is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from smearsynth.smear import ImageArray, Mask, Smear
from smearsynth.synthesis.acquisition.debris import find_debris, half_axes

_CELL_MARGIN = 4  # px around a cell that belong to its rim and halo
_GHOST_SIGMA = 0.1  # cell diameters; finer structure than this is no ghost cell
_BACKGROUND_SIGMA = 1.0  # cell diameters; the background of a ghost cell is smoothed so far
_GHOST_CONTRAST = 3.0  # min absorbance of a ghost cell, in robust deviations of the smoothed background
_MIN_GHOST_ABSORBANCE = 0.02  # natural logarithm of intensity
_GHOST_DIAMETERS = (0.3, 2.5)  # smallest and largest mean diameter, in cell diameters
_GHOST_SOFTNESS = 0.35  # of the radius: width of the rim of an object out of focus
_PLATELET_SOFTNESS = 0.9  # px: width of the rim of an object in focus
_MAX_PLATELET_AREA = 0.5  # of the area of a median cell; larger ones are cells without a label
_RIM_EXTENT = 5.0  # distance from the rim in units of its softness beyond which a particle is negligible
_MAX_PARTICLES = 2_000  # stored per data set

FloatArray = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]


class Particle(NamedTuple):
    """An ellipse with a soft rim: axes and softness in px, absorbance in natural logarithms of intensity."""

    semi_major: float
    semi_minor: float
    softness: float
    red: float
    green: float
    blue: float


@dataclass(frozen=True, eq=False)
class ParticleModel:
    """Distribution of the particles in the backgrounds of a data set.

    Parameters
    ----------
    densities : (n,) float64 array
        Particles per px² of background in each training smear.
    particles : (m, 6) float64 array
        Measured particles, in the order of `Particle`.
    smears : (m,) int64 array
        Number of the smear of each particle.
    """

    densities: FloatArray
    particles: FloatArray
    smears: npt.NDArray[np.int64]

    @classmethod
    def fit(
        cls, smears: Sequence[Smear], rng: int | np.random.Generator = 0, *, sharp: bool = True
    ) -> ParticleModel:
        """Measure the particles of smears.

        Parameters
        ----------
        smears : sequence of Smear
        rng : int or numpy.random.Generator
            Selects the particles to store, if there are more than 2,000.
        sharp : bool
            Whether to include particles in focus, which some generators paint themselves.
        """
        densities, rows, numbers = [], [], []
        for number, smear in enumerate(smears):
            found = find_particles(smear, sharp=sharp)
            densities.append(len(found) / max(int(smear.background().sum()), 1))
            rows += [tuple(particle) for particle in found]
            numbers += [number] * len(found)
        particles, of_smear = np.round(np.array(rows, np.float64).reshape(-1, 6), 3), np.array(numbers, np.int64)
        if len(particles) > _MAX_PARTICLES:
            subset = np.sort(np.random.default_rng(rng).choice(len(particles), _MAX_PARTICLES, replace=False))
            particles, of_smear = particles[subset], of_smear[subset]
        return cls(np.array(densities), particles, of_smear)

    def without_painted(self, real: float, painted: float) -> ParticleModel:
        """Return the model with lower densities, if the generator paints particles by itself.

        Parameters
        ----------
        real, painted : float
            Absorption of the particles of some real smears, and of their reconstructions (`absorption`).

        Examples
        --------
        >>> model = ParticleModel(np.array([0.002]), np.zeros((0, 6)), np.zeros(0, np.int64))
        >>> model.without_painted(real=20.0, painted=5.0).densities.tolist()
        [0.0015]
        """
        return replace(self, densities=self.densities * max(0.0, 1 - painted / max(real, 1e-6)))

    def draw_count(self, area: int, rng: np.random.Generator, reference: int) -> int:
        """Draw the number of particles on `area` px² of background, at the density of a training smear."""
        return int(rng.poisson(area * float(self.densities[reference]))) if len(self.particles) else 0

    def draw(self, count: int, reference: int, rng: np.random.Generator) -> list[Particle]:
        """Draw particles: those of the training smear `reference` if it has any, else those of all smears."""
        own = np.flatnonzero(self.smears == reference)
        pool = own if len(own) else np.arange(len(self.particles))
        sizes = np.exp(0.15 * rng.standard_normal(count))
        chosen = self.particles[rng.choice(pool, count)] if count else np.zeros((0, 6))
        chosen[:, :2] *= sizes[:, None]
        return [Particle(*row) for row in np.round(chosen, 3).tolist()]


def absorption(particles: Sequence[Particle]) -> float:
    """Return the sum of area times absorbance of green light over particles, px²."""
    return sum(math.pi * particle.semi_major * particle.semi_minor * particle.green for particle in particles)


def find_particles(smear: Smear, *, sharp: bool = True) -> list[Particle]:
    """Find the particles in the background of a smear: platelets and debris in focus, ghost cells out of focus.

    Parameters
    ----------
    smear : Smear
    sharp : bool
        Whether to include those in focus.

    Examples
    --------
    >>> image = np.full((64, 64, 3), 200, np.uint8)
    >>> image[28:34, 28:34] = (150, 100, 160)
    >>> image[50:60, 5:15] = 100
    >>> labels = np.zeros((64, 64), np.int32)
    >>> labels[50:60, 5:15] = 1
    >>> [particle.green > particle.red for particle in find_particles(Smear(image, labels, np.array([0])))]
    [True]
    """
    if not smear.count:
        return []
    diameter = 2 * math.sqrt(float(np.median(smear.areas())) / math.pi)
    background = ndimage.binary_dilation(~smear.background(), iterations=_CELL_MARGIN) == 0
    debris = find_debris(smear.image, smear.labels, smear.ignored) & background
    plain = background & ~ndimage.binary_dilation(debris, iterations=2)
    if plain.sum() < diameter**2:
        return []
    absorbance = _absorbance(smear.image, plain, _BACKGROUND_SIGMA * diameter)
    particles = []
    if sharp:
        particles += _measure(debris, background, absorbance, (9.0, _MAX_PLATELET_AREA * _disc(diameter)), None)
    particles += _find_ghosts(absorbance, plain, background, diameter)
    return particles


def _absorbance(image: ImageArray, plain: Mask, sigma: float) -> Plane:
    """Return log(background / image) per channel, (3, H, W); the background is smoothed over plain pixels."""
    logs = np.log(np.maximum(image, 1).astype(np.float32)).transpose(2, 0, 1)
    weight = _coarse_smooth(plain.astype(np.float32), 2 * sigma) + 1e-4
    planes = []
    for plane in logs:
        middle = np.float32(np.median(plane[plain]))
        deviation = np.where(plain, plane - middle, np.float32(0))
        planes.append(_coarse_smooth(deviation, 2 * sigma) / weight + middle - plane)
    return np.stack(planes)


def _coarse_smooth(plane: Plane, sigma: float) -> Plane:
    """Return a plane filtered with a wide Gaussian, computed on a coarse grid."""
    height, width = plane.shape
    step = max(1, int(sigma / 8))
    size = (max(1, width // step), max(1, height // step))
    small = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX))
    small = ndimage.gaussian_filter(small, sigma / step, truncate=2.5)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR))


def _find_ghosts(absorbance: Plane, plain: Mask, background: Mask, diameter: float) -> list[Particle]:
    sigma = max(1.0, _GHOST_SIGMA * diameter)
    weight = np.maximum(ndimage.gaussian_filter(plain.astype(np.float32), sigma), 1e-3)
    smooth = ndimage.gaussian_filter(absorbance[1] * plain, sigma) / weight
    values = smooth[plain]
    middle = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - middle))
    dark = plain & (smooth > middle + max(_GHOST_CONTRAST * deviation, _MIN_GHOST_ABSORBANCE))
    low, high = (_disc(factor * diameter) for factor in _GHOST_DIAMETERS)
    return _measure(dark, background, absorbance, (low, high), _GHOST_SOFTNESS)


def _measure(
    mask: Mask, background: Mask, absorbance: Plane, areas: tuple[float, float], softness: float | None
) -> list[Particle]:
    """Measure the components of a mask with an area in this range that lie inside the background."""
    blobs, _ = ndimage.label(mask)
    edge = np.zeros(mask.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    beside_cell = ndimage.binary_dilation(~background) & background
    cut = {*np.unique(blobs[edge | beside_cell])}
    particles = []
    for label, box in enumerate(ndimage.find_objects(blobs), start=1):
        inside = blobs[box] == label
        area = int(inside.sum())
        if label in cut or not areas[0] <= area <= areas[1]:
            continue
        major, minor = half_axes(np.argwhere(inside))
        red, green, blue = (float(plane[box][inside].mean()) for plane in absorbance)
        width = _PLATELET_SOFTNESS if softness is None else softness * math.sqrt(major * minor)
        particles.append(Particle(major, minor, width, red, green, blue))
    return particles


def _disc(diameter: float) -> float:
    return math.pi * diameter**2 / 4


def particle_absorbance(particles: Sequence[Particle], free: Mask, rng: np.random.Generator) -> Plane:
    """Return the absorbance of particles at random places of the background.

    Parameters
    ----------
    particles : sequence of Particle
    free : (H, W) bool array
        Pixels of the background, where the centres may lie.
    rng : numpy.random.Generator

    Returns
    -------
    (3, H, W) float32 array
        Of R, G and B; 0 without particles.
    """
    height, width = free.shape
    planes = np.zeros((3, height, width), np.float32)
    places = np.flatnonzero(free)
    if not len(places):
        return planes
    for particle, place in zip(particles, rng.choice(places, len(particles)), strict=True):
        turn = rng.uniform(0, math.pi)
        centre_y, centre_x = divmod(int(place), width)
        reach = math.ceil(particle.semi_major + _RIM_EXTENT * particle.softness)
        top, left = max(0, centre_y - reach), max(0, centre_x - reach)
        y = np.arange(top, min(height, centre_y + reach + 1), dtype=np.float32)[:, None] - centre_y
        x = np.arange(left, min(width, centre_x + reach + 1), dtype=np.float32)[None] - centre_x
        u = (x * math.cos(turn) + y * math.sin(turn)) / particle.semi_major
        v = (y * math.cos(turn) - x * math.sin(turn)) / particle.semi_minor
        distance = (np.hypot(u, v) - 1) * math.sqrt(particle.semi_major * particle.semi_minor) / particle.softness
        profile = 1 / (1 + np.exp(np.clip(2 * distance, -30, 30)))
        for plane, strength in zip(planes, particle[3:], strict=True):
            plane[top : top + profile.shape[0], left : left + profile.shape[1]] += strength * profile
    return planes
