"""How a field was taken: illumination, focus, sensor noise, and the debris on the slide.

The generator paints from instance styles and neighbourhoods alone, so it knows nothing of what varies over a
whole field, and what its losses punish it paints too rarely. These parameters are measured on the real smears,
drawn for each synthetic one and written into its recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy import ndimage

from smearsynth.errors import DataError, OptionError
from smearsynth.migrations import to_current
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.synthesis.acquisition.debris import DebrisModel, find_debris
from smearsynth.synthesis.acquisition.out_of_focus import Haze

_BLOCK = 8  # px: the illumination is smooth, block means do
_SIGMAS = (0.0, 0.4, 0.55, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0)  # px, the blurs tried
_RIM = 3  # px to either side of an outline, where focus shows
_FEWEST = 50  # blocks of ground from which an illumination can be told
_MOTTLE = 0.8  # px: how far the grain of slide and demosaicing reaches
_FINE = 1.5  # px: what a blur by so much takes away is grain
# deviations of light unlike that of the smears, in the logarithm: of all channels together, and of each its own
_UNLIKE = np.array([0.10, 0.10, 0.08, 0.05, 0.08]), 0.02
_MEASURED = 200  # smears compared with their reconstructions


class Acquisition(BaseModel):
    """How one field was taken.

    Parameters
    ----------
    illumination : tuple of 15 floats
        Logarithm of the light over the field as a polynomial in x and y from -1 to 1: coefficients of
        x, y, x², xy, y² for R, then G, then B. Its mean is taken away.
    blur : float
        Standard deviation of the defocus, px, beyond what the styles bring.
    noise : float
        Standard deviation of the sensor noise, grey levels, beyond what the generator paints: every pixel and
        channel its own.
    correlated_noise : float
        Standard deviation of the grain that neighbouring pixels and all channels share, grey levels, beyond what
        the generator paints.
    debris : int
        Blobs on the ground.
    haze : Haze, optional
        What lies out of focus.
    seed : int
        Of the noise and of the places of the debris.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    illumination: tuple[float, ...] = Field((0.0,) * 15, min_length=15, max_length=15)
    blur: float = Field(0.0, ge=0, le=20)
    noise: float = Field(0.0, ge=0, le=100)
    correlated_noise: float = Field(0.0, ge=0, le=100)
    debris: int = Field(0, ge=0)
    haze: Haze | None = None
    seed: int = Field(0, ge=0)

    def expose(self, image: ImageArray, labels: LabelArray | None = None) -> ImageArray:
        """Give the (H, W, 3) uint8 image as it would have been taken so; haze needs its labels (H, W)."""
        lost, depths = None, (0.0, 0.0, 0.0)
        if self.haze is not None:
            if labels is None:
                raise OptionError("haze lies about cells; give their labels, too")
            lost, depths = self.haze.light(image, labels)
        taken = np.empty_like(image)
        rng = np.random.default_rng([self.seed, 1])
        correlated_noise = (
            self.correlated_noise * _mottled(image.shape[:2], self.seed) if self.correlated_noise else None
        )
        for channel in range(3):  # one at a time: large fields stay within bounds
            light = np.exp(_polynomial(self.illumination[5 * channel : 5 * channel + 5], image.shape[:2]))
            plane = image[..., channel].astype(np.float32)
            if self.blur:
                ndimage.gaussian_filter(plane, self.blur, output=plane, mode="reflect")
            plane *= light
            if lost is not None:
                plane *= np.exp(-np.float32(depths[channel]) * lost)
            if correlated_noise is not None:
                plane += correlated_noise
            if self.noise:
                plane += np.float32(self.noise) * rng.standard_normal(plane.shape, np.float32)
            taken[..., channel] = np.clip(np.rint(plane), 0, 255)
        return taken


