"""Tests of contour tracing on masks of known form and on polygons."""

from __future__ import annotations

import numpy as np
import pytest

from cell_contours import contour_mask, ellipse_mask
from smears import disc_mask
from smearsynth.shapes.contours import (
    VERTICES,
    are_simple,
    contour_of,
    polygon_areas,
    polygon_centroids,
    resample,
    trace,
)


def test_contours_preserve_the_area_of_the_mask():
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(40):
        a, b = rng.uniform(8, 30, 2)
        mask = ellipse_mask(a, b, rng.uniform(0, 3), tuple(rng.uniform(38, 42, 2)))
        contour, area, pieces = contour_of(mask)
        assert (area, pieces) == (mask.sum(), 1)
        assert polygon_areas(contour[None])[0] == pytest.approx(mask.sum(), rel=1e-5)
        errors.append(contour_mask(contour).sum() / mask.sum() - 1)
    assert np.abs(errors).max() < 0.02
    assert abs(np.mean(errors)) < 0.002


def test_contours_lie_on_the_true_outline_at_equal_steps():
    contour, _, _ = contour_of(ellipse_mask(25, 15, 0.0, (40.0, 40.0)))
    level = np.hypot(contour[:, 0] / 25, contour[:, 1] / 15)
    assert np.abs(level - 1).max() < 0.03  # half a pixel; the mask has steps of one pixel
    steps = np.linalg.norm(np.roll(contour, -1, axis=0) - contour, axis=1)
    assert steps.std() / steps.mean() < 0.03
    assert np.abs(polygon_centroids(contour[None])).max() < 1e-4


def test_holes_are_filled_and_the_largest_component_is_used():
    mask = disc_mask((60, 60), (25, 25, 15))
    filled_area = mask.sum()
    mask &= ~disc_mask((60, 60), (25, 25, 5))
    mask |= disc_mask((60, 60), (50, 50, 4))
    contour, area, pieces = contour_of(mask)
    assert (area, pieces) == (filled_area, 2)
    assert np.abs(np.hypot(*contour.T) - 15).max() < 0.6


def test_a_mask_that_fills_its_window_is_traced():
    contour, area, _ = contour_of(np.ones((6, 9), bool))
    assert area == 54
    assert np.ptp(contour, axis=0) == pytest.approx([9, 6], abs=0.7)


def test_traced_outlines_have_image_coordinates():
    mask = np.zeros((20, 30), bool)
    mask[5:9, 10:20] = True
    outline, pieces = trace(mask)
    assert pieces == 1
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([9.5, 4.5], [19.5, 8.5])


def test_resampled_outlines_have_equal_steps():
    rectangle = np.array([[0.0, 0], [30, 0], [30, 10], [0, 10]])
    points = resample(rectangle, 80)
    assert points[0].tolist() == [0, 0]
    assert np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1) == pytest.approx(1)


def test_polygon_measures_of_squares():
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    squares = np.stack([square, square[::-1] / 2 + 7])
    assert polygon_areas(squares).tolist() == [16, 4]
    assert polygon_centroids(squares) == pytest.approx(np.array([[2, 2], [8, 8]]))


def test_one_crossing_makes_a_polygon_not_simple():
    angles = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    circles = np.repeat(np.stack([np.cos(angles), np.sin(angles)], -1)[None], 150, axis=0)
    circles[77, [10, 11]] = circles[77, [11, 10]]
    assert np.flatnonzero(~are_simple(circles)).tolist() == [77]
