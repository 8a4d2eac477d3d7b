"""Haze: the halo around thick cells, and blurred spots of cells and dirt above or below the focal plane.

Haze is not annotated and has the colour of cells: a model trained without it detects it as cells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from smearsynth.smear import ImageArray, LabelArray

_HAZE_PROBABILITY = 0.5  # probability that a field has a halo, and that it has spots
_SPOT_SPACING = 6.0  # cell diameters: a square of this side has one spot on average
_MIN_SOFTNESS = 3.0  # px: the rim of a spot is always softer than that of a cell in focus
_DEFAULT_CONTRAST = 0.3  # log(background / cells) of a field without cells or without background
_SPOT_EXTENT = 6.0  # distance from the rim of a spot, in units of its softness, beyond which it is negligible


class Spot(NamedTuple):
    """An ellipse with a soft rim: centre, axes and softness in px, angle in radians, strength as `Haze.halo`."""

    x: float
    y: float
    semi_major: float
    semi_minor: float
    angle: float
    softness: float
    strength: float


class Haze(BaseModel):
    """Attenuation of a field by out-of-focus objects.

    Parameters
    ----------
    halo : float
        Fraction of the contrast between background and cells that is lost where cells are dense.
    reach : float
        Extent of the halo, px: standard deviation of the Gaussian blur of the cell mask.
    spots : tuple of Spot
    tint : tuple of 3 floats
        Absorbance of the haze in R, G and B, relative to that of cells.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    halo: float = Field(0.0, ge=0, le=1)
    reach: float = Field(1.0, gt=0)
    spots: tuple[Spot, ...] = ()
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def draw(cls, labels: LabelArray, rng: np.random.Generator) -> Haze:
        """Draw the haze of a new field: a halo and spots, each with probability 0.5, scaled with the cell size.

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
        has_halo, has_spots = rng.random(2) < _HAZE_PROBABILITY
        count = int(rng.poisson(height * width / (_SPOT_SPACING * diameter) ** 2)) + 1 if has_spots else 0
        spots = []
        for _ in range(count):
            radius = diameter / 2 * float(np.exp(rng.normal(0.3, 0.7)))
            spots.append(
                Spot(
                    x=round(float(rng.uniform(0, width)), 1),
                    y=round(float(rng.uniform(0, height)), 1),
                    semi_major=round(radius, 1),
                    semi_minor=round(radius * float(rng.uniform(0.4, 1)), 1),
                    angle=round(float(rng.uniform(0, math.pi)), 3),
                    softness=round(max(_MIN_SOFTNESS, radius * float(rng.uniform(0.15, 0.8))), 1),
                    strength=round(float(rng.uniform(0.1, 0.5)), 3),
                )
            )
        return cls(
            halo=round(float(rng.uniform(0, 0.3)), 3) if has_halo else 0.0,
            reach=round(diameter * float(rng.uniform(0.15, 0.6)), 1),
            spots=tuple(spots),
            tint=tuple(round(float(value), 3) for value in np.exp(rng.normal(0, 0.2, 3))),
        )

    def attenuation(
        self, image: ImageArray, labels: LabelArray
    ) -> tuple[npt.NDArray[np.float32], tuple[float, float, float]]:
        """Return the attenuation map and the absorbance per channel; intensity is scaled by exp(-map * absorbance).

        Parameters
        ----------
        image : (H, W, 3) uint8 array
            Without haze.
        labels : (H, W) int32 array

        Returns
        -------
        attenuation : (H, W) float32 array
            1 where the haze absorbs as much light as a cell.
        absorbances : tuple of 3 floats
            Natural logarithms for R, G and B.
        """
        cell_mask = labels > 0
        attenuation = np.zeros(labels.shape, np.float32)
        if self.halo and cell_mask.any():
            ndimage.gaussian_filter(cell_mask.astype(np.float32), self.reach, output=attenuation, mode="reflect")
            attenuation *= self.halo
        for spot in self.spots:
            _add_spot(attenuation, spot)
        red, green, blue = (
            factor * _absorbance(image[..., channel], cell_mask) for channel, factor in enumerate(self.tint)
        )
        return attenuation, (red, green, blue)


def _absorbance(plane: npt.NDArray[np.uint8], cell_mask: npt.NDArray[np.bool_]) -> float:
    """Return log(background / cells) of one channel; 0 if cells are brighter than the background."""
    if cell_mask.all() or not cell_mask.any():
        return _DEFAULT_CONTRAST
    background, cells = (max(1.0, float(np.median(plane[mask]))) for mask in (~cell_mask, cell_mask))
    return max(0.0, math.log(background / cells))


def _add_spot(attenuation: npt.NDArray[np.float32], spot: Spot) -> None:
    """Add a spot to an attenuation map in place; its radial profile is a logistic step."""
    extent = max(spot.semi_major, spot.semi_minor) + _SPOT_EXTENT * spot.softness
    top, left = max(0, int(spot.y - extent)), max(0, int(spot.x - extent))
    window = attenuation[top : int(spot.y + extent) + 1, left : int(spot.x + extent) + 1]
    y = np.arange(window.shape[0], dtype=np.float32)[:, None] + np.float32(top - spot.y)
    x = np.arange(window.shape[1], dtype=np.float32)[None] + np.float32(left - spot.x)
    u = (x * math.cos(spot.angle) + y * math.sin(spot.angle)) / spot.semi_major
    v = (y * math.cos(spot.angle) - x * math.sin(spot.angle)) / spot.semi_minor
    distance = (np.hypot(u, v) - 1) * (min(spot.semi_major, spot.semi_minor) / spot.softness)
    window += np.float32(spot.strength) / (1 + np.exp(np.minimum(distance * 2, 50)))