class _Measured(BaseModel):
    """`AcquisitionModel` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    illumination: list[list[float]]
    blur: list[float]
    noise: list[float]
    correlated_noise: list[float] = []
    debris_densities: list[float]
    debris_axes: list[list[float]]
    joint: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("acquisition", record)


@dataclass(frozen=True, eq=False)
class AcquisitionModel:
    """How the training smears were taken.

    Parameters
    ----------
    illumination : (n, 15) float64 array
        As in `Acquisition`, one row a smear.
    focus : (m, 3) float64 array
        Blur, noise and correlated_noise that smears have beyond their reconstructions, drawn together.
    debris : DebrisModel
    joint : bool
        Whether row k of all of them is of smear k, so that a new smear is taken as the one was whose style it has:
        a grey stain with dark corners is the work of one microscope. Models made before drew each by itself.
    """

    illumination: npt.NDArray[np.float64]
    focus: npt.NDArray[np.float64]
    debris: DebrisModel
    joint: bool = False

    @classmethod
    def fit(
        cls,
        smears: Sequence[Smear],
        repaint: Callable[[Smear], ImageArray],
        rng: int | np.random.Generator = 0,
        *,
        debris: bool = True,
    ) -> AcquisitionModel:
        """Measure smears, and what their reconstructions lack.

        Parameters
        ----------
        smears : sequence of Smear
        repaint : callable
            The generator's image of a smear (`Synthesizer.repaint`).
        rng : int or Generator
        debris : bool
            Whether the generator can paint debris; otherwise none is drawn.
        """
        light = [measure_illumination(smear.image, smear.labels) for smear in smears]
        shown = np.linspace(0, len(smears) - 1, min(len(smears), _MEASURED)).astype(int)
        focus = []
        for smear in (smears[int(k)] for k in shown):
            painted = repaint(smear)
            blur = missing_blur(smear.image, painted, smear.labels)
            softened = Acquisition(blur=blur).expose(painted)
            focus.append((blur, *_missing_grain(smear.image, softened, smear.labels)))
        # rounded here and not on the way to the file: a model must draw the same before and after it is saved
        # of many smears the next one measured stands for those between: names follow the slides
        nearest = np.abs(np.arange(len(smears))[:, None] - shown).argmin(1)
        found = np.round(focus, 3)[nearest]
        return cls(np.round(light, 5), found, DebrisModel.fit(smears if debris else [], rng), joint=True)

    def draw(
        self,
        labels: LabelArray,
        rng: int | np.random.Generator,
        smear: int | None = None,
        *,
        unlike: bool = False,
    ) -> Acquisition:
        """Draw how a new field is taken: the light of a training smear, turned over; focus and noise of one.

        Parameters
        ----------
        labels : (H, W) int32 array
        rng : int or numpy.random.Generator
        smear : int, optional
            The training smear that the new one is like; any, and another for the focus, when None.
        unlike : bool
            Whether the light falls off as in none of the smears, too, and haze lies over the field: grounds that
            darken to one side or somewhere have to be seen, or what is dark is taken for cells.
        """
        rng = np.random.default_rng(rng)
        own = smear if self.joint else None
        lit = int(rng.integers(len(self.illumination))) if own is None else own
        light = self.illumination[lit].reshape(3, 5).copy()
        over, down = rng.choice([-1.0, 1.0], 2)
        light *= (over, down, 1, over * down, 1)
        focused = int(rng.integers(len(self.focus))) if own is None else own
        more_blur, more_noise = np.exp(0.1 * rng.standard_normal(2))
        if unlike:
            light += rng.normal(0, _UNLIKE[0]) + rng.normal(0, _UNLIKE[1], (3, 5))
        blur, noise, correlated_noise = self.focus[focused] * (more_blur, more_noise, more_noise)
        debris = self.debris.draw_count(int((labels == 0).sum()), rng, own)
        seed = int(rng.integers(2**32))
        return Acquisition(
            illumination=tuple(float(value) for value in light.ravel()),
            blur=round(float(blur), 3),
            noise=round(float(noise), 3),
            correlated_noise=round(float(correlated_noise), 3),
            debris=debris,
            haze=Haze.draw(labels, rng) if unlike else None,
            seed=seed,
        )

    def to_json(self) -> str:
        """As JSON; see `from_json`."""
        return _Measured(
            illumination=self.illumination.tolist(),
            blur=self.focus[:, 0].tolist(),
            noise=self.focus[:, 1].tolist(),
            correlated_noise=self.focus[:, 2].tolist() if self.focus[:, 2].any() else [],
            debris_densities=self.debris.densities.tolist(),
            debris_axes=self.debris.axes.tolist(),
            joint=self.joint,
        ).model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str) -> AcquisitionModel:
        """The inverse of `to_json`; `DataError` for anything else."""
        try:
            found = _Measured.model_validate_json(text)
            law = cls(
                np.array(found.illumination, np.float64).reshape(-1, 15),
                np.array(
                    [found.blur, found.noise, found.correlated_noise or [0.0] * len(found.blur)], np.float64
                ).T,
                DebrisModel(np.array(found.debris_densities), np.array(found.debris_axes).reshape(-1, 2)),
                found.joint,
            )
        except (ValidationError, ValueError):
            raise DataError("not the law of acquisition of a model") from None
        told_apart = len(law.focus) == len(law.illumination)
        dusty = len(law.debris.densities) in (0, len(law.illumination))
        if not (len(law.illumination) and len(law.focus)) or (law.joint and not (told_apart and dusty)):
            raise DataError("not the law of acquisition of a model")
        return law


def measure_illumination(image: ImageArray, labels: LabelArray) -> npt.NDArray[np.float64]:
    """Polynomial of the light over the ground of a smear, (15,) as in `Acquisition`; zeros when little is bare."""
    height, width = (side // _BLOCK * _BLOCK for side in labels.shape)
    bare = ndimage.binary_dilation(labels > 0, iterations=_RIM) == 0
    bare &= ~find_debris(image, labels)
    blocks = bare[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    counts = blocks.sum((1, 3))
    usable = counts >= _BLOCK * _BLOCK // 2
    if usable.sum() < _FEWEST:
        return np.zeros(15)
    basis = _basis((height // _BLOCK, width // _BLOCK))[:, usable]
    matrix = np.concatenate([np.ones((1, basis.shape[1])), basis]).T
    found = []
    for channel in range(3):
        plane = np.where(bare, image[..., channel], 0)[:height, :width].astype(np.float64)
        means = (
            plane.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).sum((1, 3))[usable] / counts[usable]
        )
        solution = np.linalg.lstsq(matrix, np.log(np.maximum(means, 1.0)), rcond=None)[0]
        found.append(solution[1:])
    return np.concatenate(found)


def missing_blur(real: ImageArray, painted: ImageArray, labels: LabelArray) -> float:
    """Blur in px under which the painted rims are no steeper than the real ones."""
    inside = labels > 0
    rim = ndimage.binary_dilation(inside, iterations=_RIM) & ~ndimage.binary_erosion(inside, iterations=_RIM)
    if not rim.any():
        return 0.0
    ground = ndimage.binary_dilation(inside, iterations=2 * _RIM) == 0
    wanted = _steepness(real[..., 1].astype(np.float32), rim, ground)
    plane = painted[..., 1].astype(np.float32)
    slopes = [_steepness(ndimage.gaussian_filter(plane, sigma), rim, ground) for sigma in _SIGMAS]
    # slopes fall with the blur: where they cross the real one
    return float(np.interp(-wanted, -np.array(slopes), _SIGMAS))


def grain(image: ImageArray, labels: LabelArray) -> tuple[float, float]:
    """Grain of the ground in grey levels, robust to dirt.

    What a blur of 1.5 px takes away: first what each channel has by itself, then what all channels share.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    labels : (H, W) int32 array
    """
    bare = (ndimage.binary_dilation(labels > 0, iterations=_RIM) == 0) & ~find_debris(image, labels)
    if bare.sum() < _FEWEST:
        return 0.0, 0.0
    levels = image.astype(np.float32)
    fine = (levels - ndimage.gaussian_filter(levels, (_FINE, _FINE, 0)))[bare]
    shared = fine.mean(axis=1)
    return _trimmed(fine - shared[:, None]), _trimmed(shared)


def _trimmed(values: npt.NDArray[np.float32]) -> float:
    """Root mean square of the smaller nine tenths: specks that nobody annotated stay out."""
    sizes = np.sort(np.abs(values), axis=None)[: int(0.9 * values.size)]
    return float((sizes**2).mean() ** 0.5)


def _missing_grain(real: ImageArray, painted: ImageArray, labels: LabelArray) -> tuple[float, float]:
    """Noise and correlated_noise that a painted image needs for the grain of the real one."""
    (own, shared), (of_noise, noise_shared, of_correlated_noise) = grain(real, labels), _seen()
    painted_own, painted_shared = grain(painted, labels)
    noise = max(0.0, own**2 - painted_own**2) ** 0.5 / of_noise
    # three channels' own noise does not quite cancel in their mean
    left = shared**2 - painted_shared**2 - (noise * noise_shared) ** 2
    return noise, max(0.0, left) ** 0.5 / of_correlated_noise


@cache
def _seen() -> tuple[float, float, float]:
    """What `grain` finds of noise of deviation 1, by itself and shared, and of correlated_noise of deviation 1."""
    grey, bare = np.full((256, 256, 3), 128, np.uint8), np.zeros((256, 256), np.int32)
    own, shared = grain(Acquisition(noise=10).expose(grey), bare)
    return own / 10, shared / 10, grain(Acquisition(correlated_noise=10).expose(grey), bare)[1] / 10


def _mottled(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Grain that neighbours share, of deviation 1, (H, W)."""
    white = np.random.default_rng([seed, 2]).standard_normal(shape, np.float32)
    ndimage.gaussian_filter(white, _MOTTLE, output=white, mode="wrap")
    white /= max(float(white.std()), 1e-6)
    return white


def _steepness(plane: npt.NDArray[np.float32], rim: Mask, ground: Mask) -> float:
    """Root mean square slope of the rims, without what noise adds: the ground has that, too."""
    down, across = np.gradient(plane, axis=0), np.gradient(plane, axis=1)
    squares: npt.NDArray[np.float32] = down**2 + across**2
    noise = float(squares[ground].mean()) if ground.any() else 0.0
    return float(np.sqrt(max(0.0, float(squares[rim].mean()) - noise)))


def _basis(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    y, x = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in shape)
    grid_y, grid_x = np.broadcast_arrays(y[:, None], x[None])
    return np.stack([grid_x, grid_y, grid_x**2, grid_x * grid_y, grid_y**2])


def _polynomial(coefficients: Sequence[float], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) if side > 1 else np.zeros(1, np.float32) for side in shape)
    a, b, c, d, e = (np.float32(value) for value in coefficients)
    field = (a * x + c * x * x)[None] + (b * y + e * y * y)[:, None] + d * y[:, None] * x[None]
    centred: npt.NDArray[np.float32] = field - field.mean(dtype=np.float64).astype(np.float32)
    return centred
