"""Tests of random poses: their probabilities and their effect on contours."""

from __future__ import annotations

import numpy as np
import pytest

from cell_contours import wavy_ellipses
from smearsynth.errors import OptionError
from smearsynth.shapes.contours import polygon_areas
from smearsynth.shapes.poses import NO_AUGMENTATION, ShapeAugmentation, apply_poses, draw_poses


def test_poses_have_the_requested_probabilities():
    augmentation = ShapeAugmentation(rotation=0.7, scale=0.4, scale_range=(0.8, 1.3))
    poses = draw_poses(20000, augmentation, 0)
    assert (poses.scale != 1).mean() == pytest.approx(0.4, abs=0.02)
    assert 0.8 <= poses.scale.min() < 0.81 < 1.29 < poses.scale.max() <= 1.3
    assert (np.isin(poses.angle, [0, np.pi])).mean() == pytest.approx(0.3, abs=0.02)
    assert set(poses.flip.tolist()) == {-1.0, 1.0}
    assert poses.flip.mean() == pytest.approx(0, abs=0.03)


def test_flips_change_the_sign_of_their_axis():
    contours = wavy_ellipses(1)
    for horizontal, vertical in ((1, 0), (0, 1), (1, 1), (0, 0)):
        augmentation = ShapeAugmentation(0, 0, (1, 1), horizontal, vertical)
        flipped = apply_poses(contours, draw_poses(1, augmentation, 0))
        expected = contours * np.array([-1 if horizontal else 1, -1 if vertical else 1])
        assert flipped == pytest.approx(expected, abs=1e-4)
    assert (apply_poses(contours, draw_poses(1, NO_AUGMENTATION, 0)) == contours).all()


def test_poses_scale_areas_and_depend_on_the_seed_alone():
    contours = wavy_ellipses(50)
    poses = draw_poses(50, ShapeAugmentation(scale=1.0), 7)
    assert polygon_areas(apply_poses(contours, poses)) == pytest.approx(
        polygon_areas(contours) * poses.scale**2, rel=1e-4
    )
    repetition = draw_poses(50, ShapeAugmentation(scale=1.0), np.random.default_rng(7))
    assert (repetition.angle == poses.angle).all()
    with pytest.raises(OptionError, match="50 poses for 49"):
        apply_poses(contours[1:], poses)
    with pytest.raises(OptionError, match="-1 poses"):
        draw_poses(-1, NO_AUGMENTATION, 0)


@pytest.mark.parametrize(
    "options", [{"rotation": 1.1}, {"flip_vertical": -0.1}, {"scale_range": (1.1, 0.9)}, {"scale_range": (0, 1)}]
)
def test_invalid_augmentation_is_rejected(options: dict):
    with pytest.raises(OptionError, match=next(iter(options))):
        ShapeAugmentation(**options)
