"""What lies out of focus: the halo of thick cells, and soft spots of cells and dirt above or below the field.

Nobody annotates it, and it has the colour of cells: a model that never saw any takes it for some.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from smearsynth.smear import ImageArray, LabelArray

_HAZY = 0.5  # share of fields with a halo, and with spots
_APART = 6.0  # diameters of a cell: in a square of this side there is one spot, in the mean
_LEAST_SOFT = 3.0  # px: no rim of a spot is as sharp as that of a cell
_USUAL = 0.3  # logarithm of ground over cells where a field has none of the two
_FAR = 6.0  # of a spot's softness: beyond that from its rim nothing of it shows


class Spot(NamedTuple):
    """An ellipse with a soft rim: centre, half axes, softness in px, angle in radians, strength as `Haze.halo`."""

    x: float
    y: float
    along: float
    across: float
    angle: float
    softness: float
    strength: float


class Haze(BaseModel):
    """Light that a field loses to what is out of focus.

    Parameters
    ----------
    halo : float
        Share of the contrast between ground and cells that is lost amid cells.
    reach : float
        How far from cells, px: standard deviation of the blur of their mask.
    spots : tuple of Spot
    tint : tuple of 3 floats
        How much more of R, G and B is lost than cells take away.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    halo: float = Field(0.0, ge=0, le=1)
    reach: float = Field(1.0, gt=0)
    spots: tuple[Spot, ...] = ()
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def draw(cls, labels: LabelArray, rng: np.random.Generator) -> Haze:
        """Haze of a new field: half of the fields have a halo, half have spots, in the scale of their cells.

        Parameters
        ----------
        labels : (H, W) int32 array
        rng : numpy.random.Generator

        Examples
        --------
        >>> labels = np.zeros((200, 300), np.int32)
        >>> labels[50:70, 50:70] = 1
        >>> Haze.draw(labels, np.random.default_rng(1)).halo < 0.3
        True
        """
        height, width = labels.shape
        areas = np.bincount(labels.ravel())[1:]
        diameter = 2 * math.sqrt(float(np.median(areas[areas > 0])) / math.pi) if areas.any() else height / 8
        hazy, spotted = rng.random(2) < _HAZY
        count = int(rng.poisson(height * width / (_APART * diameter) ** 2)) + 1 if spotted else 0
        spots = []
        for _ in range(count):
            radius = diameter / 2 * float(np.exp(rng.normal(0.3, 0.7)))
            spots.append(
                Spot(
                    x=round(float(rng.uniform(0, width)), 1),
                    y=round(float(rng.uniform(0, height)), 1),
                    along=round(radius, 1),
                    across=round(radius * float(rng.uniform(0.4, 1)), 1),
                    angle=round(float(rng.uniform(0, math.pi)), 3),
                    softness=round(max(_LEAST_SOFT, radius * float(rng.uniform(0.15, 0.8))), 1),
                    strength=round(float(rng.uniform(0.1, 0.5)), 3),
                )
            )
        return cls(
            halo=round(float(rng.uniform(0, 0.3)), 3) if hazy else 0.0,
            reach=round(diameter * float(rng.uniform(0.15, 0.6)), 1),
            spots=tuple(spots),
            tint=tuple(round(float(value), 3) for value in np.exp(rng.normal(0, 0.2, 3))),
        )

    def light(
        self, image: ImageArray, labels: LabelArray
    ) -> tuple[npt.NDArray[np.float32], tuple[float, float, float]]:
        """What is left of the light: ``exp(-lost * depth)`` of a channel of that depth.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
            Before the haze.
        labels : (H, W) int32 array

        Returns
        -------
        lost : (H, W) float32 array
            1 where as much light is lost as in a cell.
        depths : tuple of 3 floats
            Of R, G and B.
        """
        inside = labels > 0
        lost = np.zeros(labels.shape, np.float32)
        if self.halo and inside.any():
            ndimage.gaussian_filter(inside.astype(np.float32), self.reach, output=lost, mode="reflect")
            lost *= self.halo
        for spot in self.spots:
            _add(lost, spot)
        red, green, blue = (
            share * _contrast(image[..., channel], inside) for channel, share in enumerate(self.tint)
        )
        return lost, (red, green, blue)


def _contrast(plane: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_]) -> float:
    """Logarithm of ground over cells of one channel, 0 where cells are the brighter ones."""
    if inside.all() or not inside.any():
        return _USUAL
    ground, cells = (max(1.0, float(np.median(plane[where]))) for where in (~inside, inside))
    return max(0.0, math.log(ground / cells))


def _add(lost: npt.NDArray[np.float32], spot: Spot) -> None:
    """Add a spot where it shows: it falls off along its radius as a logistic curve, a blurred step."""
    far = max(spot.along, spot.across) + _FAR * spot.softness
    top, left = max(0, int(spot.y - far)), max(0, int(spot.x - far))
    part = lost[top : int(spot.y + far) + 1, left : int(spot.x + far) + 1]
    y = np.arange(part.shape[0], dtype=np.float32)[:, None] + np.float32(top - spot.y)
    x = np.arange(part.shape[1], dtype=np.float32)[None] + np.float32(left - spot.x)
    along = (x * math.cos(spot.angle) + y * math.sin(spot.angle)) / spot.along
    across = (y * math.cos(spot.angle) - x * math.sin(spot.angle)) / spot.across
    distance = (np.hypot(along, across) - 1) * (min(spot.along, spot.across) / spot.softness)
    part += np.float32(spot.strength) / (1 + np.exp(np.minimum(distance * 2, 50)))
