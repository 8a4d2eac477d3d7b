"""Tests of the spatial statistics on point patterns and labels with known results."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from smearsynth.smear import touching_pairs
from smearsynth.statistics.patterns import (
    BIN_WIDTH,
    BINS,
    EMPTY_DISTANCES,
    cell_centres,
    cluster_sizes,
    contact_fractions,
    distance_histogram,
    empty_distances,
    empty_fractions,
    nearest_neighbours,
    pair_correlation,
)


def two_squares(first: tuple[int, int], second: tuple[int, int]) -> np.ndarray:
    """Return labels of two squares of 10 px at (x, y)."""
    labels = np.zeros((60, 60), np.int32)
    for k, (x, y) in enumerate((first, second), 1):
        labels[y : y + 10, x : x + 10] = k
    return labels


def test_a_gap_of_one_pixel_is_no_contact():
    assert len(touching_pairs(two_squares((20, 20), (30, 20)))) == 1
    assert len(touching_pairs(two_squares((20, 20), (31, 20)))) == 0
    assert len(touching_pairs(two_squares((20, 20), (10, 30)))) == 1  # the other diagonal


def test_touching_pairs_of_many_ids_do_not_collide():
    labels = np.arange(1, 60001, dtype=np.int32).reshape(200, 300)
    pairs = touching_pairs(labels)
    assert len(pairs) == 200 * 299 + 199 * 300 + 2 * 199 * 299
    assert cluster_sizes(60000, pairs).tolist() == [60000] * 60000


def test_clusters_without_contacts_and_without_cells():
    no_pairs = np.zeros((0, 2), np.int64)
    assert cluster_sizes(3, no_pairs).tolist() == [1, 1, 1]
    assert cluster_sizes(0, no_pairs).tolist() == []


def test_centres_are_centroids_of_pixels():
    labels = two_squares((20, 30), (41, 5))
    assert cell_centres(labels, np.array([100, 100])).tolist() == [[24.5, 34.5], [45.5, 9.5]]


def test_pair_correlation_is_one_for_random_points():
    rng = np.random.default_rng(0)
    curves = [pair_correlation(rng.uniform(0, (800, 600), (300, 2)), (800, 600), 20.0) for _ in range(20)]
    mean = np.mean(curves, axis=0)
    assert np.abs(mean - 1)[10:].max() < 0.15  # about 500 pairs per bin
    assert abs(mean[10:].mean() - 1) < 0.01
    assert abs(mean[30:].mean() - 1) < 0.01  # an edge bias would be largest here


def test_pair_correlation_is_zero_below_contact_and_high_for_adhering_discs():
    rng = np.random.default_rng(1)
    single, pairs = [], []
    while len(single) < 150:
        point = rng.uniform(0, (1000, 800))
        if not single or np.linalg.norm(np.array(single) - point, axis=1).min() >= 40:
            single.append(point)
            angle = rng.uniform(0, 2 * np.pi)
            pairs += [point, point + 20 * np.array([np.cos(angle), np.sin(angle)])]
    contact = round(1 / BIN_WIDTH)
    separate = pair_correlation(np.array(single), (1000, 800), 40.0)
    assert (separate[:contact] == 0).all()
    assert separate[contact:].mean() == pytest.approx(1, abs=0.15)
    adhering = pair_correlation(np.array(pairs), (1000, 800), 20.0)
    random = pair_correlation(rng.uniform(0, (1000, 800), (300, 2)), (1000, 800), 20.0)
    assert adhering[contact - 1 : contact + 1].max() > 3 > random[contact - 1 : contact + 1].max()


def test_pair_correlation_is_undefined_at_large_distances_and_for_few_points():
    points = np.random.default_rng(2).uniform(0, 100, (50, 2))
    curve = pair_correlation(points, (100, 100), 20.0)
    last = int(40 / (20 * BIN_WIDTH))  # half of the side of the window, 100 - 20 px
    assert np.isfinite(curve[:last]).all()
    assert np.isnan(curve[last:]).all()
    for centres, diameter in ((points[:1], 20.0), (points, math.nan), (points, 120.0)):
        assert np.isnan(pair_correlation(centres, (100, 100), diameter)).all()


def test_nearest_neighbours_of_a_single_cell_are_undefined():
    centres = np.array([[0.0, 0], [6, 8]])
    assert nearest_neighbours(centres, np.array([True, False])).tolist() == [10]
    assert len(nearest_neighbours(centres, np.array([False, False]))) == 0
    assert len(nearest_neighbours(centres[:1], np.array([True]))) == 0


def test_distance_histogram_counts_each_distance_once():
    counts = distance_histogram(np.array([0.5, 12.0, 12.5, 1e6]), 10.0)
    assert (len(counts), sum(counts)) == (BINS, 4)
    assert (counts[0], counts[12], counts[-1]) == (1, 2, 1)
    assert distance_histogram(np.zeros(0), math.nan) == (0,) * BINS


def test_empty_fractions_of_a_half_covered_field():
    labels = np.zeros((100, 200), np.int32)
    labels[:, :100] = 1
    fractions = empty_fractions(labels, 20.0)
    assert fractions == pytest.approx([0.5 - 20 * distance / 200 for distance in EMPTY_DISTANCES], abs=0.011)
    assert (empty_fractions(np.zeros((9, 9), np.int32), 5.0) == 1).all()
    assert np.isnan(empty_fractions(labels, math.nan)).all()


def test_empty_distances_are_infinite_without_cells():
    assert np.isinf(empty_distances(np.zeros((4, 4), np.int32), 4)).all()
    assert empty_distances(np.ones((4, 4), np.int32), 4).tolist() == [0] * 16


def test_pair_correlation_of_random_points_is_one_beside_an_ignored_region():
    rng = np.random.default_rng(0)
    ignored = np.zeros((600, 800), bool)
    ignored[:, 300:500] = True
    ignored[:150] = True
    corrected, uncorrected = [], []
    for _ in range(20):
        points = rng.uniform(0, (799, 599), (400, 2))
        x, y = np.rint(points).astype(int).T
        annotated = points[~ignored[y, x]]
        corrected.append(pair_correlation(annotated, (800, 600), 20.0, ignored))
        uncorrected.append(pair_correlation(annotated, (800, 600), 20.0))
    assert np.nanmean(corrected, axis=0)[5:] == pytest.approx(1.0, abs=0.12)
    assert np.nanmean(uncorrected, axis=0)[5:].mean() > 1.3


def test_the_window_of_a_field_with_a_far_ignored_pixel_is_the_field():
    rng = np.random.default_rng(1)
    points = rng.uniform(0, (399, 299), (150, 2))
    ignored = np.zeros((300, 400), bool)
    ignored[0, 0] = True
    reference = pair_correlation(points, (400, 300), 20.0)
    corrected = pair_correlation(points, (400, 300), 20.0, ignored)
    assert corrected == pytest.approx(reference, rel=0.03, nan_ok=True)
    assert np.isnan(pair_correlation(points, (400, 300), 20.0, np.ones((300, 400), bool))).all()


def test_empty_fractions_are_unbiased_by_an_ignored_region():
    labels = np.zeros((200, 200), np.int32)
    labels[::20, ::20] = 1
    ignored = np.zeros(labels.shape, bool)
    ignored[:, 100:] = True
    hidden = np.where(ignored, 0, labels)
    reference = empty_fractions(labels, 10.0)
    assert empty_fractions(hidden, 10.0, ignored) == pytest.approx(reference, abs=0.06)
    assert np.abs(empty_fractions(hidden, 10.0) - reference).max() > 0.3
    assert np.isnan(empty_fractions(hidden, 10.0, np.ones(labels.shape, bool))).all()
    assert (empty_fractions(hidden, 10.0, np.zeros(labels.shape, bool)) == empty_fractions(hidden, 10.0)).all()


def two_discs(distance, radius=20):
    """Labels of two discs that a straight line divides where they overlap."""
    y, x = np.mgrid[:80, :140]
    first, second = ((x - c) ** 2 + (y - 40) ** 2 for c in (40, 40 + distance))
    labels = np.zeros((80, 140), np.int32)
    labels[first <= radius**2] = 1
    labels[(second <= radius**2) & (second < first)] = 2
    return labels


def test_the_contact_of_two_discs_is_as_long_as_their_chord():
    """Deeper overlaps have longer contacts; the chord is √(d·(2D − d))."""
    for distance, expected in ((44, (0, 0, 0)), (38, (1, 0, 0)), (34, (1, 1, 0)), (24, (1, 1, 1))):
        depth = 40 - distance
        chord = np.sqrt(depth * (80 - depth)) / 40 if depth > 0 else 0
        assert contact_fractions(two_discs(distance), 2, 40.0).tolist() == list(expected), chord
    # An oblique contact is as long as an upright one.
    labels = two_discs(24)
    turned = ndimage.rotate(labels, 45, order=0)
    assert contact_fractions(turned, 2, 40.0).tolist() == [1, 1, 1]


def test_a_line_of_background_between_two_cells_does_not_end_their_contact():
    labels = two_discs(24)
    beside = (labels[:, :-1] == 1) & (labels[:, 1:] == 2)
    labels[:, :-1][beside] = 0
    assert contact_fractions(labels, 2, 40.0).tolist() == [1, 1, 1]
    labels[:, 1:][beside] = 0  # two pixels are a gap
    assert contact_fractions(labels, 2, 40.0)[2] == 0


def test_contacts_of_a_third_cell_and_of_no_cells():
    labels = two_discs(24)
    labels[2:12, 100:110] = 3
    np.testing.assert_allclose(contact_fractions(labels, 3, 40.0), [2 / 3] * 3)
    assert np.isnan(contact_fractions(np.zeros((9, 9), np.int32), 0, 10.0)).all()
    assert np.isnan(contact_fractions(labels, 3, math.nan)).all()
