"""Cuts of contours are recognised, and the hidden part of elliptic cells is completed."""

from __future__ import annotations

import numpy as np
import pytest

from smearsynth.shapes.completion import complete, cut_length, longest_cut
from smearsynth.shapes.contours import VERTICES, polygon_areas, resample

TURNS = np.linspace(0, 2 * np.pi, 400, endpoint=False)


def ellipse(a: float, b: float, angle: float = 0.0) -> np.ndarray:
    x, y = a * np.cos(TURNS), b * np.sin(TURNS)
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)


def straight_cut(points: np.ndarray, at: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the points with x at most `at`, and whether they are away from the cut."""
    return np.minimum(points, [at, np.inf]), points[:, 0] < at - 1


def bitten(distance: float) -> np.ndarray:
    """Return the contour of a disc of radius 20 without another one at this distance."""
    disc = ellipse(20, 20)
    inside = np.hypot(disc[:, 0] - distance, disc[:, 1]) < 20
    mirrored = np.stack([distance - disc[:, 0], disc[:, 1]], 1)
    return np.where(inside[:, None], mirrored, disc)


@pytest.mark.parametrize(("a", "b"), [(20, 20), (24, 18), (26, 15), (10, 9)])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_ellipses_have_no_cut(a: float, b: float, angle: float) -> None:
    contour = resample(ellipse(a, b, angle), VERTICES)
    assert cut_length(contour) == 0
    assert cut_length(contour[::-1]) == 0


def test_the_length_of_a_cut_is_that_of_its_chord() -> None:
    lengths = []
    for at in (12.0, 9.0, 6.0):
        contour = resample(straight_cut(ellipse(20, 20), at)[0], VERTICES)
        diameter = 2 * np.sqrt(polygon_areas(contour[None])[0] / np.pi)
        lengths.append(cut_length(contour))
        assert lengths[-1] == pytest.approx(2 * np.sqrt(400 - at**2) / diameter, rel=0.15)
    assert lengths == sorted(lengths)
    assert cut_length(resample(straight_cut(ellipse(20, 20), 18.0)[0], VERTICES)) == 0  # hardly a cut


def test_a_cut_is_found_in_any_direction_and_order() -> None:
    cut = straight_cut(ellipse(20, 20), 10.0)[0]
    expected = cut_length(resample(cut, VERTICES))
    for angle in (0.5, 2.0, 4.0):
        turned = cut @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        for points in (turned, turned[::-1]):
            length, middle = longest_cut(resample(points, VERTICES))
            assert length == pytest.approx(expected, rel=0.15)
            assert np.hypot(*(middle - 10 * np.array([np.cos(angle), np.sin(angle)]))) < 3


def test_concave_bites_are_cuts_and_bulges_are_not() -> None:
    assert cut_length(resample(bitten(26.0), VERTICES)) > 0.6
    bulge = straight_cut(ellipse(20, 20), 10.0)[0]
    on_cut = bulge[:, 0] == 10.0
    bulge[on_cut, 0] += 5 * (1 - (bulge[on_cut, 1] / 17.4) ** 2)
    assert cut_length(resample(bulge, VERTICES)) == 0


def test_crenations_are_no_cuts() -> None:
    radius = 20 * (1 + 0.12 * np.cos(9 * TURNS))
    contour = radius[:, None] * np.stack([np.cos(TURNS), np.sin(TURNS)], 1)
    assert cut_length(resample(contour, VERTICES)) == 0


@pytest.mark.parametrize(("a", "b", "angle"), [(20, 20, 0.0), (24, 17, 0.0), (24, 17, 1.0)])
@pytest.mark.parametrize("part", [0.5, 0.7])
def test_the_hidden_part_of_an_ellipse_is_completed(a: float, b: float, angle: float, part: float) -> None:
    points = ellipse(a, b, angle)
    cut, free = straight_cut(points, part * points[:, 0].max())
    noisy = cut + np.random.default_rng(0).normal(0, 0.2, cut.shape)
    whole = complete(noisy, free)
    assert whole is not None
    area = polygon_areas(whole[None])[0]
    assert area == pytest.approx(np.pi * a * b, rel=0.03)
    assert area > polygon_areas(cut[None])[0]
    assert whole[:, 0].max() == pytest.approx(points[:, 0].max(), abs=1.0)


def test_the_visible_outline_stays_as_it_is() -> None:
    points = ellipse(20, 20)
    points[100:120] += [0, 1.5]  # a bump far from the cut
    cut, free = straight_cut(points, 12.0)
    whole = complete(cut, free)
    assert whole is not None
    assert whole[:, 1].max() == pytest.approx(21.5, abs=0.3)


def test_too_little_or_other_outlines_are_not_completed() -> None:
    points = ellipse(20, 20)
    cut, free = straight_cut(points, -8.0)
    assert complete(cut, free) is None  # less than half is visible
    square = np.clip(points * 1.6, -20, 20)
    assert complete(square, square[:, 0] < 19) is None  # not elliptic
    assert complete(points, np.zeros(len(points), bool)) is None
    # An ellipse of nearly twice the area would be a guess.
    half, free = straight_cut(points, 0.0)
    assert complete(half, points[:, 0] < 0) is None
