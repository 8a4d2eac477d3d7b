"""The acquisition model: acquisition parameters of the training smears, and drawing those of new smears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from smearsynth.errors import DataError
from smearsynth.migrations import to_current
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.synthesis.acquisition.debris import DebrisModel
from smearsynth.synthesis.acquisition.estimation import (
    estimate_blur,
    estimate_illumination,
    estimate_visibility,
)
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.optics import OpticsModel, estimate_optics
from smearsynth.synthesis.acquisition.out_of_focus import Haze
from smearsynth.synthesis.acquisition.particles import ParticleModel, absorption, find_particles

# Standard deviations added to the illumination coefficients of augmented fields: common to all channels for
# x, y, x², xy, y², and independent for each channel.
_AUGMENTATION_COMMON = np.array([0.10, 0.10, 0.08, 0.05, 0.08])
_AUGMENTATION_CHANNEL = 0.02
_MAX_RECONSTRUCTIONS = 72  # smears compared with their reconstructions
_INVALID = "not a valid acquisition model; train the model again or copy its folder again"


class _AcquisitionModelRecord(BaseModel):
    """`AcquisitionModel` as stored in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    illumination: list[list[float]]
    blur: list[float]
    noise: list[float]
    correlated_noise: list[float] = []
    debris_densities: list[float]
    debris_axes: list[list[float]]
    joint: bool = False
    shift: list[list[float]] = []
    texture: list[list[list[list[float]]]] = []
    compression: list[tuple[int, int] | None] = []
    visibility: list[float] = []
    particle_densities: list[float] = []
    particles: list[list[float]] = []
    particle_smears: list[int] = []

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("acquisition", record)


