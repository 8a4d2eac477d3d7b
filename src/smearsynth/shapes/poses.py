"""Random poses of shapes: rotation, scaling and flips before placement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smearsynth.errors import OptionError
from smearsynth.shapes.contours import ContourArray, FloatArray


@dataclass(frozen=True)
class ShapeAugmentation:
    """Random variation of a shape before placement (paper, section 4.1.1).

    Parameters
    ----------
    rotation : float
        Probability of a rotation by an angle uniform in [0, 2π).
    scale : float
        Probability of a scaling by a factor uniform in `scale_range`.
    scale_range : tuple of float
    flip_horizontal, flip_vertical : float
        Probabilities of flips left to right and top to bottom.

    Raises
    ------
    OptionError
        If a probability is outside [0, 1], or the range is not 0 < low <= high.

    Examples
    --------
    >>> ShapeAugmentation(scale=1.0, scale_range=(0.9, 1.1)).scale_range
    (0.9, 1.1)
    """

    rotation: float = 1.0
    scale: float = 0.5
    scale_range: tuple[float, float] = (0.95, 1.05)
    flip_horizontal: float = 0.5
    flip_vertical: float = 0.5

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "flip_horizontal", "flip_vertical"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise OptionError(f"{name} is a probability and must be from 0 to 1, got {value}")
        low, high = self.scale_range
        if not 0 < low <= high < np.inf:
            raise OptionError(f"scale_range must be 0 < low <= high, got {self.scale_range}")


@dataclass(frozen=True, eq=False)
class Poses:
    """Flip, rotation and scale of n shapes, applied in this order about the centroid.

    Parameters
    ----------
    angle : (n,) float64 array
        In radians, from the x axis towards the y axis.
    scale : (n,) float64 array
        Factor.
    flip : (n,) float64 array
        -1 if x changes its sign (flip left to right), else 1.
    """

    angle: FloatArray
    scale: FloatArray
    flip: FloatArray


#: Leaves every shape unchanged.
NO_AUGMENTATION = ShapeAugmentation(rotation=0, scale=0, flip_horizontal=0, flip_vertical=0)


def draw_poses(n: int, augmentation: ShapeAugmentation, rng: int | np.random.Generator) -> Poses:
    """Draw the poses of n shapes.

    A vertical flip is a horizontal flip followed by a rotation by π, so one sign and one angle are sufficient:
    flip = (-1)^(h + v), angle = rotation + π·v.

    Parameters
    ----------
    n : int
    augmentation : ShapeAugmentation
    rng : int or numpy.random.Generator

    Returns
    -------
    Poses

    Raises
    ------
    OptionError
        If n is negative.

    Examples
    --------
    >>> poses = draw_poses(3, ShapeAugmentation(rotation=0, scale=0, flip_horizontal=0, flip_vertical=1), 0)
    >>> poses.flip.tolist(), poses.scale.tolist(), poses.angle.round(3).tolist()
    ([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [3.142, 3.142, 3.142])
    """
    if n < 0:
        raise OptionError(f"cannot draw {n} poses; n must be 0 or more")
    generator = np.random.default_rng(rng)
    # A fixed number of draws per shape, so that changing one probability does not change the other draws.
    chance = generator.random((n, 6))
    rotation = np.where(chance[:, 0] < augmentation.rotation, 2 * np.pi * chance[:, 1], 0.0)
    low, high = augmentation.scale_range
    scale = np.where(chance[:, 2] < augmentation.scale, low + (high - low) * chance[:, 3], 1.0)
    horizontal = chance[:, 4] < augmentation.flip_horizontal
    vertical = chance[:, 5] < augmentation.flip_vertical
    flip = np.where(horizontal ^ vertical, -1.0, 1.0)
    return Poses(np.mod(rotation + np.pi * vertical, 2 * np.pi), scale, flip)


def apply_poses(contours: npt.NDArray[np.floating], poses: Poses) -> ContourArray:
    """Apply poses to contours.

    Parameters
    ----------
    contours : (n, m, 2) float array
        x, y in px relative to the centroid.
    poses : Poses
        Poses of n shapes.

    Returns
    -------
    (n, m, 2) float32 array

    Raises
    ------
    OptionError
        If the numbers of poses and contours differ.

    Examples
    --------
    >>> quarter = Poses(np.array([np.pi / 2]), np.array([2.0]), np.array([-1.0]))
    >>> apply_poses(np.array([[[1.0, 2], [0, 1]]]), quarter).round(3).tolist()
    [[[-4.0, -2.0], [-2.0, 0.0]]]
    """
    if len(contours) != len(poses.angle):
        raise OptionError(f"{len(poses.angle)} poses for {len(contours)} contours; draw one pose per contour")
    x, y = contours[..., 0] * poses.flip[:, None], contours[..., 1]
    c, s = (poses.scale * np.cos(poses.angle))[:, None], (poses.scale * np.sin(poses.angle))[:, None]
    return np.stack([c * x - s * y, s * x + c * y], axis=-1).astype(np.float32)
