"""Whole outlines of cells that an annotation cuts: cuts are recognised, and the hidden part is completed.

Where two cells overlap, one label per pixel cuts at least one of them, straight or concave. A cut cell that is
placed alone looks bitten, like no real cell. Red cells are nearly elliptic, so the hidden part is taken from the
ellipse that fits the visible outline (Halir and Flusser 1998).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import EllipseModel

from smearsynth.shapes.contours import ContourArray, FloatArray, polygon_areas, resample, signed_area
from smearsynth.smear import Mask

_SAMPLES = 256  # points of an outline during completion
_MIN_FREE = 0.5  # fraction of the outline that determines the ellipse
_MAX_RESIDUAL = 0.04  # diameters: root mean square distance of the visible outline from the ellipse
_MIN_GROWTH = 1 / 1.1  # of the area: an ellipse may lie inside spicules
_MAX_GROWTH = 1.8  # of the area by completion; more is a guess
_SPAN = 3  # vertices on either side over which the direction of a contour turns at a corner
_MIN_TURN = np.deg2rad(55)  # turn at each end of a cut; an ellipse turns by 34° on average over this span
_MIN_CHORD = 0.45  # diameters: length of a cut; the crenations of a cell are shorter
_MAX_BULGE = 0.04  # chord lengths by which a cut may bulge outwards
_SMOOTHING = 2.0  # samples, of the joint between visible and completed outline

Flags = Mask  # (n,) bool array


def cut_length(contour: ContourArray | FloatArray) -> float:
    """Return the length of the longest cut of a contour relative to its diameter; 0 without a cut.

    A cut is a straight or concave part of the outline between two sharp corners.

    Parameters
    ----------
    contour : (VERTICES, 2) array
        x, y in px.

    Returns
    -------
    float

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    >>> disc = 20 * np.stack([np.cos(angle), np.sin(angle)], 1)
    >>> cut_length(disc)
    0.0
    >>> cut = resample(np.minimum(disc, [10.0, 99.0]), 64)
    >>> 0.8 < cut_length(cut) < 1.0
    True
    """
    return longest_cut(contour)[0]


def longest_cut(contour: ContourArray | FloatArray) -> tuple[float, FloatArray]:
    """Return the length of the longest cut relative to the diameter, and its middle (x, y) px; 0 without a cut."""
    points = np.asarray(contour, np.float64)
    n = len(points)
    if signed_area(points) < 0:
        points = points[::-1]
    diameter = 2 * float(np.sqrt(polygon_areas(points[None])[0] / np.pi))
    corners = _corners(points)
    best, middle = 0.0, points.mean(axis=0)
    for first in corners:
        for second in corners:
            steps = (second - first) % n
            if not _SPAN < steps < n // 2 + _SPAN:
                continue
            chord = points[second] - points[first]
            length = float(np.hypot(*chord))
            if length < max(_MIN_CHORD * diameter, best * diameter):
                continue
            between = points[(first + np.arange(steps + 1)) % n] - points[first]
            # Counter-clockwise: the outside is to the right of the direction of the outline.
            outwards = (between[:, 0] * chord[1] - between[:, 1] * chord[0]) / length
            if outwards.max() <= _MAX_BULGE * length:
                best, middle = length / diameter, points[first] + between.mean(axis=0)
    return best, middle


def _corners(points: FloatArray) -> list[int]:
    """Return the vertices of a counter-clockwise contour at which its direction turns most, and by enough."""
    before, after = points - np.roll(points, _SPAN, axis=0), np.roll(points, -_SPAN, axis=0) - points
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turns = np.arctan2(cross, (before * after).sum(axis=1))
    highest = turns == ndimage.maximum_filter1d(turns, 2 * _SPAN + 1, mode="wrap")
    return [int(k) for k in np.flatnonzero(highest & (turns > _MIN_TURN))]


def complete(outline: FloatArray, free: Flags) -> FloatArray | None:
    """Complete the outline of a partly hidden cell with the ellipse that fits its visible part.

    Parameters
    ----------
    outline : (m, 2) float64 array
        x, y in px, closed.
    free : (m,) bool array
        Whether a point belongs to the outline of the cell, not to a cut along another one.

    Returns
    -------
    (256, 2) float64 array or None
        None if too little is visible, or the visible part is not elliptic.

    Examples
    --------
    >>> angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    >>> disc = 20 * np.stack([np.cos(angle), np.sin(angle)], 1)
    >>> whole = complete(np.minimum(disc, [12.0, 99.0]), disc[:, 0] < 11)
    >>> round(float(polygon_areas(whole[None])[0] / (np.pi * 400)), 2)
    1.0
    """
    if free.mean() < _MIN_FREE or free.sum() < 8:
        return None
    ellipse = EllipseModel.from_estimate(outline[free])  # type: ignore[no-untyped-call]
    if not ellipse:
        return None
    area = polygon_areas(outline[None])[0]
    if _residual(ellipse, outline[free]) > _MAX_RESIDUAL * 2 * np.sqrt(area / np.pi):
        return None
    turns = np.linspace(-np.pi, np.pi, _SAMPLES, endpoint=False)
    whole = ellipse.predict_xy(turns)
    centre = whole.mean(axis=0)
    if not _MIN_GROWTH <= polygon_areas(whole[None])[0] / area <= _MAX_GROWTH:
        return None
    directions, radii = _polar(whole, centre)
    fitted = np.interp(turns, directions, radii, period=2 * np.pi)
    directions, radii = _polar(outline, centre)
    visible = np.interp(turns, directions, radii, period=2 * np.pi)
    order = np.argsort(np.arctan2(*(outline - centre).T[::-1]))
    is_free = np.interp(turns, directions, free[order].astype(np.float64), period=2 * np.pi)
    weight = ndimage.gaussian_filter1d((is_free > 0.5).astype(np.float64), _SMOOTHING, mode="wrap")
    radius = weight * visible + (1 - weight) * np.maximum(visible, fitted)
    return resample(centre + radius[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1), _SAMPLES)


def _residual(ellipse: EllipseModel, points: FloatArray) -> float:
    """Return the root mean square distance of points from an ellipse, to first order, px."""
    centre, (a, b), theta = ellipse.center, ellipse.axis_lengths, ellipse.theta
    x, y = (points - centre).T
    u, v = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    relative = np.hypot(u / a, v / b)
    return float(np.sqrt(np.mean(((relative - 1) / np.maximum(relative, 1e-6) * np.hypot(u, v)) ** 2)))


def _polar(points: FloatArray, centre: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the directions of points from a centre, sorted, and their distances."""
    x, y = (points - centre).T
    directions = np.arctan2(y, x)
    order = np.argsort(directions)
    return directions[order], np.hypot(x, y)[order]