@dataclass(frozen=True, eq=False)
class AcquisitionModel:
    """Distribution of the acquisition parameters, as measured on the training smears.

    Parameters
    ----------
    illumination : (n, 15) float64 array
        Coefficients as in `Acquisition`, one row per smear.
    focus : (m, 3) float64 array
        Blur, noise and correlated noise that smears have in addition to their reconstructions. The three values of
        a row are drawn together.
    debris : DebrisModel
    joint : bool
        Whether row k of each array belongs to smear k. A new smear then has the acquisition parameters of the
        training smear that it takes its style from, since stain and illumination of one microscope go together.
        Models of an older version are not joint and draw each of them independently.
    optics : OpticsModel, optional
        Chromatic shift, texture, particles and compression of the smears; None in models of an older version.
    """

    illumination: npt.NDArray[np.float64]
    focus: npt.NDArray[np.float64]
    debris: DebrisModel
    joint: bool = False
    optics: OpticsModel | None = None

    @classmethod
    def fit(
        cls,
        smears: Sequence[Smear],
        repaint: Callable[[Smear], ImageArray],
        rng: int | np.random.Generator = 0,
        *,
        debris: bool = True,
        histories: Sequence[tuple[int, int] | None] | None = None,
        on_smear: Callable[[int], object] | None = None,
    ) -> AcquisitionModel:
        """Fit the model to smears and their reconstructions.

        Parameters
        ----------
        smears : sequence of Smear
        repaint : callable
            Returns the generator's reconstruction of a smear (`Synthesizer.repaint`).
        rng : int or Generator
        debris : bool
            Whether the generator can paint debris. If not, the particles include objects in focus.
        histories : sequence of (int, int) or None, optional
            JPEG quality and subsampling of each smear's image file; None for a file that never was a JPEG.
        on_smear : callable, optional
            Called with the number of smears done.
        """
        rng = np.random.default_rng(rng)
        histories = [None] * len(smears) if histories is None else histories
        compared = np.linspace(0, len(smears) - 1, min(len(smears), _MAX_RECONSTRUCTIONS)).astype(int)
        illumination, blurs, optics = [], [], []
        real_particles = painted_particles = 0.0
        for k, smear in enumerate(smears):
            illumination.append(estimate_illumination(smear.image, smear.labels, smear.ignored))
            if k in compared:
                reconstruction = repaint(smear)
                blur = estimate_blur(smear.image, reconstruction, smear.labels, smear.ignored)
                blurs.append(blur)
                optics.append(estimate_optics(smear, reconstruction, illumination[-1], blur, histories[k]))
                real_particles += absorption(find_particles(smear, sharp=not debris))
                painted = replace(smear, image=reconstruction)
                painted_particles += absorption(find_particles(painted, sharp=not debris))
            if on_smear:
                on_smear(k + 1)
        # Smears in between use the values of the nearest compared one: file names usually follow the slides.
        nearest = np.abs(np.arange(len(smears))[:, None] - compared).argmin(1)
        particles = ParticleModel.fit(smears, rng, sharp=not debris)
        # Rounded here, not when saved: a model must draw the same values before and after it is saved.
        return cls(
            np.round(illumination, 5),
            np.round([(blur, 0.0, 0.0) for blur in blurs], 3)[nearest],
            DebrisModel.fit(smears if debris else [], rng),
            joint=True,
            optics=OpticsModel.of(
                optics,
                nearest,
                histories,
                particles.without_painted(real_particles, painted_particles),
                [estimate_visibility(smear) for smear in smears],
            ),
        )

    def draw(
        self,
        labels: LabelArray,
        rng: int | np.random.Generator,
        reference: int | None = None,
        *,
        augmented: bool = False,
    ) -> Acquisition:
        """Draw the acquisition parameters of a new field.

        The illumination is that of a training smear, flipped at random; blur, noise and debris vary slightly about
        those of a training smear.

        Parameters
        ----------
        labels : (H, W) int32 array
        rng : int or numpy.random.Generator
        reference : int, optional
            Number of the training smear whose parameters are used. If it is None, or the model is not joint,
            illumination, focus and debris each come from a random smear.
        augmented : bool
            Add a random gradient to the illumination, and haze. Backgrounds of uneven brightness in the training
            data keep a segmenter from taking dark background for cells.

        Returns
        -------
        Acquisition
        """
        rng = np.random.default_rng(rng)
        index = reference if self.joint else None
        light_index = int(rng.integers(len(self.illumination))) if index is None else index
        illumination = self.illumination[light_index].reshape(3, 5).copy()
        flip_x, flip_y = rng.choice([-1.0, 1.0], 2)
        illumination *= (flip_x, flip_y, 1, flip_x * flip_y, 1)
        focus_index = int(rng.integers(len(self.focus))) if index is None else index
        blur_factor, noise_factor = np.exp(0.1 * rng.standard_normal(2))
        if augmented:
            illumination += rng.normal(0, _AUGMENTATION_COMMON) + rng.normal(0, _AUGMENTATION_CHANNEL, (3, 5))
        blur, noise, correlated_noise = self.focus[focus_index] * (blur_factor, noise_factor, noise_factor)
        debris = self.debris.draw_count(int((labels == 0).sum()), rng, index)
        seed = int(rng.integers(2**32))
        optics: dict[str, Any] = {}
        if self.optics is not None:
            free = int((labels == 0).sum())
            optics = self.optics.draw(free, light_index, rng, factor=float(noise_factor))
        return Acquisition(
            illumination=tuple(float(value) for value in illumination.ravel()),
            blur=round(float(blur), 3),
            noise=round(float(noise), 3),
            correlated_noise=round(float(correlated_noise), 3),
            debris=debris,
            haze=Haze.draw(labels, rng) if augmented else None,
            seed=seed,
            **optics,
        )

    def to_json(self) -> str:
        """Return the model as JSON text, the inverse of `from_json`."""
        return _AcquisitionModelRecord(
            illumination=self.illumination.tolist(),
            blur=self.focus[:, 0].tolist(),
            noise=self.focus[:, 1].tolist(),
            correlated_noise=self.focus[:, 2].tolist() if self.focus[:, 2].any() else [],
            debris_densities=self.debris.densities.tolist(),
            debris_axes=self.debris.axes.tolist(),
            joint=self.joint,
            **({} if self.optics is None else self.optics.to_record()),
        ).model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str) -> AcquisitionModel:
        """Read a model from JSON text.

        Raises
        ------
        DataError
            If the text is not an acquisition model, or its arrays do not match.
        """
        try:
            record = _AcquisitionModelRecord.model_validate_json(text)
            correlated_noise = record.correlated_noise or [0.0] * len(record.blur)
            model = cls(
                np.array(record.illumination, np.float64).reshape(-1, 15),
                np.array([record.blur, record.noise, correlated_noise], np.float64).T,
                DebrisModel(np.array(record.debris_densities), np.array(record.debris_axes).reshape(-1, 2)),
                record.joint,
                OpticsModel.from_record(record.model_dump()) if record.shift else None,
            )
        except (ValidationError, ValueError):
            raise DataError(_INVALID) from None
        if not model._is_consistent():
            raise DataError(_INVALID)
        return model

    def _is_consistent(self) -> bool:
        """Test whether there is at least one row, and one row per smear if the model is joint."""
        n = len(self.illumination)
        if not n or not len(self.focus):
            return False
        if self.optics is not None and len(self.optics.shift) != n:
            return False
        return not self.joint or (len(self.focus) == n and len(self.debris.densities) in (0, n))
