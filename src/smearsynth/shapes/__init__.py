"""Cell shapes: the shape library of the paper, and a parametric model without real contours."""

from smearsynth.shapes.contours import VERTICES, ContourArray, are_simple, polygon_areas, polygon_centroids
from smearsynth.shapes.library import LibraryReport, ShapeLibrary
from smearsynth.shapes.parametric import ParametricShapes
from smearsynth.shapes.poses import NO_AUGMENTATION, Poses, ShapeAugmentation, apply_poses, draw_poses

__all__ = [
    "NO_AUGMENTATION",
    "VERTICES",
    "ContourArray",
    "LibraryReport",
    "ParametricShapes",
    "Poses",
    "ShapeAugmentation",
    "ShapeLibrary",
    "apply_poses",
    "are_simple",
    "draw_poses",
    "polygon_areas",
    "polygon_centroids",
]
