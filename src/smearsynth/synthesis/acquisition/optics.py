"""Optics and camera of the training smears: chromatic shift, texture, particles and compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.smear import ImageArray, Smear
from smearsynth.synthesis.acquisition.estimation import estimate_shift
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.particles import ParticleModel
from smearsynth.synthesis.acquisition.texture import SIGMAS, Texture, estimate_texture

FloatArray = npt.NDArray[np.float64]


class Optics(NamedTuple):
    """Optics of one smear: chromatic shift (4,) px, and standard deviations of the texture (2, bands, 3)."""

    shift: FloatArray
    texture: FloatArray


def estimate_optics(
    smear: Smear,
    reconstruction: ImageArray,
    illumination: FloatArray,
    blur: float,
    history: tuple[int, int] | None,
) -> Optics:
    """Estimate the chromatic shift and the texture that a reconstruction of a smear lacks.

    Parameters
    ----------
    smear : Smear
    reconstruction : (H, W, 3) uint8 array
        Of the smear, without acquisition model.
    illumination : (15,) float64 array
    blur : float
        That the reconstruction lacks, px.
    history : (int, int) or None
        JPEG quality and subsampling of the image file.
    """
    real, labels, ignored = smear.image, smear.labels, smear.ignored
    shift = estimate_shift(real, labels, ignored) - estimate_shift(reconstruction, labels, ignored)
    common = Acquisition(
        illumination=tuple(illumination.tolist()),
        blur=blur,
        shift=tuple(shift.tolist()),
        compression=history,
    )

    def develop(texture: Texture) -> ImageArray:
        return common.model_copy(update={"texture": texture}).apply(reconstruction, labels)

    return Optics(shift, estimate_texture(real, labels, ignored, develop))


@dataclass(frozen=True, eq=False)
class OpticsModel:
    """Optics of all training smears, one row per smear.

    Parameters
    ----------
    shift : (n, 4) float64 array
        As in `Acquisition`, px.
    texture : (n, 2, bands, 3) float64 array
        Standard deviations for background and cells, grey levels.
    compression : tuple of (int, int) or None
        JPEG quality and subsampling.
    particles : ParticleModel
    visibility : (n,) float64 array
        Of the lower of two overlapping cells, see `Acquisition`.
    """

    shift: FloatArray
    texture: FloatArray
    compression: tuple[tuple[int, int] | None, ...]
    particles: ParticleModel
    visibility: FloatArray

    @classmethod
    def of(
        cls,
        rows: Sequence[Optics],
        numbers: npt.NDArray[np.int64],
        histories: Sequence[tuple[int, int] | None],
        particles: ParticleModel,
        visibility: Sequence[float],
    ) -> OpticsModel:
        """Return the model of smears with the rows of these numbers.

        Smears without overlaps, where the visibility is NaN, get the mean of the others.
        """
        known = np.array(visibility, np.float64)
        mean = np.nanmean(known) if np.isfinite(known).any() else 1.0
        return cls(
            np.round([rows[k].shift for k in numbers], 3),
            np.round([rows[k].texture for k in numbers], 2),
            tuple(None if history is None else (int(history[0]), int(history[1])) for history in histories),
            particles,
            np.where(np.isfinite(known), known, mean).round(3).astype(np.float64),
        )

    def draw(self, free: int, reference: int, rng: np.random.Generator, *, factor: float) -> dict[str, Any]:
        """Draw the fields of an `Acquisition` after a training smear.

        Parameters
        ----------
        free : int
            Area of the background, px².
        reference : int
            Number of the training smear.
        rng : numpy.random.Generator
        factor : float
            On the standard deviations of the texture.
        """
        count = self.particles.draw_count(free, rng, reference)
        return {
            "shift": tuple(self.shift[reference].tolist()),
            "texture": Texture.of(factor * self.texture[reference]),
            "compression": self.compression[reference],
            "visibility": float(self.visibility[reference]),
            "particles": tuple(self.particles.draw(count, reference, rng)),
        }

    def to_record(self) -> dict[str, Any]:
        """Return the fields of the model as JSON values, the inverse of `from_record`."""
        return {
            "shift": self.shift.tolist(),
            "texture": self.texture.tolist(),
            "compression": list(self.compression),
            "visibility": self.visibility.tolist(),
            "particle_densities": self.particles.densities.tolist(),
            "particles": self.particles.particles.tolist(),
            "particle_smears": self.particles.smears.tolist(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> OpticsModel:
        """Return the model of a record; raise `ValueError` if its arrays do not match."""
        n = len(record["shift"])
        particles = ParticleModel(
            np.array(record["particle_densities"], np.float64),
            np.array(record["particles"], np.float64).reshape(-1, 6),
            np.array(record["particle_smears"], np.int64),
        )
        texture = np.array(record["texture"], np.float64)
        sizes = {n, len(particles.densities), len(record["compression"]), len(record["visibility"])}
        if (
            texture.shape != (n, 2, len(SIGMAS), 3)
            or len(sizes) > 1
            or len(particles.smears) != len(particles.particles)
        ):
            raise ValueError("arrays of different lengths")
        return cls(
            np.array(record["shift"], np.float64).reshape(n, 4),
            texture,
            tuple(record["compression"]),
            particles,
            np.array(record["visibility"], np.float64),
        )
