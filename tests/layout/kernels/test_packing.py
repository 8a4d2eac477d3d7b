"""Packing: radii by direction, and cells that are pushed apart."""

from __future__ import annotations

import numpy as np
import pytest

from smearsynth.layout.kernels.packing import DIRECTIONS, direction, polar_radii


def test_radii_of_an_ellipse_follow_its_axes():
    turn = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    radii = polar_radii(np.stack([20 * np.cos(turn), 10 * np.sin(turn)])[None])[0]
    assert radii[0] == pytest.approx(20, rel=0.01)
    assert radii[DIRECTIONS // 4] == pytest.approx(10, rel=0.03)
    assert radii[DIRECTIONS // 2] == pytest.approx(20, rel=0.01)


def test_the_direction_is_that_of_the_arc_tangent():
    angles = np.linspace(-np.pi, np.pi, 1000)
    sectors = np.array([direction(np.cos(angle), np.sin(angle)) for angle in angles])
    exact = angles * DIRECTIONS / (2 * np.pi)
    error = (sectors - exact + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2
    assert np.abs(error).max() < 0.6  # half a sector by rounding, and a tenth
